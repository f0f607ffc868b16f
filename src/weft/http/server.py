"""The HTTP/1.1 server: sockets, limits, draining. One connection's protocol is in ``connection.py``."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl as ssl_module
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import msgspec

from weft.errors import InternalError, PortTakenError, RequestError
from weft.http.connection import Connection
from weft.http.deadlines import Deadlines
from weft.http.message import REASONS, ErrorHandler, Handler, Request, Response
from weft.http.outbox import Outbox
from weft.http.wire import encode_lines

_LOG = logging.getLogger("weft.http")

_MAX_CACHED_HEADS = 256
"""Reply heads kept ready: statuses times content types, of which a process has a dozen."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one client, and all of them together, may ask of the server."""

    max_header_bytes: int = 32768
    """Bytes of a request's head; beyond: 431. Default 32 KiB: four times what nginx allows, room for tokens in cookies."""

    max_headers: int = 100
    """Header fields of a request; beyond: 431. Default 100, as nginx and Apache."""

    max_body_bytes: int = 100 * 1024 * 1024
    """Bytes of a request's body; beyond: 413. Default 100 MiB, a large document; routes narrow it with ``read(max_bytes)``."""

    header_timeout_s: float = 10.0
    """Seconds from a head's first byte (or from the connection's start) to its end; beyond: 408. Default 10: a head is one packet."""

    body_timeout_s: float = 10.0
    """Seconds in which at least ``min_body_rate`` times as many bytes of the body must arrive; else 408. Default 10."""

    min_body_rate: float = 240.0
    """Bytes a second, on average over ``body_timeout_s``. Default 240, as Kestrel: slower is an attack or a dead link."""

    idle_timeout_s: float = 75.0
    """Seconds that a connection is kept between requests. Default 75: longer than the usual 60 of load balancers in front."""

    write_timeout_s: float = 60.0
    """Seconds in which a client that holds a reply back must take some of it; else it is cut off. Default 60."""

    linger_s: float = 2.0
    """Seconds in which the rest of a refused request is read and dropped, so that its sender can read the reply. Default 2."""

    write_high_water: int = 65536
    """Bytes of replies waiting in one connection above which their producer waits. Default 64 KiB: a socket buffer's worth."""

    max_pipelined_bytes: int = 65536
    """Bytes of further requests held while one is served; beyond, reading pauses. Default 64 KiB."""

    max_connections: int = 10000
    """Open connections; further ones are closed at once. Default 10,000: below usual descriptor limits of servers."""

    backlog: int = 1024
    """Connections that the kernel may hold until they are accepted. Default 1024."""


