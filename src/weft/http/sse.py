"""Server-sent events (WHATWG HTML, section 9.2): reading them however they are cut, and writing them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from typing import NamedTuple

from weft.errors import BackendReplyError

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Bytes of one event. 4 MiB holds a base64 image or a long tool call; beyond, the stream is not one of ours."""

_LINE_END = re.compile(rb"\r\n|\n|\r").search
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event.

    Attributes:
        data: Its ``data`` lines, joined by line feeds.
        event: Its type; ``message`` when it has none.
        id: The last id seen in the stream.
        retry_ms: A reconnection time that came with it.
    """

    data: bytes
    event: str = "message"
    id: str = ""
    retry_ms: int | None = None


class SSEReader:
    """Turns the bytes of an event stream into events, wherever the reads cut it.

    Args:
        max_event_bytes: An event with more bytes in its data lines, or any longer line, raises.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_event",
        "_held",
        "_held_size",
        "_id",
        "_is_started",
        "_max",
        "_retry",
        "_size",
    )

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._held: list[bytes] = []
        self._held_size = 0
        self._data: list[bytes] = []
        self._size = 0
        self._event = b""
        self._id = b""
        self._retry: int | None = None
        self._after_cr = False
        self._is_started = False

    @property
    def is_between_events(self) -> bool:
        """Whether nothing of an unfinished event is held: the stream may end here."""
        return not self._held and not self._data

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes.

        Raises:
            BackendReplyError: An event is longer than the bound.
        """
        if self._after_cr and data:
            self._after_cr = False
            if data[:1] == b"\n":
                data = data[1:]
        if self._held:
            if self._is_started and b"\n" not in data and b"\r" not in data:
                # Pieces of a long line are joined once, at its end.
                self._hold(data)
                return []
            data = b"".join((*self._held, data))
            self._held, self._held_size = [], 0
        if not self._is_started:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                # Too little to know whether it is a byte order mark.
                self._hold(data)
                return []
            self._is_started = True
            data = data.removeprefix(_BOM)
        events: list[Event] = []
        pos = 0
        if b"\r" not in data:
            # Line feeds only, as nearly every server writes them.
            while (end := data.find(b"\n", pos)) >= 0:
                self._line(data[pos:end], events)
                pos = end + 1
        else:
            while (ending := _LINE_END(data, pos)) is not None:
                self._line(data[pos : ending.start()], events)
                pos = ending.end()
                # A carriage return at the very end may be half of a pair.
                self._after_cr = pos == len(data) and data[-1:] == b"\r"
        self._hold(data[pos:])
        return events

    def _hold(self, part: bytes) -> None:
        """Keep the start of a line until the rest of it comes."""
        if part:
            self._held.append(part)
            self._held_size += len(part)
            self._check(self._held_size)

    def _check(self, line_bytes: int) -> None:
        if self._size + line_bytes > self._max:
            raise BackendReplyError(f"an event is longer than {self._max} bytes")

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                block = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                kind = self._event.decode("utf-8", "replace") or "message"
                events.append(Event(block, kind, self._id.decode("utf-8", "replace"), self._retry))
            self._data, self._size, self._event, self._retry = [], 0, b"", None
            return
        self._check(len(line))
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._size += len(line) + 1
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id" and b"\0" not in value:
            self._id = value
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self._retry = int(value)


async def events(
    body: AsyncIterable[bytes], *, max_event_bytes: int = MAX_EVENT_BYTES
) -> AsyncIterator[bytes]:
    """The data of each event in ``body``, whole however it was cut; an unfinished last event is dropped, as the standard asks.

    Raises: what ``body`` raises, and BackendReplyError for an event beyond the bound.
    """
    reader = SSEReader(max_event_bytes=max_event_bytes)
    async for block in body:
        for event in reader.feed(block):
            yield event.data


def sse(data: bytes, event: str | None = None) -> bytes:
    """One event as bytes; line breaks in ``data`` become several data lines.

    Args:
        data: The payload.
        event: Its type; must have no line break.
    """
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    if event is None:
        return b"data: %b\n\n" % data
    if "\n" in event or "\r" in event:
        raise ValueError("an event type has no line breaks")
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
