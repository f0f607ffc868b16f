"""How connections, requests and the server end: gone clients, draining, closing, errors on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from wirekit import WATCHDOG_S, eventually

from weft.http.message import Response, StreamResponse
from weft.http.server import ServerLimits

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def ok(request) -> Response:
    return Response(body=b"ok", content_type="text/plain")


class Waiting:
    """A handler that waits until it is let go, and tells when it has started and was cancelled."""

    def __init__(self, *, streams: bool = False) -> None:
        self.started, self.go, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._streams = streams

    async def __call__(self, request) -> Response | StreamResponse:
        if self._streams:
            return StreamResponse(self._blocks(), content_type="text/plain")
        await self._wait()
        return Response(body=b"late", content_type="text/plain")

    async def _blocks(self) -> AsyncIterator[bytes]:
        yield b"early "
        await self._wait()
        yield b"late"

    async def _wait(self) -> None:
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("how", ["half_close", "close", "reset"])
async def test_client_gone_cancels(serve, how, streams) -> None:
    """A client that closes, even only its sending side, or resets, cancels its handler."""
    handler = Waiting(streams=streams)
    running = await serve(handler)
    raw = await running.connect()
    raw.write(GET + GET)
    async with asyncio.timeout(WATCHDOG_S):
        await handler.started.wait()
        if how == "half_close":
            raw.writer.write_eof()
        elif how == "close":
            await raw.aclose()
        else:
            raw.reset()
        await handler.cancelled.wait()
    await eventually(lambda: not running.server.connections)
    assert running.server.requests_total == 1
    assert running.server.in_flight == 0


async def test_half_close_after_the_request_is_gone_too(serve) -> None:
    """A request that comes together with the end of its connection is not worked on."""
    handler = Waiting()
    running = await serve(handler)
    raw = await running.connect()
    raw.write(GET)
    raw.writer.write_eof()
    assert await raw.rest() == b""


@pytest.mark.parametrize("streams", [False, True])
async def test_drain_lets_replies_end(serve, streams) -> None:
    """Draining waits for replies under way, closes their connections, idle ones at once, and takes no new ones."""
    handler = Waiting(streams=streams)
    running = await serve(handler)
    idle, busy = await running.connect(), await running.connect()
    busy.write(GET)
    async with asyncio.timeout(WATCHDOG_S):
        await handler.started.wait()
        started = time.monotonic()
        draining = asyncio.ensure_future(running.server.drain(60))
        assert await idle.rest() == b""
        handler.go.set()
        answer = await busy.rest()
        await draining
    assert b"late" in answer
    assert (b"connection: close" in answer) is not streams
    assert time.monotonic() - started < WATCHDOG_S
    with pytest.raises(OSError):
        await running.connect()


async def test_drain_cancels_what_takes_too_long(serve) -> None:
    """What is not done within the time given to drain is cancelled."""
    handler = Waiting()
    running = await serve(handler)
    raw = await running.connect()
    raw.write(GET)
    async with asyncio.timeout(WATCHDOG_S):
        await handler.started.wait()
        await running.server.drain(0.01)
    assert handler.cancelled.is_set()
    assert await raw.rest() == b""


async def test_close_waits_for_cleaning_up(serve) -> None:
    """When ``aclose`` returns, handlers have ended, also those whose client left just before."""
    started, left = asyncio.Event(), []

    async def handler(request) -> Response:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            left.append(True)
        return Response()

    running = await serve(handler)
    raw = await running.connect()
    raw.write(GET)
    async with asyncio.timeout(WATCHDOG_S):
        await started.wait()
        raw.reset()
        await eventually(lambda: not running.server.connections)
        await running.server.aclose()
    assert left == [True]
    assert running.server.in_flight == 0


async def test_handler_that_ignores_its_cancelling_sends_nothing(serve) -> None:
    """A reply that comes although its client is gone goes nowhere, and does no harm."""
    started, go = asyncio.Event(), asyncio.Event()

    async def stubborn(request) -> Response:
        started.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                go.set()
        return Response(body=b"too late")

    running = await serve(stubborn)
    raw = await running.connect()
    raw.write(GET)
    async with asyncio.timeout(WATCHDOG_S):
        await started.wait()
        raw.reset()
        await eventually(lambda: running.server.in_flight == 0)
    assert go.is_set()


async def test_http10_and_close_are_honoured(serve) -> None:
    """HTTP/1.0 closes unless it asks to be kept; ``close`` closes; a stream to 1.0 ends with its connection."""
    streaming = Waiting(streams=True)
    streaming.go.set()
    running = await serve(streaming)
    answer = await running.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"\r\n\r\nearly late")
    running = await serve(ok)
    assert (await running.ask(b"GET / HTTP/1.0\r\n\r\n")).endswith(b"ok")
    raw = await running.connect()
    for _ in range(2):
        raw.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        status, head, _ = await raw.reply()
        assert (status, "connection: keep-alive" in head) == (200, True)


async def test_error_page_that_fails_is_replaced(serve, caplog) -> None:
    """When making the reply to an error fails, the plain one is sent, and the failure is logged."""

    def broken(error, request) -> Response:
        raise ZeroDivisionError

    running = await serve(ok, on_error=broken)
    assert (await running.ask(b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert "on_error failed" in caplog.text


async def test_early_reply_to_a_long_body_is_readable(serve) -> None:
    """A reply that comes while the client still sends is not lost to a reset: the rest is read and dropped for a while."""
    running = await serve(ok, limits=ServerLimits(linger_s=10))
    raw = await running.connect()
    raw.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))
    await raw.writer.drain()
    status, head, body = await raw.reply()
    assert (status, body, "connection: close" in head) == (200, b"ok", True)
    assert await raw.rest() == b""
