"""What the tests of the HTTP server and client share: raw connections and raw servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import pytest

from weft.http.server import Server

WATCHDOG_S = 10.0
"""A test that waits longer than this has failed."""


@dataclass
class Running:
    """A server of ours that listens."""

    server: Server
    port: int
    raws: list[Raw] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def connect(self, *, receive_buffer: int = 0) -> Raw:
        """A raw connection to it; closed at the end of the test if not before."""
        raw = await Raw.open(self.port, receive_buffer=receive_buffer)
        self.raws.append(raw)
        return raw

    async def ask(self, data: bytes) -> bytes:
        """Everything the server sends for ``data`` on a fresh connection, until it closes."""
        raw = await self.connect()
        raw.write(data)
        try:
            return await raw.rest()
        finally:
            await raw.aclose()

    async def status(self, data: bytes) -> int:
        """The status of the first reply to ``data``; the server must close afterwards."""
        return int((await self.ask(data))[9:12])


class Raw:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, *, receive_buffer: int = 0) -> Self:
        """Connect to a local port."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # asyncio does this only for sockets that say which protocol they are of.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return cls(*await asyncio.open_connection(sock=sock, limit=2**22))

    def write(self, data: bytes) -> None:
        """Send."""
        self.writer.write(data)

    async def pieces(self, *pieces: bytes) -> None:
        """Send each in a packet of its own, and let the server read it before the next goes out.

        The server is in this process: a few turns of the loop are enough, and no piece can be lost by being early.
        """
        for piece in pieces:
            self.writer.write(piece)
            for _ in range(4):
                await asyncio.sleep(0)

    async def head(self) -> str:
        """The next head, with its empty line."""
        async with asyncio.timeout(WATCHDOG_S):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")

    async def reply(self) -> tuple[int, str, bytes]:
        """Status, head and body of the next reply that has a content-length."""
        head = await self.head()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
        async with asyncio.timeout(WATCHDOG_S):
            return int(head[9:12]), head, await self.reader.readexactly(length)

    async def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        async with asyncio.timeout(WATCHDOG_S):
            return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        blocks = []
        async with asyncio.timeout(WATCHDOG_S):
            with suppress(ConnectionError):
                while block := await self.reader.read(65536):
                    blocks.append(block)
        return b"".join(blocks)

    async def aclose(self) -> None:
        """Close."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Close with a reset."""
        self.writer.transport.abort()


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Backend:
    """A real server that does to each connection what a test says. ``gone`` is set when a client has closed on it."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.gone = asyncio.Event()
        self.requests: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls, conversation: Conversation) -> Self:
        """Listen on a free port."""
        backend = cls()

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            backend._tasks.add(task)
            backend.connections += 1
            try:
                await conversation(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                backend.gone.set()
            except asyncio.CancelledError:
                pass
            finally:
                writer.transport.abort()
                backend._tasks.discard(task)

        backend._server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        backend.port = backend._server.sockets[0].getsockname()[1]
        return backend

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def aclose(self) -> None:
        """End it."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        await asyncio.sleep(0.01)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request with a content-length, as it came."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    return head + await reader.readexactly(length)


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Returns when the client has closed."""
    with suppress(ConnectionError):
        while await reader.read(65536):
            pass


def answering(reply: bytes, *, close: bool = True) -> Conversation:
    """A conversation: any request is answered with these bytes."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(reply)
            await writer.drain()
            if close:
                return

    return conversation


def json_reply(body: bytes, status: str = "200 OK", content_type: str = "application/json") -> bytes:
    """A whole reply."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


async def eventually(condition: Callable[[], bool], *, said: Callable[[], object] = str) -> None:
    """Wait until ``condition`` holds; ``said`` tells what was seen when it never did."""
    for _ in range(int(WATCHDOG_S / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"never came true: {said()}")
