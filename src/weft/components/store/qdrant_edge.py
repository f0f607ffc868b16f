"""The embedded store: qdrant-edge for vectors, SQLite for everything else, in one folder, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from weft.components.store.edge_archive import EdgeDraft, EdgeSnapshot
from weft.components.store.edge_engine import SEARCH_THREADS, Engine
from weft.contracts.store import (
    CollectionsRequest,
    CollectionsResponse,
    DeleteRequest,
    DeleteResponse,
    ListRequest,
    ListResponse,
    ReadRequest,
    ReadResponse,
    SearchRequest,
    SearchResponse,
    StoreDescription,
    UpsertRequest,
    UpsertResponse,
)
from weft.errors import ComponentError, MissingExtraError
from weft.host import Host, Lane
from weft.types import Empty


class QdrantEdge:
    """Keeps passages in a folder of this machine: vectors in qdrant-edge, texts and full text in SQLite.

    One process at a time has the folder. Work runs in threads: searches beside each other and beside a write,
    writes one after the other. A write is on disk and found when it returns, and happens whole or not at all;
    cancelling the caller does not undo one that has begun.

    Args:
        path: The folder, below this installation's storage; a whole path is any folder of this machine.
    """

    exclusive = True

    def __init__(self, path: str = "documents") -> None:
        if not path or ".." in Path(path).parts:
            raise ComponentError(
                f"qdrant-edge: path '{path}' must be a folder below the storage folder, as in 'documents', or a whole path"
            )
        self._path = path

    async def start(self, host: Host) -> None:
        """Open the folder, or make it; mend the vector index if the last process ended in the middle.

        Raises:
            MissingExtraError: qdrant-edge is not installed.
            StateError: Another process has the folder, a newer version wrote it, or it is damaged.
        """
        try:
            import qdrant_edge  # noqa: F401 - seen here, so that its absence is said well
        except ImportError as error:
            raise MissingExtraError("qdrant-edge", package="qdrant-edge-py", extra="local") from error
        self._engine = Engine(host.storage / self._path)
        self._searches: Lane = host.lane(threads=SEARCH_THREADS, queue=256)
        self._writes: Lane = host.lane(threads=1, queue=64)
        await self._writes.run(self._engine.open)

    async def attach(self, host: Host) -> None:
        """See :class:`weft.contracts.archive.Archive`: the folder's lock is left to whoever serves.

        Raises:
            StateError: There is no store, a newer version wrote it, or it is damaged.
        """
        self._engine = Engine(host.storage / self._path)
        self._searches = host.lane(threads=1, queue=16)
        await self._searches.run(self._engine.attach)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[EdgeSnapshot]:
        """See :class:`weft.contracts.archive.Archive`."""
        snapshot = await self._searches.run(EdgeSnapshot.of, self._engine.passages, self._searches)
        try:
            yield snapshot
        finally:
            await asyncio.to_thread(snapshot.close)

    async def draft(self, purpose: str) -> EdgeDraft:
        """See :class:`weft.contracts.archive.Archive`: a second file beside the first."""
        return await self._writes.run(EdgeDraft.open, self._engine, self._writes, purpose)

    async def aclose(self) -> None:
        """Let go of the folder, after a write that is under way."""
        await asyncio.to_thread(self._engine.close)

    async def search(self, request: SearchRequest) -> SearchResponse:
        """See :class:`weft.contracts.store.Store`. ``hybrid`` fills in both scores of each passage where they exist."""
        return await self._searches.run(self._engine.search, request)

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        """See :class:`weft.contracts.store.Store`.

        Raises:
            InvalidRequestError: A passage has no id or no embedding.
            ConflictError: The embeddings have another dimension than those that are in.
        """
        return await self._writes.run(self._engine.upsert, request)

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        """See :class:`weft.contracts.store.Store`."""
        return await self._writes.run(self._engine.delete, request)

    async def list(self, request: ListRequest) -> ListResponse:
        """See :class:`weft.contracts.store.Store`."""
        return await self._searches.run(self._engine.list, request)

    async def read(self, request: ReadRequest) -> ReadResponse:
        """See :class:`weft.contracts.store.Store`."""
        return await self._searches.run(self._engine.read, request)

    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        """See :class:`weft.contracts.store.Store`."""
        return await self._searches.run(self._engine.collections, request)

    async def describe(self, request: Empty) -> StoreDescription:
        """See :class:`weft.contracts.store.Store`."""
        return await self._searches.run(self._engine.describe)
