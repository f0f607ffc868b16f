"""What was used of one limit by one subject: in a sliding window, on a day or in a month, or as places now."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from weft.gateway.limits.terms import DAY, NEVER

if TYPE_CHECKING:
    from weft.gateway.limits.ledger import Waiting

SEGMENTS: Final = 20
"""Steps in which a window slides: a charge counts up to a twentieth longer than it must, for at most 21 numbers a bucket."""

DAY_MS: Final = 86_400_000


class Sliding:
    """What was used in a sliding window.

    Attributes:
        span: Its length in milliseconds.
        used: What counts now; rolled.
        holds: Requests that may still give something back, or need more.
    """

    __slots__ = ("_current", "_last", "_marks", "_size_ms", "holds", "span", "used")

    def __init__(self, span: int) -> None:
        self.span = span
        self._size_ms = max(1, span // SEGMENTS)
        self._marks: dict[int, int] = {}
        self._current = self._last = 0
        self.used = self.holds = 0

    def roll(self, now_ms: int) -> int:
        """Forget what does not count any more; the segment of ``now_ms``."""
        current = now_ms // self._size_ms
        if current != self._current:
            self._current, marks = current, self._marks
            oldest = current - SEGMENTS
            for segment in [segment for segment in marks if segment < oldest]:
                self.used -= marks.pop(segment)
        return current

    def charge(self, period: int, amount: int) -> None:
        """Count ``amount`` in a segment; below 0 gives back, if the segment still counts."""
        marks = self._marks
        if not amount or (amount < 0 and period not in marks):
            return
        marks[period] = marks.get(period, 0) + amount
        self._last = max(self._last, period)
        self.used += amount

    def wait_ms(self, excess: int, now_ms: int) -> int:
        """When ``excess`` of what is used will not count any more."""
        for segment in sorted(self._marks):
            excess -= self._marks[segment]
            if excess <= 0:
                return (segment + SEGMENTS + 1) * self._size_ms - now_ms
        return NEVER

    def reset_ms(self, now_ms: int) -> int:
        """When nothing of it will count any more."""
        if not self.used:
            return 0
        return (self._last + SEGMENTS + 1) * self._size_ms - now_ms

    def charges(self, now_ms: int) -> list[tuple[int, int]]:
        """What counts, as pairs of segment and amount."""
        self.roll(now_ms)
        return [(segment, amount) for segment, amount in self._marks.items() if amount]

    def is_idle(self, now_ms: int) -> bool:
        """Whether nothing would be lost with it."""
        self.roll(now_ms)
        return not self._marks and not self.holds


class Calendar:
    """What was used on a day or in a month of UTC.

    Args:
        name: Of the bucket.
        span: Which of the two.
        changed: Where it puts itself when something was charged.

    Attributes:
        period: Which day or month that is.
        used: What counts now; rolled.
        holds: Requests that may still give something back, or need more.
    """

    __slots__ = ("_changed", "_ends_ms", "holds", "name", "period", "span", "used")

    def __init__(self, name: str, span: int, changed: set[Calendar]) -> None:
        self.name, self.span, self._changed = name, span, changed
        self.period = self._ends_ms = 0
        self.used = self.holds = 0

    def roll(self, now_ms: int) -> int:
        """Begin anew if a new period has begun; the period of ``now_ms``."""
        if now_ms >= self._ends_ms:
            period, self._ends_ms = period_of(now_ms, is_day=self.span == DAY)
            if period != self.period:
                self.period, self.used = period, 0
        return self.period

    def charge(self, period: int, amount: int) -> None:
        """Count ``amount`` in a period, if it is still that one."""
        if period == self.period:
            self.used += amount
            self._changed.add(self)

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
