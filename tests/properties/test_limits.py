"""The limiter against a simple model: every decision of every store is the model's, whatever happens in which order.

The model keeps every charge for ever and adds up those that count; it has no buckets, no batches and no processes that
it could lose. What the stores promise is checked beside it: in no window, wherever it begins, more than the limit.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from graphs import BOUNDED
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from redis_server import RedisServer
from weft.gateway.limits.buckets import SEGMENTS
from weft.gateway.limits.counter import Counter
from weft.gateway.limits.memory import MemoryStore
from weft.gateway.limits.redis import RedisLink
from weft.gateway.limits.remote import Question, RemoteStore
from weft.gateway.limits.terms import DAY, GRANTED, MONTH, NEVER, PLACES, QUEUED, REFUSED, Ask, Verdict

BEGIN = int(datetime(2031, 1, 31, 23, 59, 50, tzinfo=UTC).timestamp() * 1000)
"""A moment before a month ends, so that requests begin in one and end in the next, in a year in which no key of Redis is too old."""

LEASE_S = 40.0
PROCESSES = 3

LIMITS = {
    "min": (60_000, 10, 0),
    "hour": (3_600_000, 30, 0),
    "day": (DAY, 25, 0),
    "month": (MONTH, 60, 0),
    "at once": (PLACES, 2, 2),
}
"""Each with its span, what may be used of it, and its queue."""


@dataclass
class Charge:
    """What a request took of one limit, and when."""

    limit: str
    at_ms: int
    granted: int
    used: int


@dataclass
class Request:
    """One that was granted or waits."""

    process: int
    begun_ms: int
    names: list[str]
    amounts: list[int]
    charges: list[Charge] = field(default_factory=list)
    hold: Any = None
    ticket: Any = None
    waits_for: str = ""
    generation: int = 0


class Model:
    """Adds up."""

    def __init__(self) -> None:
        self.charges: list[Charge] = []
        self.there: list[Request] = []
        self.queue: list[Request] = []

    def counting(self, limit: str, now_ms: int) -> list[Charge]:
        span = LIMITS[limit][0]
        found = [charge for charge in self.charges if charge.limit == limit]
        if span > 0:
            size = span // SEGMENTS
            return [c for c in found if c.at_ms // size >= now_ms // size - SEGMENTS]
        return [c for c in found if _calendar(c.at_ms, span) == _calendar(now_ms, span)]

    def used(self, limit: str, now_ms: int) -> int:
        if LIMITS[limit][0] == PLACES:
            return sum(limit in request.names for request in self.there)
        return sum(charge.used for charge in self.counting(limit, now_ms))

    def wait_ms(self, limit: str, amount: int, now_ms: int) -> int:
        """When there is room, if nobody else takes it: tried out, moment by moment."""
        span, most, _ = LIMITS[limit]
        if amount > most:
            return NEVER
        if span < 0:
            return _end_ms(now_ms, span) - now_ms
        size = span // SEGMENTS
        then = now_ms
        while self.used(limit, then) + amount > most:
            then = (then // size + 1) * size
        return then - now_ms

    def reset_ms(self, limit: str, now_ms: int) -> int:
        span = LIMITS[limit][0]
        if span == PLACES:
            return 0
        if span < 0:
            return _end_ms(now_ms, span) - now_ms
        size = span // SEGMENTS
        if not self.used(limit, now_ms):
            return 0
        last = max(c.at_ms // size for c in self.counting(limit, now_ms) if c.used)
        return (last + SEGMENTS + 1) * size - now_ms

    def decide(self, request: Request, now_ms: int) -> tuple[int, int, int]:
        """Outcome, the index of the limit that decided it, and when to come again."""
        refusing = [
            (self.wait_ms(name, amount, now_ms), index)
            for index, (name, amount) in enumerate(zip(request.names, request.amounts, strict=True))
            if LIMITS[name][0] != PLACES and self.used(name, now_ms) + amount > LIMITS[name][1]
        ]
        if refusing:
            never = [index for wait, index in refusing if wait == NEVER]
            wait, by = (NEVER, never[-1]) if never else max(refusing, key=lambda found: (found[0], -found[1]))
            self.leave(request)
            return REFUSED, by, wait
        for index, name in enumerate(request.names):
            span, most, room = LIMITS[name]
            waiting = [other for other in self.queue if other.waits_for == name]
            if span != PLACES or (self.used(name, now_ms) < most and (not waiting or waiting[0] is request)):
                continue
            if request.waits_for == name:
                return QUEUED, index, 0
            if len(waiting) < room:
                request.waits_for = name
                self.queue.append(request)
                return QUEUED, index, 0
            return REFUSED, index, 1000
        self.leave(request)
        self.there.append(request)
        for name, amount in zip(request.names, request.amounts, strict=True):
            if LIMITS[name][0] != PLACES and amount:
                request.charges.append(Charge(name, now_ms, amount, amount))
        self.charges += request.charges
        return GRANTED, -1, 0

    def leave(self, request: Request) -> None:
        request.waits_for = ""
        if request in self.queue:
            self.queue.remove(request)

    def settle(self, request: Request, used: dict[str, int | None], now_ms: int, *, is_known: bool) -> None:
        if request in self.there:
            self.there.remove(request)
        charges = {charge.limit: charge for charge in request.charges}
        for name in request.names if is_known else ():
            amount = used[name]
            if amount is None:
                continue
            charge = charges.get(name, Charge(name, now_ms, 0, 0))
            if amount > charge.used:
                self.charges.append(Charge(name, now_ms, 0, amount - charge.used))
            else:
                charge.used = amount


def _calendar(ms: int, span: int) -> tuple[int, ...]:
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return (at.year, at.month, at.day) if span == DAY else (at.year, at.month)


def _end_ms(ms: int, span: int) -> int:
    """The first moment of another day or month, found by looking."""
    end = ms - ms % 86_400_000 + 86_400_000
    while _calendar(end, span) == _calendar(ms, span):
        end += 86_400_000
    return end


class Direct:
    """A link to a counter in this process."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def send(self, questions: list[Question]) -> list[Any]:
        return self._counter.answer(questions)

    async def aclose(self) -> None:
        pass


