"""Servers that misbehave, for tests of whatever calls servers: a component, an adapter, a whole megaservice.

::

    async with FaultyServer("cut-in-body") as server:
        component = MyComponent(server.url)
        ...
        with pytest.raises(BackendReplyError):
            await component.invoke(request)
        await server.until_closed()  # no connection was left open

Each behaviour of :data:`BEHAVIOURS` is one way in which servers go wrong, over a real socket. What a server of that kind
would have answered is known for chat, reranking and embeddings in the forms of OpenAI, TEI and Weft; anything else is
given as ``reply``. GET requests (health) are answered well, so that what fails is the request and not the start.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, cast

from weft.testing.faults import (
    BEHAVIOURS,
    REFUSED,
    USAGE,
    WORDS,
    Asked,
    Behaviour,
    Exchange,
    GoodReply,
    chat_reply,
    good_reply,
    well,
)

__all__ = [
    "BEHAVIOURS",
    "REFUSED",
    "USAGE",
    "WATCHDOG_S",
    "WORDS",
    "Asked",
    "Behaviour",
    "Exchange",
    "FaultyServer",
    "GoodReply",
    "Left",
    "chat_reply",
    "good_reply",
]

WATCHDOG_S: Final = 10.0
"""How long a test waits for what must happen: far beyond a busy machine's worst, so that only a fault reaches it."""


@dataclass(frozen=True, slots=True)
class Left:
    """A client that went away before it had its reply: what it had asked, and the event loop's time."""

    asked: Asked
    at: float


class FaultyServer:
    """A real HTTP server on a free port of this machine that behaves as its name says.

    Args:
        behaviour: One of :data:`BEHAVIOURS`, or ``refused``, or a function of the same kind.
        reply: What a server that is well would answer; by default :func:`good_reply`.
        pause_s: Between the bytes of a slow server.

    Attributes:
        behaviour: May be changed between requests (a server that recovers), except to and from ``refused``.
        url: Its address.
        asked: The requests to it, those with GET not among them.
        left: Clients that went away before they had their reply.
        opened: Connections made to it so far.
        open: Connections that stand.
        sent_bytes: What it has written.

    Raises:
        KeyError: No behaviour has that name.
    """

    def __init__(
        self,
        behaviour: str | Behaviour,
        *,
        reply: Callable[[Asked], GoodReply] = good_reply,
        pause_s: float = 1.0,
    ) -> None:
        if isinstance(behaviour, str) and behaviour != REFUSED and behaviour not in BEHAVIOURS:
            raise KeyError(f"no behaviour '{behaviour}'; there are: {REFUSED}, {', '.join(BEHAVIOURS)}")
        self.behaviour = behaviour
        self.url = ""
        self.asked: list[Asked] = []
        self.left: list[Left] = []
        self.opened = self.open = self.sent_bytes = 0
        self._reply, self._pause_s = reply, pause_s
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._fault: Exception | None = None

    async def __aenter__(self) -> Self:
        # The protocol is named: only then does asyncio send every write at once, and a byte alone.
        self._socket = bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        if self.behaviour != REFUSED:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self), sock=bound)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, with every connection and everything that still answers.

        Raises: what a behaviour or ``reply`` raised, which is a fault of the test.
        """
        if self._server is not None:
            self._server.close()
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for connection in list(self._connections):
            connection.abort()
        if tasks:
            await asyncio.wait(tasks)
        await self.until_closed()
        if self._server is not None:
            await self._server.wait_closed()
        if self._socket is not None:
            self._socket.close()
        if self._fault is not None:
            raise self._fault

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds()``, which is asked whenever something happened here.

        Raises:
            TimeoutError: It does not within :data:`WATCHDOG_S`.
        """
        async with asyncio.timeout(WATCHDOG_S):
            while not holds():
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    async def until_asked(self, count: int = 1) -> None:
        """Wait until so many requests have come."""
        await self.until(lambda: len(self.asked) >= count)

    async def until_left(self, count: int = 1) -> None:
        """Wait until so many clients have gone away before they had their reply."""
        await self.until(lambda: len(self.left) >= count)

    async def until_closed(self) -> None:
        """Wait until no connection stands."""
        await self.until(lambda: self.open == 0)

    # Called by the connections.

    def joined(self, connection: _Connection) -> None:
        """One stands."""
        self._connections.add(connection)
        self.opened += 1
        self.open += 1
        self._happened()

    def lost(self, connection: _Connection) -> None:
        """One is gone."""
        self._connections.discard(connection)
        self.open -= 1
        self._happened()

    async def answer(self, connection: _Connection, asked: Asked) -> None:
        """A request has come."""
        if asked.method == "GET":
            await well(Exchange(connection, asked, GoodReply(b'{"status":"ready"}'), self._pause_s))
            return
        self.asked.append(asked)
        self._happened()
        behaviour = self.behaviour
        behave = BEHAVIOURS[behaviour] if isinstance(behaviour, str) else behaviour
        try:
            await behave(Exchange(connection, asked, self._reply(asked), self._pause_s))
        except Exception as error:  # noqa: BLE001 - raised when the server is closed
            self._fault = self._fault or error
            connection.abort()

    def noticed(self, asked: Asked) -> None:
        """The one who asked has gone."""
        self.left.append(Left(asked, asyncio.get_running_loop().time()))
        self._happened()

    def _happened(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(eq=False)
class _Connection(asyncio.Protocol):
    server: FaultyServer
    task: asyncio.Task[None] | None = None
    _transport: asyncio.Transport = field(init=False)
    _buffer: bytes = b""
    _asked: Asked | None = None
    _may_write: asyncio.Event = field(default_factory=asyncio.Event)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._may_write.set()
        self.server.joined(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._look()

    def _look(self) -> None:
        """Begin the next request, if it is complete and none is being answered."""
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or self.task is not None:
            return
        lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        method, path, _ = lines[0].split(" ")
        loop = asyncio.get_running_loop()
        self._asked = Asked(method, path, headers, rest[:length], loop.time())
        self.task = loop.create_task(self._answer(self._asked))

    async def _answer(self, asked: Asked) -> None:
        await self.server.answer(self, asked)
        self._asked = self.task = None
        if not self._transport.is_closing():
            self._look()

    def eof_received(self) -> bool:
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        self.server.lost(self)

    def _gone(self) -> None:
        asked = self._asked
        self.abort()
        if asked is not None:
            self.server.noticed(asked)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def send(self, data: bytes) -> None:
        self._transport.write(data)
        self.server.sent_bytes += len(data)
        # One turn of the loop in any case: it is there that a client's going is noticed.
        await asyncio.sleep(0)
        await self._may_write.wait()

    def close(self) -> None:
        self._asked = None
        self._transport.close()

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # closing now throws away what is unsent, and resets
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._asked = None
        self._transport.abort()

    def abort(self) -> None:
        self._asked = None
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
        self._transport.abort()
