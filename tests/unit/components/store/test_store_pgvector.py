"""PostgreSQL: tables of someone else's, names and values that could be SQL, many at once, an index, and what is missing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ragkit import SmallHost, bag, passage
from storekit import fresh_schema
from weft.components.store import pg_tables
from weft.components.store.pg_mapped import TableMap
from weft.components.store.pgvector import PgVector
from weft.contracts.store import DeleteRequest, ListRequest, ReadRequest, SearchRequest, UpsertRequest
from weft.errors import (
    ComponentError,
    ForbiddenError,
    InvalidRequestError,
    MissingExtraError,
    StateError,
    UnreachableError,
)
from weft.types import Document, Empty, floats, vector

CAT, DOG, TAX = "The cat sleeps on the warm sofa.", "A dog barks at the postman.", "Income tax is due in May."


@pytest.fixture
def host(tmp_path: Path) -> Any:
    host = SmallHost(tmp_path)
    yield host
    host.close()


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def literal(text: str) -> str:
    return "[" + ",".join(str(number) for number in floats(bag(text))) + "]"


async def articles(url: str, table: str) -> None:
    """A table that someone else made."""
    rows = ",".join(
        f"({n}, '{body}', '{literal(body)}', '{url_}', '{lang}', {groups}, '{{\"year\": {year}}}', {part})"
        for n, body, url_, lang, groups, year, part in (
            (1, CAT, "pets.md", "en", "NULL", 2001, 2),
            (2, DOG, "pets.md", "en", "'{staff}'", 2002, 1),
            (3, TAX, "tax.md", "de", "'{}'", 2003, 1),
            (4, "Taxes on tea were high.", "tax.md", "de", "NULL", 2004, 2),
        )
    )
    await execute(
        url,
        "CREATE EXTENSION IF NOT EXISTS vector",
        f"CREATE TABLE {table}(nr int PRIMARY KEY, body text, vec halfvec(256), url text, lang text, acl text[],"
        " more jsonb, part int)",
        f"INSERT INTO {table} VALUES {rows}",
    )


async def test_a_table_of_someone_elses_is_read(postgres: str, host: SmallHost) -> None:
    """By meaning, words and both, with filters and readers; files are its sources; nothing is ever written."""
    table = fresh_schema()
    await articles(postgres, table)
    store = PgVector(
        postgres,
        map=TableMap(
            table, "nr", "body", "vec", source="url", order="part", metadata={"language": "lang"}, fields="more",
            readers="acl", language="english",
        ),
    )  # fmt: skip
    await store.start(host)

    async def ids(query: str, mode: Any, **fields: Any) -> list[str]:
        fields = {"tenant": "default"} | fields
        reply = await store.search(SearchRequest(query, bag(query), mode, 4, **fields))
        return [hit.document.id for hit in reply.hits]

    assert (await ids("cat sofa", "dense"))[0] == "1"
    assert await ids("a tax", "text") == ["4"]
    assert (await ids("taxes on tea", "hybrid"))[0] == "4"
    assert sorted(await ids("dog", "dense")) == ["1", "4"]
    assert (await ids("dog barks", "hybrid", readers=["staff"]))[0] == "2"
    assert await ids("cat", "dense", filter={"language": "de"}) == ["4"]
    assert await ids("cat", "dense", filter={"year": [2001, 2003], "source": "pets.md"}) == ["1"]
    assert await ids("cat", "dense", filter={"nothing": 1}) == []
    assert await ids("cat", "dense", tenant="someone") == []
    assert await ids("cat", "dense", collection="c") == []
    request = SearchRequest("cat", bag(CAT), k=1, tenant="default", with_embeddings=True)
    (hit,) = (await store.search(request)).hits
    assert (hit.document.text, hit.document.source) == (CAT, "pets.md")
    assert hit.document.metadata == {"language": "en", "year": 2001}
    assert floats(hit.document.embedding) == pytest.approx(floats(bag(CAT)), abs=1e-3)
    files = (await store.list(ListRequest(tenant="default"))).files
    assert [(file.name, file.chunks) for file in files] == [("pets.md", 2), ("tax.md", 2)]
    read = await store.read(ReadRequest("pets.md", tenant="default", readers=["staff"]))
    assert [document.id for document in read.documents] == ["2", "1"]
    assert (await store.read(ReadRequest("pets.md", tenant="default", around="1"))).total == 1
    assert (await store.describe(Empty())).passages == 4
    for write in (
        store.upsert(UpsertRequest([passage(CAT)], "f", tenant="default")),
        store.delete(DeleteRequest("pets.md", tenant="default")),
        store.draft("x"),
    ):
        with pytest.raises(ForbiddenError, match="never written"):
            await write
    await store.aclose()


async def test_tenants_of_a_mapped_table_are_a_column(postgres: str, host: SmallHost) -> None:
    """Where the table says whose a row is, a caller sees their own."""
    table = fresh_schema()
    await articles(postgres, table)
    store = PgVector(postgres, map=TableMap(table, "nr", "body", "vec", tenant="lang", collection="url"))
    await store.start(host)
    for tenant, collection, ids in (("en", "pets.md", {"1", "2"}), ("de", "pets.md", set()), ("de", "tax.md", {"3", "4"})):  # fmt: skip
        request = SearchRequest(CAT, bag(CAT), "hybrid", 9, tenant=tenant, collection=collection)
        assert {hit.document.id for hit in (await store.search(request)).hits} == ids
    await store.aclose()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"table": "nowhere"}, "no table nowhere"),
        ({"text": "bdy"}, "no column 'bdy'"),
        ({"embedding": "body"}, "is of type text, not vector or halfvec"),
        ({"metadata": {"x": "gone"}}, "metadata|no column 'gone'"),
        ({"text": 'a"; DROP TABLE x; --'}, "is no name"),
        ({"table": "x" * 64}, "is no name"),
    ],
)
async def test_a_map_that_does_not_fit_is_said(
    postgres: str, host: SmallHost, fields: dict[str, Any], said: str
) -> None:
    """A table or column that is not there, of another type, or whose name is none."""
    table = fresh_schema()
    await articles(postgres, table)
    wanted = {"table": table, "id": "nr", "text": "body", "embedding": "vec"} | fields
    with pytest.raises(ComponentError, match=said):
        await PgVector(postgres, map=TableMap(**wanted)).start(host)


async def test_nothing_that_is_asked_is_sql(postgres: str, host: SmallHost) -> None:
    """Quotes, comments and statements in any field are values, also in a schema's name."""
    store = PgVector(postgres, schema=f"o;{fresh_schema()}'--")
    await store.start(host)
    evil = "x'); DROP TABLE passages; --"
    document = passage(evil, evil, source=evil, readers=[evil], metadata={evil: evil, "n": 1})
    await store.upsert(UpsertRequest([document], evil, evil, tenant=evil, collection=evil))
    request = SearchRequest(evil, bag(evil), "hybrid", 3, {evil: [evil]}, evil, tenant=evil, readers=[evil])
    (hit,) = (await store.search(request)).hits
    assert hit.document.text == evil
    assert (
        await store.read(ReadRequest(evil, around=evil, collection=evil, tenant=evil, readers=[evil]))
    ).total == 1
    assert (await store.delete(DeleteRequest(evil, collection=evil, tenant=evil))).count == 1
    await store.aclose()


