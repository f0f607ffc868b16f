"""A real host for a component under test: on a folder of its own, without a network for models."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from weft.host import Host
from weft.observe.metrics import Metrics
from weft.serve.hosts import Hosts, HostSettings
from weft.serve.log import Log


@asynccontextmanager
async def serving_host(
    folder: Path, *, service: str = "tested", cache_dir: Path | None = None
) -> AsyncIterator[Host]:
    """What ``weft serve`` would hand a component at its start; everything it made is ended on leaving.

    Args:
        folder: For what the component keeps.
        service: The name under which it runs.
        cache_dir: Where its models are; nothing is fetched that is not there. None: it needs no models.
    """
    settings = HostSettings(
        cache_dir=str(cache_dir or folder / "cache"), data_dir=str(folder / "data"), offline=True
    )
    hosts = Hosts(settings, metrics=Metrics(), log=Log(io.StringIO(), name=service, pretty=False))
    try:
        yield hosts.host(service)
    finally:
        await hosts.aclose()
