"""Whatever requests do in whatever order: places and queues stay within their bounds, and nothing is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runkit import FakeClock
from weft.errors import OverloadedError, UnreachableError
from weft.gateway.load.admission import Admission, Place
from weft.gateway.load.concurrency import MOST, Adaptive, Fixed
from weft.http.client import Client
from weft.spec.gateway import BackendSpec
from weft.transport.replicas import Replicas

PLACES, QUEUE = 3, 4

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 10)),
        st.tuples(st.just("give up"), st.integers(0, 10)),
        st.tuples(st.just("wait"), st.floats(0.01, 3)),
    ),
    max_size=40,
)


class Model:
    """Requests that come, leave and give up, in front of some places."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.admission = Admission(Fixed(PLACES), queue=QUEUE, queue_s=2.0, clock=clock)
        self.tasks: list[asyncio.Task[None]] = []
        self.leaving: list[asyncio.Event] = []
        self.served: list[tuple[bool, int]] = []
        self.told_s: list[float] = []
        self.came = 0

    async def request(self, *, is_high: bool, number: int, leaves: asyncio.Event) -> None:
        try:
            place: Place = self.admission.enter(is_high=is_high) or await self.admission.wait(is_high=is_high)
        except OverloadedError as error:
            self.told_s.append(error.retry_after_s)
            return
        self.served.append((is_high, number))
        try:
            await leaves.wait()
        finally:
            place.measured()
            place.leave()
            place.leave()

    async def do(self, step: str, value: Any) -> None:
        if step == "come":
            leaves = asyncio.Event()
            self.leaving.append(leaves)
            self.tasks.append(
                asyncio.ensure_future(self.request(is_high=value, number=self.came, leaves=leaves))
            )
            self.came += 1
        elif step == "leave" and self.leaving:
            self.leaving[value % len(self.leaving)].set()
        elif step == "give up" and self.tasks:
            self.tasks[value % len(self.tasks)].cancel()
        elif step == "wait":
            self.clock.advance(value)
        for _ in range(4):
            await asyncio.sleep(0)

    def check(self) -> None:
        places = self.admission
        assert 0 <= places.in_flight <= PLACES
        assert places.waiting <= QUEUE
        # Nobody waits beside a free place.
        assert not places.waiting or places.in_flight == PLACES


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_places_and_queues_stay_within_their_bounds(steps: list[tuple[str, Any]]) -> None:
    """After every step; and when all have left, no place is taken, nobody waits and no timer is set."""

    async def run() -> None:
        model = Model(FakeClock())
        for step, value in steps:
            await model.do(step, value)
            model.check()
        for leaves in model.leaving:
            leaves.set()
        await asyncio.gather(*model.tasks, return_exceptions=True)
        assert (model.admission.in_flight, model.admission.waiting, model.clock.pending) == (0, 0, 0)
        assert all(seconds >= 1 for seconds in model.told_s)
        for is_high in (False, True):
            order = [number for high, number in model.served if high == is_high]
            assert order == sorted(order)

    asyncio.run(run())


@given(st.lists(st.tuples(st.floats(0.001, 100), st.booleans(), st.booleans(), st.booleans()), max_size=300))
@settings(max_examples=100, deadline=None)
def test_the_number_found_is_always_a_number_of_places(
    replies: list[tuple[float, bool, bool, bool]],
) -> None:
    """Whatever latencies come, one at least and never more than the most."""
    concurrency = Adaptive()
    for latency_s, is_late, was_full, was_refused in replies:
        era = concurrency.era - (1 if is_late else 0)
        concurrency.ended(None if was_refused else latency_s, era, was_full=was_full, was_refused=was_refused)
        assert 1 <= concurrency.now <= MOST


@given(
    st.sampled_from(["least-in-flight", "latency", "prefix"]),
    st.integers(1, 5),
    st.lists(
        st.tuples(st.sampled_from(["ask", "well", "fault", "busy", "gone", "wait"]), st.integers(0, 50)),
        max_size=60,
    ),
)
@settings(max_examples=150, deadline=None)
def test_an_address_is_always_found_and_counts_come_back(
    balance: Any, count: int, steps: list[tuple[str, int]]
) -> None:
    """Whatever they answer: no count is ever negative, no more than half are left alone, and in the end all are free."""

    async def run() -> None:
        client, clock = Client(), FakeClock()
        endpoints = [client.endpoint(f"http://127.0.0.1:{port}") for port in range(1, count + 1)]
        replicas = Replicas(endpoints, clock, BackendSpec(balance=balance), random=lambda: 0.5)
        under_way = []
        errors: dict[str, BaseException] = {
            "fault": UnreachableError("no"),
            "busy": OverloadedError("busy"),
            "gone": asyncio.CancelledError(),
        }
        for step, number in steps:
            if step == "ask":
                avoid = under_way[:number]
                under_way.append(replicas.choose(b"%d" % (number % 7), avoid))
            elif step == "wait":
                clock.advance(number / 5)
            elif under_way:
                replica = under_way.pop(number % len(under_way))
                if step == "well":
                    replicas.measured(replica, number / 100)
                    replicas.succeeded(replica)
                else:
                    replicas.failed(replica, errors[step])
            ejected = sum(replica.back_ns > clock.now_ns() for replica in replicas.all)
            assert ejected <= max(1, (count + 1) // 2) * (count > 1)
            assert sum(replica.in_flight for replica in replicas.all) == len(under_way)
            assert all(replica.in_flight >= 0 for replica in replicas.all)
        await client.aclose()

    asyncio.run(run())
