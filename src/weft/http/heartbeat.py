"""Comments on an event stream that is silent, so that nobody on the way takes its connection for dead.

A stream's events cost nothing more for it: each leaves behind what was written last, which is looked at now and then, on
the timer that all of a server's connections share.
"""

from __future__ import annotations

from typing import Final

from weft.http.message import StreamResponse
from weft.http.outbox import Noted

COMMENT: Final = b":\n\n"
"""A line that the standard has readers ignore, and the empty line that ends what it stands in."""

_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Heartbeat:
    """Of one stream.

    Args:
        response: The stream.
        head: What goes out before its first bytes.
        is_chunked: Whether each block is a chunk.

    Attributes:
        noted: What was written last.
        period_s: Between two looks. The longest silence has two of them and a quarter, so that a comment comes in time
            wherever in between it began.
    """

    __slots__ = ("_begin", "_head", "_is_between", "_is_chunked", "noted", "period_s")

    def __init__(self, response: StreamResponse, head: bytes, *, is_chunked: bool) -> None:
        self._begin, self._head, self._is_chunked = response.begin, head, is_chunked
        self.noted, self.period_s = Noted(), response.heartbeat_s / 2.25
        self._is_between = True

    def next_look(self, now: float) -> float:
        """When to look again: streams of one period look at the same moments, so that a thousand cost one look around.

        It is a quarter of a period from now at least: a timer may fire a little early.
        """
        period = self.period_s
        return ((now + period / 4) // period + 1) * period

    def due(self, *, has_begun: bool) -> bytes | None:
        """What is to be written now; None: nothing, for there were events, or one is only half there.

        Args:
            has_begun: Whether the head has gone out.
        """
        last, self.noted.last = self.noted.last, None
        if last is not None:
            self._is_between = (last[:-2] if self._is_chunked else last).endswith(_ENDS)
            return None
        if not self._is_between:
            return None
        comment = b"%x\r\n%b\r\n" % (len(COMMENT), COMMENT) if self._is_chunked else COMMENT
        if has_begun:
            return comment
        if self._begin is None:
            return None
        self._begin()
        return self._head + comment
