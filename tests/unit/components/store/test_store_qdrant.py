"""The Qdrant server's store: what it sends is Qdrant's API as Qdrant's own client speaks it, and what a crash leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from qdrant_server import ApiError, QdrantServer
from ragkit import bag, passage
from weft.components.store import qdrant_tables
from weft.components.store.qdrant import Qdrant
from weft.components.store.qdrant_mapped import CollectionMap
from weft.contracts.store import (
    CollectionsRequest,
    DeleteRequest,
    ListRequest,
    ReadRequest,
    SearchRequest,
    UpsertRequest,
)
from weft.errors import ComponentError, ConflictError, ForbiddenError, ServiceError, StateError
from weft.testing.host import serving_host
from weft.types import Document, Empty, floats

CAT, DOG, TAX = "The cat sleeps on the warm sofa.", "A dog barks at the postman.", "Income tax is due in May."

qdrant_client = pytest.importorskip("qdrant_client")
models = qdrant_client.models


def client_of(server: QdrantServer) -> Any:
    return qdrant_client.QdrantClient(url=server.url, api_key="k", check_compatibility=False)


async def asking(server: QdrantServer, ask: Any) -> Any:
    """What Qdrant's own client gets of the server; it blocks, so it runs in a thread."""

    def run() -> Any:
        client = client_of(server)
        try:
            return ask(client)
        finally:
            client.close()

    with pytest.warns(UserWarning, match="insecure connection"):
        return await asyncio.to_thread(run)


def put(*texts: str, file: str = "f.txt", **fields: Any) -> UpsertRequest:
    return UpsertRequest([passage(text) for text in texts], file, "d1", tenant="t", **fields)


async def found(store: Qdrant, query: str, mode: str = "dense") -> list[str]:
    reply = await store.search(SearchRequest(query, bag(query), mode, 9, tenant="t"))
    return [hit.document.text for hit in reply.hits]


async def test_qdrants_own_client_reads_what_the_store_wrote(
    qdrant_server: QdrantServer, tmp_path: Path
) -> None:
    """Collection, alias, payload, dense and sparse vectors are where a client of Qdrant's expects them."""
    async with serving_host(tmp_path) as host:
        store = Qdrant(qdrant_server.url, api_key="k")
        await store.start(host)
        await store.upsert(put(CAT, DOG, TAX))

        def look(client: Any) -> Any:
            info = client.get_collection("weft")
            near = client.query_points(
                "weft", query=floats(bag(DOG)), using="dense", limit=1, with_payload=True
            )
            passages = models.Filter(
                must=[models.FieldCondition(key="kind", match=models.MatchValue(value="passage"))]
            )
            return info, near.points[0], client.count("weft", count_filter=passages).count

        info, nearest, count = await asking(qdrant_server, look)
        assert info.config.params.vectors["dense"].size == 256
        assert info.config.params.vectors["dense"].distance == models.Distance.COSINE
        assert info.config.params.sparse_vectors["words"].modifier == models.Modifier.IDF
        assert nearest.score == pytest.approx(1, abs=1e-5)
        assert DOG in nearest.payload["document"]
        assert count == 3


async def theirs(server: QdrantServer) -> None:
    """A collection that someone else made with Qdrant's own client: unnamed vectors, a payload of their own."""

    def make(client: Any) -> None:
        client.create_collection(
            "articles", vectors_config=models.VectorParams(size=256, distance=models.Distance.COSINE)
        )
        rows = [
            (1, CAT, "pets.md", "Pets", 2, None, "en"),
            (2, DOG, "pets.md", "Pets", 1, ["staff"], "en"),
            (3, TAX, "tax.md", "Tax", 1, None, "de"),
        ]
        client.upsert(
            "articles",
            points=[
                models.PointStruct(
                    id=n,
                    vector=floats(bag(body)),
                    payload={"body": body, "url": url, "headline": title, "part": part, "lang": lang}
                    | ({"acl": acl} if acl is not None else {}),
                )
                for n, body, url, title, part, acl, lang in rows
            ],
            wait=True,
        )

    await asking(server, make)


MAP = CollectionMap(
    "articles",
    text="body",
    title="headline",
    source="url",
    order="part",
    metadata={"language": "lang"},
    readers="acl",
)


async def test_a_collection_of_someone_elses_is_read(qdrant_server: QdrantServer, tmp_path: Path) -> None:
    """By meaning, words and both, with filters and readers; files are its sources; nothing is ever written."""
    await theirs(qdrant_server)
    async with serving_host(tmp_path) as host:
        store = Qdrant(qdrant_server.url, api_key="k", map=MAP)
        await store.start(host)

        async def ids(query: str, mode: str, **fields: Any) -> list[str]:
            fields = {"tenant": "default"} | fields
            reply = await store.search(SearchRequest(query, bag(query), mode, 3, **fields))
            return [hit.document.id for hit in reply.hits]

        assert (await ids("cat sofa", "dense"))[0] == "1"
        assert await ids("income tax", "text") == ["3"]
        assert (await ids("income tax", "hybrid"))[0] == "3"
        assert sorted(await ids("dog", "dense")) == ["1", "3"]
        assert (await ids("dog barks", "hybrid", readers=["staff"]))[0] == "2"
        assert await ids("cat", "dense", filter={"language": "de"}) == ["3"]
        assert sorted(await ids("cat", "dense", filter={"source": ["pets.md"]})) == ["1"]
        assert await ids("cat", "dense", tenant="someone") == []
        (hit,) = (
            await store.search(SearchRequest("tax", bag(TAX), k=1, tenant="default", with_embeddings=True))
        ).hits
        found_one = hit.document
        assert (found_one.text, found_one.title, found_one.source) == (TAX, "Tax", "tax.md")
        assert found_one.metadata == {"language": "de"}
        assert floats(found_one.embedding) == pytest.approx(floats(bag(TAX)), abs=1e-5)
        files = (await store.list(ListRequest(tenant="default"))).files
        assert [(file.name, file.chunks) for file in files] == [("pets.md", 2), ("tax.md", 1)]
        read = await store.read(ReadRequest("pets.md", tenant="default", readers=["staff"]))
        assert [document.id for document in read.documents] == ["2", "1"]
        assert (await store.read(ReadRequest("pets.md", tenant="default"))).total == 1
        assert (await store.collections(CollectionsRequest("default"))).collections == [""]
        assert (await store.describe(Empty())).passages == 3
        for write in (store.upsert(put(CAT)), store.delete(DeleteRequest("pets.md", tenant="default"))):
            with pytest.raises(ForbiddenError, match="never written"):
                await write


