"""A store in a temporary folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragkit import SmallHost
from weft.components.store.qdrant_edge import QdrantEdge


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[QdrantEdge]:
    """An empty store."""
    store, host = QdrantEdge(), SmallHost(tmp_path)
    await store.start(host)
    yield store
    await store.aclose()
    host.close()
