"""What every store does alike: what is found, by whom, in which order, and what replaces what."""

from __future__ import annotations

import pytest

from ragkit import bag, passage
from weft.contracts.store import (
    CollectionsRequest,
    DeleteRequest,
    ListRequest,
    SearchRequest,
    Store,
    UpsertRequest,
)
from weft.errors import ConflictError, InvalidRequestError
from weft.types import Document, Empty, floats, vector

CAT, DOG, TAX = "The cat sleeps on the warm sofa.", "A dog barks at the postman.", "Income tax is due in May."


def ask(query: str, mode: str = "dense", *, tenant: str = "t", **fields: object) -> SearchRequest:
    embedding = None if mode == "text" else bag(query)
    return SearchRequest(query, embedding, mode, tenant=tenant, **fields)


def put(*texts: str, file: str = "f.txt", tenant: str = "t", **fields: object) -> UpsertRequest:
    return UpsertRequest([passage(text) for text in texts], file, "d1", tenant=tenant, **fields)


async def found(store: Store, request: SearchRequest) -> list[str]:
    return [hit.document.text for hit in (await store.search(request)).hits]


@pytest.mark.parametrize("mode", ["dense", "text", "hybrid"])
async def test_the_best_passage_is_first(store: Store, mode: str) -> None:
    """In every mode the passage that shares the question's words comes first."""
    await store.upsert(put(CAT, DOG, TAX))
    assert (await found(store, ask("when is income tax due?", mode)))[0] == TAX


async def test_hybrid_has_both_scores(store: Store) -> None:
    """A hybrid hit has its cosine, and its BM25 score where the words match."""
    await store.upsert(put(CAT, DOG))
    cat, dog = (await store.search(ask("cat sofa", "hybrid", k=2))).hits
    assert cat.document.text == CAT
    assert cat.dense == pytest.approx(0.7, abs=0.2)
    assert cat.text is not None
    assert cat.text > 0
    assert dog.dense == pytest.approx(0, abs=1e-6)
    assert dog.text is None


async def test_hybrid_fills_in_the_cosine_of_what_only_words_found(store: Store) -> None:
    """A passage that only the full text ranks high still has its exact cosine."""
    await store.upsert(put(CAT, DOG, TAX))
    request = SearchRequest("postman", bag("cat sofa"), "hybrid", 1, tenant="t")
    hits = {hit.document.text: hit for hit in (await store.search(request)).hits}
    assert hits[DOG].dense == pytest.approx(0, abs=1e-6)


async def test_a_document_comes_back_whole(store: Store) -> None:
    """Every field of a document, and its vector when asked for, is what was put in."""
    document = Document(
        CAT, "a", None, "Cats", "cats.md", 3, 10, 42, None, True, {"heading": "Pets > Cats", "n": 1}, bag(CAT)
    )
    await store.upsert(UpsertRequest([document], "cats.md", tenant="t"))
    (hit,) = (await store.search(ask("cat", with_embeddings=True))).hits
    assert floats(hit.document.embedding) == pytest.approx(floats(bag(CAT)), abs=1e-6)
    hit.document.embedding = document.embedding
    assert hit.document == document


async def test_vectors_stay_in_unless_asked_for(store: Store) -> None:
    """A passage carries no vector by default."""
    await store.upsert(put(CAT))
    (hit,) = (await store.search(ask("cat"))).hits
    assert hit.document.embedding is None


@pytest.mark.parametrize(
    "query", ['"', "a AND (", "NEAR(x y)", "text:cat*", "-cat", "^", "'; DROP", "", "😀", "c++ & c#"]
)
async def test_a_question_is_never_syntax(store: Store, query: str) -> None:
    """Operators and quotes of the full-text language are plain words in a question."""
    await store.upsert(put(CAT, DOG))
    await store.search(ask(query, "text"))


async def test_tenants_do_not_see_each_other(store: Store) -> None:
    """The same id of two tenants is two passages, and neither finds, lists or deletes the other's."""
    await store.upsert(put(CAT, tenant="a"))
    await store.upsert(put(CAT, tenant="b"))
    await store.upsert(put(DOG, tenant="b", file="dog.txt"))
    for mode in ("dense", "text", "hybrid"):
        assert DOG not in await found(store, ask("dog", mode, tenant="a"))
    assert [f.name for f in (await store.list(ListRequest(tenant="a"))).files] == ["f.txt"]
    assert (await store.delete(DeleteRequest("f.txt", tenant="a"))).count == 1
    assert await found(store, ask("cat", tenant="a")) == []
    assert CAT in await found(store, ask("cat", tenant="b"))


@pytest.mark.parametrize("mode", ["dense", "text", "hybrid"])
@pytest.mark.parametrize(
    ("groups", "seen"),
    [
        (None, {"public"}),
        (["staff"], {"public", "staff"}),
        (["everyone"], {"public"}),
        (["x", "board"], {"public", "board"}),
    ],
)
async def test_readers_see_what_their_groups_may(
    store: Store, mode: str, groups: list[str] | None, seen: set[str]
) -> None:
    """A passage with readers is found only by a caller in one of its groups; one with none by everyone."""
    documents = [
        passage("report public", "1"),
        passage("report staff", "2", readers=["staff"]),
        passage("report board", "3", readers=["board", "owners"]),
        passage("report nobody", "4", readers=[]),
    ]
    await store.upsert(UpsertRequest(documents, "r", tenant="t"))
    texts = await found(store, ask("report", mode, readers=groups, k=10))
    assert {text.removeprefix("report ") for text in texts} == seen


