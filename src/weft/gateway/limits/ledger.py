"""What was used, in the memory of one process: decisions without a clock, a loop or a network of their own.

Rates are counted in a window that slides in :data:`SEGMENTS` steps. A charge counts from its own segment until that has
been followed by a whole window of others, so that in *no* window, wherever it begins, more than the limit is granted.
A token bucket (GCRA) would take less memory, but grants up to twice its limit within one window, a full bucket and what
flows in meanwhile, and a pair of weighted counters is right only on average; here the price of the bound is that a
charge may count longer than the window by one segment, a twentieth of it.

Budgets by day and month are calendar periods of UTC, with one number each.

A grant is charged in full at once, to the period in which it was made, and so is what nobody ever settles: a limit can
be exceeded only by what a request uses beyond its own upper bound, which is charged when it is known.

The number of buckets is bounded. One that holds nothing is forgotten; if all hold something, who is new shares one
bucket with all others who are new, for each limit: no debt is ever forgotten to make room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from weft.gateway.limits.terms import (
    DAY,
    GRANTED,
    NEVER,
    PLACES,
    QUEUED,
    REFUSED,
    Ask,
    Hold,
    Ticket,
    Verdict,
)

SEGMENTS: Final = 20
"""Steps in which a window slides: a charge counts up to a twentieth longer than it must, for at most 21 numbers a bucket."""

MAX_BUCKETS: Final = 250_000
"""Some 100 MB of them; 100,000 keys under two limits fit."""

SWEPT: Final = 2
"""Buckets that are looked at for each new one: more than one, so that what is empty is found faster than it comes."""

DAY_MS: Final = 86_400_000

PLACE_RETRY_MS: Final = 1_000
"""When to come again for a place: nobody knows when one is free, and the header cannot say less."""


class Sliding:
    """What was used in a sliding window.

    Attributes:
        span: Its length in milliseconds.
        used: What counts now; rolled.
        holds: Requests that may still give something back, or need more.
    """

    __slots__ = ("_marks", "_size_ms", "holds", "span", "used")

    def __init__(self, span: int) -> None:
        self.span = span
        self._size_ms = max(1, span // SEGMENTS)
        self._marks: dict[int, int] = {}
        self.used = self.holds = 0

    def roll(self, now_ms: int) -> int:
        """Forget what does not count any more; the segment of ``now_ms``."""
        current = now_ms // self._size_ms
        marks = self._marks
        if marks:
            oldest = current - SEGMENTS
            gone = [segment for segment in marks if segment < oldest]
            for segment in gone:
                self.used -= marks.pop(segment)
        return current

    def charge(self, period: int, amount: int) -> None:
        """Count ``amount`` in a segment; below 0 gives back, if the segment still counts."""
        marks = self._marks
        if not amount or (amount < 0 and period not in marks):
            return
        marks[period] = marks.get(period, 0) + amount
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
        return (max(self._marks) + SEGMENTS + 1) * self._size_ms - now_ms

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

    def is_idle(self, now_ms: int) -> bool:
        """Whether nothing would be lost with it."""
        return not self.used and not self.waiting

    def call(self) -> None:
        """Tell the first who waits to ask again."""
        if self.waiting:
            self.waiting[0].wake()


Bucket = Sliding | Calendar | Places


class Waiting(Ticket):
    """A place in the queue of one bucket.

    Attributes:
        places: Where it waits.
        wake: Called when it is worth asking again.
    """

    __slots__ = ("places", "wake")

    def __init__(self, wake: Callable[[], object]) -> None:
        self.wake = wake
        self.places: Places | None = None


class Held(Hold):
    """What one request was granted: for each limit the bucket, the period charged and the amount."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[tuple[Bucket, int, int]]) -> None:
        self.parts = parts


