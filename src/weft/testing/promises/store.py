"""What a store promises: section 8.7 of the specification. All of it happens in collections made for it."""

from __future__ import annotations

import secrets
from typing import Any, Final, Literal

from msgspec.structs import replace

from weft.contracts.manifest import Manifest
from weft.contracts.store import (
    CONTRACT,
    CollectionsRequest,
    DeleteRequest,
    Hit,
    ListRequest,
    ReadRequest,
    SearchRequest,
    UpsertRequest,
)
from weft.errors import BackendStatusError, ConflictError, RequestError
from weft.testing.promises.base import Broken, Family, Promises, Subject, Unseen, expect
from weft.testing.promises.reranker import lost_fields
from weft.testing.promises.texts import PASSAGES, SCRIPTS, full_document
from weft.types import Document, Empty, floats, vector

STORE: Final[Promises[Subject]] = Promises()

COLLECTION: Final = f"weft-conform-{secrets.token_hex(4)}"
"""One of this process's own: nobody else's passages are touched."""

DIMENSIONS: Final = (384, 768, 1024, 1536, 3072, 512, 256)
"""Tried in turn: a store that has passages takes more only with vectors of the same size."""

_sizes: dict[int, int] = {}


async def _open(subject: Subject) -> None:
    for size in DIMENSIONS:
        _sizes[id(subject)] = size
        try:
            await subject.call(
                UpsertRequest([_passage(subject, 0)], "probe", collection=COLLECTION), "upsert"
            )
        except ConflictError:
            continue
        except RequestError as error:
            raise Broken(f"{error.status} {error.code}: {error}") from error
        await _close(subject)
        return
    raise Unseen("the store has vectors of a size that is not known here")


async def _close(subject: Subject) -> None:
    await subject.call(DeleteRequest(all_files=True, collection=COLLECTION), "delete")


def _unit(subject: Subject, direction: int, *, lean: float = 0.0) -> Any:
    """A vector along one axis, leaning to the next."""
    size = _sizes[id(subject)]
    numbers = [0.0] * size
    length = (1 + lean * lean) ** 0.5
    numbers[direction % size], numbers[(direction + 1) % size] = 1 / length, lean / length
    return vector(numbers)


def _passage(subject: Subject, number: int, text: str | None = None, **fields: Any) -> Document:
    text = PASSAGES[number % len(PASSAGES)] if text is None else text
    return Document(text, id=f"p{number}", embedding=_unit(subject, number * 2), **fields)


async def _fill(subject: Subject, file: str = "a.txt", count: int = 3, **fields: Any) -> None:
    """Start from an empty collection with one file."""
    await _close(subject)
    documents = [_passage(subject, number) for number in range(count)]
    reply = await subject.ask(UpsertRequest(documents, file, collection=COLLECTION, **fields), "upsert")
    expect(reply.count == count, f"{reply.count} passages of {count} are in")


async def _search(
    subject: Subject,
    direction: int = 0,
    *,
    mode: Literal["dense", "text", "hybrid"] = "dense",
    k: int = 10,
    **fields: Any,
) -> list[Hit]:
    embedding = None if mode == "text" else _unit(subject, direction, lean=0.25)
    request = SearchRequest(embedding=embedding, mode=mode, k=k, collection=COLLECTION, **fields)
    hits: list[Hit] = (await subject.ask(request, "search")).hits
    return hits


def _ids(hits: list[Hit]) -> list[str]:
    return [hit.document.id for hit in hits]


@STORE("8.7.1")
async def what_is_in_is_found(subject: Subject) -> None:
    """When `upsert` has returned, its passages must be kept and found."""
    for number in range(3):
        await _fill(subject, count=number + 1)
        hits = await _search(subject, number * 2)
        expect(_ids(hits)[:1] == [f"p{number}"], f"found {_ids(hits)}")


@STORE("8.7.2")
async def the_same_id_replaces(subject: Subject) -> None:
    """A passage with an `id` that is in must replace the one that is in; doing the same again must change nothing."""
    await _fill(subject)
    changed = _passage(subject, 1, "Something else altogether.")
    for _ in range(2):
        await subject.ask(UpsertRequest([changed], "a.txt", collection=COLLECTION), "upsert")
        hits = await _search(subject, 2)
        texts = [hit.document.text for hit in hits if hit.document.id == "p1"]
        expect(texts == [changed.text], f"p1 is there as {texts}")
        expect(len(hits) == 3, f"{len(hits)} passages of 3")


