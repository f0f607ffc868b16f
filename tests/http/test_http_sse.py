"""Server-sent events: the same events however the stream is cut, and bounds that do not depend on it either."""

from __future__ import annotations

import time

import pytest

from weft.errors import BackendReplyError
from weft.http.sse import Event, SSEReader, events, sse

STREAMS = {
    "line_feeds": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "carriage_returns": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "both": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "mixed": (b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\r", [b"a\nb\nc", b"d"]),
    "byte_order_mark": (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
    "half_a_byte_order_mark": (b"\xef\xbbdata: a\n\ndata: b\n\n", [b"b"]),
    "comments": (b": hello\n\n:\n\n:data: x\ndata: a\n: in between\ndata: b\n\n", [b"a\nb"]),
    "many_lines": (b"data: a\ndata\ndata:\ndata: \ndata:  b\n\n", [b"a\n\n\n\n b"]),
    "no_space": (b"data:a:b\n\ndata: :\n\n", [b"a:b", b":"]),
    "unknown_fields": (b"foo: bar\nDATA: x\n data: y\ndata : z\ndata: a\n\n", [b"a"]),
    "empty_data": (b"data:\n\ndata\n\n", [b"", b""]),
    "nothing": (b"\n\n\r\r\n\n", []),
    "unfinished": (b"data: a\n\ndata: b\n", [b"a"]),
    "beyond_ascii": (
        "data: \u00e4\u2028\U0001f600\x85\x0b\n\n".encode(),
        ["\u00e4\u2028\U0001f600\x85\x0b".encode()],
    ),
}


def read(data: bytes, *cuts: int, max_event_bytes: int = 1000) -> list[Event]:
    reader = SSEReader(max_event_bytes=max_event_bytes)
    found = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        found += reader.feed(data[start:end])
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_events_do_not_depend_on_cuts(name) -> None:
    """Whole, cut in two and in three at every place, and byte by byte: the same events."""
    data, expected = STREAMS[name]
    assert [event.data for event in read(data)] == expected
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            assert [event.data for event in read(data, first, second)] == expected, (first, second)
    assert [event.data for event in read(data, *range(1, len(data)))] == expected


def test_type_id_and_retry_do_not_depend_on_cuts() -> None:
    """The type holds for its event, the id for all that follow, a retry for its event; malformed ones are passed over."""
    data = b"event: token\nid: 7\nretry: 50\ndata: a\n\ndata: b\n\nid: 8\0\nretry: 5x\nevent:\ndata: c\n\nevent: lost\n\ndata: d\nid\n\n"
    expected = [
        Event(b"a", "token", "7", 50),
        Event(b"b", "message", "7"),
        Event(b"c", "message", "7"),
        Event(b"d", "message", ""),
    ]
    for cut in range(len(data) + 1):
        assert read(data, cut) == expected, cut


@pytest.mark.parametrize(
    ("data", "fits"),
    [
        (b"data: " + b"a" * 94 + b"\n\n", True),
        (b"data: " + b"a" * 95 + b"\n\n", False),
        (b"data: " + b"a" * 1000, False),
        (b": " + b"a" * 99 + b"\n", False),
        (b"event: " + b"a" * 94 + b"\n", False),
        (b"data: aaaa\n" * 9 + b"\n", True),
        (b"data: aaaa\n" * 10 + b"\n", False),
        (b"data:\n" * 1000, False),
        (b"data: aaaa\n\n" * 100, True),
    ],
)
def test_bound_does_not_depend_on_cuts(data, fits) -> None:
    """An event, or a line, beyond the bound raises whether it comes whole or in pieces; what fits never does."""
    for cuts in ((), (1,), (len(data) // 2,), tuple(range(1, len(data)))):
        if fits:
            read(data, *cuts, max_event_bytes=100)
        else:
            with pytest.raises(BackendReplyError, match="longer than 100 bytes"):
                read(data, *cuts, max_event_bytes=100)


def test_long_event_in_small_pieces_costs_its_length() -> None:
    """A megabyte in pieces of ten bytes is joined once: it takes a moment, not the square of its length."""
    reader = SSEReader()
    reader.feed(b"data: ")
    started = time.process_time()
    for _ in range(100_000):
        assert not reader.feed(b"0123456789")
    (event,) = reader.feed(b"\n\n")
    assert len(event.data) == 1_000_000
    assert time.process_time() - started < 5


async def test_writer_and_reader_agree() -> None:
    """What is written as one event is read as one, line breaks and all."""
    payloads = [b"", b"a", b"a\nb", b"a\r\nb", b"a\rb", b"\n", b" a", b":a", "\u00e4".encode()]

    async def body():
        for payload in payloads:
            yield sse(payload)

    expected = [p.replace(b"\r\n", b"\n").replace(b"\r", b"\n") for p in payloads]
    assert [data async for data in events(body())] == expected
    assert read(sse(b"x", "token")) == [Event(b"x", "token")]
    for broken in ("a\nb", "a\rb"):
        with pytest.raises(ValueError, match="line breaks"):
            sse(b"x", broken)
