"""Work in processes that can be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import isolated_work
import psutil
import pytest

from weft.errors import DeadlineError, OverloadedError, ServiceError, UnavailableError
from weft.serve.isolation import Isolation

MB = 1 << 20
LIMITS = {"timeout_s": 20.0, "max_memory_bytes": 256 * MB}


@pytest.fixture
async def isolation() -> AsyncIterator[Isolation]:
    found = Isolation("x", workers=1)
    yield found
    await found.aclose()


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "weft.serve.isolate" in " ".join(p.cmdline())]


async def test_results_and_errors_come_back_from_one_process(isolation: Isolation) -> None:
    """A worker that did well is used again; what prints does not disturb it."""
    total, pid = await isolation.run(isolated_work.add, 1, 2, **LIMITS)
    assert total == 3
    assert pid != os.getpid()
    with pytest.raises(ValueError, match="as asked"):
        await isolation.run(isolated_work.fail, "as asked", **LIMITS)
    assert await isolation.run(isolated_work.chatter, **LIMITS) == ""
    assert (await isolation.run(isolated_work.add, 1, 2, **LIMITS))[1] == pid


async def test_a_crash_is_a_service_error(isolation: Isolation) -> None:
    """And the next call gets a new process."""
    with pytest.raises(ServiceError, match="status 7"):
        await isolation.run(isolated_work.crash, **LIMITS)
    assert (await isolation.run(isolated_work.add, 1, 2, **LIMITS))[0] == 3


async def test_work_that_takes_too_long_is_killed(isolation: Isolation) -> None:
    """Its process is gone when the error is there."""
    await isolation.run(isolated_work.add, 1, 2, **LIMITS)
    with pytest.raises(DeadlineError, match="longer than 0.1 s"):
        await isolation.run(isolated_work.sleep, timeout_s=0.1, max_memory_bytes=256 * MB)
    assert children() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space of a process")
async def test_work_that_takes_too_much_memory_fails(isolation: Isolation) -> None:
    """Within the limit it does not."""
    assert await isolation.run(isolated_work.fill, 10 * MB, timeout_s=20, max_memory_bytes=64 * MB) == 10 * MB
    with pytest.raises(ServiceError, match="more than 64 MB"):
        await isolation.run(isolated_work.fill, 200 * MB, timeout_s=20, max_memory_bytes=64 * MB)


async def test_cancelling_kills_the_work(isolation: Isolation) -> None:
    """Nothing goes on unseen."""
    await isolation.run(isolated_work.add, 1, 2, **LIMITS)
    task = asyncio.create_task(isolation.run(isolated_work.sleep, **LIMITS))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert children() == []


async def test_calls_wait_for_a_process_bounded(isolation: Isolation) -> None:
    """One worker runs them one after the other."""
    pids = await asyncio.gather(*(isolation.run(isolated_work.add, 1, n, **LIMITS) for n in range(5)))
    assert [total for total, _ in pids] == [1, 2, 3, 4, 5]
    assert len({pid for _, pid in pids}) == 1
    with pytest.raises(OverloadedError):
        await asyncio.gather(*(isolation.run(isolated_work.add, 1, 1, **LIMITS) for _ in range(30)))


async def test_closing_leaves_no_process() -> None:
    """Running or idle; and takes no more work."""
    isolation = Isolation("x", workers=2)
    await isolation.run(isolated_work.add, 1, 2, **LIMITS)
    running = asyncio.create_task(isolation.run(isolated_work.sleep, **LIMITS))
    await asyncio.sleep(0)
    await isolation.aclose()
    with pytest.raises((ServiceError, UnavailableError)):
        await running
    with pytest.raises(UnavailableError):
        await isolation.run(isolated_work.add, 1, 2, **LIMITS)
    assert children() == []