async def test_what_postgresql_cannot_hold_is_kept_or_refused(postgres: str, host: SmallHost) -> None:
    """The character 0 is kept in a text and refused in a name, as the caller's fault."""
    store = PgVector(postgres, schema=fresh_schema())
    await store.start(host)
    await store.upsert(UpsertRequest([passage("a\0b", "x", metadata={"m": "c\0d"})], "f", tenant="t"))
    (hit,) = (await store.search(SearchRequest("a", bag("a\0b"), filter={"m": "c\0d"}, tenant="t"))).hits
    assert (hit.document.text, hit.document.metadata) == ("a\0b", {"m": "c\0d"})
    for request in (
        UpsertRequest([passage("a", "x\0")], "f", tenant="t"),
        UpsertRequest([passage("a", "x")], "f\0", tenant="t"),
        UpsertRequest([Document("a", "x", embedding=vector([float("1e39")] * 256))], "f", tenant="t"),
    ):
        with pytest.raises(InvalidRequestError):
            await store.upsert(request)
    await store.aclose()


async def test_no_half_version_is_ever_seen(postgres: str, host: SmallHost) -> None:
    """While a file is replaced again and again, every search and every reading sees one version of it, whole."""
    store = PgVector(postgres, schema=fresh_schema(), connections=4)
    await store.start(host)

    def version(number: int) -> UpsertRequest:
        documents = [passage(f"word {n}", f"{number}-{n}", metadata={"v": number}) for n in range(5)]
        return UpsertRequest(documents, "f", str(number), replace=True, tenant="t")

    await store.upsert(version(0))
    is_done = asyncio.Event()

    async def watch() -> int:
        seen = 0
        while not is_done.is_set():
            hits = (await store.search(SearchRequest("word", bag("word"), "hybrid", 9, tenant="t"))).hits
            read = (await store.read(ReadRequest("f", tenant="t"))).documents
            for documents in ([hit.document for hit in hits], read):
                assert len(documents) == 5
                assert len({document.metadata["v"] for document in documents}) == 1
            seen += 1
        return seen

    watching = asyncio.create_task(watch())
    for number in range(1, 15):
        await store.upsert(version(number))
    is_done.set()
    assert await watching > 0
    await store.aclose()


