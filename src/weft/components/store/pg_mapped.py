"""Someone else's table with vectors, read by saying which of its columns is what."""
# ruff: noqa: S608 - only the operator's names, checked and quoted, are put together; every value is bound

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.components.store.conditions import Scope
from weft.components.store.pg_search import Counts, both
from weft.components.store.pg_source import Source, Values, quoted, quoted_path
from weft.components.store.requests import ordered, other_dimension
from weft.context import DEFAULT_TENANT
from weft.contracts.store import (
    Hit,
    ReadRequest,
    ReadResponse,
    SearchRequest,
    SearchResponse,
    StoredFile,
    page,
)
from weft.errors import ComponentError, ForbiddenError
from weft.types import Document

TYPES: Final = ("vector", "halfvec")


class TableMap(Struct, forbid_unknown_fields=True, frozen=True):
    """Which columns of a table are what.

    Attributes:
        table: Its name, with or without its schema.
        id: What tells one row from another.
        text: The passage.
        embedding: Its vector: a column of type ``vector`` or ``halfvec``.
        title, source, page, start: See a document's fields. Files are listed and read by ``source``.
        order: What the passages of a source are ordered by; else ``start``, else ``id``.
        metadata: Metadata by name, each a column; they can be filtered by.
        fields: A ``jsonb`` column with more metadata.
        words: A ``tsvector`` column for searches by words, made with ``language``; else it is made of ``text`` in each
            search, which is slow for more than a few thousand rows.
        language: PostgreSQL's text search configuration.
        tenant: A column with the tenant; else all rows are of ``owner``.
        collection: A column with the collection; else all rows are in the default one.
        readers: A ``text[]`` column of groups; null is everyone of the tenant. Else everyone of the tenant may read.
        owner: Whose rows they are when there is no column for it.
    """

    table: str
    id: str
    text: str
    embedding: str
    title: str | None = None
    source: str | None = None
    page: str | None = None
    start: str | None = None
    order: str | None = None
    metadata: dict[str, str] = {}
    fields: str | None = None
    words: str | None = None
    language: str = "simple"
    tenant: str | None = None
    collection: str | None = None
    readers: str | None = None
    owner: str = DEFAULT_TENANT