class Limiter(RuleBasedStateMachine):
    """Requests of several processes come, wait, end, are given up; time passes, and processes die."""

    make: ClassVar[Callable[[Callable[[], int]], Callable[[], Any]]]
    """From the clock, what makes the store of each process."""

    has_processes: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now_ms = BEGIN
        self.model = Model()
        new = type(self).make(lambda: self.now_ms)
        self.new_store = new
        self.stores = [new() for _ in range(PROCESSES if self.has_processes else 1)]
        self.generations = [0] * len(self.stores)
        self.heard = {(process, 0): BEGIN for process in range(len(self.stores))}
        self.requests: list[Request] = []
        self.dead: list[Any] = []
        self.wait(self._look())

    def wait(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _look(self) -> None:
        for process, store in enumerate(self.stores):
            if self.has_processes:
                await store.look()
            self.heard[process, self.generations[process]] = self.now_ms
        await asyncio.sleep(0)

    def teardown(self) -> None:
        for store in [*self.stores, *self.dead]:
            self.wait(store.aclose())
        self.loop.close()

    # What happens.

    @rule(
        process=st.integers(0, PROCESSES - 1),
        amounts=st.dictionaries(st.sampled_from(list(LIMITS)), st.integers(0, 12), min_size=1),
    )
    def comes(self, process: int, amounts: dict[str, int]) -> None:
        """A request comes; it has one place where it needs places."""
        process %= len(self.stores)
        names = list(amounts)
        wanted = [1 if name == "at once" else amounts[name] for name in names]
        request = Request(process, self.now_ms, names, wanted, generation=self.generations[process])
        self._ask(request)

    @precondition(lambda self: self.model.queue)
    @rule()
    def asks_again(self) -> None:
        """The first in the queue asks again."""
        self._ask(self.model.queue[0])

    def _ask(self, request: Request) -> None:
        asks = [
            Ask(name, LIMITS[name][1], amount, LIMITS[name][0], LIMITS[name][2])
            for name, amount in zip(request.names, request.amounts, strict=True)
        ]
        verdict: Verdict = self.wait(self.stores[request.process].take(asks, request.ticket))
        expected = self.model.decide(request, self.now_ms)
        assert (verdict.outcome, verdict.by, verdict.retry_ms) == expected
        left = [max(0, LIMITS[name][1] - self.model.used(name, self.now_ms)) for name in request.names]
        assert list(verdict.left) == left
        assert list(verdict.reset_ms) == [self.model.reset_ms(name, self.now_ms) for name in request.names]
        request.hold, request.ticket = verdict.hold, verdict.ticket
        if verdict.outcome == GRANTED:
            self.requests.append(request)

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), used=st.one_of(st.none(), st.integers(0, 20)))
    def ends(self, data: st.DataObject, used: int | None) -> None:
        """A request ends, and is settled once, whether or not its process is still known."""
        request = self.requests.pop(data.draw(st.integers(0, len(self.requests) - 1)))
        spent = [None if LIMITS[name][0] == PLACES else used for name in request.names]
        is_known = (request.process, request.generation) in self.heard
        if request.generation == self.generations[request.process]:
            self.wait(self._tell(request.process, lambda store: store.settle(request.hold, spent)))
            self.model.settle(
                request, dict(zip(request.names, spent, strict=True)), self.now_ms, is_known=is_known
            )

    async def _tell(self, process: int, what: Callable[[Any], None]) -> None:
        """Tell a store something that is not answered, and let it arrive."""
        what(self.stores[process])
        if self.has_processes:
            await self.stores[process]._batches.drain()

    @precondition(lambda self: self.model.queue)
    @rule(data=st.data())
    def gives_up(self, data: st.DataObject) -> None:
        """One that waits goes away."""
        request = self.model.queue[data.draw(st.integers(0, len(self.model.queue) - 1))]
        self.wait(self._tell(request.process, lambda store: store.leave(request.ticket)))
        self.model.leave(request)

    @rule(
        ms=st.sampled_from(
            [1, 2_999, 3_000, 3_000, 15_000, 15_000, 39_999, 40_000, 61_000, 3_600_000, 86_400_000]
        )
    )
    def time_passes(self, ms: int) -> None:
        """All processes are heard of after it; those that were not for a lease are somebody else then."""
        self.now_ms += ms
        if self.has_processes:
            for known, at_ms in list(self.heard.items()):
                if self.now_ms - at_ms >= LEASE_S * 1000:
                    self._forgotten(*known)
        self.wait(self._look())

    def _forgotten(self, process: int, generation: int) -> None:
        del self.heard[process, generation]
        for request in [r for r in self.model.queue if (r.process, r.generation) == (process, generation)]:
            self.model.leave(request)
        for request in list(self.model.there):
            if (request.process, request.generation) == (process, generation):
                self.model.there.remove(request)
        self.requests = [r for r in self.requests if (r.process, r.generation) != (process, generation)]
        if generation == self.generations[process]:
            self.generations[process] += 1

    @precondition(lambda self: self.has_processes)
    @rule(process=st.integers(0, PROCESSES - 1))
    def dies(self, process: int) -> None:
        """A process is gone without a word, and another takes its place; what it held is held for a lease."""
        if any(request.process == process for request in self.model.queue):
            return  # what becomes of a dead process's place in a queue differs from store to store
        self.requests = [r for r in self.requests if r.process != process]
        self.dead.append(self.stores[process])
        self.stores[process] = self.new_store()
        self.generations[process] += 1
        self.wait(self._look())

    # What is always true.

    @invariant()
    def no_window_has_more(self) -> None:
        """In no window that ends with a charge, and on no day and in no month, more was granted than the limit."""
        for name, (span, most, _) in LIMITS.items():
            charges = [c for c in self.model.charges if c.limit == name and c.granted]
            for last in charges:
                if span > 0:
                    window = [c for c in charges if last.at_ms - span < c.at_ms <= last.at_ms]
                elif span < 0:
                    window = [c for c in charges if _calendar(c.at_ms, span) == _calendar(last.at_ms, span)]
                else:
                    continue
                assert sum(min(c.used, c.granted) for c in window) <= most, name
        assert len([r for r in self.model.there if "at once" in r.names]) <= LIMITS["at once"][1]


