"""More than can be served: who gets a place, who waits, who is turned away at once, and how many run at a time."""

from __future__ import annotations

import asyncio

import pytest

from loadkit import OpenLoop, Slots
from runkit import FakeClock
from weft.errors import OverloadedError
from weft.gateway.load.admission import Admission, Place, Refusal
from weft.gateway.load.concurrency import MOST, SAMPLES, START, Adaptive, Concurrency, Fixed

SLOTS, SERVICE_S, CAPACITY = 5, 0.1, 50
"""A backend that serves 50 requests a second, five at a time."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def admission(
    clock: FakeClock, concurrency: Concurrency | int, *, queue: int = 10, queue_s: float = 5.0
) -> Admission:
    number = Fixed(concurrency) if isinstance(concurrency, int) else concurrency
    return Admission(number, queue=queue, queue_s=queue_s, clock=clock)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def waiting(places: Admission, *, is_high: bool = False, left_s: float | None = None) -> asyncio.Task[Place]:
    return asyncio.ensure_future(places.wait(is_high=is_high, left_s=left_s))


def taken(places: Admission) -> Place:
    place = places.enter(is_high=False)
    assert place is not None
    return place


# Places and queues.


async def test_as_many_run_as_there_are_places_and_the_next_waits(clock: FakeClock) -> None:
    """A place that becomes free goes to who waited the longest, and the wait is told."""
    places = admission(clock, 2)
    first, second = taken(places), taken(places)
    assert places.enter(is_high=False) is None
    third, fourth = waiting(places), waiting(places)
    await turns()
    clock.advance(0.25)
    first.leave()
    await turns()
    assert (third.done(), fourth.done(), places.waiting) == (True, False, 1)
    assert third.result().waited_s == pytest.approx(0.25)
    second.leave()
    await turns()
    assert fourth.done()
    for place in (third.result(), fourth.result()):
        place.leave()
        place.leave()
    assert (places.in_flight, places.waiting, clock.pending) == (0, 0, 0)


async def test_nobody_overtakes_who_waits(clock: FakeClock) -> None:
    """One that comes while others of its priority wait does not get the place that is meant for them."""
    places = admission(clock, 1)
    place = taken(places)
    first = waiting(places)
    await turns()
    place.leave()
    assert places.enter(is_high=False) is None
    await turns()
    assert first.done()


async def test_high_priority_goes_first(clock: FakeClock) -> None:
    """Whoever has it overtakes all that wait without."""
    places = admission(clock, 1)
    place = taken(places)
    low, high = waiting(places), waiting(places, is_high=True)
    await turns()
    place.leave()
    await turns()
    assert (low.done(), high.done()) == (False, True)
    high.result().leave()
    await turns()
    assert low.done()


async def test_a_full_queue_refuses_and_low_priority_makes_room(clock: FakeClock) -> None:
    """The low one that came last is turned away for a high one; among equals the one that comes is."""
    refusals: list[tuple[bool, Refusal]] = []
    places = Admission(
        Fixed(1), queue=2, queue_s=5, clock=clock, on_refused=lambda high, why: refusals.append((high, why))
    )
    taken(places)
    lows = [waiting(places) for _ in range(2)]
    await turns()
    with pytest.raises(OverloadedError, match="2 requests wait already"):
        await places.wait(is_high=False)
    highs = [waiting(places, is_high=True) for _ in range(2)]
    await turns()
    for low in lows:
        with pytest.raises(OverloadedError, match="higher priority"):
            low.result()
    with pytest.raises(OverloadedError):
        await places.wait(is_high=True)
    assert refusals == [(False, "full"), (False, "shed"), (False, "shed"), (True, "full")]
    for high in highs:
        high.cancel()


async def test_who_would_wait_too_long_is_told_at_once_when_to_come_back(clock: FakeClock) -> None:
    """As soon as it is known how fast places become free: eleven before it at ten a second are 1.1 s."""
    places = admission(clock, 1, queue=100, queue_s=1.0)
    place = taken(places)
    clock.advance(0.1)
    place.leave()
    taken(places)
    patient = [waiting(places) for _ in range(10)]
    await turns()
    with pytest.raises(OverloadedError, match=r"about 1\.1 s") as refused:
        await places.wait(is_high=False)
    assert refused.value.retry_after_s == pytest.approx(1.1)
    for task in patient:
        task.cancel()


async def test_what_cannot_be_served_in_its_time_is_refused_at_once(clock: FakeClock) -> None:
    """The time that serving takes counts, too."""
    places = admission(clock, 1)
    place = taken(places)
    clock.advance(1.0)
    place.leave()
    taken(places)
    with pytest.raises(OverloadedError):
        await places.wait(is_high=False, left_s=1.9)
    in_time = waiting(places, left_s=2.1)
    await turns()
    assert not in_time.done()
    in_time.cancel()


async def test_who_waited_too_long_is_turned_away(clock: FakeClock) -> None:
    """At the time that the file allows, or that the request has left."""
    places = admission(clock, 1, queue_s=2.0)
    taken(places)
    patient, hurried = waiting(places), waiting(places, left_s=0.5)
    await turns()
    clock.advance(0.5)
    await turns()
    assert (patient.done(), hurried.done(), places.waiting) == (False, True, 1)
    clock.advance(1.5)
    await turns()
    for task in (patient, hurried):
        with pytest.raises(OverloadedError, match="no place became free in time"):
            task.result()
    assert (places.in_flight, places.waiting) == (1, 0)


async def test_who_leaves_the_queue_makes_room(clock: FakeClock) -> None:
    """A waiter that is cancelled counts no more; nor does one that got its place in the same moment."""
    places = admission(clock, 1)
    place = taken(places)
    leaving, next_one = waiting(places), waiting(places)
    await turns()
    leaving.cancel()
    await turns()
    assert places.waiting == 1
    place.leave()
    next_one.cancel()
    await turns()
    assert next_one.cancelled()
    assert (places.in_flight, places.waiting, clock.pending) == (0, 0, 0)


# How many at a time.


def run_window(concurrency: Adaptive, latency_s: float, *, was_full: bool = True) -> None:
    """Requests that begin and end under the number that there is, until it is looked at."""
    era = concurrency.era
    while concurrency.era == era:
        concurrency.ended(latency_s, era, was_full=was_full, was_refused=False)


def test_the_number_grows_while_latency_stays() -> None:
    """Only where it is the number that holds requests back."""
    concurrency = Adaptive()
    for _ in range(3):
        run_window(concurrency, 0.1, was_full=False)
    assert concurrency.now == START
    for _ in range(30):
        run_window(concurrency, 0.1)
    assert concurrency.now == MOST


def test_the_number_shrinks_when_latency_doubles() -> None:
    """In proportion, by half at most, and never to nothing."""
    concurrency = Adaptive(start=40)
    run_window(concurrency, 0.1, was_full=False)
    run_window(concurrency, 0.25)
    assert concurrency.now == 32
    run_window(concurrency, 10.0)
    assert concurrency.now == 16
    for _ in range(40):
        run_window(concurrency, 10.0, was_full=False)
    assert concurrency.now >= 1


def test_a_backend_that_refuses_shrinks_the_number_once_a_window() -> None:
    """However many it refused of those that began together."""
    concurrency = Adaptive(start=100)
    era = concurrency.era
    for _ in range(50):
        concurrency.ended(None, era, was_full=True, was_refused=True)
    assert concurrency.now == 90


def test_a_few_refusals_say_nothing() -> None:
    """A backend that refuses one of twenty, whatever it has to do, is not left idle for it."""
    concurrency = Adaptive(start=40)
    for number in range(400):
        refused = number % 20 == 0
        era = concurrency.era
        concurrency.ended(None if refused else 0.1, era, was_full=False, was_refused=refused)
    assert concurrency.now == 40


def test_one_slow_request_changes_nothing() -> None:
    """The middle of many counts."""
    concurrency = Adaptive()
    run_window(concurrency, 0.1, was_full=False)
    era = concurrency.era
    concurrency.ended(60.0, era, was_full=False, was_refused=False)
    for _ in range(SAMPLES - 1):
        concurrency.ended(0.1, era, was_full=False, was_refused=False)
    assert concurrency.now == START


# Under overload.


@pytest.mark.parametrize("concurrency", ["fixed", "adaptive"])
async def test_ten_times_the_load_is_served_as_well_as_the_backend_can(
    clock: FakeClock, concurrency: str
) -> None:
    """Goodput stays above nine tenths of the capacity, and who is refused is told at once when to come back."""
    number = Fixed(SLOTS) if concurrency == "fixed" else Adaptive()
    loop = OpenLoop(clock, admission(clock, number, queue=64, queue_s=1.0), Slots(clock, SLOTS, SERVICE_S))
    await loop.offer(10, low=10 * CAPACITY)
    served = loop.backend.served
    await loop.finish()
    low = loop.outcomes[0]
    assert served >= 0.9 * 10 * CAPACITY
    assert low.served + low.refused == low.asked
    assert low.refused_at_once >= 0.95 * low.refused
    assert all(1.0 <= seconds <= 5.0 for seconds in low.retry_after_s)


@pytest.mark.parametrize("concurrency", ["fixed", "adaptive"])
async def test_high_priority_is_served_under_overload(clock: FakeClock, concurrency: str) -> None:
    """While its own load is half of the capacity, it is as if the rest were not there; and nothing else is lost."""
    number = Fixed(SLOTS) if concurrency == "fixed" else Adaptive()
    loop = OpenLoop(clock, admission(clock, number, queue=64, queue_s=1.0), Slots(clock, SLOTS, SERVICE_S))
    await loop.offer(10, low=9.5 * CAPACITY, high=CAPACITY / 2)
    served = loop.backend.served
    await loop.finish()
    high = loop.outcomes[1]
    assert high.served >= 0.99 * high.asked
    assert served >= 0.9 * 10 * CAPACITY


@pytest.mark.parametrize(("slots", "service_s"), [(1, 0.05), (5, 0.1), (40, 0.4)])
async def test_the_number_finds_what_a_backend_can_take(
    clock: FakeClock, slots: int, service_s: float
) -> None:
    """Above its slots, so that none is idle; not far above, so that nobody waits unseen."""
    places = admission(clock, Adaptive(), queue=200, queue_s=2.0)
    loop = OpenLoop(clock, places, Slots(clock, slots, service_s))
    await loop.offer(20, low=3 * slots / service_s, step_s=0.005)
    late = sorted(loop.numbers[len(loop.numbers) // 2 :])
    await loop.finish()
    assert slots <= late[len(late) // 2] <= 3 * slots + 1


async def test_a_backend_that_gets_smaller_is_followed(clock: FakeClock) -> None:
    """When half of its slots are gone, the number comes down; when they are back, it goes up again."""
    places = admission(clock, Adaptive(), queue=64, queue_s=1.0)
    backend = Slots(clock, 20, 0.1)
    loop = OpenLoop(clock, places, backend)
    await loop.offer(8, low=600, step_s=0.005)
    backend.slots, backend.service_s = 4, 0.1
    await loop.offer(12, low=600, step_s=0.005)
    small = sorted(loop.numbers[-400:])[200]
    backend.slots = 20
    await loop.offer(15, low=600, step_s=0.005)
    large = sorted(loop.numbers[-400:])[200]
    await loop.finish()
    assert small <= 14
    assert large >= 20
