"""``pgvector``: passages in PostgreSQL with the extension pgvector, ours or someone else's."""
# ruff: noqa: S608 - only our own names are put together; every value is bound

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from weft.components.store.conditions import Scope
from weft.components.store.pg_archive import PgDraft, PgSnapshot, build_index
from weft.components.store.pg_connections import Connections
from weft.components.store.pg_mapped import Mapped, TableMap
from weft.components.store.pg_search import Counts, both
from weft.components.store.pg_source import Values
from weft.components.store.pg_tables import Tables, document_of
from weft.components.store.requests import ordered, other_dimension, query_vector, vectors_of
from weft.contracts.manifest import check_collection, of_search
from weft.contracts.store import (
    CollectionsRequest,
    CollectionsResponse,
    DeleteRequest,
    DeleteResponse,
    Hit,
    ListRequest,
    ListResponse,
    ReadRequest,
    ReadResponse,
    SearchRequest,
    SearchResponse,
    StoreDescription,
    UpsertRequest,
    UpsertResponse,
    bounds,
    page,
)
from weft.errors import ComponentError, RequestError
from weft.host import Host
from weft.types import Empty


class PgVector:
    """Keeps passages in PostgreSQL with pgvector, or reads those of a table that is there already.

    Any number of processes may use the same tables. A write is one transaction: whole or not at all, and found when it
    returns. Up to 10,000 passages are searched exactly; from then on vectors have an HNSW index, which is built beside
    the requests, and where a filter lets too few of the index's neighbours through, the search is exact again.

    Args:
        url: ``postgresql://user:password@host/database``; a secret may be named in its place.
        schema: Where the tables are; it is made if it may be. The role must own it.
        connections: How many at once.
        timeout_s: For connecting, and for one statement.
        m, ef_construction: See pgvector: links of a vector in the index, and how carefully they are chosen.
        ef_search: How many neighbours a search looks at, at least; more find more and take longer.
        map: Read a table of someone else's instead, and which of its columns is what; nothing is ever written then.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "weft",
        connections: int = 8,
        timeout_s: float = 30.0,
        m: int = 16,
        ef_construction: int = 64,
        ef_search: int = 100,
        map: TableMap | None = None,
    ) -> None:
        if connections < 1:
            raise ComponentError(f"pgvector: connections is {connections}, it must be at least 1")
        if not 1 <= ef_search <= 1000:
            raise ComponentError(f"pgvector: ef_search is {ef_search}, it must be from 1 to 1,000")
        if not 2 <= m <= 100 or not max(4, 2 * m) <= ef_construction <= 1000:
            raise ComponentError(
                "pgvector: m must be from 2 to 100, ef_construction from twice that to 1,000"
            )
        self._connections = Connections(url, most=connections, timeout_s=timeout_s, ef_search=ef_search)
        self._tables = Tables(schema)
        self._mapped = Mapped(map) if map is not None else None
        self._index = (m, ef_construction)
        self._counts = Counts()
        self._opened = False
        self._opening = asyncio.Lock()
        self._building: asyncio.Event | None = None

    async def start(self, host: Host) -> None:
        """Load the driver and, if the server is there, make or migrate the tables.

        Raises:
            MissingExtraError: asyncpg is not installed.
            StateError: A newer version made the tables.
        """
        self._host = host
        await self._connections.open()
        try:
            await self._open()
        except RequestError as error:
            host.log("PostgreSQL is not ready; it is tried again with the first request", reason=str(error))
        except BaseException:
            await self.aclose()
            raise

    async def attach(self, host: Host) -> None:
        """See :class:`weft.contracts.archive.Archive`: PostgreSQL has room for both."""
        await self.start(host)
        await self._open()

    async def ready(self) -> bool:
        """Whether the server answers and has the tables."""
        await self._open()
        async with self._connections.connection() as connection:
            await connection.fetchval("SELECT 1")
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def _open(self) -> None:
        if self._opened:
            return
        async with self._opening:
            if self._opened:
                return
            async with self._connections.connection() as connection:
                if self._mapped is not None:
                    await self._mapped.open(connection)
                else:
                    await self._tables.open(connection)
            self._opened = True

    async def search(self, request: SearchRequest) -> SearchResponse:
        """See :class:`weft.contracts.store.Store`. ``hybrid`` fills in both scores of each passage where they exist."""
        embedding = query_vector(request)
        await self._open()
        if self._mapped is not None:
            async with self._connections.reading() as connection:
                return await self._mapped.search(connection, request, embedding)
        tables = self._tables
        scope = Scope(request.tenant, request.collection, request.readers)
        async with self._connections.reading() as connection:
            dimension = await tables.dimension(connection)
            if dimension is None:
                return SearchResponse([])
            if request.manifest is not None:
                kept = await tables.manifest(connection, scope)
                check_collection(kept, of_search(request.manifest), request.collection)
            if embedding is not None and len(embedding) != dimension:
                raise other_dimension(tables.schema, len(embedding), dimension)
            is_indexed = await tables.is_indexed(connection)
            near, worded = await both(
                connection, tables.source, request, embedding, is_indexed=is_indexed, counts=self._counts
            )
            rows = await connection.fetch(
                "SELECT number, document, CASE WHEN $2 THEN embedding::text END AS embedding"
                f" FROM {tables.passages} WHERE number = ANY($1)",
                list({**near, **worded}),
                request.with_embeddings,
            )
        hits = [Hit(document_of(row), near.get(row["number"]), worded.get(row["number"])) for row in rows]
        return SearchResponse(ordered(hits, request))

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        """See :class:`weft.contracts.store.Store`.

        Raises:
            InvalidRequestError: A passage has no id or no embedding.
            ConflictError: The embeddings, or the manifest, are others than those that are in.
            ForbiddenError: The table is someone else's.
        """
        embeddings = vectors_of(request.documents)
        await self._open()
        if self._mapped is not None:
            raise self._mapped.read_only()
        tables, scope = self._tables, Scope(request.tenant, request.collection)
        async with self._connections.writing() as connection:
            await tables.begin_write(connection)
            kept = await tables.manifest(connection, scope)
            check_collection(kept, request.manifest, request.collection)
            if embeddings:
                await tables.fit(connection, len(embeddings[0]))
            await tables.record_file(connection, scope, request.file, request.digest)
            if embeddings:
                await tables.keep_manifest(connection, scope, kept, request.manifest, len(embeddings[0]))
                await tables.insert(connection, request.documents, embeddings, scope, file=request.file)
            count = 0
            if await tables.dimension(connection) is not None:
                if request.replace:
                    keep = [document.id for document in request.documents]
                    await tables.delete_file(connection, scope, request.file, keep=keep)
                count = await connection.fetchval(
                    f"SELECT count(*) FROM {tables.passages} WHERE tenant = $1 AND collection = $2 AND file = $3",
                    scope.tenant,
                    scope.collection,
                    request.file,
                )
        await self._index_if_many()
        return UpsertResponse(count)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """See :class:`weft.contracts.store.Store`."""
        await self._open()
        if self._mapped is not None:
            raise self._mapped.read_only()
        tables, scope = self._tables, Scope(request.tenant, request.collection)
        async with self._connections.writing() as connection:
            await tables.begin_write(connection)
            if await tables.dimension(connection) is None:
                return DeleteResponse(0)
            if request.all_files:
                count = await tables.clear(connection, scope)
            else:
                count = await tables.delete_file(connection, scope, request.file)
            await tables.forget_files(connection, scope, None if request.all_files else request.file)
        return DeleteResponse(count)

    async def list(self, request: ListRequest) -> ListResponse:
        """See :class:`weft.contracts.store.Store`."""
        await self._open()
        scope = Scope(request.tenant, request.collection)
        async with self._connections.reading() as connection:
            if self._mapped is not None:
                return ListResponse(await self._mapped.list_files(connection, scope))
            return ListResponse(await self._tables.list_files(connection, scope))

    async def read(self, request: ReadRequest) -> ReadResponse:
        """See :class:`weft.contracts.store.Store`."""
        bounds(request)
        await self._open()
        async with self._connections.reading() as connection:
            if self._mapped is not None:
                return await self._mapped.read(connection, request)
            return await self._read(connection, request)

    async def _read(self, connection: Any, request: ReadRequest) -> ReadResponse:
        tables, scope = self._tables, Scope(request.tenant, request.collection, request.readers)
        if await tables.dimension(connection) is None:
            return ReadResponse([], request.after)
        values = Values()
        where = f"{tables.source.where(scope, {}, values)} AND file = {values.add(request.file)}::text"
        of_file = f"FROM {tables.passages} p WHERE {where}"
        total = await connection.fetchval(f"SELECT count(*) {of_file}", *values)
        place: int | None = None
        if request.around:
            place = await connection.fetchval(
                f"SELECT place FROM (SELECT id, row_number() OVER (ORDER BY position, number) - 1 AS place {of_file})"
                f" placed WHERE id = ${len(values) + 1}::text",
                *values,
                request.around,
            )
        if (taken := page(request, lambda _: place, total)) is None:
            return ReadResponse([], request.after, 0 if request.around else total)
        after, count = taken
        digest = await connection.fetchval(
            f"SELECT digest FROM {tables.files} WHERE tenant = $1 AND collection = $2 AND name = $3",
            scope.tenant,
            scope.collection,
            request.file,
        )
        n = len(values)
        rows = await connection.fetch(
            f"SELECT document, CASE WHEN ${n + 3} THEN embedding::text END AS embedding {of_file}"
            f" ORDER BY position, number LIMIT ${n + 1} OFFSET ${n + 2}",
            *values,
            count,
            after,
            request.with_embeddings,
        )
        return ReadResponse([document_of(row) for row in rows], after, total, digest or "")

    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        """See :class:`weft.contracts.store.Store`."""
        await self._open()
        async with self._connections.reading() as connection:
            if self._mapped is not None:
                return CollectionsResponse(await self._mapped.collections(connection, request.tenant))
            rows = await connection.fetch(
                f'SELECT DISTINCT collection COLLATE "C" FROM {self._tables.files} WHERE tenant = $1 ORDER BY 1',
                request.tenant,
            )
        return CollectionsResponse([name for (name,) in rows])

    async def describe(self, request: Empty) -> StoreDescription:
        """See :class:`weft.contracts.store.Store`."""
        await self._open()
        async with self._connections.reading() as connection:
            if self._mapped is not None:
                return StoreDescription("pgvector", await self._mapped.count(connection))
            count = 0
            if await self._tables.dimension(connection) is not None:
                count = await connection.fetchval(f"SELECT count(*) FROM {self._tables.passages}")
            return StoreDescription("pgvector", count, await self._tables.manifests_kept(connection))

    async def _index_if_many(self) -> None:
        """Begin to build the index of the vectors when there are many; searches and writes go on meanwhile."""
        if self._building is not None:
            return
        async with self._connections.connection() as connection:
            tables = self._tables
            if await tables.is_indexed(connection) or await tables.dimension(connection) is None:
                return
            if not await tables.is_many(connection):
                return
        self._building = asyncio.Event()
        self._host.spawn(self._build_index(self._building), name="building the index of vectors")

    async def _build_index(self, done: asyncio.Event) -> None:
        try:
            async with self._connections.connection() as connection:
                await build_index(connection, self._tables, *self._index, concurrently=True)
        finally:
            self._building = None
            done.set()

    async def indexed(self) -> None:
        """Wait until an index that is being built is there."""
        if self._building is not None:
            await self._building.wait()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PgSnapshot]:
        """See :class:`weft.contracts.archive.Archive`."""
        self._own()
        async with self._connections.reading() as connection:
            yield PgSnapshot(connection, self._tables)

    async def draft(self, purpose: str) -> PgDraft:
        """See :class:`weft.contracts.archive.Archive`: a second set of tables."""
        self._own()
        await self._open()
        draft = PgDraft(self._connections, self._tables, self._index)
        await draft.open(purpose)
        return draft

    def _own(self) -> None:
        if self._mapped is not None:
            raise self._mapped.read_only()
