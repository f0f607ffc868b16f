"""A store in a temporary folder, and one of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ragkit import SmallHost
from storekit import fresh_schema
from weft.components.store.pgvector import PgVector
from weft.components.store.qdrant_edge import QdrantEdge


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[QdrantEdge]:
    """An empty embedded store."""
    store, host = QdrantEdge(), SmallHost(tmp_path)
    await store.start(host)
    yield store
    await store.aclose()
    host.close()


ENGINES = ("qdrant-edge", "pgvector")


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store, of each engine in turn."""
    made: Any
    if request.param == "pgvector":
        made = PgVector(request.getfixturevalue("postgres"), schema=fresh_schema(), connections=4)
    else:
        made = QdrantEdge()
    host = SmallHost(tmp_path)
    await made.start(host)
    yield made
    await made.aclose()
    host.close()
