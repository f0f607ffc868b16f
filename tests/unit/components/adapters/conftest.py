"""A real server that sends what it is told, and the host that components get in a real process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rawserver import RawServer

from weft.observe.metrics import Metrics
from weft.serve.host import ServiceHost
from weft.serve.hosts import Hosts, HostSettings
from weft.serve.log import Log


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    """A server of bytes."""
    made = RawServer()
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    """Makes hosts."""
    made = Hosts(HostSettings(str(tmp_path), str(tmp_path)), metrics=Metrics(), log=Log(name="test"))
    yield made
    await made.aclose()


@pytest.fixture
def host(hosts: Hosts) -> ServiceHost:
    """A service's host; its config names no address, so that only the operator's networks are reached."""
    return hosts.host("test")