@pytest.mark.parametrize(
    ("map", "said"),
    [
        (CollectionMap("nothing"), "no collection 'nothing'"),
        (CollectionMap("articles", vector="v"), "has no vector 'v'"),
    ],
)
async def test_a_map_that_does_not_fit_is_said(
    qdrant_server: QdrantServer, tmp_path: Path, map: CollectionMap, said: str
) -> None:
    """At the start, with what there is."""
    await theirs(qdrant_server)
    async with serving_host(tmp_path) as host:
        with pytest.raises(ComponentError, match=said):
            await Qdrant(qdrant_server.url, api_key="k", map=map).start(host)


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 6])
async def test_a_write_that_is_cut_off_anywhere_leaves_one_version(
    qdrant_server: QdrantServer, tmp_path: Path, after: int
) -> None:
    """Whichever of its requests is the last: the old version whole or the new one whole, and the next start tidies up."""
    async with serving_host(tmp_path) as host:
        store = Qdrant(qdrant_server.url, api_key="k")
        await store.start(host)
        await store.upsert(put(CAT, DOG))
        writes = 0

        def cut(method: str, path: str, body: Any) -> None:
            nonlocal writes
            if method == "PUT" or path.endswith("/delete"):
                writes += 1
                if writes >= after:
                    raise ApiError(500, "no power")

        qdrant_server.before = cut
        try:
            await store.upsert(put(TAX, replace=True))
        except ServiceError as error:
            assert "no power" in str(error)  # noqa: PT017 - with the last of them it goes through
        qdrant_server.before = lambda method, path, body: None
        now = sorted(await found(store, "cat dog tax", "hybrid"))
        assert now in ([CAT, DOG], [TAX], sorted([CAT, DOG]))
        again = Qdrant(qdrant_server.url, api_key="k")
        await again.start(host)
        assert sorted(await found(again, "cat dog tax")) == now
        ((name, chunks),) = [(f.name, f.chunks) for f in (await again.list(ListRequest(tenant="t"))).files]
        assert (name, chunks) == ("f.txt", len(now))
        await again.upsert(put(TAX, replace=True))
        assert await found(again, "tax") == [TAX]
        assert (await again.describe(Empty())).passages == 1


async def test_a_server_that_is_away_is_not_ready_and_no_reason_not_to_start(tmp_path: Path) -> None:
    """It starts, says that the server cannot be reached, and works when it is there."""
    async with serving_host(tmp_path) as host:
        store = Qdrant("http://127.0.0.1:9")
        await store.start(host)
        with pytest.raises(ServiceError):
            await store.ready()
        with pytest.raises(ServiceError):
            await store.search(SearchRequest("x", bag("x")))


async def test_a_wrong_key_is_said(qdrant_server: QdrantServer, tmp_path: Path) -> None:
    """The server's own words are in the error."""
    async with serving_host(tmp_path) as host:
        store = Qdrant(qdrant_server.url, api_key="wrong")
        await store.start(host)
        with pytest.raises(ServiceError, match="API key"):
            await store.upsert(put(CAT))


async def test_a_newer_schema_is_not_touched(
    qdrant_server: QdrantServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a later version made is refused."""
    async with serving_host(tmp_path) as host:
        with monkeypatch.context() as later:
            later.setattr(qdrant_tables, "SCHEMA", 2)
            store = Qdrant(qdrant_server.url, api_key="k")
            await store.start(host)
            await store.upsert(put(CAT))
        with pytest.raises(StateError, match="newer version"):
            await Qdrant(qdrant_server.url, api_key="k").start(host)


async def test_a_collection_that_is_not_wefts_is_left_alone(
    qdrant_server: QdrantServer, tmp_path: Path
) -> None:
    """A prefix that someone else's collection has as its name is refused."""
    await theirs(qdrant_server)
    async with serving_host(tmp_path) as host:
        with pytest.raises(ComponentError, match="Weft has not made"):
            await Qdrant(qdrant_server.url, api_key="k", prefix="articles").start(host)


async def test_two_stores_of_one_server_are_apart(qdrant_server: QdrantServer, tmp_path: Path) -> None:
    """Another prefix is another store, with vectors of its own length."""
    async with serving_host(tmp_path) as host:
        one, two = (Qdrant(qdrant_server.url, api_key="k", prefix=prefix) for prefix in ("one", "two"))
        await one.start(host)
        await two.start(host)
        await one.upsert(put(CAT))
        assert await found(two, "cat") == []
        await two.upsert(put(DOG))
        assert await found(one, "cat") == [CAT]
        with pytest.raises(ConflictError):
            await one.upsert(UpsertRequest([Document("x", "x", embedding=[1.0])], "g", tenant="t"))
