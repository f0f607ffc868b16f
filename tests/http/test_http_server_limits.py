"""Slow, endless and greedy clients: each is bounded in time and memory, and nobody else pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from wirekit import WATCHDOG_S, eventually

from weft.http.message import Response, StreamResponse
from weft.http.server import ServerLimits

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
MEGABYTE = 1024 * 1024


async def ok(request) -> Response:
    return Response(body=b"ok", content_type="text/plain")


async def echo(request) -> Response:
    return Response(body=await request.read(), content_type="text/plain")


class Drip:
    """Sends one byte after another for as long as the other side takes them."""

    def __init__(self, raw, *pieces: bytes) -> None:
        self._raw, self._pieces = raw, pieces
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        position = 0
        while not self._raw.writer.transport.is_closing():
            self._raw.write(self._pieces[position % len(self._pieces)])
            position += 1
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))


@pytest.mark.parametrize("piece", [b"a", b"a: b\r\n"])
async def test_slow_head_is_408(serve, piece) -> None:
    """A head that drips in is cut off when its time is over, however steadily it drips."""
    running = await serve(ok, limits=ServerLimits(header_timeout_s=0.1, linger_s=0.05))
    raw = await running.connect()
    raw.write(b"GET / HTTP/1.1\r\n")
    drip = Drip(raw, piece)
    assert int((await raw.rest())[9:12]) == 408
    await drip.stop()
    assert running.server.refused_total == 1


async def test_slow_second_head_is_408(serve) -> None:
    """The time of a head counts from its first byte on a kept connection, too."""
    running = await serve(ok, limits=ServerLimits(header_timeout_s=0.1, idle_timeout_s=60, linger_s=0.05))
    raw = await running.connect()
    raw.write(GET)
    assert (await raw.reply())[0] == 200
    raw.write(b"GET / HT")
    assert int((await raw.rest())[9:12]) == 408


@pytest.mark.parametrize("pieces", [(b"\r\n",), (b"\r", b"\n")])
async def test_empty_lines_buy_no_time(serve, pieces) -> None:
    """A client that sends only empty lines is closed on like one that sends nothing."""
    running = await serve(ok, limits=ServerLimits(header_timeout_s=0.1, linger_s=0.05))
    raw = await running.connect()
    drip = Drip(raw, *pieces)
    assert b"200" not in await raw.rest()
    await drip.stop()


async def test_silent_connections_are_closed(serve) -> None:
    """A connection without a request, and one that idles after its request, are closed without a word."""
    running = await serve(ok, limits=ServerLimits(header_timeout_s=0.05, idle_timeout_s=0.05))
    raw = await running.connect()
    assert await raw.rest() == b""
    raw = await running.connect()
    raw.write(GET)
    assert (await raw.reply())[2] == b"ok"
    assert await raw.rest() == b""


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_slow_body_is_408(serve, framing) -> None:
    """A body slower than the minimum rate fails its reader, who answers 408."""
    running = await serve(echo, limits=ServerLimits(body_timeout_s=0.1, min_body_rate=100_000, linger_s=0.05))
    raw = await running.connect()
    raw.write(POST + framing)
    drip = Drip(raw, b"1\r\na\r\n")
    answer = await raw.rest()
    await drip.stop()
    assert int(answer[9:12]) == 408
    assert b"connection: close" in answer


async def test_steady_body_has_all_the_time(serve) -> None:
    """A body that keeps the minimum rate may take longer than the time in which it is measured."""
    running = await serve(echo, limits=ServerLimits(body_timeout_s=0.3, min_body_rate=10))
    raw = await running.connect()
    raw.write(POST + b"Content-Length: 50\r\n\r\n")
    for _ in range(50):
        raw.write(b"a")
        await asyncio.sleep(0.01)
    assert (await raw.reply())[2] == b"a" * 50


@pytest.mark.parametrize("size", [1000, 200_000])
async def test_time_of_the_handler_is_not_the_clients(serve, size) -> None:
    """A client whose body nobody takes yet is not slow: its clock stands while it is held back."""
    go = asyncio.Event()

    async def late(request) -> Response:
        await go.wait()
        return await echo(request)

    running = await serve(late, limits=ServerLimits(body_timeout_s=0.05, min_body_rate=10))
    raw = await running.connect()
    raw.write(POST + b"Content-Length: %d\r\n\r\n" % size + b"a" * size)
    await eventually(lambda: running.server.received_bytes > min(size, 65536))
    await asyncio.sleep(0.2)
    go.set()
    status, _, body = await raw.reply()
    assert (status, len(body)) == (200, size)


async def test_continue_is_asked_for_when_the_body_is_wanted(serve) -> None:
    """``100 Continue`` goes out when the handler reads, and only then the body's time begins."""
    go = asyncio.Event()

    async def late(request) -> Response:
        await go.wait()
        return await echo(request)

    running = await serve(late, limits=ServerLimits(body_timeout_s=0.05, min_body_rate=10, linger_s=0.05))
    raw = await running.connect()
    raw.write(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    await eventually(lambda: running.server.in_flight == 1)
    await asyncio.sleep(0.2)
    go.set()
    assert (await raw.head()).startswith("HTTP/1.1 100 ")
    raw.write(b"ab")
    assert (await raw.reply())[2] == b"ab"
    raw.write(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (await raw.head()).startswith("HTTP/1.1 100 ")
    assert (await raw.reply())[0] == 408


async def test_continue_is_not_asked_for_what_is_refused(serve) -> None:
    """A handler that does not read answers at once, and the connection ends, for the body may come or not."""
    running = await serve(ok, limits=ServerLimits(linger_s=0.05))
    answer = await running.ask(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


async def test_unread_body_pauses_the_socket(serve) -> None:
    """While the handler reads nothing of 32 MB, the server takes no more than its buffers; then it gets every byte."""
    go = asyncio.Event()
    size = 32 * MEGABYTE

    async def late(request) -> Response:
        await go.wait()
        total = 0
        async for block in request.chunks():
            total += len(block)
        return Response(body=b"%d" % total)

    running = await serve(late)
    raw = await running.connect()
    raw.write(POST + b"Content-Length: %d\r\n\r\n" % size)
    raw.write(bytes(size))
    await eventually(lambda: running.server.received_bytes > 65536)
    seen = -1
    while seen != running.server.received_bytes:
        seen = running.server.received_bytes
        await asyncio.sleep(0.05)
    assert seen < MEGABYTE
    go.set()
    assert (await raw.reply())[2] == b"%d" % size


async def test_reader_that_does_not_read_stops_the_producer(serve) -> None:
    """A stream to a client that does not read holds at most the high-water mark and a block; then every byte arrives."""
    made = 0
    block = bytes(10_000)

    async def blocks() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(3000):
            made += 1
            yield block

    async def handler(request) -> StreamResponse:
        return StreamResponse(blocks())

    running = await serve(handler, limits=ServerLimits(write_high_water=65536))
    raw = await running.connect(receive_buffer=16384)
    raw.writer.transport.pause_reading()
    raw.write(CLOSE)
    await eventually(lambda: made > 0)
    seen = -1
    while seen != made:
        seen = made
        await asyncio.sleep(0.05)
    (connection,) = running.server.connections
    assert made < 3000
    assert connection._transport.get_write_buffer_size() <= 65536 + len(block) + 100
    raw.writer.transport.resume_reading()
    assert len(await raw.rest()) > 3000 * len(block)


async def test_client_that_never_reads_is_cut_off(serve) -> None:
    """A client that takes nothing in the write timeout is closed on; the producer is ended, too."""
    ended = asyncio.Event()

    async def blocks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            ended.set()

    async def handler(request) -> StreamResponse:
        return StreamResponse(blocks())

    running = await serve(handler, limits=ServerLimits(write_timeout_s=0.1))
    raw = await running.connect(receive_buffer=16384)
    raw.writer.transport.pause_reading()
    raw.write(GET)
    async with asyncio.timeout(WATCHDOG_S):
        await ended.wait()
    await eventually(lambda: not running.server.connections)


async def test_client_that_never_reads_a_whole_reply_is_cut_off(serve) -> None:
    """The same for a reply that was handed over whole."""

    async def handler(request) -> Response:
        return Response(body=bytes(20 * MEGABYTE))

    running = await serve(handler, limits=ServerLimits(write_timeout_s=0.1))
    raw = await running.connect(receive_buffer=16384)
    raw.writer.transport.pause_reading()
    raw.write(GET)
    await eventually(lambda: running.server.requests_total == 1)
    await eventually(lambda: not running.server.connections)


async def test_connections_are_bounded(serve) -> None:
    """One connection too many is closed at once; when another has left there is room again."""
    running = await serve(ok, limits=ServerLimits(max_connections=2))
    first, second = await running.connect(), await running.connect()
    for raw in (first, second):
        raw.write(GET)
        assert (await raw.reply())[2] == b"ok"
    third = await running.connect()
    assert await third.rest() == b""
    await first.aclose()
    await eventually(lambda: len(running.server.connections) == 1)
    assert (await running.ask(CLOSE)).endswith(b"ok")


async def test_pipelined_requests_are_answered_in_order(serve) -> None:
    """A thousand requests in one go: each has its own reply, in order, one handler at a time."""
    most = now = 0

    async def handler(request) -> Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return Response(body=request.query.encode() + await request.read())

    running = await serve(handler)
    raw = await running.connect()
    raw.write(
        b"".join(b"POST /?%d- HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na" % i for i in range(1000))
    )
    for i in range(1000):
        assert (await raw.reply())[2] == b"%d-a" % i
    assert most == 1


async def test_pipelined_bytes_are_bounded(serve) -> None:
    """While one request is served, no more of 3 MB of further ones is taken than the bound and one read."""
    go = asyncio.Event()

    async def late(request) -> Response:
        await go.wait()
        return Response(body=b"ok")

    running = await serve(late, limits=ServerLimits(max_pipelined_bytes=65536))
    raw = await running.connect()
    count = 3 * MEGABYTE // len(GET)
    raw.write(GET * count)
    await eventually(lambda: running.server.received_bytes > 65536)
    seen = -1
    while seen != running.server.received_bytes:
        seen = running.server.received_bytes
        await asyncio.sleep(0.05)
    assert seen <= 65536 + 2 * 262144
    assert running.server.requests_total == 1
    go.set()
    for _ in range(1000):
        assert (await raw.reply())[2] == b"ok"


@pytest.mark.parametrize("junk", [b"GET /" + b"a" * 100, b"GET / HTTP/1.1\r\nA: " + b"b" * 100, b"a" * 100])
async def test_endless_head_is_bounded(serve, junk) -> None:
    """Of a head without an end no more than the bound is ever held."""
    running = await serve(ok, limits=ServerLimits(max_header_bytes=8192, linger_s=0.05))
    raw = await running.connect()
    raw.write(junk)
    await eventually(lambda: running.server.received_bytes > 0)
    (connection,) = running.server.connections
    most = 0
    while running.server.connections and not raw.writer.transport.is_closing():
        raw.write(b"c" * 1000)
        await asyncio.sleep(0)
        most = max(most, len(connection._buffer))
    assert most <= 8192
    assert running.server.refused_total == 1


async def test_endless_chunk_size_is_bounded(serve) -> None:
    """Blanks before a chunk's extension are few, or refused: they are not part of the body that a bound counts."""
    running = await serve(echo, limits=ServerLimits(linger_s=0.05))
    answer = await running.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n1" + b" " * 1000)
    assert int(answer[9:12]) == 400
