"""The machine's clock: timers that nearly always are taken back."""

from __future__ import annotations

import asyncio

from runkit import WATCHDOG_S
from weft.transport.clock import SystemClock


async def fired(*delays_s: float) -> list[float]:
    """The delays of timers, in the order in which they fired."""
    clock, found = SystemClock(), list[float]()
    done = asyncio.Event()

    def fire(delay_s: float) -> None:
        found.append(delay_s)
        if len(found) == len(delays_s):
            done.set()

    for delay_s in delays_s:
        clock.call_later(delay_s, lambda delay_s=delay_s: fire(delay_s))  # type: ignore[misc]  # a default binds it
    async with asyncio.timeout(WATCHDOG_S):
        await done.wait()
    return found


async def test_timers_fire_when_they_are_due() -> None:
    """A timer that is due sooner fires sooner, though it was set later."""
    assert await fired(0.05, 0.01, 0.1) == [0.01, 0.05, 0.1]


async def test_a_timer_of_no_time_fires() -> None:
    """Zero and less mean: in the next turn."""
    assert sorted(await fired(0.0, -1.0)) == [-1.0, 0.0]


async def test_a_timer_that_was_taken_back_does_not_fire() -> None:
    """Neither before it is due, nor by one that fires in the same turn; taking it back twice is nothing."""
    clock, found = SystemClock(), list[str]()
    done = asyncio.Event()
    before = clock.call_later(0.01, lambda: found.append("before"))
    before.cancel()
    before.cancel()
    first = clock.call_later(0.02, lambda: (found.append("one"), second.cancel()))
    second = clock.call_later(0.02, lambda: (found.append("one"), first.cancel()))
    clock.call_later(0.03, done.set)
    async with asyncio.timeout(WATCHDOG_S):
        await done.wait()
    assert found == ["one"]


def test_one_clock_may_serve_one_loop_after_another() -> None:
    """Timers belong to the loop in which they were set."""
    clock = SystemClock()

    async def wait() -> bool:
        done = asyncio.Event()
        clock.call_later(0.001, done.set)
        async with asyncio.timeout(WATCHDOG_S):
            return await done.wait()

    assert asyncio.run(wait())
    assert asyncio.run(wait())
