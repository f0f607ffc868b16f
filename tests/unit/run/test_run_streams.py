"""Streams between nodes: how far a producer may be ahead, and an observer behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from weft.errors import ServiceError
from weft.run.streams import AHEAD, COPIED, Pump, Tap


class Source:
    """Numbers without end, and how many of them were made."""

    def __init__(self, *, fails_at: int = 10_000, ends_at: int = 10_000) -> None:
        self.made, self.is_closed = 0, False
        self._fails_at, self._ends_at = fails_at, ends_at

    async def numbers(self) -> AsyncIterator[int]:
        try:
            while self.made < self._ends_at:
                if self.made == self._fails_at:
                    raise ServiceError("out of numbers")
                self.made += 1
                yield self.made
        finally:
            self.is_closed = True


async def turns(number: int) -> None:
    """Let everyone else run."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_producer_works_before_it_is_read_and_waits_when_it_is_far_ahead() -> None:
    """It has a bounded buffer; each chunk that is read lets it make another."""
    source = Source()
    pump = Pump(source.numbers())
    await turns(3)
    assert source.made == AHEAD
    assert [await anext(pump) for _ in range(3)] == [1, 2, 3]
    await turns(3)
    assert source.made == AHEAD + 3
    await pump.aclose()
    assert source.is_closed


async def test_a_failure_comes_after_the_chunks_before_it() -> None:
    """Nothing that was made is lost, and the end comes once more to whoever asks again."""
    pump = Pump(Source(fails_at=2).numbers())
    assert [await anext(pump), await anext(pump)] == [1, 2]
    for _ in range(2):
        with pytest.raises(ServiceError, match="out of numbers"):
            await anext(pump)
    await pump.aclose()


async def test_a_producer_that_ends_while_its_reader_waits() -> None:
    """The reader is woken."""
    pump = Pump(Source(ends_at=1).numbers())
    assert [chunk async for chunk in pump] == [1]


async def test_the_first_chunk_can_be_waited_for() -> None:
    """It is still there to be read; a failure before it is raised."""
    pump = Pump(Source().numbers())
    await pump.first()
    assert await anext(pump) == 1
    await pump.aclose()
    failing = Pump(Source(fails_at=0).numbers())
    with pytest.raises(ServiceError):
        await failing.first()
    await failing.aclose()


async def test_an_observer_that_falls_behind_loses_its_copy() -> None:
    """It gets what fitted, then an error; the stream itself never waits."""
    tap = Tap()
    for number in range(COPIED + 5):
        tap.put(number)
    found = []
    with pytest.raises(ServiceError, match=f"the observer is {COPIED} chunks behind"):
        async for number in tap:
            found.append(number)
    assert found == list(range(COPIED))


async def test_an_observer_waits_for_what_comes() -> None:
    """And ends with the stream."""
    tap = Tap()
    reading = asyncio.create_task(_all(tap))
    await turns(2)
    tap.put(1)
    await turns(2)
    tap.put(2)
    tap.end()
    tap.put(3)  # after the end: not part of it
    assert await reading == [1, 2]


async def _all(tap: Tap) -> list[int]:
    return [number async for number in tap]
