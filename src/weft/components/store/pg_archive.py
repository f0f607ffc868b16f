"""Weft's tables in PostgreSQL as a whole: one state to take out, and a second set of tables to put in their place."""
# ruff: noqa: S608 - only our own names are put together; every value is bound

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from weft.components.store.conditions import Scope
from weft.components.store.pg_connections import Connections
from weft.components.store.pg_tables import Tables, document_of
from weft.components.store.requests import vectors_of
from weft.contracts.archive import KeptCollection, KeptFile
from weft.contracts.manifest import Manifest
from weft.types import Document

BATCH: Final = 200
"""Passages read at once: 1 MB of text and vectors."""

BUILD_MEMORY: Final = "512MB"
"""What building an index of vectors may use: 100,000 vectors of 384 numbers fit, and it takes a fraction of the time."""

LOCK_WAIT: Final = "3s"
"""How long a publication waits for whoever reads: requests wait behind it, and a backup may read for minutes."""

_encode = msgspec.json.Encoder().encode
_decode_manifest = msgspec.json.Decoder(Manifest).decode


async def build_index(
    connection: Any, tables: Tables, m: int, ef_construction: int, *, concurrently: bool
) -> None:
    """Build the index of the vectors, unless it is there; one that a killed process left half built is made again.

    Args:
        connection: Outside a transaction, where it is done beside reads and writes.
        tables: Whose passages.
        m: See pgvector.
        ef_construction: See pgvector.
        concurrently: Whether reads and writes go on meanwhile.
    """
    lock = f"weft:{tables.schema}:{tables.prefix}"
    if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", lock):
        return  # another process is at it
    try:
        if await tables.is_indexed(connection):
            return
        broken = await connection.fetch(
            "SELECT c.oid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_am a ON a.oid = c.relam WHERE i.indrelid = to_regclass($1) AND a.amname = 'hnsw'"
            " AND NOT i.indisvalid",
            tables.passages,
        )
        for (name,) in broken:
            await connection.execute(f"DROP INDEX {name}")
        await connection.execute(f"SET maintenance_work_mem = '{BUILD_MEMORY}'")
        beside = "CONCURRENTLY" if concurrently else ""
        await connection.execute(
            f"CREATE INDEX {beside} ON {tables.passages} USING hnsw (embedding vector_cosine_ops)"
            f" WITH (m = {int(m)}, ef_construction = {int(ef_construction)})",
            timeout=86_400.0,  # as long as it takes: the time of one statement is meant for requests
        )
        # Without statistics the planner takes a tenant for one row, and the index for the longer way.
        await connection.execute(f"ANALYZE {tables.passages}")
    finally:
        await connection.execute("RESET maintenance_work_mem")
        await connection.execute("SELECT pg_advisory_unlock(hashtext($1))", lock)


class PgSnapshot:
    """See :class:`weft.contracts.archive.Snapshot`: one read transaction, held open."""

    def __init__(self, connection: Any, tables: Tables) -> None:
        self._connection, self._tables = connection, tables

    async def collections(self) -> list[KeptCollection]:
        """See :class:`weft.contracts.archive.Snapshot`."""
        rows = await self._connection.fetch(
            f"SELECT s.tenant, s.collection, m.manifest FROM (SELECT DISTINCT tenant, collection FROM"
            f" {self._tables.files}) s LEFT JOIN {self._tables.manifests} m ON m.tenant = s.tenant"
            ' AND m.collection = s.collection ORDER BY s.tenant COLLATE "C", s.collection COLLATE "C"'
        )
        return [
            KeptCollection(tenant, name, None if text is None else _decode_manifest(text))
            for tenant, name, text in rows
        ]

    async def files(self) -> list[KeptFile]:
        """See :class:`weft.contracts.archive.Snapshot`."""
        return await self._tables.kept_files(self._connection)

    async def passages(self, file: KeptFile) -> AsyncIterator[list[Document]]:
        """See :class:`weft.contracts.archive.Snapshot`."""
        if await self._tables.dimension(self._connection) is None:
            return
        after = (-1, -1)
        while True:
            rows = await self._connection.fetch(
                f"SELECT position, number, document, embedding::text AS embedding FROM {self._tables.passages}"
                " WHERE tenant = $1 AND collection = $2 AND file = $3 AND (position, number) > ($4, $5)"
                " ORDER BY position, number LIMIT $6",
                *file.key,
                *after,
                BATCH,
            )
            if not rows:
                return
            yield [document_of(row) for row in rows]
            after = rows[-1]["position"], rows[-1]["number"]


