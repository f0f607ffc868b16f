"""What the fuzzer feeds: our protocols on a transport in memory, and our readers. Each gives a result that two runs can compare."""

from __future__ import annotations

import asyncio
from typing import Any

from weft.errors import BackendReplyError, InvalidRequestError, PayloadTooLargeError, ServiceError, WeftError
from weft.http.client import ClientLimits
from weft.http.connection import _CLOSING, _HEAD, Connection
from weft.http.deadlines import Deadlines
from weft.http.message import Response
from weft.http.multipart import FormLimits, MultipartReader, PartEnd, PartHead
from weft.http.outbox import Outbox
from weft.http.pool import ClientConnection, DiedBeforeReply, Pool
from weft.http.server import Server, ServerLimits
from weft.http.sse import SSEReader

SERVER_LIMITS = ServerLimits(max_header_bytes=8192, max_body_bytes=100_000, max_pipelined_bytes=16384)
CLIENT_LIMITS = ClientLimits(max_header_bytes=8192, max_headers=50)
MAX_EVENT_BYTES = 2000
FORM_LIMITS = FormLimits(max_parts=5, max_header_bytes=500)

REFUSED = "refused"
"""Which of the statuses a malformed head gets depends on what was seen first, and so on the cuts; that it is refused does not."""


class Finding(Exception):
    """Something that must not be."""


class MemoryTransport(asyncio.Transport):
    """A transport without a socket: takes what is written, and can be paused."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = bytearray()
        self.is_paused = False
        self.is_closed = False
        self.is_half_closed = False

    def write(self, data: Any) -> None:
        if self.is_half_closed:
            raise Finding("written after the end was")
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_half_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


async def _feed(protocol: asyncio.Protocol, transport: MemoryTransport, pieces: list[bytes]) -> None:
    for piece in pieces:
        for _ in range(1000):
            if not transport.is_paused:
                break
            await asyncio.sleep(0)
        else:
            raise Finding("reading was never resumed")
        if transport.is_closed:
            return
        protocol.data_received(piece)
        await asyncio.sleep(0)


async def _settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def serve(pieces: list[bytes]) -> object:
    """Feed a server connection. The result: what was answered to each request, and whether the connection lives."""
    served: list[bytes] = []

    async def echo(request: Any) -> Response:
        served.append(await request.read())
        return Response(body=b"%d" % len(served), content_type="")

    server = Server(echo, limits=SERVER_LIMITS)
    server._start()
    server._date_until = float("inf")
    connection, transport = Connection(server), MemoryTransport()
    connection.connection_made(transport)
    try:
        await _feed(connection, transport, pieces)
        for _ in range(50):
            await _settle()
            if not connection._buffer or connection._phase in (_HEAD, _CLOSING):
                break
        if len(connection._buffer) > SERVER_LIMITS.max_header_bytes + max(map(len, pieces), default=0):
            raise Finding(f"{len(connection._buffer)} bytes are held")
        statuses = _statuses(bytes(transport.written))
    finally:
        connection.connection_lost(None)
        await _settle()
        server.deadlines.close()
    if server.in_flight or server.ending:
        raise Finding("a handler did not end")
    is_over = transport.is_closed or transport.is_half_closed
    if statuses.count("200") > len(served):
        raise Finding("more replies than requests")
    return statuses, served[: statuses.count("200")], is_over


def _statuses(written: bytes) -> list[str]:
    found = []
    while written:
        head, end, rest = written.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 ") or not end:
            raise Finding(f"not a reply: {written[:100]!r}")
        status = head[9:12].decode()
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, colon, value = line.partition(b": ")
            if not colon:
                raise Finding(f"not a header: {line!r}")
            if name == b"content-length":
                length = int(value)
        written = rest[length:]
        if status == "500":
            raise Finding("an internal error")
        if status != "100":
            found.append("200" if status == "200" else REFUSED)
    return found


async def ask(pieces: list[bytes], mode: str) -> object:
    """Feed a client connection, then end it. The result: status, fields and body, or that it failed."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    pool = Pool(None, limits=CLIENT_LIMITS, loop=loop, deadlines=deadlines, outbox=Outbox(loop))  # type: ignore[arg-type]
    connection, transport = ClientConnection(pool), MemoryTransport()
    connection.connection_made(transport)
    pool._all.add(connection)
    pool.open_connections = 1
    asked = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", loop.time() + 1e6, 100_000
    if mode in ("head", "stream"):
        waiter = connection.send_for(
            *asked,
            is_head_request=mode == "head",
            is_stream=mode == "stream",
            takes_whole=False,
            idle_timeout_s=1e6,
        )
    else:
        waiter = connection.send(*asked)
    answer = asyncio.ensure_future(_answer(waiter))
    try:
        await _feed(connection, transport, pieces)
        await _settle()
        held = len(connection._buffer) + sum(map(len, connection._parts))
        if held > 100_000 + CLIENT_LIMITS.max_header_bytes:
            raise Finding(f"{held} bytes are held")
        is_over = transport.is_closed or not connection.is_idle
        is_reusable = not is_over and connection in pool.idle
        if not transport.is_closed:
            connection.eof_received()
        connection.connection_lost(None)
        await _settle()
        if not answer.done():
            raise Finding("the request never ended")
        return (*answer.result(), is_reusable)
    finally:
        answer.cancel()
        deadlines.close()


async def _answer(waiter: asyncio.Future[Any]) -> tuple[object, ...]:
    try:
        head, body = await waiter
        if not isinstance(body, bytes):
            blocks = [block async for block in body]
            body = b"".join(blocks)
    except (ServiceError, DiedBeforeReply) as error:
        if not isinstance(error, (BackendReplyError, DiedBeforeReply)):
            raise Finding(f"an unexpected {type(error).__name__}: {error}") from error
        return ("failed", type(error).__name__)
    return (head.status, head.headers.raw, body)


def read_events(pieces: list[bytes]) -> object:
    """Feed the reader of events. The result: the events, or that one was too long."""
    reader, found = SSEReader(max_event_bytes=MAX_EVENT_BYTES), []
    try:
        for piece in pieces:
            found += reader.feed(piece)
            if reader._held_size > MAX_EVENT_BYTES or reader._size > 2 * MAX_EVENT_BYTES:
                raise Finding("more than the bound is held")
    except BackendReplyError:
        return REFUSED
    return found, reader.is_between_events


def read_form(pieces: list[bytes]) -> object:
    """Feed the reader of forms. The result: the parts, or how it was refused."""
    reader = MultipartReader(b"x", limits=FORM_LIMITS)
    parts: list[tuple[str, str | None, str, bytearray, bool]] = []
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                if isinstance(event, PartHead):
                    parts.append((event.name, event.filename, event.content_type, bytearray(), False))
                elif isinstance(event, PartEnd):
                    parts[-1] = (*parts[-1][:4], True)
                else:
                    parts[-1][3].extend(event)
            if len(reader._held) > 1000:
                raise Finding(f"{len(reader._held)} bytes are held")
    except (InvalidRequestError, PayloadTooLargeError) as error:
        return type(error).__name__
    except WeftError as error:
        raise Finding(f"an unexpected {error!r}") from error
    # What of an unfinished part was handed out depends on the cuts.
    return [part for part in parts if part[4]], reader.is_complete
