"""An ingest component over the embedded store, and what tests ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ragkit import BagEmbedder, SmallHost, bag
from weft.components.dataprep.ingest import DocumentIngest
from weft.components.store.qdrant_edge import QdrantEdge
from weft.context import scope
from weft.contracts.dataprep import IngestRequest
from weft.contracts.store import ScopedStore, SearchRequest
from weft.types import Upload


class Kit(NamedTuple):
    documents: DocumentIngest
    store: ScopedStore
    embedder: BagEmbedder
    host: SmallHost

    async def take(self, *files: tuple[str, bytes], **fields: Any) -> list[tuple[str, str, str | None]]:
        uploads = [Upload(name, content) for name, content in files]
        reply = await self.documents.ingest(IngestRequest(uploads, **fields))
        return [(file.name, file.outcome, file.reason) for file in reply.files]

    async def find(self, query: str, **fields: Any) -> list[Any]:
        request = SearchRequest(query, bag(query), "hybrid", **fields)
        return [hit.document for hit in (await self.store.search(request)).hits]


@asynccontextmanager
async def started(folder: Path, **config: Any) -> AsyncIterator[Kit]:
    """An ingest component over the store in a folder."""
    inner, host, embedder = QdrantEdge(), SmallHost(folder), BagEmbedder()
    await inner.start(host)
    store = ScopedStore(inner, scope)
    documents = DocumentIngest(store, embedder, **config)
    await documents.start(host)
    try:
        yield Kit(documents, store, embedder, host)
    finally:
        await documents.aclose()
        await inner.aclose()
        host.close()
