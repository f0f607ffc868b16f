"""Kept-alive connections to one origin, and the protocol of each: one request at a time, replies framed strictly."""

from __future__ import annotations

import asyncio
import select
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, TypeAlias, cast

from weft.errors import (
    BackendReplyError,
    DeadlineError,
    OverloadedError,
    ServiceError,
    UnavailableError,
    UnreachableError,
)
from weft.http.body import ReplyBody
from weft.http.message import ProtocolError
from weft.http.outbox import BUSY, MAX_GATHERED_BYTES, Outbox
from weft.http.wire import ChunkDecoder, ReplyHead, parse_reply_head

if TYPE_CHECKING:
    from weft.http.client import ClientLimits
    from weft.http.connect import Dialer
    from weft.http.deadlines import Deadlines

_IDLE, _HEAD, _BODY, _STREAM, _CLOSED = range(5)

_MAX_CACHED_HEADS = 64
"""Reply heads remembered for one origin; servers that put a date or an id in them fill it, and it is emptied."""

_KEPT_HEAD_BYTES = 2048
"""A head up to this long is remembered."""

_TRUSTED_IDLE_S = 1.0
"""A connection idle for longer is looked at before it is used again; one used just now is taken on trust."""

_MAX_INFORMATIONAL = 8
"""1xx replies before the real one."""

_SILENCE_CHECKS = 4
"""How often silence is measured within its limit: it is noticed at most a quarter of the limit late."""

Answer: TypeAlias = tuple[ReplyHead, bytes | ReplyBody]


class DiedBeforeReply(ConnectionError):  # noqa: N818 - says what happened; never leaves this package
    """The connection ended before any byte of the reply."""


