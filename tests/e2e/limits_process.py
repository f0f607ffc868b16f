"""One gateway of several, as a process of its own: ``limits_process.py FOLDER LEASE_S``; it prints its address.

Folders are its data folder; the spec is ``front.yaml`` in the folder above it.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from switchkit import served
from weft.gateway import build
from weft.gateway.limits import build as limits
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.spec.load import load


async def main(folder: Path, lease_s: float) -> None:
    """Serve until killed."""
    limits.LEASE_S = lease_s
    spec, components = load(str(folder.parent / "front.yaml")), Components()
    settings = HostSettings(cache_dir=str(folder / "cache"), data_dir=str(folder), offline=True)
    log = Log(sys.stderr, name=folder.name, pretty=False)
    plans = check(spec, components)
    assembly = build.Assembly(spec, plans, components, settings=settings, secret={}.get, log=log)
    async with AsyncExitStack() as stack:
        url = await served(build.gateway(assembly, Access()), stack)
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