class Server:
    """Serves one handler on any number of addresses.

    Handlers run each in a task of its own; it is cancelled as soon as the client is gone.

    Args:
        handler: ``async (request) -> Response | StreamResponse``.
        limits: See :class:`ServerLimits`.
        server_header: Value of a ``server`` header on every reply; None: none.
        on_error: Makes the reply for an error raised before a reply began, or for a malformed request (then the request
            is None). The default is problem+json; an unexpected exception is logged and says nothing about itself.
        ssl: For TLS.

    Attributes:
        connections: Open connections.
        ending: Tasks that were cancelled and have not ended yet.
        in_flight: Requests whose handler or reply is not done.
        requests_total: Requests begun.
        refused_total: Requests refused for what was wrong with their framing, size or speed.
        received_bytes, sent_bytes: Of bodies and heads, without TLS.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        limits: ServerLimits | None = None,
        server_header: str | None = None,
        on_error: ErrorHandler | None = None,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits or ServerLimits()
        self.connections: set[Connection] = set()
        self.ending: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        self.requests_total = 0
        self.refused_total = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.is_draining = False
        self.is_leaving = False
        self.grace_s = 0.0
        self.scheme = "http" if ssl is None else "https"
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set by the first listen, before any use
        self.deadlines: Deadlines = None  # type: ignore[assignment]  # the same
        self.outbox: Outbox = None  # type: ignore[assignment]  # the same
        self._on_error = on_error
        self._ssl = ssl
        self._server_line = f"server: {server_header}\r\n" if server_header else ""
        self._listeners: list[asyncio.Server] = []
        self._heads: dict[tuple[int, str], bytes] = {}
        self._date_until = 0.0
        self._date_line = b""
        self._idle = asyncio.Event()

    def serve(self, handler: Handler, on_error: ErrorHandler | None) -> None:
        """Have another handler answer from the next request on, also of connections that are open."""
        self.handler, self._on_error = handler, on_error

    async def listen(self, host: str, port: int) -> int:
        """Serve TCP connections to an address.

        Args:
            host: A name or address; a name with several addresses is bound on all of them.
            port: 0 picks a free one.

        Returns:
            The port that was bound.

        Raises:
            PortTakenError: The port is in use.
        """
        self._start()
        try:
            listener = await self.loop.create_server(
                self._accept, host, port, backlog=self.limits.backlog, reuse_address=True, **self._tls()
            )
        except OSError as error:
            # Windows says WSAEACCES (10013) where another socket has the port to itself.
            if error.errno in (48, 98, 10048, 10013):
                raise PortTakenError(f"port {port} on {host} is in use") from error
            raise
        self._listeners.append(listener)
        bound: int = listener.sockets[0].getsockname()[1]
        return bound

    async def listen_unix(self, path: str) -> None:
        """Serve connections to a Unix socket; a socket left at ``path`` is replaced."""
        self._start()
        self._listeners.append(
            await self.loop.create_unix_server(self._accept, path, backlog=self.limits.backlog, **self._tls())
        )

    async def listen_socket(self, sock: socket.socket) -> None:
        """Serve connections to a bound socket (one that was inherited, or shared by several workers)."""
        self._start()
        self._listeners.append(
            await self.loop.create_server(self._accept, sock=sock, backlog=self.limits.backlog, **self._tls())
        )

    def leave(self, grace_s: float) -> None:
        """Let clients part from this server: connections are still taken, and each reply says that it is the last.

        Args:
            grace_s: How long a connection on which no reply could say so is kept for one more request, once this drains:
                a client that sends one just then would have it refused.
        """
        self.is_leaving, self.grace_s = True, grace_s

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, let requests in flight end (their replies say ``connection: close``), then close.

        What is still running after ``timeout_s`` is cancelled.
        """
        self.is_draining = self.is_leaving = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            self._idle.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._idle.wait()
            except TimeoutError:
                pass
        await self.aclose()

    async def aclose(self) -> None:
        """Close everything now; requests in flight are cancelled, and have ended when this returns."""
        self.is_draining = self.is_leaving = True
        for listener in self._listeners:
            listener.close()
        here = asyncio.current_task()
        while self.connections:
            tasks = [c.task for c in self.connections if c.task is not None and c.task is not here]
            for connection in list(self.connections):
                connection.abort()
            if tasks:
                await asyncio.wait(tasks)
            if self.connections:
                self._idle.clear()
                await self._idle.wait()
        while ending := self.ending - {here}:
            await asyncio.wait(ending)
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()
        if self.deadlines is not None:
            self.deadlines.close()

    # For the connections.

    def _start(self) -> None:
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
            self.deadlines = Deadlines(self.loop)
            self.outbox = Outbox(self.loop)

    def _tls(self) -> dict[str, Any]:
        """A handshake is bounded as a head is: it comes before the connection is counted."""
        if self._ssl is None:
            return {}
        return {"ssl": self._ssl, "ssl_handshake_timeout": self.limits.header_timeout_s}

    def _accept(self) -> Connection:
        return Connection(self)

    def joined(self, connection: Connection) -> bool:
        """A connection was made; False: it is one too many."""
        if len(self.connections) >= self.limits.max_connections or self.is_draining:
            return False
        self.connections.add(connection)
        self.deadlines.members.add(connection)
        return True

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        self.deadlines.members.discard(connection)
        if not self.connections:
            self._idle.set()

    def head(self, status: int, content_type: str) -> bytes:
        """The status line and content type of a reply."""
        key = (status, content_type)
        head = self._heads.get(key)
        if head is None:
            text = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n{self._server_line}"
            if content_type:
                text += f"content-type: {content_type}\r\n"
            head = encode_lines(text, count=text.count("\n") if "\n" not in content_type else -1)
            if len(self._heads) >= _MAX_CACHED_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return head

    def date_line(self) -> bytes:
        """The ``date`` header, made once a second."""
        now = time.monotonic()
        if now >= self._date_until:
            wall = time.time()
            self._date_until = now + 1.0 - wall % 1.0
            self._date_line = b"date: %b\r\n" % formatdate(wall, usegmt=True).encode("ascii")
        return self._date_line

    def error_response(self, error: Exception, request: Request | None) -> Response:
        """The reply for an error; whatever goes wrong in making it, there is one."""
        if self._on_error is not None:
            try:
                return self._on_error(error, request)
            except Exception:  # noqa: BLE001 - logged; the default reply is sent instead
                _LOG.exception("on_error failed")
        return default_error_response(error, request)


def default_error_response(error: Exception, request: Request | None) -> Response:
    """RFC 9457 problem details; an error that is not a ``RequestError`` is logged and shown only as a 500."""
    if not isinstance(error, RequestError):
        _LOG.error("%s failed", request or "a request", exc_info=error)
        error = InternalError("internal error")
    body = {
        "title": REASONS.get(error.status, ""),
        "status": error.status,
        "detail": str(error),
        "code": error.code,
    }
    return Response(
        status=error.status, body=msgspec.json.encode(body), content_type="application/problem+json"
    )
