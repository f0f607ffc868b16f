"""Options and markers of the whole suite."""

from __future__ import annotations

import gc
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storekit import postgres_server


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--all``: a program that is not installed is a failure instead of a skip."""
    parser.addoption("--all", action="store_true", help="skip nothing: a missing program fails its tests")


@pytest.fixture(autouse=True)
def _system_programs(request: pytest.FixtureRequest) -> None:
    """Skip a test marked ``system("program")`` where that program is not installed, and ``network`` without ``--all``."""
    if request.node.get_closest_marker("network") and not request.config.getoption("--all"):
        pytest.skip("downloads packages: ./test --all runs it")
    for mark in request.node.iter_markers("system"):
        missing = [program for program in mark.args if shutil.which(program) is None]
        if missing:
            reason = f"needs {', '.join(missing)}: ./test --all installs it"
            if request.config.getoption("--all"):
                pytest.fail(reason)
            pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server with pgvector, which the tests that ask for it share; each uses a schema of its own."""
    # Not below pytest's own folder, which every run that starts closes to other users: as root the server runs as one.
    with tempfile.TemporaryDirectory(prefix="weft-postgres-") as folder:
        Path(folder).chmod(0o755)
        with postgres_server(Path(folder)) as url:
            yield url


@pytest.fixture(scope="module", autouse=True)
def _threads_end() -> Iterator[None]:
    """No module leaves a thread behind that would keep Python from ending."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in set(threading.enumerate()) - before if not thread.daemon]
    for thread in left:
        thread.join(10)
    assert [thread.name for thread in left if thread.is_alive()] == []


def pytest_collection_finish() -> None:
    """What is there now stays: tests that collect garbage need not walk through modules and cases each time."""
    gc.collect()
    gc.freeze()
