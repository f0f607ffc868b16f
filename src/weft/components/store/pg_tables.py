"""Weft's own tables in a PostgreSQL schema: how they are made, migrated, filled and put in each other's place.

The draft of a new content is a second set of tables beside the first, and takes its place by renaming, in one
transaction. Every write begins by a lock on ``files`` that is compatible with other writes but not with that.
"""
# ruff: noqa: S608 - only our own names are put together; every value is bound

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from weft.components.store.conditions import Scope
from weft.components.store.pg_source import Source, json_text, quoted, tsvector
from weft.components.store.requests import fields_of, heading_of, last_of_each_id, other_dimension
from weft.components.store.terms import terms_of
from weft.contracts.archive import KeptFile
from weft.contracts.manifest import Manifest, known
from weft.contracts.store import StoredFile
from weft.errors import InvalidRequestError, StateError
from weft.types import Document

SCHEMA: Final = 1
"""Version of the tables; a newer one is refused, an older one is migrated when it is opened."""

INDEX_FROM: Final = 10_000
"""Passages from which vectors get an approximate index: all of fewer are compared in a few milliseconds, exactly."""

MAX_INDEXED: Final = 2_000
"""Numbers of a vector that pgvector can index; longer ones are compared one by one."""

MAX_PLAIN: Final = 1_536
"""Numbers of a vector that is kept in its row (four bytes each, of a page's 8,000), where comparing all is three times as
fast as when each must be fetched from elsewhere."""

OPENING: Final = 7_236_152_001
"""The advisory lock under which tables are made and migrated, so that processes that start together do it once."""

_FILES: Final = """
    CREATE TABLE {files}(
        tenant text NOT NULL, collection text NOT NULL, name text NOT NULL,
        digest text NOT NULL, stored_at double precision NOT NULL,
        PRIMARY KEY (tenant, collection, name)
    );
    CREATE TABLE {manifests}(
        tenant text NOT NULL, collection text NOT NULL, manifest text NOT NULL,
        PRIMARY KEY (tenant, collection)
    );
"""

_PASSAGES: Final = """
    CREATE TABLE {passages}(
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant text NOT NULL, collection text NOT NULL, file text NOT NULL, id text NOT NULL,
        position int NOT NULL, length int NOT NULL,
        document bytea NOT NULL, readers text[], fields jsonb NOT NULL, words tsvector STORAGE MAIN NOT NULL,
        embedding vector({dimension}) STORAGE {storage} NOT NULL,
        UNIQUE (tenant, collection, id)
    ) WITH (toast_tuple_target = 4080);
    CREATE INDEX ON {passages}(tenant, collection, file, position, number);
    CREATE INDEX ON {passages} USING gin(words);
    CREATE INDEX ON {passages} USING gin(fields jsonb_path_ops);
"""

_encode = msgspec.json.Encoder().encode
_decode_document = msgspec.json.Decoder(Document).decode
_decode_manifest = msgspec.json.Decoder(Manifest).decode


