"""A backend of fixed slots and an open loop of requests in front of it, under a clock that only moves when told to."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from runkit import FakeClock
from weft.errors import OverloadedError
from weft.gateway.load.admission import Admission, Place


class Slots:
    """Serves so many at a time, each for so long; more wait inside, unseen.

    Attributes:
        served: How many it has answered.
    """

    def __init__(self, clock: FakeClock, slots: int, service_s: float) -> None:
        self._clock, self.slots, self.service_s = clock, slots, service_s
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.served = 0

    async def serve(self) -> None:
        """Return when it has been served."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._busy < self.slots:
            self._begin(done)
        else:
            self._waiting.append(done)
        await done

    def _begin(self, done: asyncio.Future[None]) -> None:
        self._busy += 1
        self._clock.call_later(self.service_s, lambda: self._end(done))

    def _end(self, done: asyncio.Future[None]) -> None:
        self._busy -= 1
        self.served += 1
        if not done.done():
            done.set_result(None)
        while self._waiting and self._busy < self.slots:
            self._begin(self._waiting.popleft())


@dataclass
class Outcome:
    """What became of the requests of one priority."""

    asked: int = 0
    served: int = 0
    refused: int = 0
    refused_at_once: int = 0
    retry_after_s: list[float] = field(default_factory=list)


class OpenLoop:
    """Requests that come whether or not the ones before them were answered.

    Attributes:
        outcomes: By priority: low, high.
        numbers: How many could run at a time, at each step.
    """

    def __init__(self, clock: FakeClock, admission: Admission, backend: Slots) -> None:
        self._clock, self._admission, self.backend = clock, admission, backend
        self.outcomes = (Outcome(), Outcome())
        self.numbers: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def offer(self, seconds: float, *, low: float, high: float = 0.0, step_s: float = 0.002) -> None:
        """Offer so many requests a second, evenly, for a while."""
        owed = [0.0, 0.0]
        for _ in range(int(seconds / step_s)):
            for priority, rate in enumerate((low, high)):
                owed[priority] += rate * step_s
                while owed[priority] >= 1:
                    owed[priority] -= 1
                    task = asyncio.ensure_future(self._request(is_high=priority == 1))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            await self._turn(step_s)

    async def finish(self) -> None:
        """Let those that are under way end."""
        while self._tasks:
            await self._turn(0.01)

    async def _turn(self, step_s: float) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        self._clock.advance(step_s)
        for _ in range(4):
            await asyncio.sleep(0)
        self.numbers.append(self._admission.concurrency.now)

    async def _request(self, *, is_high: bool) -> None:
        outcome = self.outcomes[is_high]
        outcome.asked += 1
        begun_ns = self._clock.now_ns()
        try:
            place: Place = self._admission.enter(is_high=is_high) or await self._admission.wait(
                is_high=is_high
            )
        except OverloadedError as error:
            outcome.refused += 1
            outcome.refused_at_once += self._clock.now_ns() == begun_ns
            outcome.retry_after_s.append(error.retry_after_s)
            return
        await self.backend.serve()
        place.measured()
        place.leave()
        outcome.served += 1
