"""A Qdrant server's passages as a whole: to take out file by file, and a second collection to put in their place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from weft.components.store.conditions import Scope
from weft.components.store.qdrant_points import (
    DENSE,
    FileRecord,
    dense_of,
    document_of,
    file_id,
    files_of,
    is_,
    manifest_point,
    new_version,
    of_kind,
    of_scope,
    passage_point,
)
from weft.components.store.qdrant_rest import Points
from weft.components.store.qdrant_tables import QdrantTables, places
from weft.components.store.requests import other_dimension, vectors_of
from weft.contracts.archive import KeptCollection, KeptFile
from weft.contracts.manifest import Manifest
from weft.errors import ConflictError
from weft.host import HttpClient
from weft.types import Document

BATCH: Final = 200
"""Passages read at once: 1 MB of text and vectors."""


async def kept_files(points: Points) -> list[KeptFile]:
    """Every file of every tenant."""
    records = [msgspec.convert(p["payload"], FileRecord) for p in await points.all(of_kind("file"))]
    files = [KeptFile(r.tenant, r.collection, r.name, r.digest, r.stored_at, r.chunks) for r in records]
    return sorted(files, key=lambda file: file.key)


class QdrantSnapshot:
    """See :class:`weft.contracts.archive.Snapshot`. A server keeps no old states: a file that is replaced is noticed."""

    def __init__(self, points: Points, *, is_empty: bool) -> None:
        self._points, self._is_empty = points, is_empty

    async def collections(self) -> list[KeptCollection]:
        """See :class:`weft.contracts.archive.Snapshot`."""
        if self._is_empty:
            return []
        manifests = {
            (p["payload"]["tenant"], p["payload"]["collection"]): msgspec.convert(
                p["payload"]["manifest"], Manifest
            )
            for p in await self._points.all(of_kind("manifest"))
        }
        scopes = {(file.tenant, file.collection) for file in await self.files()}
        return [KeptCollection(*scope, manifests.get(scope)) for scope in sorted(scopes)]

    async def files(self) -> list[KeptFile]:
        """See :class:`weft.contracts.archive.Snapshot`."""
        return [] if self._is_empty else await kept_files(self._points)

    async def passages(self, file: KeptFile) -> AsyncIterator[list[Document]]:
        """See :class:`weft.contracts.archive.Snapshot`.

        Raises:
            ConflictError: The file has been replaced meanwhile.
        """
        found = await self._points.get([file_id(Scope(file.tenant, file.collection), file.name)])
        record = msgspec.convert(found[0]["payload"], FileRecord) if found else None
        if record is None or (record.digest, record.stored_at) != (file.digest, file.stored_at):
            raise self._replaced(file)
        ids = [key for key, _ in await places(self._points, record)]
        for first in range(0, len(ids), BATCH):
            batch = ids[first : first + BATCH]
            points = {p["id"]: p for p in await self._points.get(batch, vector=[DENSE])}
            if len(points) != len(batch):
                raise self._replaced(file)
            yield [document_of(points[key]["payload"], dense_of(points[key])) for key in batch]

    def _replaced(self, file: KeptFile) -> ConflictError:
        return ConflictError(
            f"the document '{file.name}' was replaced or deleted while it was read",
            hint="run this again when no documents are being put in",
        )


class QdrantDraft:
    """See :class:`weft.contracts.archive.Draft`."""

    def __init__(self, client: HttpClient, tables: QdrantTables, purpose: str) -> None:
        self._tables, self._purpose = tables, purpose
        self._draft = QdrantTables(client, f"{tables.prefix}-draft")
        self._begun: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._declared: dict[Scope, Manifest] = {}

    async def open(self) -> None:
        """Go on with the draft that is there, if it is for this purpose."""
        if await self._draft.dimension(again=True) is not None:
            state = await self._draft.state()
            if state is None or state["purpose"] != self._purpose:
                await self._draft.drop()

    async def files(self) -> list[KeptFile]:
        """See :class:`weft.contracts.archive.Draft`."""
        return [] if await self._draft.dimension() is None else await kept_files(self._draft.points)

    async def declare(self, collection: KeptCollection) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        if collection.manifest is not None:
            self._declared[Scope(collection.tenant, collection.name)] = collection.manifest

    async def add(self, file: KeptFile, documents: Sequence[Document]) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        embeddings = vectors_of(documents)
        if not embeddings:
            return
        dimension = await self._draft.dimension()
        if dimension is None:
            await self._draft.create(len(embeddings[0]), purpose=self._purpose)
        elif dimension != len(embeddings[0]):
            raise other_dimension(self._tables.prefix, len(embeddings[0]), dimension)
        scope = Scope(file.tenant, file.collection)
        if file.key not in self._begun:
            await self._draft.points.delete(of_scope(scope, is_("file", file.name)))
            self._begun[file.key] = new_version(), 0
        version, count = self._begun[file.key]
        await self._draft.points.put(
            [
                passage_point(document, embedding, scope, file=file.name, version=version, order=count + n)
                for n, (document, embedding) in enumerate(zip(documents, embeddings, strict=True))
            ]
        )
        self._begun[file.key] = version, count + len(documents)

    async def finish(self, file: KeptFile) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        version, count = self._begun.pop(file.key, ("", 0))
        if await self._draft.dimension() is None:
            return  # nothing has passages yet, so there is no collection; a file without any is not kept
        record = FileRecord(
            file.tenant, file.collection, file.name, file.digest, file.stored_at, [version], count
        )
        await self._draft.points.put([record.point()])

    async def drop(self, file: KeptFile) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        if await self._draft.dimension() is None:
            return
        scope = Scope(file.tenant, file.collection)
        await self._draft.points.delete(files_of(scope, is_("name", file.name)))
        await self._draft.points.delete(of_scope(scope, is_("file", file.name)))

    async def publish(self, unchanged: Sequence[KeptFile] | None = None) -> bool:
        """See :class:`weft.contracts.archive.Draft`. The comparison and the change are two steps: nobody should write."""
        if unchanged is not None:
            has_any = await self._tables.dimension(again=True) is not None
            now = {file.version for file in await kept_files(self._tables.points)} if has_any else set()
            if now != {file.version for file in unchanged}:
                return False
        if await self._draft.dimension() is not None:
            await self._draft.points.put([manifest_point(*kept) for kept in self._declared.items()])
        await self._tables.replace_by(self._draft)
        return True

    async def discard(self) -> None:
        """See :class:`weft.contracts.archive.Draft`."""
        await self._draft.drop()

    async def aclose(self) -> None:
        """See :class:`weft.contracts.archive.Draft`: nothing is held."""