class Tables:
    """One set of tables in a schema.

    Args:
        schema: Its name.
        prefix: Before the name of each table; the tables of a draft have one.
    """

    def __init__(self, schema: str, prefix: str = "") -> None:
        self.schema, self.prefix = schema, prefix
        self._quoted = quoted(schema, "schema")
        self.files, self.manifests, self.passages = (
            f'{self._quoted}."{prefix}{name}"' for name in ("files", "manifests", "passages")
        )
        self.notes = f"{self._quoted}.notes"
        self.source = Source(
            relation=self.passages,
            key="p.number",
            embedding="p.embedding",
            words="p.words",
            length="p.length",
            tenant="p.tenant",
            collection="p.collection",
            readers="p.readers",
            fields="p.fields",
        )

    async def open(self, connection: Any) -> None:
        """Make what is not there.

        Raises:
            StateError: A newer version made the tables.
        """
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", OPENING)
            if await connection.fetchval("SELECT to_regclass($1)", self.notes) is None:
                await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._quoted}")
                if await connection.fetchval("SELECT to_regtype('vector')") is None:
                    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                await connection.execute(
                    f"CREATE TABLE {self.notes}(name text PRIMARY KEY, value text NOT NULL)"
                )
                await self.create(connection)
                await self.note(connection, "schema", str(SCHEMA))
            version = int(await self.noted(connection, "schema") or SCHEMA)
            if version > SCHEMA:
                raise StateError(
                    f"the tables in the schema '{self.schema}' were made by a newer version of Weft (schema {version}; "
                    f"this version knows up to {SCHEMA})",
                    hint="update Weft, or name another schema in the store's config: schema",
                )

    async def create(self, connection: Any) -> None:
        """Make the tables but for the passages', which needs to know how long vectors are."""
        await connection.execute(_FILES.format(files=self.files, manifests=self.manifests))

    async def drop(self, connection: Any) -> None:
        """Delete all of them."""
        await connection.execute(f"DROP TABLE IF EXISTS {self.files}, {self.manifests}, {self.passages}")

    async def noted(self, connection: Any, name: str) -> str | None:
        """A note."""
        value: str | None = await connection.fetchval(f"SELECT value FROM {self.notes} WHERE name = $1", name)
        return value

    async def note(self, connection: Any, name: str, value: str) -> None:
        """Keep a note."""
        await connection.execute(
            f"INSERT INTO {self.notes} VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
            name,
            value,
        )

    async def dimension(self, connection: Any) -> int | None:
        """How many numbers a vector has; None while there is no table of passages."""
        value: int | None = await connection.fetchval(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'embedding'",
            self.passages,
        )
        return value

    async def is_indexed(self, connection: Any) -> bool:
        """Whether the vectors have an index that can be used."""
        found: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_am a ON a.oid = c.relam WHERE i.indrelid = to_regclass($1) AND a.amname = 'hnsw' AND i.indisvalid)",
            self.passages,
        )
        return found

    async def is_many(self, connection: Any) -> bool:
        """Whether there are so many passages that their vectors should have an index, and can."""
        if (await self.dimension(connection) or 0) > MAX_INDEXED:
            return False
        found: bool = await connection.fetchval(
            f"SELECT count(*) = $1 FROM (SELECT 1 FROM {self.passages} LIMIT $1) taken", INDEX_FROM
        )
        return found

    async def begin_write(self, connection: Any) -> None:
        """Wait for a publication that is under way, and hold off the next until the transaction ends."""
        await connection.execute(f"LOCK TABLE {self.files} IN ROW EXCLUSIVE MODE")

    async def fit(self, connection: Any, dimension: int) -> None:
        """Have a table of passages for vectors of this length.

        Raises:
            ConflictError: There are passages with vectors of another.
        """
        kept = await self.dimension(connection)
        if kept == dimension:
            return
        # One process makes or remakes it; the others find it made.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", OPENING)
        kept = await self.dimension(connection)
        if kept is not None and kept != dimension:
            if await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {self.passages})"):
                raise other_dimension(self.schema, dimension, kept)
            await connection.execute(f"DROP TABLE {self.passages}")
            kept = None
        if kept is None:
            storage = "PLAIN" if dimension <= MAX_PLAIN else "EXTERNAL"
            await connection.execute(
                _PASSAGES.format(passages=self.passages, dimension=int(dimension), storage=storage)
            )

    async def insert(
        self,
        connection: Any,
        documents: Sequence[Document],
        embeddings: Sequence[array[float]],
        scope: Scope,
        *,
        file: str,
    ) -> None:
        """Add passages; those that have their ids go."""
        kept = last_of_each_id(documents)
        ids = [documents[index].id for index in kept]
        await connection.execute(
            f"DELETE FROM {self.passages} WHERE tenant = $1 AND collection = $2 AND id = ANY($3::text[])",
            scope.tenant,
            scope.collection,
            ids,
        )
        rows = [_row(documents[index], embeddings[index], scope, file) for index in kept]
        await connection.executemany(
            f"INSERT INTO {self.passages}"
            "(tenant, collection, file, id, position, length, document, readers, fields, words, embedding)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10::text::tsvector, $11::text::vector)",
            rows,
        )

    async def delete_file(self, connection: Any, scope: Scope, name: str, *, keep: Sequence[str] = ()) -> int:
        """Delete a file's passages but those with these ids; how many went."""
        status: str = await connection.execute(
            f"DELETE FROM {self.passages} WHERE tenant = $1 AND collection = $2 AND file = $3"
            " AND id <> ALL($4::text[])",
            scope.tenant,
            scope.collection,
            name,
            list(keep),
        )
        return int(status.rsplit(maxsplit=1)[-1])

    async def clear(self, connection: Any, scope: Scope) -> int:
        """Delete the passages of a collection; how many went."""
        status: str = await connection.execute(
            f"DELETE FROM {self.passages} WHERE tenant = $1 AND collection = $2",
            scope.tenant,
            scope.collection,
        )
        return int(status.rsplit(maxsplit=1)[-1])

    async def record_file(
        self, connection: Any, scope: Scope, name: str, digest: str, *, at: float | None = None
    ) -> None:
        """Note that a file is in, in this version, since ``at`` or now."""
        await connection.execute(
            f"INSERT INTO {self.files} VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (tenant, collection, name) DO UPDATE SET digest = $4, stored_at = $5",
            scope.tenant,
            scope.collection,
            name,
            digest,
            round(time.time(), 3) if at is None else at,
        )

    async def forget_files(self, connection: Any, scope: Scope, name: str | None) -> None:
        """Take a file, or all, off the list; a collection that is empty then has no manifest any more."""
        values = [scope.tenant, scope.collection]
        await connection.execute(
            f"DELETE FROM {self.files} WHERE tenant = $1 AND collection = $2 AND ($3::text IS NULL OR name = $3)",
            *values,
            name,
        )
        await connection.execute(
            f"DELETE FROM {self.manifests} WHERE tenant = $1 AND collection = $2"
            f" AND NOT EXISTS (SELECT 1 FROM {self.passages} WHERE tenant = $1 AND collection = $2)",
            *values,
        )

    async def manifest(self, connection: Any, scope: Scope) -> Manifest | None:
        """What a collection was made with."""
        text = await connection.fetchval(
            f"SELECT manifest FROM {self.manifests} WHERE tenant = $1 AND collection = $2",
            scope.tenant,
            scope.collection,
        )
        return None if text is None else _decode_manifest(text)

    async def manifests_kept(self, connection: Any) -> list[Manifest]:
        """The different ones that there are."""
        rows = await connection.fetch(f"SELECT DISTINCT manifest FROM {self.manifests} ORDER BY 1")
        return [_decode_manifest(row[0]) for row in rows]

    async def keep_manifest(
        self, connection: Any, scope: Scope, kept: Manifest | None, given: Manifest | None, dimensions: int
    ) -> None:
        """Note what a collection is made with, as far as it is not known already."""
        whole = known(kept, given, dimensions=dimensions)
        if whole != kept:
            await connection.execute(
                f"INSERT INTO {self.manifests} VALUES ($1, $2, $3)"
                " ON CONFLICT (tenant, collection) DO UPDATE SET manifest = $3",
                scope.tenant,
                scope.collection,
                _encode(whole).decode(),
            )

    async def list_files(self, connection: Any, scope: Scope) -> list[StoredFile]:
        """The files of a collection, by name."""
        rows = await connection.fetch(
            f"SELECT name, digest, stored_at, {self._chunks(await self.dimension(connection))} AS chunks"
            f" FROM {self.files} f WHERE tenant = $1 AND collection = $2 AND name <> '' ORDER BY name COLLATE \"C\"",
            scope.tenant,
            scope.collection,
        )
        return [StoredFile(r["name"], r["digest"], r["chunks"], {"stored_at": r["stored_at"]}) for r in rows]

    async def kept_files(self, connection: Any) -> list[KeptFile]:
        """Every file of every tenant."""
        rows = await connection.fetch(
            "SELECT tenant, collection, name, digest, stored_at,"
            f" {self._chunks(await self.dimension(connection))} AS chunks"
            f' FROM {self.files} f ORDER BY tenant COLLATE "C", collection COLLATE "C", name COLLATE "C"'
        )
        return [KeptFile(*row) for row in rows]

    def _chunks(self, dimension: int | None) -> str:
        if dimension is None:
            return "0::bigint"
        return (
            f"(SELECT count(*) FROM {self.passages} p WHERE p.tenant = f.tenant"
            " AND p.collection = f.collection AND p.file = f.name)"
        )


def document_of(row: Any) -> Document:
    """A passage of our own as it was put in; ``row`` has ``document`` and ``embedding`` (its text, or None)."""
    document = _decode_document(row["document"])
    if row["embedding"] is not None:
        document.embedding = msgspec.Raw(row["embedding"].encode())
    return document


def _row(document: Document, embedding: array[float], scope: Scope, file: str) -> tuple[Any, ...]:
    if "\x00" in f"{document.id}{file}{scope.collection}{''.join(document.readers or [])}":
        raise InvalidRequestError("the character 0 can be in no id, name or group", param="documents")
    kept = msgspec.structs.replace(document, embedding=None, score=None)
    text, heading = terms_of(document.text), terms_of(heading_of(document))
    return (
        scope.tenant,
        scope.collection,
        file,
        document.id,
        document.start or 0,
        len(text),
        _encode(kept),
        document.readers,
        json_text(fields_of(document, file)),
        tsvector(text, heading),
        _encode(embedding.tolist()).decode(),
    )
