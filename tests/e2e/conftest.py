"""One ChatQnA for all end-to-end tests that only ask it things, in one process and split."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chatqna_process import HANDBOOK, Gateway


@pytest.fixture(scope="session", params=[(), ("--split",)], ids=["one process", "split"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """ChatQnA with the handbook in it."""
    folder = tmp_path_factory.mktemp("data")
    running = Gateway(folder, *request.param)
    try:
        document = folder / "handbook.txt"
        document.write_text(HANDBOOK)
        assert "handbook.txt ingested" in running.run("ingest", str(document))
        yield running
    finally:
        status = running.stop()
    assert status == 130, running.output