class PgDraft:
    """See :class:`weft.contracts.archive.Draft`: tables whose names begin with ``draft_``."""

    def __init__(self, connections: Connections, tables: Tables, index: tuple[int, int]) -> None:
        self._connections, self._tables, self._index = connections, tables, index
        self._draft = Tables(tables.schema, "draft_")

    async def open(self, purpose: str) -> None:
        """Go on with the draft that is there, if it is for this purpose."""
        draft = self._draft
        async with self._connections.writing() as connection:
            if await draft.noted(connection, "draft") != purpose:
                await draft.drop(connection)
                await draft.create(connection)
                await draft.note(connection, "draft", purpose)
            elif await draft.dimension(connection) is not None:
                await connection.execute(
                    f"DELETE FROM {draft.passages} WHERE (tenant, collection, file) NOT IN"
                    f" (SELECT tenant, collection, name FROM {draft.files})"
                )

    async def files(self) -> list[KeptFile]:
        """See :class:`weft.contracts.archive.Draft`."""
        async with self._connections.connection() as connection:
            return await self._draft.kept_files(connection)

    async def declare(self, collection: KeptCollection) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        if collection.manifest is None:
            return
        async with self._connections.connection() as connection:
            await connection.execute(
                f"INSERT INTO {self._draft.manifests} VALUES ($1, $2, $3)"
                " ON CONFLICT (tenant, collection) DO UPDATE SET manifest = $3",
                collection.tenant,
                collection.name,
                _encode(collection.manifest).decode(),
            )

    async def add(self, file: KeptFile, documents: Sequence[Document]) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        embeddings = vectors_of(documents)
        if not embeddings:
            return
        async with self._connections.writing() as connection:
            await self._draft.fit(connection, len(embeddings[0]))
            scope = Scope(file.tenant, file.collection)
            await self._draft.insert(connection, documents, embeddings, scope, file=file.name)

    async def finish(self, file: KeptFile) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        async with self._connections.connection() as connection:
            scope = Scope(file.tenant, file.collection)
            await self._draft.record_file(connection, scope, file.name, file.digest, at=file.stored_at)

    async def drop(self, file: KeptFile) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        async with self._connections.writing() as connection:
            if await self._draft.dimension(connection) is None:
                return
            scope = Scope(file.tenant, file.collection)
            await self._draft.delete_file(connection, scope, file.name)
            await self._draft.forget_files(connection, scope, file.name)

    async def publish(self, unchanged: Sequence[KeptFile] | None = None) -> bool:
        """See :class:`weft.contracts.archive.Draft`. The index is built before, so that nobody waits for it."""
        draft, tables = self._draft, self._tables
        async with self._connections.connection() as connection:
            has_passages = await draft.dimension(connection) is not None
            if has_passages and await draft.is_many(connection):
                await build_index(connection, draft, *self._index, concurrently=False)
        async with self._connections.writing() as connection:
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
            taken = [tables.files, tables.manifests]
            taken += [tables.passages] if await tables.dimension(connection) is not None else []
            await connection.execute(f"LOCK TABLE {', '.join(taken)} IN ACCESS EXCLUSIVE MODE")
            if unchanged is not None:
                now = {file.version for file in await tables.kept_files(connection)}
                if now != {file.version for file in unchanged}:
                    return False
            await tables.drop(connection)
            for name in ("files", "manifests", *(("passages",) if has_passages else ())):
                await connection.execute(f"ALTER TABLE {getattr(draft, name)} RENAME TO {name}")
            await connection.execute(f"DELETE FROM {draft.notes} WHERE name = 'draft'")
        return True

    async def discard(self) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        async with self._connections.writing() as connection:
            await self._draft.drop(connection)
            await connection.execute(f"DELETE FROM {self._draft.notes} WHERE name = 'draft'")

    async def aclose(self) -> None:
        """See :class:`weft.contracts.archive.Draft`: nothing is held."""
