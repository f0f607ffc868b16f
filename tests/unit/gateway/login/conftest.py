"""Databases for what login keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storekit import fresh_schema
from weft.store import Database
from weft.store.postgresql import PostgresDatabase
from weft.store.sqlite import SqliteDatabase


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty one of each kind."""
    made: Database
    if request.param == "sqlite":
        made = SqliteDatabase(tmp_path / "gateway.sqlite")
    else:
        url, schema = request.getfixturevalue("postgres"), fresh_schema()
        admin = PostgresDatabase(url)
        async with admin.transaction() as transaction:
            await transaction.execute(f"CREATE SCHEMA {schema}")
        await admin.aclose()
        made = PostgresDatabase(f"{url}{'&' if '?' in url else '?'}search_path={schema}")
    yield made
    await made.aclose()
