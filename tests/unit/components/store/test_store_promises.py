"""Every store keeps every promise of the contract, on the engine that it is for."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from qdrant_server import QdrantServer
from storekit import fresh_schema
from weft.components.store.pgvector import PgVector
from weft.components.store.qdrant import Qdrant
from weft.testing import StoreContract
from weft.testing.promises.base import Subject


class TestPgVector(StoreContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres: str) -> None:
        self.url = postgres

    def component(self) -> PgVector:
        return PgVector(self.url, schema=fresh_schema(), connections=4)


class TestQdrant(StoreContract):
    @asynccontextmanager
    async def _subject(self) -> AsyncIterator[Subject]:
        with tempfile.TemporaryDirectory() as folder:
            async with QdrantServer(Path(folder)) as server, self._subject_of(server.url) as subject:
                yield subject

    def _subject_of(self, url: str) -> Any:
        self.url = url
        return super()._subject()

    def component(self) -> Qdrant:
        return Qdrant(self.url)