@STORE("8.7.3")
async def replace_drops_the_rest(subject: Subject) -> None:
    """With `replace`, the passages of the file that are not in the request must be gone, and those of other files not."""
    await _fill(subject)
    other = UpsertRequest([_passage(subject, 7)], "b.txt", collection=COLLECTION)
    await subject.ask(other, "upsert")
    kept = UpsertRequest([_passage(subject, 0)], "a.txt", replace=True, collection=COLLECTION)
    await subject.ask(kept, "upsert")
    found = sorted(_ids(await _search(subject)))
    expect(found == ["p0", "p7"], f"left are {found}")


@STORE("8.7.4")
async def dense_scores_are_cosines(subject: Subject) -> None:
    """`dense` must be the cosine to the vector that is searched for, and a dense search must give the best `k` first."""
    await _fill(subject, count=5)
    hits = await _search(subject, 2, k=2)
    expect(len(hits) == 2, f"{len(hits)} hits for k 2")
    scores = [hit.dense for hit in hits]
    numbers = [score for score in scores if score is not None]
    expect(len(numbers) == len(scores), f"scores {scores}")
    expect(numbers == sorted(numbers, reverse=True), f"scores {scores}")
    # The vector leans by a quarter: 1 / sqrt(1 + 1/16).
    expect(
        hits[0].document.id == "p1" and abs(numbers[0] - 0.9701) < 0.01, f"{hits[0].document.id}: {scores}"
    )


@STORE("8.7.5")
async def words_are_found(subject: Subject) -> None:
    """A text search must find passages by their words, give each a score in `text`, and read any text as words, not as
    a language of its own."""
    await _fill(subject, count=5)
    hits = await _search(subject, mode="text", query="apples cost francs")
    expect(_ids(hits)[:1] == ["p2"], f"found {_ids(hits)}")
    expect(all(hit.text is not None for hit in hits), "a hit has no text score")
    for query in ('"', "NEAR( AND *", "a' OR 1=1 --", *SCRIPTS):
        await _search(subject, mode="text", query=query)


@STORE("8.7.6")
async def hybrid_is_the_union(subject: Subject) -> None:
    """A hybrid search must find what either search finds, each passage once, with both scores where they exist."""
    await _fill(subject, count=5)
    hits = await _search(subject, 0, mode="hybrid", query="apples", k=1)
    found = _ids(hits)
    expect(sorted(set(found)) == sorted(found), f"a passage came twice: {found}")
    expect({"p0", "p2"} <= set(found), f"found {found}")


@STORE("8.7.7")
async def filters_hold(subject: Subject) -> None:
    """With `filter`, only passages whose metadata has the value, or one of a list of values, must be found."""
    await _close(subject)
    documents = [_passage(subject, n, metadata={"year": 2000 + n, "lang": "de"}) for n in range(4)]
    await subject.ask(UpsertRequest(documents, "a.txt", collection=COLLECTION), "upsert")
    for wanted, ids in (
        ({"year": 2001}, ["p1"]),
        ({"year": [2000, 2003]}, ["p0", "p3"]),
        ({"year": 2001, "lang": "fr"}, []),
        ({"nowhere": "x"}, []),
    ):
        found = sorted(_ids(await _search(subject, filter=wanted)))
        expect(found == ids, f"filter {wanted} found {found}")


@STORE("8.7.8")
async def every_field_is_kept(subject: Subject) -> None:
    """A passage must come back with every field as it was put in; its vector only when `with_embeddings` asks for it."""
    await _close(subject)
    given = full_document(f"{PASSAGES[0]} {' '.join(SCRIPTS)}")
    given.readers, given.embedding = None, _unit(subject, 0)
    await subject.ask(UpsertRequest([given], "a.txt", collection=COLLECTION), "upsert")
    for is_asked in (False, True):
        hits = await _search(subject, with_embeddings=is_asked)
        expect(len(hits) == 1, f"{len(hits)} passages of one")
        found = hits[0].document
        lost = lost_fields(given, found)
        expect(not lost, f"lost or changed: {', '.join(lost)}")
        expect((found.embedding is not None) == is_asked, f"with_embeddings {is_asked}: {found.embedding!r}")
        if is_asked:
            near = [abs(a - b) for a, b in zip(floats(found.embedding), floats(given.embedding), strict=True)]
            expect(max(near) < 1e-3, "the vector is another one")


@STORE("8.7.9")
async def files_are_listed_and_deleted(subject: Subject) -> None:
    """`list` must name the files that are in, with `digest` and number of passages; `delete` must take away a file's
    passages, and a file that is not there is no error."""
    await _fill(subject, "Grüße/ä.txt", digest="d1")
    files = (await subject.ask(ListRequest(COLLECTION), "list")).files
    seen = [(file.name, file.digest, file.chunks) for file in files]
    expect(seen == [("Grüße/ä.txt", "d1", 3)], f"listed are {seen}")
    for count in (3, 0):
        reply = await subject.ask(DeleteRequest("Grüße/ä.txt", collection=COLLECTION), "delete")
        expect(reply.count == count, f"deleted {reply.count}, not {count}")
    expect(not await _search(subject), "a deleted passage is found")
    expect(not (await subject.ask(ListRequest(COLLECTION), "list")).files, "a deleted file is listed")