class Ledger:
    """Buckets, and decisions on them.

    Args:
        max_buckets: How many there may be.

    Attributes:
        buckets: By name.
        changed: Days and months of which something was charged since somebody last looked, and emptied this.
    """

    def __init__(self, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._max = max_buckets
        self.buckets: dict[str, Bucket] = {}
        self.changed: set[Calendar] = set()
        self._sweep: list[str] = []
        self._owed = 0

    def __len__(self) -> int:
        return len(self.buckets)

    def take(
        self,
        asks: Sequence[Ask],
        now_ms: int,
        ticket: Waiting | None = None,
        new_ticket: Callable[[], Waiting] | None = None,
    ) -> Verdict:
        """Decide on all of them at once.

        Args:
            asks: At most one for each bucket.
            now_ms: Since 1970.
            ticket: Of a request that waits already; it waits no longer unless it is queued again.
            new_ticket: Makes a ticket for one that is to wait; None: nobody waits.
        """
        if self._owed:
            self._forget(now_ms)
        buckets = self.buckets
        found: list[tuple[Bucket, int, int]] = []
        by, retry_ms, full = -1, 0, -1
        for index, ask in enumerate(asks):
            bucket = buckets.get(ask.bucket)
            if bucket is None:
                bucket = self._new(ask)
            if isinstance(bucket, Places):
                period = 0
                if by < 0 and full < 0:
                    waiting = bucket.waiting
                    if bucket.used + ask.amount > ask.most or (waiting and waiting[0] is not ticket):
                        full = index
            else:
                period = bucket.roll(now_ms)
                excess = bucket.used + ask.amount - ask.most
                if excess > 0:
                    wait_ms = NEVER if ask.amount > ask.most else bucket.wait_ms(excess, now_ms)
                    # The limit that takes longest is the one to tell of: with the others alone it would not do.
                    if by < 0 or wait_ms == NEVER or (retry_ms != NEVER and wait_ms > retry_ms):
                        by, retry_ms = index, wait_ms
            found.append((bucket, period, ask.amount))
        if by < 0 and full < 0:
            for bucket, period, amount in found:
                if isinstance(bucket, Places):
                    bucket.used += amount
                else:
                    bucket.charge(period, amount)
                    bucket.holds += 1
            if ticket is not None:
                self.leave(ticket)
            return self._verdict(GRANTED, asks, found, now_ms, hold=Held(found))
        if by < 0:
            places = found[full][0]
            assert isinstance(places, Places)  # only they are full
            if ticket is not None and ticket.places is places:
                return self._verdict(QUEUED, asks, found, now_ms, ticket=ticket, by=full)
            if new_ticket is not None and len(places.waiting) < asks[full].queue:
                if ticket is not None:
                    self.leave(ticket)
                ticket = ticket or new_ticket()
                ticket.places = places
                places.waiting.append(ticket)
                return self._verdict(QUEUED, asks, found, now_ms, ticket=ticket, by=full)
            by, retry_ms = full, PLACE_RETRY_MS
        if ticket is not None:
            self.leave(ticket)
        return self._verdict(REFUSED, asks, found, now_ms, by=by, retry_ms=retry_ms)

    def _verdict(
        self,
        outcome: int,
        asks: Sequence[Ask],
        found: list[tuple[Bucket, int, int]],
        now_ms: int,
        *,
        hold: Held | None = None,
        ticket: Waiting | None = None,
        by: int = -1,
        retry_ms: int = 0,
    ) -> Verdict:
        left = [max(0, ask.most - part[0].used) for ask, part in zip(asks, found, strict=True)]
        reset_ms = [0 if isinstance(bucket, Places) else bucket.reset_ms(now_ms) for bucket, _, _ in found]
        return Verdict(outcome, hold, ticket, by, retry_ms, left, reset_ms)

    def settle(self, hold: Held, spent: Sequence[int | None], now_ms: int) -> None:
        """Give back what was not used; charge what was used beyond."""
        parts, hold.parts = hold.parts, []
        for (bucket, period, amount), used in zip(parts, spent, strict=bool(parts)):
            if isinstance(bucket, Places):
                bucket.used -= amount
                bucket.call()
                continue
            bucket.holds -= 1
            if used is not None and used != amount:
                current = bucket.roll(now_ms)
                bucket.charge(period if used < amount else current, used - amount)

    def leave(self, ticket: Waiting) -> None:
        """Take one out of the queue that it is in."""
        places, ticket.places = ticket.places, None
        if places is None:
            return
        was_first = places.waiting[0] is ticket
        places.waiting.remove(ticket)
        if was_first:
            places.call()

    def charge(self, name: str, span: int, used: Sequence[tuple[int, int]], now_ms: int) -> None:
        """Count what was used elsewhere, as pairs of period and amount; of a calendar period that is over, nothing."""
        bucket = self.buckets.get(name) or self._new(Ask(name, 0, 0, span))
        assert not isinstance(bucket, Places)  # they are not used up
        bucket.roll(now_ms)
        for period, amount in used:
            bucket.charge(period, amount)

    def restore(self, name: str, span: int, period: int, used: int) -> None:
        """Have what was used of a day or month, as it was written down."""
        bucket = Calendar(name, span, self.changed)
        bucket.period, bucket.used = period, used
        self.buckets[name] = bucket

    # How many buckets there are.

    def _new(self, ask: Ask) -> Bucket:
        name = ask.bucket
        self._owed += SWEPT
        if len(self.buckets) >= self._max:
            name = ask.bucket.partition("|")[0] + "|*"
            shared = self.buckets.get(name)
            if shared is not None:
                return shared
        span = ask.span
        bucket: Bucket
        if span == PLACES:
            bucket = Places()
        elif span > 0:
            bucket = Sliding(span)
        else:
            bucket = Calendar(name, span, self.changed)
        self.buckets[name] = bucket
        return bucket

    def _forget(self, now_ms: int) -> None:
        """Look at a few buckets, all of them in turn, and forget those that hold nothing."""
        if not self._sweep:
            self._sweep = list(reversed(self.buckets))  # the oldest is looked at first
        for _ in range(min(self._owed, len(self._sweep))):
            name = self._sweep.pop()
            bucket = self.buckets.get(name)
            if bucket is not None and bucket.is_idle(now_ms):
                del self.buckets[name]
        self._owed = 0
