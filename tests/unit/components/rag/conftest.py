"""What the nodes that ask a store use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from shelf import Shelf, read_evidence

from ragkit import BagEmbedder, SmallHost


@pytest.fixture
def shelf() -> Shelf:
    """An empty one."""
    return Shelf()


@pytest.fixture
def uses(shelf: Shelf) -> dict[str, object]:
    """What the nodes use."""
    return {
        "store": shelf,
        "retriever": SimpleNamespace(invoke=shelf.retrieve),
        "reader": SimpleNamespace(invoke=read_evidence),
    }


@pytest.fixture
def embedder() -> BagEmbedder:
    """Hashed words."""
    return BagEmbedder()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SmallHost]:
    """Threads, and nothing else."""
    host = SmallHost(tmp_path)
    yield host
    host.close()
