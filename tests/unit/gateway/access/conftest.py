"""A rig, and databases of both makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from accesskit import Opener
from frontkit import FrontRig
from storekit import postgres_schema
from weft.store import Database
from weft.store.postgresql import PostgresDatabase
from weft.store.sqlite import SqliteDatabase


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    """Starts gateways, and stops them."""
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


@pytest.fixture(params=["sqlite", "postgresql"])
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens the same empty database again and again."""
    url = ""
    if request.param == "postgresql":
        url = await postgres_schema(request.getfixturevalue("postgres"))
    opened: list[Database] = []

    def open_() -> Database:
        database: Database = PostgresDatabase(url) if url else SqliteDatabase(tmp_path / "gateway.sqlite")
        opened.append(database)
        return database

    yield open_
    for database in opened:
        await database.aclose()
