"""A stream's events as a route changes them, whatever pieces they come in.

Each event whose data is an object of JSON is changed as a whole reply is. What says something else goes out as it came:
``[DONE]``, comments, and events with an ``error``. OPEA's byte literals (``data: b'text'``) have one field, the text: it is
changed as the content of a chunk's first choice is, and an event without a text is left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from weft.errors import BackendReplyError
from weft.gateway.transform.program import Transform
from weft.http.body import Alike
from weft.http.sse import MAX_EVENT_BYTES

_BOUNDARY: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")

_BOM: Final = b"\xef\xbb\xbf"

PassOn = Callable[[bytes], bytes]

Change = Callable[[Any, int], Any]
"""``(JSON value, bytes that it was written in) -> JSON value``; the value itself if nothing changes."""


class EventChanges:
    """Changes the events of one stream.

    Args:
        transform: What becomes of each object.
        change: The same, with who asks.
        inner: What the stream's blocks went through so far.
        alike: Which blocks need not be shown; what is changed is taken out of it.
    """

    def __init__(
        self,
        transform: Transform,
        change: Change,
        *,
        inner: PassOn | None = None,
        alike: Alike | None = None,
    ) -> None:
        self._change, self._inner, self._alike = change, inner, alike
        self._changes_text = any(step.path.partition(".")[0] == "choices" for step in transform.steps)
        self._names = self._needles = transform.needles
        if self._needles and self._changes_text:
            self._needles += (b"data: b", b"data:b")
        self._held = b""
        self._tail: bytes | None = None
        self._has_begun = False

    def pass_on(self, block: bytes) -> bytes:
        """Each block on its way out; itself if nothing of it changes.

        Raises:
            InternalError: An event does not fit what the route says of it.
            BackendReplyError: An event has no end, or cannot be read where something of it could change.
        """
        if self._inner is not None:
            block = self._inner(block)
        if not block or (self._needles and not self._held and self._is_untouched(block)):
            return block
        made = self._feed(block)
        if self._alike is not None and (made is not block or self._held):
            self._alike.forget()
        return made

    def _is_untouched(self, block: bytes) -> bool:
        """Whether none of the names is in it, which are all that could change. A name may be written with escapes."""
        return block.endswith(b"\n\n") and not _has_any(block, self._needles)

    def _feed(self, block: bytes) -> bytes:
        data = self._held + block if self._held else block
        had, self._held = bool(self._held), b""
        out: list[bytes] = []
        is_changed = had
        start = 0
        if self._tail is not None and data[:1] == b"\n":
            out.append(self._tail)  # the other half of the line end that the last event ended with
            is_changed |= not self._tail
            start = 1
        for boundary in _BOUNDARY.finditer(data, start):
            raw = data[start : boundary.end()]
            event = self._event(raw) if self._has_begun else self._first(raw)
            is_changed |= event is not raw
            out.append(event)
            start = boundary.end()
        ends_in_cr = start == len(data) and data[-1:] == b"\r"
        self._tail = None if not ends_in_cr else b"\n" if not out or out[-1].endswith(b"\r") else b""
        if start < len(data):
            self._held = data[start:]
            if len(self._held) > MAX_EVENT_BYTES:
                raise BackendReplyError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
            is_changed = True
        return b"".join(out) if is_changed else block

    def _first(self, raw: bytes) -> bytes:
        """The first event, before which there may be a byte order mark: readers of events leave it out."""
        self._has_begun = True
        event = raw.removeprefix(_BOM)
        after = self._event(event)
        return raw if after is event else after

    def _event(self, raw: bytes) -> bytes:
        """One event with its empty line; itself if it does not change."""
        if raw[:6] == b"data: " and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
            # One line of data, as nearly every server writes them.
            payload = raw[6:-2]
            after = self._payload(payload)
            return raw if after is payload else b"" if after is None else b"data: %b\n\n" % after
        lines = _LINE_END.split(raw)
        found = [line for line in lines if line[:5] == b"data:"]
        if not found:
            return raw
        payload = b"\n".join(line[6:] if line[5:6] == b" " else line[5:] for line in found)
        after = self._payload(payload)
        if after is payload:
            return raw
        if after is None:
            return b""
        rest = [line for line in lines if line and line[:5] != b"data:"]
        return b"\n".join([*rest, b"data: " + after, b"", b""])

    def _payload(self, payload: bytes) -> bytes | None:
        if payload[:2] in (b"b'", b'b"'):
            return self._literal(payload) if self._changes_text else payload
        if payload.lstrip()[:1] != b"{":
            return payload
        try:
            event = _decoded(payload)
        except (ValueError, RecursionError) as error:
            if self._needles and not _has_any(payload, self._names):
                return payload
            raise _unread(error) from error
        if event.get("error") is not None:
            return payload
        after = self._change(event, len(payload))
        return payload if after is event else msgspec.json.encode(after)

    def _literal(self, payload: bytes) -> bytes | None:
        try:
            text = ast.literal_eval(payload.decode("ascii"))
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise _unread(error) from error
        if not isinstance(text, bytes):
            return payload
        said = text.decode("utf-8", "replace")
        after = self._change({"choices": [{"index": 0, "delta": {"content": said}}]}, len(payload))
        match after:
            case {"choices": [{"delta": {"content": str() as content}}, *_]}:
                if content == said:
                    return payload
                return repr(content.encode()).encode() if content else None
        return None


def _has_any(data: bytes, needles: tuple[bytes, ...]) -> bool:
    """Whether one of the names is in it, or may be: one can be written with escapes."""
    return b"\\u" in data or any(needle in data for needle in needles)


def _unread(error: Exception) -> BackendReplyError:
    """A reader with less exact rules may see in it what the route takes away: it is not handed on."""
    return BackendReplyError(f"an event cannot be read, of which this route changes fields: {error}")


def _decoded(payload: bytes) -> Any:
    """The JSON of an event; what is no UTF-8 in it is replaced, for nothing gets past a change by not being text."""
    try:
        return msgspec.json.decode(payload)
    except UnicodeDecodeError:
        return msgspec.json.decode(payload.decode("utf-8", "replace"))
