"""Replies leave in the order of their requests, and chunks are only as long as every parser says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from weft.http.body import ReplyBody
from weft.http.connection import Connection
from weft.http.message import ProtocolError, Request, Response
from weft.http.outbox import BUSY
from weft.http.server import Server
from weft.http.wire import ChunkDecoder


class Written(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.closing

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.closing = True


async def busy_connection(answer: bytes = b"first") -> tuple[Connection, Written]:
    """A connection of a busy server whose first request was answered in this turn: the reply waits to be written."""

    async def handler(request: Request) -> Response:
        return Response(
            body=answer if request.path == "/1" else b"second" * 10_000, content_type="text/plain"
        )

    server = Server(handler)
    server._start()
    server.in_flight = BUSY
    connection, transport = Connection(server), Written()
    connection.connection_made(transport)
    connection.data_received(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    while not server.outbox._messages:
        await asyncio.sleep(0)
    assert transport.data == b""
    return connection, transport


async def test_refusal_follows_the_reply_before_it() -> None:
    """A malformed request read before the last reply was written is refused after that reply."""
    connection, transport = await busy_connection()
    connection.data_received(b"no request\r\n\r\n")
    await asyncio.sleep(0)
    first, _, second = transport.data.partition(b"first")
    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 400")
    connection.server.deadlines.close()


async def test_long_reply_follows_the_reply_before_it() -> None:
    """A reply too long to be gathered does not overtake the one that was."""
    connection, transport = await busy_connection()
    outbox = connection.server.outbox
    held, outbox._messages = outbox._messages, []
    await asyncio.sleep(0)  # the flush of this turn has gone by: only the next one writes
    outbox._messages = held
    connection.data_received(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        while b"second" not in transport.data:
            await asyncio.sleep(0)
    assert transport.data.index(b"first") < transport.data.index(b"second")
    connection.server.deadlines.close()


@pytest.mark.parametrize("size", [b"0x5", b"0X5", b"+5", b"5_", b" 5", b"\xb25"])
def test_a_chunk_size_is_hexadecimal_digits_only(size: bytes) -> None:
    """What Python reads as a number and HTTP does not is refused: another parser would see another length."""
    with pytest.raises(ProtocolError):
        ChunkDecoder().feed(size + b"\r\nhello\r\n")


@pytest.mark.parametrize("size", [b"5", b"05", b"00000005", b"000000000000005"])
def test_chunk_sizes_in_one_read(size: bytes) -> None:
    """A whole chunk in one read is its payload, however its size is written."""
    decoder = ChunkDecoder()
    assert decoder.feed(size + b"\r\nhello\r\n") == b"hello"
    assert decoder.is_between_chunks


class Source:
    """Where a reply's body comes from: the connection takes reads to ``forward`` first."""

    forward: Callable[[bytes], bool] | None = None

    def pause_body(self) -> None:
        pass

    def resume_body(self) -> None:
        pass

    def drop(self) -> None:
        pass


@pytest.mark.parametrize("read", [b"\0\r\n", b"\0a\r\n", b"\0ab\r\n", b"\r\n", b"\0" * 2_000_000 + b"\r\n"])
async def test_what_is_no_chunk_is_never_forwarded_as_one(read: bytes) -> None:
    """The decoder refuses it; passed on as it came, it would break the framing of the client's connection."""
    source, written = Source(), []
    body = ReplyBody(asyncio.get_running_loop(), source)
    task = asyncio.ensure_future(body.relay(written.append, chunked=True))
    await asyncio.sleep(0)
    assert source.forward is not None
    assert source.forward(b"5\r\nhello\r\n")
    assert not source.forward(read)
    assert written == [b"5\r\nhello\r\n"]
    body.feed_reply(b"", True)
    await task
