"""The passages of an embedded store in one SQLite file: texts, vectors, files, and the full-text index.

SQLite is the truth here: whatever a search returns is read from it, in one consistent state, and the vector index
beside it can be made again from it. Each write is one transaction, so a file is in whole or not at all, however
the process ends. Passages are never changed: a new version gets a new number, and numbers are not used again,
which is why comparing numbers is enough to see what the vector index lacks.

Everything blocks; it is called from threads. Writes come one at a time; reads have a connection each.
"""
# ruff: noqa: S608 - only our own conditions are put together; every value is bound

from __future__ import annotations

import queue
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from weft.components.store.conditions import Filters, Scope, conditions, match_expression, readable
from weft.components.store.requests import fields_of, heading_of
from weft.components.store.schema import SCHEMA, SCHEMA_STEPS, newer_schema
from weft.contracts.archive import KeptFile
from weft.contracts.manifest import Manifest, known
from weft.contracts.store import ReadRequest, ReadResponse, StoredFile, page
from weft.errors import StateError, UnavailableError
from weft.types import Document, vector

HEADING_WEIGHT: Final = 0.5
"""How much a word of the heading counts against one of the text."""

READ_TIMEOUT_S: Final = 30.0
"""How long a reader waits for a connection."""

CLOSE_TIMEOUT_S: Final = 5.0
"""How long closing waits for a search that is under way."""

_encode = msgspec.json.Encoder().encode
_decode_document = msgspec.json.Decoder(Document).decode
_decode_manifest = msgspec.json.Decoder(Manifest).decode


@dataclass(frozen=True, slots=True)
class Point:
    """A passage as the vector index sees it."""

    number: int
    tenant: str
    collection: str
    readers: list[str] | None
    fields: dict[str, Any]
    embedding: array[float]


