"""Servers, raw sockets and backends that misbehave; every test here runs on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from wirekit import WATCHDOG_S, Backend, Running, eventually

from weft.http.client import Client
from weft.http.server import Server


def pytest_asyncio_loop_factories(config, item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops, where uvloop exists."""
    factories = {"asyncio": asyncio.new_event_loop}
    if sys.platform != "win32":
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., object]]:
    """Servers of ours: called with a handler and the server's arguments. They must end with nothing left."""
    started: list[Running] = []

    async def start(handler, **arguments) -> Running:
        server = Server(handler, **arguments)
        port = await server.listen("127.0.0.1", 0)
        running = Running(server, port)
        started.append(running)
        return running

    yield start
    for running in started:
        async with asyncio.timeout(WATCHDOG_S):
            await running.server.aclose()
        for raw in running.raws:
            await raw.aclose()
        assert running.server.in_flight == 0
        assert not running.server.connections


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client that must end with no connection open."""
    client = Client()
    yield client
    async with asyncio.timeout(5):
        await client.aclose()
    assert client.open_connections == 0


@pytest.fixture
async def backend() -> AsyncIterator[Callable[..., object]]:
    """Raw servers: called with the conversation to have on each connection."""
    backends: list[Backend] = []

    async def start(conversation) -> Backend:
        started = await Backend.start(conversation)
        backends.append(started)
        return started

    yield start
    for each in backends:
        await each.aclose()


def open_sockets() -> int:
    """Sockets of this process. Other descriptors come and go: a loop opens some of its own when it first listens."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir() if sys.platform == "linux" else ():
        with suppress(OSError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count


@pytest.fixture(autouse=True)
async def _nothing_leaks() -> AsyncIterator[None]:
    """No task of a test outlives it, and no socket."""
    before = open_sockets()
    yield
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, left
    # Closing is done a turn or two after it was asked for.
    await eventually(
        lambda: open_sockets() <= before, said=lambda: f"{open_sockets()} sockets, {before} before"
    )
