"""What was used of one limit by one subject: in a sliding window, on a day or in a month, or as places now."""

from __future__ import annotations

from array import array
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from weft.gateway.limits.terms import DAY, NEVER

if TYPE_CHECKING:
    from weft.gateway.limits.ledger import Waiting

SEGMENTS: Final = 20
"""Steps in which a window slides: a charge counts up to a twentieth longer than it must, for at most 21 numbers a bucket."""

DAY_MS: Final = 86_400_000


_ROUND: Final = SEGMENTS + 1
"""Segments that count: the one that runs, and a window of those before."""

_EMPTY: Final = bytes(8 * _ROUND)


class Sliding:
    """What was used in a sliding window.

    Its segments are numbers in a ring, so that it takes the same memory whatever happens.

    Attributes:
        span: Its length in milliseconds.
        used: What counts now; rolled.
        holds: Requests that may still give something back, or need more.
    """

    __slots__ = ("_current", "_ring", "_size_ms", "holds", "span", "used")

    def __init__(self, span: int) -> None:
        self.span = span
        self._size_ms = max(1, span // SEGMENTS)
        self._ring = array("q", _EMPTY)
        self._current = self.used = self.holds = 0

    def roll(self, now_ms: int) -> int:
        """Forget what does not count any more; the segment of ``now_ms``, or, should the clock go back, of before."""
        current = now_ms // self._size_ms
        last = self._current
        if current <= last:
            return last
        self._current = current
        if self.used:
            ring = self._ring
            if current - last >= _ROUND:
                self._ring, self.used = array("q", _EMPTY), 0
            else:
                for segment in range(last + 1, current + 1):
                    if amount := ring[segment % _ROUND]:
                        self.used -= amount
                        ring[segment % _ROUND] = 0
        return current

    def charge(self, period: int, amount: int) -> None:
        """Count ``amount`` in a segment; below 0 gives back, if the segment still counts."""
        if self._current - SEGMENTS <= period <= self._current:
            self._ring[period % _ROUND] += amount
            self.used += amount

    def wait_ms(self, excess: int, now_ms: int) -> int:
        """When ``excess`` of what is used will not count any more."""
        for segment in range(self._current - SEGMENTS, self._current + 1):
            excess -= self._ring[segment % _ROUND]
            if excess <= 0:
                return (segment + _ROUND) * self._size_ms - now_ms
        return NEVER

    def reset_ms(self, now_ms: int) -> int:
        """When nothing of it will count any more."""
        if not self.used:
            return 0
        segment = self._current
        while not self._ring[segment % _ROUND]:
            segment -= 1
        return (segment + _ROUND) * self._size_ms - now_ms

    def charges(self, now_ms: int) -> list[tuple[int, int]]:
        """What counts, as pairs of segment and amount."""
        self.roll(now_ms)
        segments = range(self._current - SEGMENTS, self._current + 1)
        return [(segment, amount) for segment in segments if (amount := self._ring[segment % _ROUND])]

    def is_idle(self, now_ms: int) -> bool:
        """Whether nothing would be lost with it."""
        self.roll(now_ms)
        return not self.used and not self.holds


class Almanac:
    """What day and month it is, for all calendars of a ledger, and which of them have changed.

    Attributes:
        changed: Calendars in which something was charged since somebody last looked, and emptied this.
    """

    __slots__ = ("_day", "_month", "changed")

    def __init__(self) -> None:
        self._day = self._month = (0, 0)
        self.changed: set[Calendar] = set()

    def now(self, now_ms: int, *, is_day: bool) -> tuple[int, int]:
        """The number of the day or month, and when it ends; the same objects as long as it is that one."""
        found = self._day if is_day else self._month
        if now_ms >= found[1]:
            found = period_of(now_ms, is_day=is_day)
            if is_day:
                self._day = found
            else:
                self._month = found
        return found


_BIAS: Final = 1 << 44
"""Added to what a calendar holds: a number that Python never shares, so that it takes no more memory when it grows."""


class Calendar:
    """What was used on a day or in a month of UTC.

    Args:
        name: Of the bucket.
        span: Which of the two.
        almanac: Of the ledger.

    Attributes:
        period: Which day or month that is.
        holds: Requests that may still give something back, or need more.
    """

    __slots__ = ("_almanac", "_ends_ms", "_held", "holds", "name", "period", "span")

    def __init__(self, name: str, span: int, almanac: Almanac) -> None:
        self.name, self.span, self._almanac = name, span, almanac
        self.period = self._ends_ms = self.holds = 0
        self._held = _BIAS

    @property
    def used(self) -> int:
        """What counts now; rolled."""
        return self._held - _BIAS

    def restore(self, period: int, used: int) -> None:
        """Be as it was written down."""
        self.period, self._held = period, _BIAS + used

    def roll(self, now_ms: int) -> int:
        """Begin anew if a new period has begun; the period of ``now_ms``."""
        if now_ms >= self._ends_ms:
            period, self._ends_ms = self._almanac.now(now_ms, is_day=self.span == DAY)
            if period != self.period:
                self._held = _BIAS
            self.period = period
        return self.period

    def charge(self, period: int, amount: int) -> None:
        """Count ``amount`` in a period, if it is still that one."""
        if period == self.period:
            self._held += amount
            self._almanac.changed.add(self)

    def wait_ms(self, excess: int, now_ms: int) -> int:
        """When a new period begins."""
        return self._ends_ms - now_ms

    def reset_ms(self, now_ms: int) -> int:
        """When a new period begins."""
        return self._ends_ms - now_ms

    def charges(self, now_ms: int) -> list[tuple[int, int]]:
        """What counts, as pairs of period and amount."""
        self.roll(now_ms)
        return [(self.period, self.used)] if self.used else []

    def is_idle(self, now_ms: int) -> bool:
        """Whether nothing would be lost with it."""
        self.roll(now_ms)
        return not self.used and not self.holds


def period_of(now_ms: int, *, is_day: bool) -> tuple[int, int]:
    """The number of a day or month of UTC, and when it ends."""
    if is_day:
        day = now_ms // DAY_MS
        return day, (day + 1) * DAY_MS
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return now.year * 12 + now.month, int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)


class Places:
    """Requests that are there now, and those that wait."""

    __slots__ = ("used", "waiting")

    def __init__(self) -> None:
        self.used = 0
        self.waiting: deque[Waiting] = deque()

    def reset_ms(self, now_ms: int) -> int:
        """Nobody knows when places are given back."""
        return 0

    def is_idle(self, now_ms: int) -> bool:
        """Whether nothing would be lost with it."""
        return not self.used and not self.waiting

    def call(self) -> None:
        """Tell the first who waits to ask again."""
        if self.waiting:
            self.waiting[0].wake()


Bucket = Sliding | Calendar | Places