class Passages:
    """One SQLite file of passages.

    Args:
        path: The file; it is made when it is not there.
        readers: How many searches may run at once.
    """

    def __init__(self, path: Path, *, readers: int) -> None:
        self.path, self._readers = path, readers
        self._pool: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._opened = 0
        self._writer: sqlite3.Connection | None = None

    def open(self) -> None:
        """Make or migrate the file and open the connections.

        Raises:
            StateError: A newer version wrote it, or it is damaged.
        """
        try:
            self._writer = self._connect()
            self._migrate(self._writer)
            self._open_readers()
        except sqlite3.DatabaseError as error:
            self.close()
            raise _unreadable(self.path, error) from error

    def open_read_only(self) -> None:
        """Open the connections that read, of a file that another process may be writing.

        Raises:
            StateError: There is no file, another version wrote it, or it is damaged.
        """
        if not self.path.is_file():
            raise StateError(f"there is no document store at {self.path.parent}")
        try:
            self._open_readers()
            with self.reading() as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            self.close()
            raise _unreadable(self.path, error) from error
        if version > SCHEMA:
            raise newer_schema(self.path, version)
        if version < SCHEMA:
            raise StateError(
                f"{self.path} was written by an older version of Weft",
                hint="start it once, which migrates it",
            )

    def _open_readers(self) -> None:
        for _ in range(self._readers):
            self._pool.put(self.connect_reader())
            self._opened += 1

    def connect_reader(self) -> sqlite3.Connection:
        """A connection that only reads, beside those that searches share; the caller closes it."""
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30.0)
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: what an upsert has acknowledged survives a power cut as well.
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise newer_schema(self.path, version)
        for step in range(version, SCHEMA):
            connection.executescript(f"BEGIN; {SCHEMA_STEPS[step]} PRAGMA user_version = {step + 1}; COMMIT;")

    def close(self) -> None:
        """Close the connections, each when the search that has it is done."""
        opened, self._opened = self._opened, 0
        for _ in range(opened):
            try:
                self._pool.get(timeout=CLOSE_TIMEOUT_S).close()
            except queue.Empty:
                break
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the file until the block ends."""
        try:
            # More readers than connections only for a moment: a write that counts, beside the searches.
            connection = self._pool.get(timeout=READ_TIMEOUT_S if self._opened else 0)
        except queue.Empty as error:
            raise UnavailableError("the document store is closed") from error
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.rollback()
            self._pool.put(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The writing connection in a transaction, which an exception undoes."""
        if self._writer is None:
            raise UnavailableError("the document store is closed")
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
        except BaseException:
            self._writer.rollback()
            raise
        self._writer.commit()

    def dimension(self) -> int | None:
        """How many numbers the vectors in here have; None while there are none."""
        with self.reading() as connection:
            row = connection.execute("SELECT length(embedding) FROM passages LIMIT 1").fetchone()
        return row[0] // 4 if row else None

    def count(self) -> int:
        """How many passages there are."""
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM passages").fetchone()[0])

    def numbers(self) -> set[int]:
        """The number of every passage."""
        with self.reading() as connection:
            return {number for (number,) in connection.execute("SELECT number FROM passages")}

    def points(self, numbers: Sequence[int]) -> list[Point]:
        """Passages as the vector index needs them."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT number, tenant, collection, readers, fields, embedding FROM passages"
                " WHERE number IN (SELECT value FROM json_each(?))",
                (_encode(numbers).decode(),),
            )
            return [
                Point(n, tenant, collection, _json(readers), _json(fields) or {}, array("f", embedding))
                for n, tenant, collection, readers, fields, embedding in rows
            ]

    def files(self, scope: Scope) -> list[StoredFile]:
        """The files of a collection, by name."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT name, digest, stored_at, (SELECT count(*) FROM passages p WHERE p.tenant = f.tenant"
                " AND p.collection = f.collection AND p.file = f.name)"
                " FROM files f WHERE tenant = ? AND collection = ? AND name <> '' ORDER BY name",
                (scope.tenant, scope.collection),
            )
            return [StoredFile(name, digest, n, {"stored_at": at}) for name, digest, at, n in rows]

    def collections(self, tenant: str) -> list[str]:
        """The collections of a tenant that have a file or a passage, by name."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT collection FROM passages WHERE tenant = ?1"
                " UNION SELECT collection FROM files WHERE tenant = ?1 ORDER BY 1",
                (tenant,),
            )
            return [name for (name,) in rows]

    def documents(
        self,
        connection: sqlite3.Connection,
        numbers: Sequence[int],
        scope: Scope,
        filters: Filters,
        *,
        embeddings: bool,
    ) -> dict[int, Document]:
        """Those of the passages that the scope may read and that fit; checked here again, whatever an index said."""
        where, values = readable(scope)
        also_where, allowed = conditions(filters)
        rows = connection.execute(
            "SELECT number, text, document, CASE WHEN ? THEN embedding END FROM passages"
            f" WHERE number IN (SELECT value FROM json_each(?)) AND {where}{also_where}",
            (embeddings, _encode(numbers).decode(), *values, *allowed),
        )
        return {number: document_of(text, blob, embedding) for number, text, blob, embedding in rows}

    def read(self, request: ReadRequest) -> ReadResponse:
        """A page of a file, in one state of it."""
        scope = Scope(request.tenant, request.collection, request.readers)
        where, values = readable(scope)
        of_file = f"FROM passages WHERE {where} AND file = ?"
        values = [*values, request.file]
        with self.reading() as connection:

            def place(id: str) -> int | None:
                row = connection.execute(
                    f"SELECT position, number {of_file} AND id = ?", (*values, id)
                ).fetchone()
                if row is None:
                    return None
                before = f"SELECT count(*) {of_file} AND (position, number) < (?, ?)"
                return int(connection.execute(before, (*values, *row)).fetchone()[0])

            (total,) = connection.execute(f"SELECT count(*) {of_file}", values).fetchone()
            digest = connection.execute(
                "SELECT digest FROM files WHERE tenant = ? AND collection = ? AND name = ?",
                (scope.tenant, scope.collection, request.file),
            ).fetchone()
            if (taken := page(request, place, total)) is None:
                return ReadResponse([], request.after, 0 if request.around else total)
            after, count = taken
            rows = connection.execute(
                f"SELECT text, document, CASE WHEN ? THEN embedding END {of_file}"
                " ORDER BY position, number LIMIT ? OFFSET ?",
                (request.with_embeddings, *values, count, after),
            )
            documents = [document_of(*row) for row in rows]
        return ReadResponse(documents, after, total, digest[0] if digest else "")

    def match(
        self,
        connection: sqlite3.Connection,
        query: str,
        scope: Scope,
        filters: Filters,
        *,
        k: int,
        also: Iterable[int] = (),
    ) -> dict[int, float]:
        """BM25 score of the ``k`` passages that fit the words best, and of those of ``also`` that fit at all.

        Best first; then those of ``also``.
        """
        expression = match_expression(query)
        if not expression:
            return {}
        where, values = readable(scope)
        also_where, allowed = conditions(filters)
        rows = connection.execute(
            "WITH fitting AS MATERIALIZED ("
            f" SELECT w.rowid AS number, -bm25(words, 1.0, {HEADING_WEIGHT}) AS score"
            f" FROM words w CROSS JOIN passages ON number = w.rowid WHERE words MATCH ? AND {where}{also_where}),"
            " best AS (SELECT number, score, 1 AS found FROM fitting ORDER BY score DESC, number LIMIT ?)"
            " SELECT number, score, found FROM best UNION ALL SELECT number, score, 0 FROM fitting"
            " WHERE number IN (SELECT value FROM json_each(?)) AND number NOT IN (SELECT number FROM best)"
            " ORDER BY found DESC, score DESC, number",
            (expression, *values, *allowed, k, _encode(list(also)).decode()),
        )
        return {number: max(score, 0.0) for number, score, _ in rows}

    def insert(
        self,
        connection: sqlite3.Connection,
        documents: Sequence[Document],
        embeddings: Sequence[array[float]],
        scope: Scope,
        *,
        file: str,
    ) -> tuple[list[Point], list[int]]:
        """Add passages; the new points, and the numbers of the passages with the same ids, which are gone."""
        points: list[Point] = []
        replaced: list[int] = []
        for document, embedding in zip(documents, embeddings, strict=True):
            replaced += _deleted(connection, "id = ?", (scope.tenant, scope.collection, document.id))
            fields = fields_of(document, file)
            readers = None if document.readers is None else _encode(document.readers).decode()
            kept = msgspec.structs.replace(document, text="", embedding=None, score=None)
            cursor = connection.execute(
                "INSERT INTO passages(tenant, collection, file, id, text, heading, document, readers, fields,"
                " embedding, position) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    scope.tenant, scope.collection, file, document.id, document.text, heading_of(document),
                    _encode(kept), readers, _encode(fields).decode(), embedding.tobytes(),
                    document.start or 0,
                ),
            )  # fmt: skip
            number = cursor.lastrowid
            assert number is not None
            points.append(Point(number, scope.tenant, scope.collection, document.readers, fields, embedding))
        return points, replaced

    def record_file(
        self, connection: sqlite3.Connection, scope: Scope, name: str, digest: str, *, at: float | None = None
    ) -> None:
        """Note that a file is in, in this version, since ``at`` or now."""
        connection.execute(
            "INSERT OR REPLACE INTO files(tenant, collection, name, digest, stored_at) VALUES (?, ?, ?, ?, ?)",
            (scope.tenant, scope.collection, name, digest, round(time.time(), 3) if at is None else at),
        )

    def delete_file(
        self, connection: sqlite3.Connection, scope: Scope, name: str, *, keep: Iterable[int] = ()
    ) -> list[int]:
        """Delete a file's passages but those of ``keep``; the numbers that are gone. The file stays listed."""
        return _deleted(
            connection,
            "file = ? AND number NOT IN (SELECT value FROM json_each(?))",
            (scope.tenant, scope.collection, name, _encode(list(keep)).decode()),
        )

    def forget_file(self, connection: sqlite3.Connection, scope: Scope, name: str) -> None:
        """Take a file off the list."""
        connection.execute(
            "DELETE FROM files WHERE tenant = ? AND collection = ? AND name = ?",
            (scope.tenant, scope.collection, name),
        )

    def clear(self, connection: sqlite3.Connection, scope: Scope) -> list[int]:
        """Delete a whole collection; the numbers that are gone."""
        connection.execute(
            "DELETE FROM files WHERE tenant = ? AND collection = ?", (scope.tenant, scope.collection)
        )
        return _deleted(connection, "1", (scope.tenant, scope.collection))

    def forget_empty(self, connection: sqlite3.Connection, scope: Scope) -> None:
        """Forget what a collection was made with when nothing is left of it."""
        connection.execute(
            "DELETE FROM manifests WHERE tenant = ?1 AND collection = ?2"
            " AND NOT EXISTS (SELECT 1 FROM passages WHERE tenant = ?1 AND collection = ?2)",
            (scope.tenant, scope.collection),
        )

    def manifest(self, scope: Scope) -> Manifest | None:
        """What a collection was made with."""
        with self.reading() as connection:
            row = connection.execute(
                "SELECT manifest FROM manifests WHERE tenant = ? AND collection = ?",
                (scope.tenant, scope.collection),
            ).fetchone()
        return _decode_manifest(row[0]) if row else None

    def manifests(self) -> list[Manifest]:
        """The different ones that there are."""
        with self.reading() as connection:
            rows = connection.execute("SELECT DISTINCT manifest FROM manifests ORDER BY 1")
            return [_decode_manifest(text) for (text,) in rows]

    def keep_manifest(
        self, connection: sqlite3.Connection, scope: Scope, given: Manifest | None, dimensions: int
    ) -> None:
        """Note what a collection is made with, as far as it is not known already."""
        kept = known(self.manifest(scope), given, dimensions=dimensions)
        connection.execute(
            "INSERT OR REPLACE INTO manifests(tenant, collection, manifest) VALUES (?, ?, ?)",
            (scope.tenant, scope.collection, _encode(kept).decode()),
        )

    def kept_files(self, connection: sqlite3.Connection | None = None) -> list[KeptFile]:
        """Every file of every tenant."""
        if connection is None:
            with self.reading() as own:
                return self.kept_files(own)
        rows = connection.execute(
            "SELECT tenant, collection, name, digest, stored_at, (SELECT count(*) FROM passages p WHERE"
            " p.tenant = f.tenant AND p.collection = f.collection AND p.file = f.name)"
            " FROM files f ORDER BY tenant, collection, name"
        )
        return [KeptFile(*row) for row in rows]

    def count_file(self, connection: sqlite3.Connection, scope: Scope, name: str) -> int:
        """How many passages a file has."""
        row = connection.execute(
            "SELECT count(*) FROM passages WHERE tenant = ? AND collection = ? AND file = ?",
            (scope.tenant, scope.collection, name),
        ).fetchone()
        return int(row[0])


def _deleted(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> list[int]:
    rows = connection.execute(
        f"DELETE FROM passages WHERE tenant = ? AND collection = ? AND {where} RETURNING number",
        values,
    )
    return [number for (number,) in rows]


def document_of(text: str, blob: bytes, embedding: bytes | None) -> Document:
    """A passage as it was put in."""
    document = _decode_document(blob)
    document.text = text
    if embedding is not None:
        document.embedding = vector(array("f", embedding))
    return document


def _unreadable(path: Path, error: sqlite3.DatabaseError) -> StateError:
    return StateError(
        f"the document store's file {path} cannot be read: {error}",
        hint="restore it from a backup, or move it away and ingest the documents again",
    )


def _json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
