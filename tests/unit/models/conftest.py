"""Fixtures of the models tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from model_sources import FileServer, Maker, serving


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A file server on a free port."""
    with serving() as server:
        yield server


@pytest.fixture
async def store(tmp_path: Path, server: FileServer) -> AsyncIterator[Maker]:
    """Makes stores that fetch from ``server``."""
    maker = Maker(tmp_path / "cache", server)
    yield maker
    await maker.client.aclose()
