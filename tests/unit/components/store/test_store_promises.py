"""Every store keeps every promise of the contract, on the engine that it is for."""

from __future__ import annotations

import pytest

from storekit import fresh_schema
from weft.components.store.pgvector import PgVector
from weft.testing import StoreContract


class TestPgVector(StoreContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres: str) -> None:
        self.url = postgres

    def component(self) -> PgVector:
        return PgVector(self.url, schema=fresh_schema(), connections=4)
