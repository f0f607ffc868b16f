"""A server that clients are to part from.

It takes what comes, says with each reply that it is the last, and keeps a connection that was not told so for one more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from weft.http.message import Request, Response, StreamResponse
from weft.http.server import Server


class Held:
    """Streams until it is released, and answers everything else at once."""

    def __init__(self) -> None:
        self.begun, self.released = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: Request) -> Response | StreamResponse:
        return StreamResponse(self._events()) if request.path == "/stream" else Response(200, (), b"{}")

    async def _events(self) -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        self.begun.set()
        await self.released.wait()
        yield b"data: 2\n\n"


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, path: str) -> None:
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, Held, int]]:
    handler = Held()
    server = Server(handler)
    port = await server.listen("127.0.0.1", 0)
    yield server, handler, port
    await server.aclose()


async def opened(port: int) -> Raw:
    return Raw(*await asyncio.open_connection("127.0.0.1", port))


async def test_whoever_asks_a_server_that_is_left_is_told_to_part(served: tuple[Server, Held, int]) -> None:
    """On connections that were there and on new ones, which are still taken."""
    server, _, port = served
    old = await opened(port)
    old.send("/")
    assert b"connection: close" not in await old.head()
    await old.reader.readexactly(2)
    server.leave(1.0)
    for raw in (old, await opened(port)):
        raw.send("/")
        assert b"connection: close" in await raw.head()
        assert await raw.reader.read() == b"{}"
        raw.writer.close()


async def test_a_stream_that_could_not_say_so_is_followed_by_one_more_reply(
    served: tuple[Server, Held, int],
) -> None:
    """A client that goes on with the connection on which its stream has ended is served while the server drains."""
    server, handler, port = served
    raw = await opened(port)
    raw.send("/stream")
    assert b"connection: close" not in await raw.head()
    await handler.begun.wait()
    server.leave(5.0)
    draining = asyncio.create_task(server.drain(5.0))
    handler.released.set()
    await raw.reader.readuntil(b"\r\n0\r\n\r\n")
    raw.send("/")
    assert b"connection: close" in await raw.head()
    assert await raw.reader.read() == b"{}"
    raw.writer.close()
    await draining


async def test_a_connection_that_stays_idle_is_closed_after_its_grace(
    served: tuple[Server, Held, int],
) -> None:
    """Nobody has to part from it by himself for the server to end."""
    server, _, port = served
    raw = await opened(port)
    raw.send("/")
    await raw.head()
    await raw.reader.readexactly(2)
    server.leave(0.02)
    await server.drain(5.0)
    assert await raw.reader.read() == b""
    raw.writer.close()