async def test_many_passages_get_an_index_and_filters_are_exact(
    postgres: str, host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is built beside the requests; what a filter lets through is found however rare it is."""
    monkeypatch.setattr(pg_tables, "INDEX_FROM", 400)
    spawned: list[asyncio.Task[None]] = []
    host.spawn = lambda work, name: spawned.append(asyncio.ensure_future(work))  # type: ignore[attr-defined]
    store = PgVector(postgres, schema=fresh_schema())
    await store.start(host)
    documents = [passage(f"number {n} {n * 7}", str(n), metadata={"rare": n in (3, 77)}) for n in range(500)]
    await store.upsert(UpsertRequest(documents, "f", tenant="t"))
    async with asyncio.timeout(10):
        await store.indexed()
        await asyncio.gather(*spawned)
    async with store._connections.connection() as connection:
        assert await store._tables.is_indexed(connection)
    request = SearchRequest("number 5", bag("number 5"), "dense", 10, {"rare": True}, tenant="t")
    assert {hit.document.id for hit in (await store.search(request)).hits} == {"3", "77"}
    assert len((await store.search(SearchRequest("number", bag("number"), k=10, tenant="t"))).hits) == 10
    await store.aclose()


async def test_a_server_that_is_away_is_no_reason_not_to_start(tmp_path: Path, host: SmallHost) -> None:
    """It starts, says that the server cannot be reached, and never what the password is."""
    store = PgVector(f"postgresql://me:s3cret@/db?host={tmp_path}", timeout_s=2)
    await store.start(host)
    with pytest.raises(UnreachableError) as refused:
        await store.ready()
    assert "s3cret" not in f"{refused.value}{refused.value.endpoint}"
    await store.aclose()


async def test_a_newer_schema_is_not_touched(
    postgres: str, host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a later version made is refused."""
    schema = fresh_schema()
    with monkeypatch.context() as later:
        later.setattr(pg_tables, "SCHEMA", 2)
        store = PgVector(postgres, schema=schema)
        await store.start(host)
        await store.aclose()
    store = PgVector(postgres, schema=schema)
    with pytest.raises(StateError, match="newer version"):
        await store.start(host)
    await store.aclose()


async def test_a_missing_driver_is_said(host: SmallHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(MissingExtraError, match=r"asyncpg") as missing:
        await PgVector("postgresql://localhost/db").start(host)
    assert "weft[postgres]" in (missing.value.hint or "")


@pytest.mark.parametrize("url", ["mysql://x/y", "nothing"])
def test_a_url_that_is_none_is_said(url: str) -> None:
    """With the form of one."""
    with pytest.raises(ComponentError, match="none of PostgreSQL") as refused:
        PgVector(url)
    assert refused.value.hint == "postgresql://user:password@host/database"