FEW = settings(BOUNDED, max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck))


def machine(new: Callable[[Callable[[], int]], Callable[[], Any]], *, has_processes: bool) -> type[Limiter]:
    """The machine for one kind of store."""
    return type("Limiter", (Limiter,), {"make": staticmethod(new), "has_processes": has_processes})


def test_memory_decides_as_the_model() -> None:
    """The ledger of one process."""

    def make(now_ms: Callable[[], int]) -> Callable[[], Any]:
        return lambda: MemoryStore(now_ms=now_ms)

    run_state_machine_as_test(machine(make, has_processes=False), settings=FEW)


def test_the_counter_of_several_workers_decides_as_the_model() -> None:
    """One process that counts for three others, of which any may die."""

    def make(now_ms: Callable[[], int]) -> Callable[[], Any]:
        counter = Counter(MemoryStore(now_ms=now_ms), now_ms=now_ms)
        return lambda: RemoteStore(Direct(counter), timeout_s=5, lease_s=LEASE_S)

    run_state_machine_as_test(machine(make, has_processes=True), settings=FEW)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="weft-"))
    with RedisServer(folder) as server:
        yield server
    shutil.rmtree(folder)


@pytest.mark.system("redis-server")
def test_redis_decides_as_the_model(redis: RedisServer) -> None:
    """Three gateways on one Redis, of which any may die."""
    names = iter(range(1_000_000))

    def make(now_ms: Callable[[], int]) -> Callable[[], Any]:
        name = f"n{next(names)}"
        return lambda: RemoteStore(RedisLink(redis.url, name, now_ms=now_ms), timeout_s=5, lease_s=LEASE_S)

    run_state_machine_as_test(machine(make, has_processes=True), settings=settings(FEW, max_examples=20))


