"""Places for requests, and a bounded queue for each priority before them.

A request that comes gets a place at once, or waits, or is turned away at once: when the queue is full, and when what is
known of the drain says that it would not get a place in the time that it has. High priority goes before low, and where
the queue is full, the low one that came last makes room. Who waited too long after all is told so, and who leaves makes
room at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from weft.errors import OverloadedError
from weft.gateway.load.concurrency import Concurrency
from weft.transport.clock import Clock, TimerHandle

Refusal = Literal["full", "late", "shed", "expired"]
"""Why a request was turned away: the queue is full; it would get no place in time; one of higher priority took its
place in the queue; it did not get a place in time."""

PRIORITIES: Final = ("low", "high")

LEARNING: Final = 0.05
"""How much one request changes what is known of how long places are held, and by whom."""

LEAST_SHARE: Final = 0.02
"""Of the places, goes to low priority at least, as far as is foretold: what takes forever cannot be said in seconds."""

RETRY_MOST_S: Final = 300.0
"""Nobody is told to come back later than this."""


class Place:
    """One request's place; to be given back once."""

    __slots__ = ("_admission", "begun_ns", "era", "is_held", "waited_s", "was_full")

    def __init__(self, admission: Admission, begun_ns: int, waited_s: float) -> None:
        self._admission, self.begun_ns, self.waited_s = admission, begun_ns, waited_s
        self.era = admission.concurrency.era
        self.is_held = True
        self.was_full = False

    def measured(self, *, was_refused: bool = False, is_good: bool = True) -> None:
        """The reply is there, or its first part; or it failed."""
        admission = self._admission
        latency_s = (admission.clock.now_ns() - self.begun_ns) * 1e-9 if is_good and not was_refused else None
        full = self.was_full or admission.is_full
        admission.concurrency.ended(latency_s, self.era, was_full=full, was_refused=was_refused)
        admission.hand_out()

    def ended(self, _status: int) -> None:
        """The request has ended."""
        self.leave()

    def leave(self, *, is_used: bool = True) -> None:
        """Give the place back; may be called again."""
        if self.is_held:
            self.is_held = False
            self._admission.left(self, is_used=is_used)


class Waiter:
    """A request that waits."""

    __slots__ = ("future", "is_high", "since_ns", "timer")

    def __init__(self, future: asyncio.Future[Place], *, is_high: bool, since_ns: int) -> None:
        self.future, self.is_high, self.since_ns = future, is_high, since_ns
        self.timer: TimerHandle | None = None