class Mapped:
    """A table behind a map.

    Args:
        map: What is what.

    Raises:
        ComponentError: A name cannot be one.
    """

    def __init__(self, map: TableMap) -> None:
        self._map = map
        self._relation = quoted_path(map.table, "map: table")
        self._columns = {
            name: f"p.{quoted(column, f'map: {name}')}"
            for name, column in msgspec.structs.asdict(map).items()
            if name not in ("table", "metadata", "language", "owner") and column is not None
        }
        self._metadata = {
            name: f"p.{quoted(column, f'map: metadata: {name}')}" for name, column in map.metadata.items()
        }
        self._order = self._columns.get("order") or self._columns.get("start") or self._columns["id"]
        self._dimension: int | None = None
        self._counts = Counts()
        self.source: Source | None = None

    def read_only(self) -> ForbiddenError:
        """The error for a write."""
        return ForbiddenError(
            f"the table {self._map.table} is someone else's: it is read, never written",
            hint="leave 'map' out to keep documents in tables of Weft's own, beside it",
        )

    async def open(self, connection: Any) -> None:
        """See that the table has the columns.

        Raises:
            ComponentError: It has not, or they are of another type.
        """
        if await connection.fetchval("SELECT to_regclass($1)", self._relation) is None:
            raise ComponentError(f"pgvector: map: there is no table {self._map.table} that may be read")
        rows = await connection.fetch(
            "SELECT attname, format_type(atttypid, NULL) AS type, atttypmod FROM pg_attribute"
            " WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            self._relation,
        )
        types = {row["attname"]: row["type"].rpartition(".")[2] for row in rows}
        named = [("embedding", self._map.embedding), *((n, c[3:-1]) for n, c in self._columns.items())]
        for name, column in [*named, *self._map.metadata.items()]:
            if column not in types:
                raise ComponentError(
                    f"pgvector: map: {name}: the table {self._map.table} has no column '{column}'",
                    hint=f"it has: {', '.join(types)}",
                )
        type_ = types[self._map.embedding]
        if type_ not in TYPES:
            raise ComponentError(
                f"pgvector: map: embedding: '{self._map.embedding}' is of type {type_}, not {' or '.join(TYPES)}"
            )
        size = next(row["atttypmod"] for row in rows if row["attname"] == self._map.embedding)
        self._dimension = size if size > 0 else None
        language = self._map.language.replace("'", "''")
        known: dict[str, str] = {
            name: self._columns[name] for name in ("source", "title", "page") if name in self._columns
        }
        if "source" in known:
            known["file"] = known["source"]
        self.source = Source(
            relation=self._relation,
            key=self._columns["id"],
            embedding=self._columns["embedding"],
            embedding_type=type_,
            words=self._columns.get("words")
            or f"to_tsvector('{language}', coalesce({self._columns['text']}::text, ''))",
            length=f"length({self._columns['text']}::text) / 6",
            tenant=self._columns.get("tenant"),
            collection=self._columns.get("collection"),
            readers=self._columns.get("readers"),
            owner=self._map.owner,
            columns=known | self._metadata,
            fields=self._columns.get("fields"),
            language=self._map.language,
        )

    def _opened(self) -> Source:
        assert self.source is not None  # `open` has run before every request
        return self.source

    async def search(
        self, connection: Any, request: SearchRequest, embedding: list[float] | None
    ) -> SearchResponse:
        """See :class:`weft.contracts.store.Store`."""
        source = self._opened()
        if embedding is not None and self._dimension not in (None, len(embedding)):
            assert self._dimension is not None
            raise other_dimension(self._map.table, len(embedding), self._dimension)
        near, worded = await both(
            connection, source, request, embedding, is_indexed=True, counts=self._counts
        )
        sql = f"{self._select('$1')} WHERE {source.key} = ANY($2)"
        rows = await connection.fetch(sql, request.with_embeddings, list({**near, **worded}))
        hits = [Hit(self._document(row), near.get(row["id"]), worded.get(row["id"])) for row in rows]
        return SearchResponse(ordered(hits, request))

    def _select(self, with_embeddings: str) -> str:
        columns = [
            f"{self._columns[name]} AS {name}"
            for name in ("id", "text", "title", "source", "page", "start", "readers", "fields")
            if name in self._columns
        ]
        columns += [f'to_jsonb({column})::text AS "m:{name}"' for name, column in self._metadata.items()]
        columns.append(
            f"CASE WHEN {with_embeddings}::bool THEN {self._columns['embedding']}::text END AS embedding"
        )
        return f"SELECT {', '.join(columns)} FROM {self._relation} p"

    def _document(self, row: Any) -> Document:
        metadata: dict[str, Any] = {}
        if "fields" in row and row["fields"] is not None:
            fields = msgspec.json.decode(row["fields"])
            metadata |= fields if isinstance(fields, dict) else {}
        for name in self._metadata:
            if row[f"m:{name}"] is not None:
                metadata[name] = msgspec.json.decode(row[f"m:{name}"])
        return Document(
            str(row["text"] or ""),
            id=str(row["id"]),
            title=_said(row.get("title")),
            source=_said(row.get("source")),
            page=row.get("page"),
            start=row.get("start"),
            readers=row.get("readers"),
            metadata=metadata,
            embedding=None if row["embedding"] is None else msgspec.Raw(row["embedding"].encode()),
        )

    async def list_files(self, connection: Any, scope: Scope) -> list[StoredFile]:
        """The sources, by name; none where no column is one."""
        if (column := self._columns.get("source")) is None:
            return []
        values = Values()
        where = self._opened().where(scope, {}, values, readable=False)
        rows = await connection.fetch(
            f'SELECT {column}::text COLLATE "C" AS name, count(*) AS n FROM {self._relation} p'
            f" WHERE {where} AND {column} IS NOT NULL GROUP BY 1 ORDER BY 1",
            *values,
        )
        return [StoredFile(row["name"], chunks=row["n"]) for row in rows]

    async def read(self, connection: Any, request: ReadRequest) -> ReadResponse:
        """See :class:`weft.contracts.store.Store`: the passages of a source."""
        if (column := self._columns.get("source")) is None:
            return ReadResponse([], request.after)
        values, scope = Values(), Scope(request.tenant, request.collection, request.readers)
        with_embeddings = values.add(request.with_embeddings)
        where = self._opened().where(scope, {}, values)
        where = f"WHERE {where} AND {column}::text = {values.add(request.file)}::text"
        key = self._columns["id"]
        total = await connection.fetchval(
            f"SELECT count(*) FROM {self._relation} p {where} AND {with_embeddings}::bool IS NOT NULL",
            *values,
        )
        place: int | None = None
        if request.around:
            place = await connection.fetchval(
                f"SELECT place FROM (SELECT {key}::text AS id, row_number() OVER (ORDER BY {self._order}, {key}) - 1"
                f" AS place FROM {self._relation} p {where} AND {with_embeddings}::bool IS NOT NULL) placed"
                f" WHERE id = ${len(values) + 1}::text",
                *values,
                request.around,
            )
        if (taken := page(request, lambda _: place, total)) is None:
            return ReadResponse([], request.after, 0 if request.around else total)
        after, count = taken
        rows = await connection.fetch(
            f"{self._select(with_embeddings)} {where} ORDER BY {self._order}, {key}"
            f" LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}",
            *values,
            count,
            after,
        )
        return ReadResponse([self._document(row) for row in rows], after, total)

    async def collections(self, connection: Any, tenant: str) -> list[str]:
        """The collections that a tenant has rows in."""
        values = Values()
        source = self._opened()
        column = source.collection or "''"
        own = (
            f"{source.tenant} = {values.add(tenant)}::text" if source.tenant else str(tenant == source.owner)
        )
        rows = await connection.fetch(
            f"SELECT DISTINCT coalesce({column}::text, '') AS name FROM {self._relation} p WHERE {own} ORDER BY 1",
            *values,
        )
        return [row["name"] for row in rows]

    async def count(self, connection: Any) -> int:
        """How many rows there are."""
        return int(await connection.fetchval(f"SELECT count(*) FROM {self._relation}"))


def _said(value: Any) -> str | None:
    return None if value is None else str(value)
