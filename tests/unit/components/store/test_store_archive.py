"""A store as a whole: one state to take out, a new content that takes the old one's place at once, another index."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ragkit import SmallHost, bag, passage
from weft.cli.documents_file import Header, lines, written
from weft.cli.documents_transfer import restore, take_in, write
from weft.cli.reindex import Remaking
from weft.components.dataprep.ingest import DocumentIngest
from weft.components.store.qdrant_edge import QdrantEdge
from weft.contracts.archive import KeptCollection, KeptFile
from weft.contracts.embedding import EmbeddingDescription
from weft.contracts.manifest import Manifest, manifest_of
from weft.contracts.store import (
    CollectionsRequest,
    DeleteRequest,
    ListRequest,
    ReadRequest,
    SearchRequest,
    UpsertRequest,
)
from weft.errors import ConflictError, StateError
from weft.types import Document, Empty, floats, vector

OLD = Manifest("bag", None, 256, normalised=True)
LETTERS = EmbeddingDescription("letters", dimensions=26, normalised=True)
CAT, DOG, TAX, TEA = "The cat sleeps.", "A dog barks.", "Tax is due in May.", "Tea is served at four."


def letters(text: str) -> list[float]:
    """A vector of another embedder: how often each letter comes."""
    counts = [0.01 + text.lower().count(chr(ord("a") + n)) for n in range(26)]
    length = sum(count * count for count in counts) ** 0.5
    return [count / length for count in counts]


async def embed(texts: list[str]) -> list[Any]:
    return [vector(letters(text)) for text in texts]


async def fill(store: Any) -> None:
    """Three files of two tenants, one of them in a collection, one for a group alone."""
    staff = [passage(DOG, "d", readers=["staff"], metadata={"n": 1})]
    await store.upsert(UpsertRequest([passage(CAT, "c")], "a.txt", "d1", manifest=OLD, tenant="t"))
    await store.upsert(UpsertRequest(staff, "b.txt", "d2", manifest=OLD, tenant="t", collection="pets"))
    await store.upsert(UpsertRequest([passage(TAX, "x")], "a.txt", "d3", manifest=OLD, tenant="u"))


async def texts(store: Any, tenant: str, collection: str = "", readers: list[str] | None = None) -> list[str]:
    """What a file has, as its owner reads it."""
    found = []
    for file in (await store.list(ListRequest(collection, tenant))).files:
        request = ReadRequest(file.name, collection=collection, tenant=tenant, readers=readers)
        found += [document.text for document in (await store.read(request)).documents]
    return found


async def content(store: Any) -> tuple[list[KeptCollection], list[tuple[str, str, str, str]], list[Document]]:
    """Everything that a snapshot has."""
    async with store.snapshot() as snapshot:
        files = await snapshot.files()
        documents = [d for file in files async for batch in snapshot.passages(file) for d in batch]
        return await snapshot.collections(), [file.version[:4] for file in files], documents


async def test_a_snapshot_has_everything_of_everyone(store: Any) -> None:
    """Files of all tenants, passages for groups, vectors and manifests are in it."""
    await fill(store)
    collections, files, documents = await content(store)
    known = Manifest("bag", None, 256, normalised=True)
    assert collections == [KeptCollection("t", "", known), KeptCollection("t", "pets", known), KeptCollection("u", "", known)]  # fmt: skip
    assert files == [("t", "", "a.txt", "d1"), ("t", "pets", "b.txt", "d2"), ("u", "", "a.txt", "d3")]
    assert [document.text for document in documents] == [CAT, DOG, TAX]
    assert documents[1].readers == ["staff"]
    assert floats(documents[1].embedding) == pytest.approx(floats(bag(DOG)), abs=1e-6)


async def test_a_snapshot_counts_each_tenants_passages(store: Any) -> None:
    """Files of one name in two tenants have each as many passages as they have."""
    await fill(store)
    async with store.snapshot() as snapshot:
        assert [file.chunks for file in await snapshot.files()] == [1, 1, 1]


async def test_an_empty_store_has_an_empty_snapshot(store: Any) -> None:
    """Nothing is nothing, not an error."""
    assert await content(store) == ([], [], [])


async def test_a_draft_is_not_seen_until_it_is_published(store: Any) -> None:
    """What is put into a draft is found by nobody; published, it is all there is."""
    await fill(store)
    draft = await store.draft("new")
    file = KeptFile("t", "", "new.txt", "d9", 5.0, 1)
    await draft.declare(KeptCollection("t", "", Manifest("letters", None, 26)))
    await draft.add(file, [Document(TEA, "n", embedding=vector(letters(TEA)))])
    assert await texts(store, "t") == [CAT]
    await draft.finish(file)
    assert [f.version for f in await draft.files()] == [file.version]
    assert await draft.publish()
    assert await texts(store, "t") == [TEA]
    assert await texts(store, "u") == []
    (hit,) = (await store.search(SearchRequest(embedding=vector(letters(TEA)), tenant="t"))).hits
    assert hit.document.text == TEA
    assert (await store.describe(Empty())).manifests == [Manifest("letters", None, 26)]


async def test_a_draft_goes_on_where_it_was_left(store: Any) -> None:
    """Whole files of the same purpose are there again, half ones and those of another purpose are not."""
    await fill(store)
    whole, half = KeptFile("t", "", "w", "1", 1.0, 1), KeptFile("t", "", "h", "1", 1.0, 2)
    draft = await store.draft("one")
    await draft.add(whole, [passage(CAT, "c")])
    await draft.finish(whole)
    await draft.add(half, [passage(DOG, "d")])
    await draft.aclose()
    draft = await store.draft("one")
    assert [file.name for file in await draft.files()] == ["w"]
    await draft.add(half, [passage(TEA, "e")])
    await draft.finish(half)
    assert await draft.publish()
    assert await texts(store, "t") == [TEA, CAT]
    again = await store.draft("two")
    assert await again.files() == []
    await again.discard()


async def test_a_draft_of_a_store_that_has_changed_is_not_published(store: Any) -> None:
    """A file that came, went or was replaced meanwhile keeps the old content in place, and the draft as it was."""
    await fill(store)
    async with store.snapshot() as snapshot:
        files = await snapshot.files()
    draft = await store.draft("p")
    for file in files:
        await draft.add(file, [passage(TEA, "n")])
        await draft.finish(file)
    await store.upsert(UpsertRequest([passage(DOG, "c")], "a.txt", "d1", replace=True, tenant="t"))
    assert not await draft.publish(files)
    assert await texts(store, "t") == [DOG]
    assert len(await draft.files()) == 3
    async with store.snapshot() as snapshot:
        files = await snapshot.files()
    assert await draft.publish(files)
    assert await texts(store, "t") == [TEA]


async def exported(store: Any, **only: str) -> bytes:
    target = io.BytesIO()
    await write(store, target, **only)
    return target.getvalue()


async def test_what_is_exported_can_be_imported_anywhere(store: Any, tmp_path: Path) -> None:
    """From any store into another, and back: passages, vectors, files, readers and manifests are the same."""
    await fill(store)
    data = await exported(store)
    other, host = QdrantEdge("other"), SmallHost(tmp_path)
    await other.start(host)
    assert (await take_in(other, io.BytesIO(data), "f")).passages == 3
    assert await texts(other, "t", "pets", ["staff"]) == [DOG]
    assert await texts(other, "t", "pets") == []
    for tenant in ("t", "u"):
        for name in (await store.collections(CollectionsRequest(tenant))).collections:
            await store.delete(DeleteRequest(all_files=True, collection=name, tenant=tenant))
    await take_in(store, io.BytesIO(await exported(other)), "f")
    (_, files, documents), (_, files_there, documents_there) = await content(store), await content(other)
    assert files == files_there
    for one, there in zip(documents, documents_there, strict=True):
        assert floats(one.embedding) == pytest.approx(floats(there.embedding), abs=1e-6)
        one.embedding = there.embedding = None
        assert one == there
    await other.aclose()
    host.close()


async def test_an_export_can_be_of_one_tenant_and_collection(store: Any) -> None:
    """Nothing of others is in the file."""
    await fill(store)
    data = (await exported(store, tenant="t", collection="")).decode()
    assert CAT in data
    assert DOG not in data
    assert TAX not in data
    assert data.endswith('{"kind":"end","files":1,"passages":1}\n')


async def test_a_backup_takes_the_place_of_everything(store: Any) -> None:
    """After a restore there is what was backed up, and nothing else."""
    await fill(store)
    data = await exported(store)
    before = await content(store)
    await store.upsert(UpsertRequest([passage(TEA, "t")], "later.txt", tenant="t"))
    await store.delete(DeleteRequest("a.txt", tenant="u"))
    await restore(store, io.BytesIO(data), "f")
    assert (await content(store))[:2] == before[:2]
    assert await texts(store, "t") == [CAT]


def changed(data: bytes, old: str, new: str) -> bytes:
    assert old in data.decode()
    return data.decode().replace(old, new).encode()


@pytest.mark.parametrize("way", [restore, take_in])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda data: data[: data.rindex(b'{"kind":"end"')], "ends in the middle, after line 10"),
        (lambda data: data[:-30], "no line of documents"),
        (lambda data: changed(data, '"schema":1}', '"schema":2}'), "newer version of Weft (schema 2"),
        (lambda data: changed(data, '"weft-documents"', '"other"'), "f:1: this is no line of documents"),
        (lambda data: changed(data, '"chunks":1', '"chunks":2'), "has 1 of its 2 passages"),
        (lambda data: b"", "ends in the middle, after line 0"),
    ],
)
async def test_a_file_that_is_not_whole_or_newer_changes_nothing(
    edge: QdrantEdge, way: Any, harm: Any, said: str
) -> None:
    """It is refused with what is wrong with it; a restore leaves all as it was, an import what went in before."""
    await fill(edge)
    data = await exported(edge)
    await edge.upsert(UpsertRequest([passage(TEA, "t")], "later.txt", tenant="t"))
    with pytest.raises(StateError) as refused:
        await way(edge, io.BytesIO(harm(data)), "f")
    assert said in str(refused.value)
    assert await texts(edge, "t") == [CAT, TEA]


async def test_an_export_holds_little_in_memory() -> None:
    """Passages are asked for and written some at a time: the second page is not read before the first is written."""
    asked: list[int] = []

    class Long:
        async def collections(self) -> list[KeptCollection]:
            return []

        async def files(self) -> list[KeptFile]:
            return [KeptFile("t", "", "long.txt")]

        async def passages(self, file: KeptFile) -> Any:
            for number in range(1_000):
                asked.append(number)
                yield [Document("x" * 100, id=str(number))]

    content = lines(Long())
    assert await anext(content) == Header(1)
    for _ in range(10):
        assert written(await anext(content)).startswith(b'{"kind":"passage"')
    assert len(asked) == 10
    await content.aclose()


def remaking(maker: Any = None, **options: Any) -> Remaking:
    maker = maker or object()
    manifest = manifest_of(LETTERS, chunker=getattr(maker, "chunker", ""))
    return Remaking(maker, LETTERS, manifest, options.pop("embed", embed), say=lambda line: None, **options)


async def test_reindexing_gives_every_passage_a_new_vector(store: Any) -> None:
    """Of every tenant and collection; files, readers and the rest stay, and the old embedder is refused from then on."""
    await fill(store)
    assert "3 documents" in await remaking().run(store)
    collections, files, documents = await content(store)
    assert {collection.manifest for collection in collections} == {manifest_of(LETTERS)}
    assert files == [("t", "", "a.txt", "d1"), ("t", "pets", "b.txt", "d2"), ("u", "", "a.txt", "d3")]
    assert documents[1].readers == ["staff"]
    for document in documents:
        assert floats(document.embedding) == pytest.approx(letters(document.text), abs=1e-5)
    with pytest.raises(ConflictError, match="made with the embedder 'letters', the embedder is now 'bag'"):
        await store.upsert(UpsertRequest([passage(DOG)], "a.txt", manifest=OLD, tenant="t"))
    with pytest.raises(ConflictError, match="weft reindex"):
        await store.search(SearchRequest(embedding=bag(CAT), manifest=OLD, tenant="t"))
    assert "already" in await remaking().run(store)
    assert "3 documents" in await remaking(force=True).run(store)


async def test_reindexing_that_is_stopped_leaves_the_old_index_and_goes_on(store: Any) -> None:
    """Until it is complete the old vectors are found; run again, what is done is not done again."""
    await fill(store)
    calls: list[str] = []

    async def stumble(texts: Sequence[str]) -> list[Any]:
        calls.extend(texts)
        if texts == [DOG]:
            raise KeyboardInterrupt
        return await embed(list(texts))

    with pytest.raises(KeyboardInterrupt):
        await remaking(embed=stumble).run(store)
    (hit,) = (await store.search(SearchRequest(embedding=bag(CAT), manifest=OLD, tenant="t"))).hits
    assert hit.dense == pytest.approx(1, abs=1e-5)
    calls.clear()

    async def note(texts: list[str]) -> list[Any]:
        calls.extend(texts)
        return await embed(texts)

    await remaking(embed=note).run(store)
    assert calls == [DOG, TAX]
    assert len((await content(store))[2]) == 3


async def test_documents_that_change_while_reindexing_are_made_anew(store: Any) -> None:
    """What was put in, replaced or deleted meanwhile is in the new index as it is now."""
    await fill(store)
    is_first = True

    async def meddle(texts: list[str]) -> list[Any]:
        nonlocal is_first
        if is_first:
            is_first = False
            await store.upsert(UpsertRequest([passage(TEA, "c")], "a.txt", "d5", replace=True, tenant="t"))
            await store.upsert(UpsertRequest([passage(CAT, "z")], "z.txt", "d6", tenant="u"))
            await store.delete(DeleteRequest("b.txt", collection="pets", tenant="t"))
        return await embed(texts)

    # A server that keeps no old states says that a document has changed; run again, it goes through.
    with suppress(ConflictError):
        await remaking(embed=meddle).run(store)
    await remaking(embed=meddle, force=True).run(store)
    documents = (await content(store))[2]
    assert sorted(document.text for document in documents) == sorted([TEA, CAT, TAX])
    assert all(len(floats(document.embedding)) == 26 for document in documents)


async def test_another_size_of_passages_cuts_documents_anew(edge: QdrantEdge) -> None:
    """The pieces have all of the text at its places, and are cut where new ones would be."""
    text = " ".join(f"This is the sentence with the number {n}." for n in range(30))
    pieces = [(0, 500), (450, 1000), (950, len(text))]
    documents = [
        Document(
            text[a:b],
            f"{n:0>32}",
            title="T",
            source="s.txt",
            page=2,
            start=a,
            end=b,
            embedding=bag(text[a:b]),
        )
        for n, (a, b) in enumerate(pieces)
    ]
    made = Manifest("bag", None, 256, normalised=True, chunker="500 characters, 50 repeated")
    await edge.upsert(UpsertRequest(documents, "s.txt", "d", manifest=made, tenant="t"))
    maker = DocumentIngest(None, None, chunk_size=200, chunk_overlap=40)  # type: ignore[arg-type]
    await remaking(maker).run(edge)
    read = (await edge.read(ReadRequest("s.txt", tenant="t"))).documents
    assert len(read) > 6
    assert all(len(document.text) <= 200 for document in read)
    for document in read:
        assert text[document.start : document.end] == document.text
        assert (document.page, document.title, document.source) == (2, "T", "s.txt")
    covered = {place for document in read for place in range(document.start or 0, document.end or 0)}
    assert covered >= {place for place, character in enumerate(text) if not character.isspace()}
    assert len({document.id for document in read}) == len(read)
    assert msgspec.structs.asdict((await edge.describe(Empty())).manifests[0])["chunker"] == maker.chunker