class Admission:
    """The places of one route in this process.

    Args:
        concurrency: How many there are.
        queue: How many may wait.
        queue_s: How long each may wait.
        clock: Time.
        on_refused: Told of each request that is turned away: whether its priority is high, and why.

    Attributes:
        in_flight: Places taken.
        high, low: Those that wait, the longest first.
    """

    def __init__(
        self,
        concurrency: Concurrency,
        *,
        queue: int,
        queue_s: float,
        clock: Clock,
        on_refused: Callable[[bool, Refusal], object] | None = None,
    ) -> None:
        self.concurrency, self.clock = concurrency, clock
        self._queue, self._queue_s = queue, queue_s
        self._on_refused = on_refused
        self.in_flight = 0
        self.high: dict[Waiter, None] = {}
        self.low: dict[Waiter, None] = {}
        self._held_s = self._rate = self._high_share = 0.0

    @property
    def is_full(self) -> bool:
        """Whether all places are taken."""
        return self.in_flight >= self.concurrency.now

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self.high) + len(self.low)

    def rate(self, *, is_high: bool) -> float:
        """Requests of a priority that get a place in a second, as far as is known; 0: nothing is."""
        return self._rate if is_high else self._rate * max(LEAST_SHARE, 1.0 - self._high_share)

    def wait_s(self, *, is_high: bool) -> float:
        """How long one that comes now will probably wait."""
        ahead = len(self.high) + (0 if is_high else len(self.low)) + 1
        rate = self.rate(is_high=is_high)
        return ahead / rate if rate else 0.0

    def enter(self, *, is_high: bool) -> Place | None:
        """A place without waiting, if there is one for this priority."""
        if self.in_flight >= self.concurrency.now or self.high or (self.low and not is_high):
            return None
        return self._take(self.clock.now_ns(), 0.0, is_high=is_high)

    async def wait(self, *, is_high: bool, left_s: float | None = None) -> Place:
        """A place, in turn. Safe to cancel: one that leaves the queue makes room.

        Args:
            is_high: Its priority.
            left_s: Seconds in which it must have its reply; None: any time.

        Raises:
            OverloadedError: It is turned away, at once or because it waited too long.
        """
        now_ns = self.clock.now_ns()
        # Of the time that is left, some is needed for being served.
        allowed_s = self._queue_s if left_s is None else min(self._queue_s, max(0.0, left_s - self._held_s))
        will_wait_s = self.wait_s(is_high=is_high)
        if will_wait_s > allowed_s:
            raise self._refused(is_high, "late", will_wait_s)
        if self.waiting >= self._queue:
            if not (is_high and self.low):
                raise self._refused(is_high, "full", will_wait_s)
            last, _ = self.low.popitem()
            self._turn_away(last, "shed")
        waiter = Waiter(asyncio.get_running_loop().create_future(), is_high=is_high, since_ns=now_ns)
        line = self.high if is_high else self.low
        line[waiter] = None
        waiter.timer = self.clock.call_later(allowed_s, lambda: self._expired(waiter))
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and not waiter.future.exception():
                waiter.future.result().leave(is_used=False)  # it got its place in the same moment
            raise
        finally:
            line.pop(waiter, None)
            waiter.timer.cancel()

    def hand_out(self) -> None:
        """Give free places to those who wait."""
        while self.in_flight < self.concurrency.now and (line := self.high or self.low):
            waiter = next(iter(line))
            del line[waiter]
            if not waiter.future.done():
                now_ns = self.clock.now_ns()
                place = self._take(now_ns, (now_ns - waiter.since_ns) * 1e-9, is_high=waiter.is_high)
                waiter.future.set_result(place)

    def _take(self, now_ns: int, waited_s: float, *, is_high: bool) -> Place:
        self.in_flight += 1
        self._high_share += ((1.0 if is_high else 0.0) - self._high_share) * LEARNING
        place = Place(self, now_ns, waited_s)
        place.was_full = self.in_flight >= self.concurrency.now
        return place

    def left(self, place: Place, *, is_used: bool) -> None:
        """A place is free again."""
        self.in_flight -= 1
        if is_used:
            self._learn(place)
        self.hand_out()

    def _learn(self, place: Place) -> None:
        """How long places are held, and so how many become free in a second."""
        held_s = (self.clock.now_ns() - place.begun_ns) * 1e-9
        self._held_s += (held_s - self._held_s) * (LEARNING if self._held_s else 1.0)
        if self._held_s:
            rate = self.concurrency.now / self._held_s
            self._rate += (rate - self._rate) * (LEARNING if self._rate else 1.0)

    def _expired(self, waiter: Waiter) -> None:
        (self.high if waiter.is_high else self.low).pop(waiter, None)
        self._turn_away(waiter, "expired")

    def _turn_away(self, waiter: Waiter, why: Refusal) -> None:
        if not waiter.future.done():
            error = self._refused(waiter.is_high, why, self.wait_s(is_high=waiter.is_high))
            waiter.future.set_exception(error)

    def _refused(self, is_high: bool, why: Refusal, wait_s: float) -> OverloadedError:
        if self._on_refused is not None:
            self._on_refused(is_high, why)
        said = {
            "full": f"{self._queue} requests wait already",
            "late": f"it would wait for about {wait_s:.1f} s, longer than it may",
            "shed": "a request of higher priority took its place in the queue",
            "expired": "no place became free in time",
        }[why]
        return OverloadedError(
            f"too much to do here: {said}", retry_after_s=min(RETRY_MOST_S, max(1.0, wait_s))
        )
