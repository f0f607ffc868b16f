"""What was used, in the memory of one process: decisions without a clock, a loop or a network of their own.

Rates are counted in a window that slides in twenty steps, its segments. A charge counts from its own segment until that
has been followed by a whole window of others, so that in *no* window, wherever it begins, more than the limit is granted.
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

from collections.abc import Callable, Sequence
from typing import Final

from weft.gateway.limits.buckets import Almanac, Bucket, Calendar, Places, Sliding
from weft.gateway.limits.terms import (
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

MAX_BUCKETS: Final = 300_000
"""Some 150 MB of them; 100,000 keys under two limits fit."""

SWEPT_FROM: Final = 0.75
"""Of these, from how many on those that hold nothing are looked for: below, they are kept for when their subject comes again."""

SWEPT: Final = 2
"""Buckets that are looked at for each new one: more than one, so that what is empty is found faster than it comes."""

PLACE_RETRY_MS: Final = 1_000
"""When to come again for a place: nobody knows when one is free, and the header cannot say less."""


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
    """

    def __init__(self, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._max, self._swept_from = max_buckets, int(max_buckets * SWEPT_FROM)
        self.buckets: dict[str, Bucket] = {}
        self._almanac = Almanac()
        self._sweep: list[str] = []
        self._owed = 0

    @property
    def changed(self) -> set[Calendar]:
        """See :class:`weft.gateway.limits.buckets.Almanac`."""
        return self._almanac.changed

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
        for name, most, amount, _, _ in asks:
            bucket = buckets.get(name)
            if bucket is None:
                bucket = self._new(asks[len(found)])
            period = 0
            if isinstance(bucket, Places):
                if by < 0 and full < 0:
                    waiting = bucket.waiting
                    if bucket.used + amount > most or (waiting and waiting[0] is not ticket):
                        full = len(found)
            else:
                period = bucket.roll(now_ms)
                excess = bucket.used + amount - most
                if excess > 0:
                    wait_ms = NEVER if amount > most else bucket.wait_ms(excess, now_ms)
                    # The limit that takes longest is the one to tell of: with the others alone it would not do.
                    if by < 0 or wait_ms == NEVER or (retry_ms != NEVER and wait_ms > retry_ms):
                        by, retry_ms = len(found), wait_ms
            found.append((bucket, period, amount))
        if by >= 0:
            if ticket is not None:
                self.leave(ticket)
            return _verdict(REFUSED, asks, found, now_ms, by=by, retry_ms=retry_ms)
        if full >= 0:
            return self._full(asks, found, now_ms, full, ticket=ticket, new_ticket=new_ticket)
        for bucket, period, amount in found:
            if isinstance(bucket, Places):
                bucket.used += amount
            else:
                bucket.charge(period, amount)
                bucket.holds += 1
        if ticket is not None:
            self.leave(ticket)
        return _verdict(GRANTED, asks, found, now_ms, hold=Held(found))

    def _full(
        self,
        asks: Sequence[Ask],
        found: list[tuple[Bucket, int, int]],
        now_ms: int,
        full: int,
        *,
        ticket: Waiting | None,
        new_ticket: Callable[[], Waiting] | None,
    ) -> Verdict:
        """There is no place: wait, or be refused."""
        places = found[full][0]
        assert isinstance(places, Places)  # only they are full
        if ticket is not None and ticket.places is places:
            return _verdict(QUEUED, asks, found, now_ms, ticket=ticket, by=full)
        if ticket is not None:
            self.leave(ticket)
        if new_ticket is None or len(places.waiting) >= asks[full].queue:
            return _verdict(REFUSED, asks, found, now_ms, by=full, retry_ms=PLACE_RETRY_MS)
        ticket = ticket or new_ticket()
        ticket.places = places
        places.waiting.append(ticket)
        return _verdict(QUEUED, asks, found, now_ms, ticket=ticket, by=full)

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
        bucket = Calendar(name, span, self._almanac)
        bucket.restore(period, used)
        self.buckets[name] = bucket

    # How many buckets there are.

    def _new(self, ask: Ask) -> Bucket:
        name = ask.bucket
        if len(self.buckets) >= self._swept_from:
            self._owed += SWEPT
        if len(self.buckets) >= self._max:
            name = ask.bucket.partition("|")[0] + "||"
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
            bucket = Calendar(name, span, self._almanac)
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


def _verdict(
    outcome: int,
    asks: Sequence[Ask],
    found: Sequence[tuple[Bucket, int, int]],
    now_ms: int,
    *,
    hold: Held | None = None,
    ticket: Waiting | None = None,
    by: int = -1,
    retry_ms: int = 0,
) -> Verdict:
    left, reset_ms = [], []
    for ask, (bucket, _, _) in zip(asks, found, strict=True):
        rest = ask[1] - bucket.used
        left.append(max(0, rest))
        reset_ms.append(bucket.reset_ms(now_ms))
    return Verdict(outcome, hold, ticket, by, retry_ms, left, reset_ms)