class ClientConnection(asyncio.Protocol):
    """One connection to a server."""

    __slots__ = (
        "_body",
        "_buffer",
        "_decoder",
        "_head",
        "_idle_timeout_s",
        "_informational",
        "_is_between_chunks",
        "_is_head_request",
        "_is_plain",
        "_is_stream",
        "_left",
        "_max_bytes",
        "_parts",
        "_pool",
        "_quiet",
        "_seen_bytes",
        "_size",
        "_waiter",
        "deadline",
        "endpoint",
        "forward",
        "idle_since",
        "phase",
        "started",
        "transport",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self.deadline = inf
        self.idle_since = 0.0
        self.endpoint = ""
        self.started = 0.0
        self.forward: Callable[[bytes], bool] | None = None
        self._is_between_chunks = False
        self.phase = _IDLE
        self._waiter: asyncio.Future[Answer] | None = None
        self._buffer = b""
        self._head: ReplyHead | None = None
        self._left = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._decoder: ChunkDecoder | None = None
        self._body: ReplyBody | None = None
        self._is_stream = False
        self._is_plain = True
        self._is_head_request = False
        self._max_bytes = 0
        self._idle_timeout_s = 0.0
        self._informational = 0
        self._seen_bytes = 0
        self._quiet = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way and the connection stands."""
        return self.phase == _IDLE

    def is_usable(self, now: float) -> bool:
        """Whether the server still holds the connection, as far as can be known without sending."""
        if self.phase != _IDLE or self.transport.is_closing():
            return False
        return now - self.idle_since < _TRUSTED_IDLE_S or not _has_input(self.transport)

    def send_for(
        self,
        message: bytes,
        deadline: float,
        max_bytes: int,
        *,
        is_head_request: bool,
        is_stream: bool,
        takes_whole: bool,
        idle_timeout_s: float,
    ) -> asyncio.Future[Answer]:
        """Send a request whose reply has no body, or a body that is handed over as it arrives.

        With ``takes_whole``, a reply that came in one read, and is no longer than ``max_bytes``, is handed over whole.
        """
        waiter = self.send(message, deadline, max_bytes)
        self._is_head_request = is_head_request
        self._is_stream = is_stream
        self._is_plain = (takes_whole or not is_stream) and not is_head_request
        self._idle_timeout_s = idle_timeout_s
        return waiter

    def send(self, message: bytes, deadline: float, max_bytes: int) -> asyncio.Future[Answer]:
        """Send a request; await what is returned for the whole reply."""
        pool = self._pool
        waiter = self._waiter = pool.loop.create_future()
        self.phase = _HEAD
        self._max_bytes = max_bytes
        self._is_head_request = self._is_stream = False
        self._is_plain = True
        self._informational = 0
        self.deadline = deadline
        if deadline < pool.deadlines.at:
            pool.deadlines.arm(deadline)
        if pool.open_connections - len(pool.idle) < BUSY or len(message) > MAX_GATHERED_BYTES:
            self.transport.write(message)
        else:
            pool.outbox.add(self.transport, message)
        return waiter

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        forward = self.forward
        if forward is not None and self._is_between_chunks and forward(data):
            return
        phase = self.phase
        if phase == _HEAD:
            # A reply in one read whose head was seen before goes straight to the one who waits for it.
            end = data.find(b"\r\n\r\n") + 4
            pool = self._pool
            head = pool.heads.get(data[:end])
            if (
                head is None
                or head.length != len(data) - end
                or not self._is_plain
                or head.length > self._max_bytes
                or self._buffer
            ):
                self._read_head(data)
            elif not head.keep_alive or pool.waiting or self.transport.get_write_buffer_size():
                self._answer(head, data[end:])
            else:
                # What _answer does, without its calls.
                waiter, self._waiter = self._waiter, None
                self.phase = _IDLE
                pool.keep(self)
                if waiter is not None and not waiter.done():
                    waiter.set_result((head, data[end:]))
        elif phase == _STREAM:
            self._read_stream(data)
        elif phase == _BODY:
            self._read_body(data)
        elif phase == _IDLE:
            # Nothing was asked: whatever this is, the next reply could not be told from it.
            self.drop()

    def eof_received(self) -> bool:
        """Called by the loop."""
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._ended(exc)
        self.deadline = inf
        self._pool.lost(self)

    def expire(self, now: float) -> None:
        """Called when the deadline has passed."""
        if self.phase == _IDLE:
            self.drop()
        elif self.phase == _STREAM and self._body is not None:
            self._check_silence(self._body, now)
        elif self.phase != _CLOSED:
            self._fail(DeadlineError("the reply did not come in time"))

    def _check_silence(self, body: ReplyBody, now: float) -> None:
        if body.received_bytes != self._seen_bytes or body.is_held:
            self._seen_bytes = body.received_bytes
            self._quiet = 0
        else:
            self._quiet += 1
        if self._quiet >= _SILENCE_CHECKS:
            self._fail(DeadlineError(f"the stream was silent for {self._idle_timeout_s:.3g} s"))
        else:
            self.deadline = now + self._idle_timeout_s / _SILENCE_CHECKS

    # Reading.

    def _read_head(self, data: bytes) -> None:
        seen = len(self._buffer)
        if seen:
            data, self._buffer = self._buffer + data, b""
        end = data.find(b"\r\n\r\n", max(seen - 3, 0)) + 4
        pool = self._pool
        if (len(data) if end == 3 else end) > pool.limits.max_header_bytes:
            self._fail(
                BackendReplyError(
                    f"the head of the reply is larger than {pool.limits.max_header_bytes} bytes"
                )
            )
            return
        if end == 3:
            self._buffer = data
            return
        head = pool.heads.get(data[:end])
        if head is None:
            head = self._parse(data[:end])
            if head is None:
                return
        if head.length != len(data) - end or not self._is_plain:
            self._begin_body(head, data[end:])
        elif head.length <= self._max_bytes:
            self._answer(head, data[end:])
        elif self._is_stream:
            self._begin_body(head, data[end:])
        else:
            self._refuse_size()

    def _parse(self, head_bytes: bytes) -> ReplyHead | None:
        pool = self._pool
        try:
            head = parse_reply_head(head_bytes, max_headers=pool.limits.max_headers)
        except ProtocolError as error:
            self._fail(BackendReplyError(error.message))
            return None
        if len(head_bytes) <= _KEPT_HEAD_BYTES:
            if len(pool.heads) >= _MAX_CACHED_HEADS:
                pool.heads.clear()
            pool.heads[head_bytes] = head
        return head

    def _begin_body(self, head: ReplyHead, data: bytes) -> None:
        if head.status < 200:
            self._informational += 1
            if head.status == 101 or self._informational > _MAX_INFORMATIONAL:
                self._fail(BackendReplyError(f"the server answered {head.status}"))
            elif data:
                self._read_head(data)
            return
        self._head = head
        length = 0 if self._is_head_request else head.length
        self._left = length
        self._decoder = ChunkDecoder() if length == -1 else None
        self._is_between_chunks = length == -1
        if self._is_stream:
            body = self._body = ReplyBody(self._pool.loop, self, length=length if length >= 0 else None)
            self.phase = _STREAM
            self._seen_bytes = self._quiet = 0
            self._watch_silence()
            waiter, self._waiter = self._waiter, None
            if data or not length:
                self._read_stream(data)
            if waiter is not None and not waiter.done():
                waiter.set_result((head, body))
            return
        if length > self._max_bytes:
            self._refuse_size()
            return
        self.phase = _BODY
        self._parts, self._size = [], 0
        if data or not length:
            self._read_body(data)

    def _watch_silence(self) -> None:
        deadlines = self._pool.deadlines
        self.deadline = time.monotonic() + self._idle_timeout_s / _SILENCE_CHECKS
        if self.deadline < deadlines.at:
            deadlines.arm(self.deadline)

    def _read_body(self, data: bytes) -> None:
        decoder, head = self._decoder, self._head
        assert head is not None
        if decoder is not None:
            try:
                payload = decoder.feed(data)
            except ProtocolError as error:
                self._fail(BackendReplyError(error.message))
                return
            is_ended, has_more = decoder.is_done, bool(decoder.rest)
        elif self._left >= 0:
            payload = data[: self._left] if len(data) > self._left else data
            self._left -= len(payload)
            is_ended, has_more = self._left == 0, len(payload) < len(data)
        else:
            payload, is_ended, has_more = data, False, False
        self._parts.append(payload)
        self._size += len(payload)
        if self._size > self._max_bytes:
            self._refuse_size()
        elif is_ended:
            parts, self._parts = self._parts, []
            self._answer(head, b"".join(parts), has_more=has_more)

    def _read_stream(self, data: bytes) -> None:
        body, decoder = self._body, self._decoder
        assert body is not None
        if decoder is not None:
            try:
                payload = decoder.feed(data)
            except ProtocolError as error:
                self._fail(BackendReplyError(error.message))
                return
            if not decoder.is_done:
                body.feed_reply(payload, False)
                self._is_between_chunks = decoder.is_between_chunks
                return
            has_more = bool(decoder.rest)
        elif self._left >= 0:
            payload = data[: self._left] if len(data) > self._left else data
            self._left -= len(payload)
            if self._left:
                body.feed_reply(payload, False)
                return
            has_more = len(payload) < len(data)
        else:
            body.feed_reply(data, False)
            return
        # The connection is free before the reader runs, which may well send its next request on it.
        assert self._head is not None
        self._body = self.forward = None
        self._release(self._head, has_more=has_more)
        body.feed_reply(payload, True)

    def _answer(self, head: ReplyHead, body: bytes, *, has_more: bool = False) -> None:
        waiter, self._waiter = self._waiter, None
        self._release(head, has_more=has_more)
        if waiter is not None and not waiter.done():
            waiter.set_result((head, body))

    def _release(self, head: ReplyHead, *, has_more: bool) -> None:
        """The reply is complete: keep the connection, unless more came than was asked for or is still unsent."""
        self._decoder = None
        if not head.keep_alive or has_more or self.phase == _CLOSED or self.transport.get_write_buffer_size():
            self.drop()
            return
        self.phase = _IDLE
        self._pool.release(self)

    # Ending.

    def _refuse_size(self) -> None:
        self._fail(BackendReplyError(f"the reply is larger than {self._max_bytes} bytes"))

    def _ended(self, error: Exception | None) -> None:
        """The server closed."""
        phase, self.phase = self.phase, _CLOSED
        if phase == _HEAD and not self._buffer and not self._informational:
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_exception(DiedBeforeReply(str(error) if error else "closed by the server"))
        elif phase == _HEAD:
            self._fail(BackendReplyError("the reply ended in its head"))
        elif phase in (_BODY, _STREAM):
            head, body = self._head, self._body
            if self._left == -2 and error is None and head is not None:
                if phase == _BODY:
                    self._answer(head, b"".join(self._parts))
                elif body is not None:
                    self._body = self.forward = None
                    body.feed_reply(b"", True)
            else:
                self._fail(BackendReplyError("the reply was cut short"))
        self._parts = []

    def _fail(self, error: ServiceError) -> None:
        """End the request under way, and the connection. Called from the loop's callbacks only."""
        self.forward = None
        waiter, self._waiter = self._waiter, None
        body, self._body = self._body, None
        self.phase = _CLOSED
        self._parts = []
        self.transport.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        if body is not None:
            body.fail(error.at(endpoint=self.endpoint, elapsed_s=time.monotonic() - self.started))

    def drop(self) -> None:
        """Close at once: nobody wants the reply, or the connection cannot be used again."""
        self.phase = _CLOSED
        self._body = self.forward = None
        self._waiter = None
        self.transport.abort()

    def close(self) -> None:
        """Close at once; a request under way fails, and finds out in the next turn of the loop."""
        waiter, body = self._waiter, self._body
        self.drop()
        error = UnavailableError("the client was closed")
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        if body is not None:
            body.fail(error.at(endpoint=self.endpoint, elapsed_s=time.monotonic() - self.started))

    def pause_body(self) -> None:
        """Called by the body: its reader is behind."""
        if self.phase == _STREAM:
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """Called by the body."""
        if self.phase == _STREAM:
            self.transport.resume_reading()


def _has_input(transport: asyncio.Transport) -> bool:
    """Whether an idle connection has something to read: its end, or bytes that nobody asked for."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock.fileno()], [], [], 0)[0])


class Pool:
    """The connections to one origin: at most ``max_connections``, further requests wait their turn."""

    __slots__ = (
        "_all",
        "_closed",
        "_dialer",
        "_gone",
        "_idle_timeout_s",
        "deadlines",
        "heads",
        "idle",
        "limits",
        "loop",
        "open_connections",
        "outbox",
        "waiting",
    )

    def __init__(
        self,
        dialer: Dialer,
        *,
        limits: ClientLimits,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        outbox: Outbox,
    ) -> None:
        self._dialer = dialer
        self.limits = limits
        self._idle_timeout_s = limits.idle_timeout_s
        self.loop = loop
        self.deadlines = deadlines
        self.outbox = outbox
        self.idle: list[ClientConnection] = []
        self.heads: dict[bytes, ReplyHead] = {}
        self._all: set[ClientConnection] = set()
        self.open_connections = 0
        self.waiting: deque[asyncio.Future[ClientConnection | None]] = deque()
        self._closed = False
        self._gone = asyncio.Event()

    def take(self, now: float) -> ClientConnection | None:
        """A kept-alive connection that still stands; the one used last, so that the others can expire."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            # is_usable, for one that was used a moment ago, without its call.
            if (
                now - connection.idle_since < _TRUSTED_IDLE_S
                and connection.phase == _IDLE
                and not connection.transport.is_closing()
            ) or connection.is_usable(now):
                return connection
            connection.drop()
        return None

    async def dial(self, deadline: float) -> tuple[ClientConnection, bool]:
        """A connection, made or waited for; and whether it was used before.

        Raises:
            OverloadedError: Too many requests wait already.
            DeadlineError: No connection became free in time.
            UnreachableError: The server cannot be reached.
        """
        if self._closed:
            raise UnavailableError("the client is closed")
        limits = self.limits
        if self.open_connections >= limits.max_connections and self.idle:
            # A fresh one was asked for while others stand idle: it takes the place of the oldest.
            self.idle.pop(0).drop()
            self.open_connections += 1
            return await self._make(deadline), False
        while self.open_connections >= limits.max_connections:
            connection = await self._wait_for_one(deadline)
            if connection is None:
                # Whoever made room has counted the new one.
                return await self._make(deadline), False
            if connection.is_usable(time.monotonic()):
                return connection, True
            connection.drop()
        self.open_connections += 1
        return await self._make(deadline), False

    async def _make(self, deadline: float) -> ClientConnection:
        """Dial; the connection was counted before."""
        limits = self.limits
        left_s = deadline - time.monotonic()
        try:
            if left_s <= 0:
                raise DeadlineError("the time was up before a connection was made")  # noqa: TRY301 - counted below
            connection = await self._dialer.dial(
                lambda: ClientConnection(self), timeout_s=min(limits.connect_timeout_s, left_s)
            )
        except BaseException:
            self._free()
            raise
        if connection not in self.deadlines.members:
            self._free()
            raise UnreachableError("the server closed the connection at once")
        # From here on its loss is what frees its place. One that is lost before was never handed out.
        self._all.add(connection)
        if self._closed:
            connection.drop()
            raise UnavailableError("the client was closed")
        return connection

    async def _wait_for_one(self, deadline: float) -> ClientConnection | None:
        """A connection that was given back; None: one may be made instead, and is counted already."""
        limits = self.limits
        if len(self.waiting) >= limits.max_waiting:
            raise OverloadedError(
                f"{limits.max_connections} connections are busy and {limits.max_waiting} requests wait"
            )
        waiter: asyncio.Future[ClientConnection | None] = self.loop.create_future()
        self.waiting.append(waiter)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                connection = await waiter
        except BaseException as error:
            if waiter in self.waiting:
                self.waiting.remove(waiter)
            elif waiter.done() and not waiter.cancelled():
                given = waiter.result()
                if given is not None:
                    self.release(given)
                else:
                    self._free()
            if isinstance(error, TimeoutError):
                raise DeadlineError("no connection became free in time") from error
            raise
        return connection

    def made(self, connection: ClientConnection) -> None:
        """A connection stands."""
        self.deadlines.members.add(connection)

    def release(self, connection: ClientConnection) -> None:
        """A connection is free."""
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                connection.idle_since = time.monotonic()
                waiter.set_result(connection)
                return
        if self._closed:
            connection.drop()
        else:
            self.keep(connection)

    def keep(self, connection: ClientConnection) -> None:
        """A connection is free, and nobody waits for one."""
        connection.idle_since = now = time.monotonic()
        # Armed if it must be: what it waited for may have had more time than it has now.
        connection.deadline = deadline = now + self._idle_timeout_s
        if deadline < self.deadlines.at:
            self.deadlines.arm(deadline)
        self.idle.append(connection)

    def lost(self, connection: ClientConnection) -> None:
        """A connection is gone."""
        self.deadlines.members.discard(connection)
        if connection in self._all:
            self._all.remove(connection)
            self._free()
        if connection in self.idle:
            self.idle.remove(connection)
        if not self._all:
            self._gone.set()

    def _free(self) -> None:
        self.open_connections -= 1
        self._hand_on()

    def _hand_on(self) -> None:
        """Let the next waiting request make a connection."""
        while self.waiting and self.open_connections < self.limits.max_connections:
            waiter = self.waiting.popleft()
            if not waiter.done():
                # Counted here: until the waiter runs, another request could take its place.
                self.open_connections += 1
                waiter.set_result(None)
                return

    async def aclose(self) -> None:
        """Close every connection; requests under way fail."""
        self._closed = True
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_exception(UnavailableError("the client is closed"))
        self.waiting.clear()
        for connection in list(self._all):
            connection.close()
        self.idle.clear()
        while self._all:
            self._gone.clear()
            await self._gone.wait()
