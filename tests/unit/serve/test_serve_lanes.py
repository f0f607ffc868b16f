"""Blocking work in bounded threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from weft.context import Context, current
from weft.errors import OverloadedError, UnavailableError
from weft.serve.lanes import ThreadLane


async def test_work_runs_in_a_thread_with_the_requests_context() -> None:
    """Its result and its errors come back."""
    lane = ThreadLane("x", threads=1, queue_size=1)
    current.set(Context("r1"))

    def work(a: int, *, b: int) -> tuple[int, str, bool]:
        return a + b, current.get().request_id, threading.current_thread() is threading.main_thread()

    assert await lane.run(work, 1, b=2) == (3, "r1", False)
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 / 0)
    lane.close()


async def test_a_full_queue_refuses_at_once() -> None:
    """What runs and what waits is bounded; when some of it is done there is room again."""
    lane = ThreadLane("x", threads=1, queue_size=1)
    gate = threading.Event()
    calls = [asyncio.create_task(lane.run(gate.wait, 10)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="'x' is busy"):
        await lane.run(gate.wait)
    gate.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*calls) == [True, True]
        assert await lane.run(lambda: 5) == 5
    assert lane.load == 0
    lane.close()


async def test_cancelling_frees_the_caller_at_once() -> None:
    """Running work goes on unseen; waiting work never begins; room comes back when the work has ended."""
    lane = ThreadLane("x", threads=1, queue_size=1)
    gate, entered, ran = threading.Event(), threading.Event(), []

    def block() -> None:
        entered.set()
        gate.wait(10)

    running = asyncio.create_task(lane.run(block))
    waiting = asyncio.create_task(lane.run(ran.append, 1))
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(entered.wait, 10)
        running.cancel()
        waiting.cancel()
        await asyncio.wait((running, waiting))
        assert lane.load == 2
        gate.set()
        while lane.load:
            await asyncio.sleep(0.001)
        assert await lane.run(lambda: 5) == 5
    assert ran == []
    lane.close()


async def test_closing_fails_what_waits() -> None:
    """And takes nothing more."""
    lane = ThreadLane("x", threads=1, queue_size=2)
    gate, entered = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        gate.wait(10)

    running = asyncio.create_task(lane.run(block))
    waiting = asyncio.create_task(lane.run(block))
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(entered.wait, 10)
        lane.close()
        with pytest.raises(UnavailableError):
            await waiting
        with pytest.raises(UnavailableError):
            await lane.run(block)
        gate.set()
        await running
