"""Comments on event streams that are silent: between events only, never later than promised, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from wirekit import WATCHDOG_S

from weft.errors import BackendReplyError
from weft.http.client import Client
from weft.http.heartbeat import Heartbeat
from weft.http.message import Response, StreamResponse

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BEAT_S = 0.04
COMMENT = b":\n\n"
CHUNK = b"3\r\n:\n\n\r\n"


class Silent:
    """A stream that says one thing, is silent until it is let go, and says another."""

    def __init__(self, first: bytes = b"data: 1\n\n", content_type: str = "text/event-stream") -> None:
        self.go, self.begun = asyncio.Event(), 0
        self._first, self._content_type = first, content_type
        self.error: Exception | None = None

    async def __call__(self, request) -> StreamResponse:
        return StreamResponse(
            self._blocks(),
            content_type=self._content_type,
            heartbeat_s=BEAT_S,
            begin=self._begin,
            finish=self._finish,
        )

    def _begin(self) -> None:
        self.begun += 1

    def _finish(self, error: Exception | None) -> bytes | None:
        return None if error is None else b"data: failed\n\n" if self.begun else None

    async def _blocks(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        await self.go.wait()
        if self.error is not None:
            raise self.error
        yield b"data: 2\n\n"


async def read_until(raw, enough: Callable[[bytes], bool]) -> bytes:
    got = b""
    async with asyncio.timeout(WATCHDOG_S):
        while not enough(got):
            block = await raw.reader.read(65536)
            assert block, got
            got += block
    return got


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_silent_stream_is_heard_of(serve, version) -> None:
    """Comments come while it is silent, each a chunk where there are chunks, and the events are as they were."""
    handler = Silent()
    raw = await (await serve(handler)).connect()
    raw.write(GET.replace(b"1.1", version))
    mark = CHUNK if version == b"1.1" else COMMENT
    got = await read_until(raw, lambda data: data.count(mark) >= 2)
    handler.go.set()
    got += await read_until(raw, lambda data: b"data: 2" in data)
    body = got.partition(b"\r\n\r\n")[2].replace(mark, b"")
    expected = b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n" if version == b"1.1" else b"data: 1\n\ndata: 2\n\n"
    assert body.startswith(expected)
    assert handler.begun == 0


async def test_a_silence_before_the_first_event_is_ended_by_the_head(serve) -> None:
    """The head and a comment go out; the stream is told, and its error is then told in it."""
    handler = Silent(b"")
    handler.error = BackendReplyError("gone")
    raw = await (await serve(handler)).connect()
    raw.write(GET)
    got = await read_until(raw, lambda data: CHUNK in data)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert handler.begun == 1
    handler.go.set()
    assert b"data: failed\n\n" in await read_until(raw, lambda data: b"0\r\n\r\n" in data)


@pytest.mark.parametrize(
    ("first", "content_type"),
    [(b"data: ha", "text/event-stream"), (b"data: x\r\n", "text/event-stream"), (b"one\n\n", "text/plain")],
    ids=["half an event", "a line of one", "no event stream"],
)
async def test_nothing_is_put_where_it_would_change_something(serve, first, content_type) -> None:
    """Within an event, or in what is no event stream, a comment would be content: none comes."""
    handler = Silent(first, content_type)
    raw = await (await serve(handler)).connect()
    raw.write(GET)
    await read_until(raw, lambda data: first in data)
    await asyncio.sleep(3 * BEAT_S)  # the only way to see that nothing comes
    handler.go.set()
    assert CHUNK not in await read_until(raw, lambda data: b"data: 2" in data)


async def test_a_relayed_stream_has_them_between_its_events(serve) -> None:
    """Bytes that go from connection to connection are cut nowhere: while half an event is there, none comes."""
    halves, whole = asyncio.Event(), asyncio.Event()

    async def backend(request) -> StreamResponse:
        async def blocks() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            await halves.wait()
            yield b"data: "
            await whole.wait()
            yield b"2\n\n"

        return StreamResponse(blocks())

    behind = await serve(backend)
    client = Client()

    async def front(request) -> StreamResponse | Response:
        reply = await client.endpoint(behind.url, timeout_s=20).stream("GET", "/")
        return StreamResponse(reply.body, heartbeat_s=BEAT_S)

    try:
        raw = await (await serve(front)).connect()
        raw.write(GET)
        await read_until(raw, lambda data: data.count(CHUNK) >= 2)
        halves.set()
        await read_until(raw, lambda data: data.endswith(b"6\r\ndata: \r\n"))
        await asyncio.sleep(3 * BEAT_S)  # the only way to see that nothing comes
        whole.set()
        rest = await read_until(raw, lambda data: b"2\n\n" in data)
        assert rest.startswith(b"3\r\n2\n\n")
    finally:
        await client.aclose()


async def test_a_connection_lives_on_after_a_stream_with_comments(serve) -> None:
    """The next request of the connection has its own time, and is answered."""
    handler = Silent()
    raw = await (await serve(handler)).connect()
    raw.write(GET)
    await read_until(raw, lambda data: CHUNK in data)
    handler.go.set()
    await read_until(raw, lambda data: data.endswith(b"0\r\n\r\n"))
    raw.write(GET)
    assert b"data: 2" in await read_until(raw, lambda data: data.endswith(b"0\r\n\r\n"))


def test_the_longest_silence_is_never_longer() -> None:
    """Wherever between two looks the last event came, there are two more looks within the time that was promised."""
    beat = Heartbeat(StreamResponse(_none(), heartbeat_s=9.0), b"", is_chunked=True)
    for step in range(200):
        event = 1000 + step * beat.period_s / 100
        first = beat.next_look(event)
        second = beat.next_look(first)
        assert first - event >= beat.period_s / 4 - 1e-9
        assert second - event <= 9.0 + 1e-9


def test_streams_of_one_period_look_together() -> None:
    """Whenever they began: a thousand silent streams are one look around at a time."""
    beat = Heartbeat(StreamResponse(_none(), heartbeat_s=9.0), b"", is_chunked=True)
    looks = {round(beat.next_look(1000 + step / 100), 6) for step in range(int(beat.period_s * 100))}
    assert len(looks) <= 2


async def _none() -> AsyncIterator[bytes]:
    return
    yield b""
