"""A store in a temporary folder, and one of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from qdrant_server import QdrantServer
from ragkit import SmallHost
from storekit import fresh_schema
from weft.components.store.pgvector import PgVector
from weft.components.store.qdrant import Qdrant
from weft.components.store.qdrant_edge import QdrantEdge
from weft.testing.host import serving_host


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[QdrantEdge]:
    """An empty embedded store."""
    store, host = QdrantEdge(), SmallHost(tmp_path)
    await store.start(host)
    yield store
    await store.aclose()
    host.close()


ENGINES = ("qdrant-edge", "pgvector", "qdrant")


@pytest.fixture
async def qdrant_server(tmp_path: Path) -> AsyncIterator[QdrantServer]:
    """A local server of Qdrant's REST API."""
    async with QdrantServer(tmp_path / "server", api_key="k") as server:
        yield server


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store, of each engine in turn."""
    made: Any
    if request.param == "qdrant":
        async with QdrantServer(tmp_path / "server", api_key="k") as server, serving_host(tmp_path) as host:
            made = Qdrant(server.url, api_key="k")
            await made.start(host)
            yield made
        return
    host = SmallHost(tmp_path)
    if request.param == "pgvector":
        made = PgVector(request.getfixturevalue("postgres"), schema=fresh_schema(), connections=4)
    else:
        made = QdrantEdge()
    await made.start(host)
    yield made
    await made.aclose()
    host.close()
