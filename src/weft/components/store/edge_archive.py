"""The embedded store as a whole: one state of it to take out, and a second file of passages to put in its place."""

from __future__ import annotations

import secrets
import sqlite3
from array import array
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from weft.components.store.conditions import Scope
from weft.components.store.edge_engine import Engine, discard, index_of
from weft.components.store.passages import Passages, document_of
from weft.components.store.requests import other_dimension, vectors_of
from weft.contracts.archive import KeptCollection, KeptFile
from weft.contracts.manifest import Manifest
from weft.host import Lane
from weft.types import Document

BATCH: Final = 200
"""Passages read at once: 1 MB of text and vectors."""

_encode = msgspec.json.Encoder().encode
_decode_manifest = msgspec.json.Decoder(Manifest).decode


class EdgeSnapshot:
    """See :class:`weft.contracts.archive.Snapshot`: one read transaction, held open."""

    def __init__(self, passages: Passages, connection: sqlite3.Connection, lane: Lane) -> None:
        self._passages, self._connection, self._lane = passages, connection, lane

    @classmethod
    def of(cls, passages: Passages, lane: Lane) -> Self:
        """The state now."""
        connection = passages.connect_reader()
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM files").fetchone()  # the first look is what fixes the state
        return cls(passages, connection, lane)

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()

    async def collections(self) -> list[KeptCollection]:
        """See :class:`weft.contracts.archive.Snapshot`."""
        return await self._lane.run(self._collections)

    def _collections(self) -> list[KeptCollection]:
        rows = self._connection.execute(
            "SELECT s.tenant, s.collection, m.manifest FROM (SELECT tenant, collection FROM passages"
            " UNION SELECT tenant, collection FROM files) s LEFT JOIN manifests m"
            " ON m.tenant = s.tenant AND m.collection = s.collection ORDER BY 1, 2"
        )
        return [
            KeptCollection(tenant, name, None if text is None else _decode_manifest(text))
            for tenant, name, text in rows
        ]

    async def files(self) -> list[KeptFile]:
        """See :class:`weft.contracts.archive.Snapshot`."""
        return await self._lane.run(self._passages.kept_files, self._connection)

    async def passages(self, file: KeptFile) -> AsyncIterator[list[Document]]:
        """See :class:`weft.contracts.archive.Snapshot`."""
        after = (-1, -1)
        while True:
            documents, after = await self._lane.run(self._page, file, after)
            if not documents:
                return
            yield documents

    def _page(self, file: KeptFile, after: tuple[int, int]) -> tuple[list[Document], tuple[int, int]]:
        rows = self._connection.execute(
            "SELECT position, number, text, document, embedding FROM passages WHERE tenant = ? AND collection = ?"
            " AND file = ? AND (position, number) > (?, ?) ORDER BY position, number LIMIT ?",
            (*file.key, *after, BATCH),
        ).fetchall()
        documents = [document_of(text, blob, embedding) for _, _, text, blob, embedding in rows]
        return documents, rows[-1][:2] if rows else after


class EdgeDraft:
    """See :class:`weft.contracts.archive.Draft`: a file of passages beside the one that counts."""

    def __init__(self, engine: Engine, lane: Lane, path: Path, purpose: str) -> None:
        self._engine, self._lane, self._path, self._purpose = engine, lane, path, purpose
        self._passages = Passages(path, readers=1)

    @classmethod
    def open(cls, engine: Engine, lane: Lane, purpose: str) -> Self:
        """Go on with the draft that is there, if it is for this purpose."""
        path = engine.folder / "draft.sqlite"
        draft = cls(engine, lane, path, purpose)
        draft._passages.open()
        if not draft._is_for(purpose):
            draft._discard()
            draft = cls(engine, lane, path, purpose)
            draft._passages.open()
            with draft._passages.writing() as connection:
                connection.execute("INSERT INTO notes(name, value) VALUES ('purpose', ?)", (purpose,))
        with draft._passages.writing() as connection:
            connection.execute(
                "DELETE FROM passages WHERE (tenant, collection, file) NOT IN (SELECT tenant, collection, name FROM files)"
            )
        return draft

    def _is_for(self, purpose: str) -> bool:
        with self._passages.reading() as connection:
            row = connection.execute("SELECT value FROM notes WHERE name = 'purpose'").fetchone()
        return row is not None and row[0] == purpose

    async def files(self) -> list[KeptFile]:
        """See :class:`weft.contracts.archive.Draft`."""
        return await self._lane.run(self._passages.kept_files)

    async def declare(self, collection: KeptCollection) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        if collection.manifest is not None:
            await self._lane.run(self._declare, collection, collection.manifest)

    def _declare(self, collection: KeptCollection, manifest: Manifest) -> None:
        with self._passages.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO manifests(tenant, collection, manifest) VALUES (?, ?, ?)",
                (collection.tenant, collection.name, _encode(manifest).decode()),
            )

    async def add(self, file: KeptFile, documents: Sequence[Document]) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        await self._lane.run(self._add, file, documents)

    def _add(self, file: KeptFile, documents: Sequence[Document]) -> None:
        embeddings: list[array[float]] = vectors_of(documents)
        dimension = self._passages.dimension()
        if embeddings and dimension not in (None, len(embeddings[0])):
            assert dimension is not None
            raise other_dimension(self._engine.folder.name, len(embeddings[0]), dimension)
        with self._passages.writing() as connection:
            scope = Scope(file.tenant, file.collection)
            self._passages.insert(connection, documents, embeddings, scope, file=file.name)

    async def finish(self, file: KeptFile) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        await self._lane.run(self._finish, file)

    def _finish(self, file: KeptFile) -> None:
        with self._passages.writing() as connection:
            scope = Scope(file.tenant, file.collection)
            self._passages.record_file(connection, scope, file.name, file.digest, at=file.stored_at)

    async def drop(self, file: KeptFile) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        await self._lane.run(self._drop, file)

    def _drop(self, file: KeptFile) -> None:
        scope = Scope(file.tenant, file.collection)
        with self._passages.writing() as connection:
            self._passages.delete_file(connection, scope, file.name)
            self._passages.forget_file(connection, scope, file.name)

    async def publish(self, unchanged: Sequence[KeptFile] | None = None) -> bool:
        """See :class:`weft.contracts.archive.Draft`."""
        return await self._lane.run(self._publish, unchanged)

    def _publish(self, unchanged: Sequence[KeptFile] | None) -> bool:
        with self._passages.writing() as connection:
            connection.execute("DELETE FROM notes WHERE name = 'purpose'")
        self._passages.close()
        path = self._path.with_name(f"passages-{secrets.token_hex(4)}.sqlite")
        # Closed by its last connection, the file is whole by itself: it has no log beside it.
        self._path.rename(path)
        if self._engine.publish(path, unchanged):
            return True
        path.rename(self._path)
        discard(index_of(path))
        self._passages = Passages(self._path, readers=1)
        self._passages.open()
        with self._passages.writing() as connection:
            connection.execute("INSERT INTO notes(name, value) VALUES ('purpose', ?)", (self._purpose,))
        return False

    async def discard(self) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        await self._lane.run(self._discard)

    def _discard(self) -> None:
        self._passages.close()
        for suffix in ("", "-wal", "-shm"):
            discard(self._path.with_name(self._path.name + suffix))

    async def aclose(self) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        await self._lane.run(self._passages.close)