async def over_midnight(store: Any, pass_s: Callable[[int], None]) -> list[int]:
    """What is left of a day when requests of the day before end in it: one that used less, and one that used more."""
    limit = Ask("day", 25, 10, DAY)
    less, more = await store.take([limit]), await store.take([limit])
    pass_s(15)
    await store.take([limit])
    store.settle(less.hold, [1])
    store.settle(more.hold, [12])
    verdict = await store.take([limit._replace(amount=0)])
    return list(verdict.left)


async def test_what_ends_on_the_next_day_gives_nothing_back_to_it() -> None:
    """A request is charged to the day on which it began; only what it needed beyond its bound falls on the day of its end."""
    now = [BEGIN]

    def pass_s(seconds: int) -> None:
        now[0] += 1000 * seconds

    assert await over_midnight(MemoryStore(now_ms=lambda: now[0]), pass_s) == [25 - 10 - 2]


@pytest.mark.system("redis-server")
async def test_the_same_in_redis(redis: RedisServer) -> None:
    """Redis counts as memory does."""
    now = [BEGIN]

    def pass_s(seconds: int) -> None:
        now[0] += 1000 * seconds

    link = RedisLink(redis.url, "midnight", now_ms=lambda: now[0])
    store = RemoteStore(link, timeout_s=5, lease_s=LEASE_S)
    try:
        await store.look()
        assert await over_midnight(store, pass_s) == [25 - 10 - 2]
    finally:
        await store.aclose()