async def test_collections_are_apart(store: Store) -> None:
    """A search sees its own collection only, and the collections are listed."""
    await store.upsert(put(CAT, collection="pets"))
    await store.upsert(put(TAX))
    assert await found(store, ask("cat", collection="pets")) == [CAT]
    assert await found(store, ask("cat")) == [TAX]
    assert (await store.collections(CollectionsRequest("t"))).collections == ["", "pets"]
    await store.delete(DeleteRequest(all_files=True, collection="pets", tenant="t"))
    assert (await store.collections(CollectionsRequest("t"))).collections == [""]


@pytest.mark.parametrize("mode", ["dense", "text", "hybrid"])
@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"lang": "en"}, "12"), ({"lang": ["de", "en"]}, "123"), ({"n": 2}, "2"), ({"tags": "x"}, "13"),
        ({"ok": True}, "1"), ({"r": 0.5}, "3"), ({"source": "a.md"}, "1"), ({"lang": "fr"}, ""),
        ({"a name": "q"}, "2"), ({"lang": "en", "n": 2}, "2"),
    ],
)  # fmt: skip
async def test_metadata_filters(store: Store, mode: str, wanted: dict[str, object], ids: str) -> None:
    """A filter is equality with a value or one of several, on metadata and on where a passage is from."""
    documents = [
        passage(
            "word one", "1", source="a.md", metadata={"lang": "en", "n": 1, "tags": ["x", "y"], "ok": True}
        ),
        passage("word two", "2", metadata={"lang": "en", "n": 2, "tags": ["y"], "a name": "q", "ok": False}),
        passage("word three", "3", metadata={"lang": "de", "tags": "x", "r": 0.5, "ok": 1}),
    ]
    await store.upsert(UpsertRequest(documents, "f", tenant="t"))
    hits = (await store.search(ask("word", mode, k=9, filter=wanted))).hits
    assert "".join(sorted(hit.document.id for hit in hits)) == ids


@pytest.mark.parametrize("filters", [{'a"b': 1}, {"a": None}, {"a": {"b": 1}}, {"": 1}])
async def test_a_filter_that_cannot_be_is_refused(store: Store, filters: dict[str, object]) -> None:
    """A filter by an object, by nothing or by an unquotable name is the caller's error."""
    await store.upsert(put(CAT))
    with pytest.raises(InvalidRequestError, match="filter"):
        await store.search(ask("cat", filter=filters))


async def test_replace_puts_the_new_version_for_the_old(store: Store) -> None:
    """After a replacing upsert only the new passages of the file are found and counted."""
    await store.upsert(put(CAT, DOG))
    await store.upsert(put(TAX, file="other.txt"))
    new = UpsertRequest([passage(DOG), passage("A parrot talks.")], "f.txt", "d2", replace=True, tenant="t")
    assert (await store.upsert(new)).count == 2
    for mode in ("dense", "text"):
        assert CAT not in await found(store, ask("cat sleeps", mode, k=9))
    files = {f.name: (f.digest, f.chunks) for f in (await store.list(ListRequest(tenant="t"))).files}
    assert files == {"f.txt": ("d2", 2), "other.txt": ("d1", 1)}
    assert (await store.describe(Empty())).passages == 3


async def test_the_same_id_replaces(store: Store) -> None:
    """A passage with an id that is in takes its place."""
    await store.upsert(UpsertRequest([passage("old words", "x")], "f", tenant="t"))
    await store.upsert(UpsertRequest([passage("new words", "x")], "f", tenant="t"))
    for mode in ("dense", "text", "hybrid"):
        assert await found(store, ask("words", mode, k=9)) == ["new words"]


async def test_the_same_id_twice_in_one_request_is_one_passage(store: Store) -> None:
    """The last of two passages with one id stays."""
    request = UpsertRequest([passage("first words", "x"), passage("last words", "x")], "f", tenant="t")
    assert (await store.upsert(request)).count == 1
    assert await found(store, ask("words", k=9)) == ["last words"]


async def test_another_embedder_is_refused_with_what_to_do(store: Store) -> None:
    """Vectors of another length are refused, in a search as in a write, until the store is empty."""
    await store.upsert(put(CAT))
    other = Document(DOG, "d", embedding=vector([1.0, 0.0]))
    with pytest.raises(ConflictError, match="vectors of 256 numbers, the embedder now gives 2") as refused:
        await store.upsert(UpsertRequest([other], "g", tenant="t"))
    assert "weft reindex" in (refused.value.hint or "")
    with pytest.raises(ConflictError):
        await store.search(SearchRequest("x", vector([1.0, 0.0]), tenant="t"))
    await store.delete(DeleteRequest(all_files=True, tenant="t"))
    await store.upsert(UpsertRequest([other], "g", tenant="t"))
    assert len((await store.search(SearchRequest("x", vector([1.0, 0.0]), tenant="t"))).hits) == 1


@pytest.mark.parametrize(
    "document",
    [Document("x", "", embedding=bag("x")), Document("x", "1"), Document("x", "1", embedding=vector([]))],
)
async def test_a_passage_without_id_or_vector_is_refused(store: Store, document: Document) -> None:
    """Passages need an id and an embedding."""
    with pytest.raises(InvalidRequestError):
        await store.upsert(UpsertRequest([document], "f", tenant="t"))


@pytest.mark.parametrize("k", [0, -1, 10_001])
async def test_k_is_bounded(store: Store, k: int) -> None:
    """K is from 1 to 10,000."""
    with pytest.raises(InvalidRequestError, match="k must be"):
        await store.search(ask("x", k=k))


async def test_an_empty_store_finds_nothing(store: Store) -> None:
    """Before the first document every search is empty."""
    assert await found(store, ask("anything", "hybrid")) == []
    assert (await store.list(ListRequest(tenant="t"))).files == []


async def test_deleting_what_is_not_there_deletes_nothing(store: Store) -> None:
    """The count says so."""
    assert (await store.delete(DeleteRequest("nothing", tenant="t"))).count == 0