@STORE("8.7.10")
async def collections_are_apart(subject: Subject) -> None:
    """A collection must not show the passages of another; one that is not there is empty, not an error."""
    await _fill(subject)
    elsewhere = SearchRequest(embedding=_unit(subject, 0), k=5, collection=f"{COLLECTION}-other")
    hits = (await subject.ask(elsewhere, "search")).hits
    expect(not hits, f"{len(hits)} passages in an empty collection")
    names = (await subject.ask(CollectionsRequest(), "collections")).collections
    expect(COLLECTION in names, f"collections {names}")


@STORE("8.7.11")
async def readers_are_asked_for(subject: Subject) -> None:
    """A passage with `readers` must be found only by a caller who is one of them; an anonymous caller is none."""
    await _close(subject)
    documents = [_passage(subject, 0), _passage(subject, 1, readers=["staff"])]
    await subject.ask(UpsertRequest(documents, "a.txt", collection=COLLECTION), "upsert")
    # What a body claims of its readers must not count behind HTTP; in a process, the scoped store has set it.
    is_inside = subject.instance is not None
    for readers, ids in ((None, ["p0"]), (["staff"], ["p0", "p1"] if is_inside else ["p0"])):
        found = sorted(_ids(await _search(subject, readers=readers)))
        expect(found == ids, f"readers {readers} found {found}")
        reply = await subject.ask(ReadRequest("a.txt", collection=COLLECTION, readers=readers), "read")
        read = [document.id for document in reply.documents]
        expect(read == ids and reply.total == len(ids), f"readers {readers} read {read} of {reply.total}")


@STORE("8.7.12")
async def tenants_are_apart(subject: Subject) -> None:
    """A tenant must not see another's passages, files or collections; a service must not believe the `tenant` of a
    request's body, but the signed context."""
    await _fill(subject)
    for tenant in ("another", ""):
        found = _ids(await _search(subject, tenant=tenant))
        own = not tenant or subject.instance is None
        expect(bool(found) == own, f"tenant {tenant!r} found {found}")
        reply = await subject.ask(ReadRequest("a.txt", collection=COLLECTION, tenant=tenant), "read")
        expect(bool(reply.documents) == own, f"tenant {tenant!r} read {len(reply.documents)} passages")
    if subject.instance is None:
        return
    files = (await subject.ask(ListRequest(COLLECTION, tenant="another"), "list")).files
    names = (await subject.ask(CollectionsRequest(tenant="another"), "collections")).collections
    expect(not files and not names, f"another tenant sees {files} {names}")
    # The same ids, vectors and file names, with other texts: neither replaces nor deletes what is someone else's.
    theirs = [_passage(subject, number, f"theirs {number}") for number in range(3)]
    await subject.ask(
        UpsertRequest(theirs, "a.txt", replace=True, collection=COLLECTION, tenant="another"), "upsert"
    )
    texts = [hit.document.text for hit in await _search(subject)]
    expect(len(texts) == 3 and not any("theirs" in text for text in texts), f"after another's write: {texts}")
    for file in ({"file": "a.txt"}, {"all_files": True}):
        await subject.ask(DeleteRequest(collection=COLLECTION, tenant="another", **file), "delete")
        expect(len(await _search(subject)) == 3, "another tenant has deleted what is not theirs")


@STORE("8.7.13")
async def wrong_requests_are_refused(subject: Subject) -> None:
    """A `k` below 1, a passage without `id` or `embedding`, and a vector of another size than those that are in must be
    refused."""
    await _fill(subject)
    good = _passage(subject, 0)
    short = vector([1.0, 0.0])
    for what, operation, request in (
        ("k 0", "search", SearchRequest(embedding=good.embedding, k=0, collection=COLLECTION)),
        ("a vector of another size", "search", SearchRequest(embedding=short, k=1, collection=COLLECTION)),
        ("no id", "upsert", UpsertRequest([Document("x", embedding=good.embedding)], collection=COLLECTION)),
        ("no embedding", "upsert", UpsertRequest([Document("x", id="x")], collection=COLLECTION)),
        (
            "another size",
            "upsert",
            UpsertRequest([Document("x", id="x", embedding=short)], collection=COLLECTION),
        ),
    ):
        try:
            await subject.refuses(request, operation)
        except Broken as error:
            raise Broken(f"{what}: {error.came}") from error
    expect(len(await _search(subject)) == 3, "a request that was refused changed what is in")


@STORE("8.7.14")
async def a_file_is_read_in_order(subject: Subject) -> None:
    """`read` must give the passages of one file in the order of their `start`, or of the request that put them in, page
    by page, or those around one of them; a file that is not there has none."""
    await _close(subject)
    order = (2, 0, 3, 1, 4)
    documents = [_passage(subject, n, f"part {n}", start=100 * n, end=100 * n + 50) for n in order]
    await subject.ask(UpsertRequest(documents, "a.txt", "d1", collection=COLLECTION), "upsert")
    plain = [_passage(subject, n, f"plain {n}") for n in (9, 7, 8)]
    await subject.ask(UpsertRequest(plain, "b.txt", collection=COLLECTION), "upsert")

    async def read(file: str = "a.txt", **fields: Any) -> tuple[list[str], int, int]:
        reply = await subject.ask(ReadRequest(file, collection=COLLECTION, **fields), "read")
        return [document.id for document in reply.documents], reply.after, reply.total

    for what, fields, expected in (
        ("all", {}, (["p0", "p1", "p2", "p3", "p4"], 0, 5)),
        ("a page", {"after": 1, "limit": 2}, (["p1", "p2"], 1, 5)),
        ("the last page", {"after": 4, "limit": 2}, (["p4"], 4, 5)),
        ("beyond the end", {"after": 9}, ([], 9, 5)),
        ("around one", {"around": "p2", "limit": 3}, (["p1", "p2", "p3"], 1, 5)),
        ("around the first", {"around": "p0", "limit": 3}, (["p0", "p1", "p2"], 0, 5)),
        ("around one that is not there", {"around": "p9"}, ([], 0, 0)),
        ("in the order they came", {"file": "b.txt"}, (["p9", "p7", "p8"], 0, 3)),
        ("no file", {"file": "c.txt"}, ([], 0, 0)),
    ):
        came = await read(**fields)
        expect(came == expected, f"{what}: {came}, not {expected}")
    reply = await subject.ask(ReadRequest("a.txt", collection=COLLECTION), "read")
    expect(reply.digest == "d1", f"digest {reply.digest!r}")
    expect(reply.documents[0].embedding is None, "a vector came that was not asked for")
    for what, request in (
        ("limit 0", ReadRequest("a.txt", limit=0, collection=COLLECTION)),
        ("after -1", ReadRequest("a.txt", after=-1, collection=COLLECTION)),
    ):
        try:
            await subject.refuses(request, "read")
        except Broken as error:
            raise Broken(f"{what}: {error.came}") from error


@STORE("8.7.15")
async def what_was_made_otherwise_is_refused(subject: Subject) -> None:
    """A collection must keep the `manifest` of its first passages, refuse passages and searches of another with 409, and
    take any when it has been emptied."""
    one = Manifest("one", "a" * 64, _sizes[id(subject)], normalised=True, chunker="c1")
    other = Manifest("two", "b" * 64, _sizes[id(subject)], normalised=True, chunker="c1")
    await _fill(subject, manifest=one)
    described = await subject.ask(Empty(), "describe")
    expect(one in described.manifests, f"manifests {described.manifests}")
    recut = replace(one, chunker="c2")
    for what, operation, request in (
        ("another embedder's passages", "upsert", _upsert(subject, other)),
        ("another chunker's passages", "upsert", _upsert(subject, recut)),
        ("another embedder's search", "search", _dense(subject, other)),
    ):
        try:
            await subject.call(request, operation)
        except RequestError as error:
            status = error.backend_status if isinstance(error, BackendStatusError) else error.status
            expect(status == 409, f"{what}: {status}, not 409: {error}")
        else:
            raise Broken(f"{what}: it was served")
    for request in (_dense(subject, one), _dense(subject, recut), _dense(subject, None)):
        expect(len((await subject.ask(request, "search")).hits) == 3, "not every passage is found")
    await subject.ask(_upsert(subject, None), "upsert")
    await subject.ask(DeleteRequest("a.txt", collection=COLLECTION), "delete")
    await subject.ask(_upsert(subject, other), "upsert")


def _upsert(subject: Subject, manifest: Manifest | None) -> UpsertRequest:
    return UpsertRequest([_passage(subject, 0)], "a.txt", manifest=manifest, collection=COLLECTION)


def _dense(subject: Subject, manifest: Manifest | None) -> SearchRequest:
    return SearchRequest(embedding=_unit(subject, 0), k=10, manifest=manifest, collection=COLLECTION)


def _samples() -> list[SearchRequest]:
    queries = ("bridge", "leave", "apples", "office")
    return [SearchRequest(query, mode="text", k=3, collection=COLLECTION) for query in queries]


FAMILY: Final = Family(CONTRACT, STORE, samples=_samples, open=_open, close=_close)
