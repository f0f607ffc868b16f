"""Work in processes that can be killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

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


async def test_isolated_work_has_no_network(isolation: Isolation) -> None:
    """A server that listens on this machine is reached by nobody in there, and gets no connection."""
    reached = asyncio.Event()
    server = await asyncio.start_server(lambda *_: reached.set(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await isolation.run(isolated_work.reach, port, **LIMITS) == "PermissionError"
        if sys.platform == "linux" and networks_can_be_had():
            assert await isolation.run(isolated_work.reach_by_program, port, **LIMITS) != 0
    assert not reached.is_set()


def networks_can_be_had() -> bool:
    """Whether the kernel gives this user a network of its own."""
    code = "import ctypes, sys; c = ctypes.CDLL(None); sys.exit(bool(c.unshare(0x40000000) and c.unshare(0x50000000)))"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no niceness")
async def test_isolated_work_yields(isolation: Isolation) -> None:
    """It runs with a lower priority than the process that answers requests."""
    assert await isolation.run(isolated_work.niceness, **LIMITS) >= min(os.nice(0) + 10, 19)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")
async def test_programs_that_the_work_started_end_with_it(isolation: Isolation, tmp_path: Path) -> None:
    """A call that is given up leaves no program behind."""
    noted = tmp_path / "pid"
    call = asyncio.create_task(isolation.run(isolated_work.start_program, str(noted), **LIMITS))
    async with asyncio.timeout(10):
        while not (noted.exists() and noted.read_text()):
            await asyncio.sleep(0.01)
    program = psutil.Process(int(noted.read_text()))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    _, alive = await asyncio.to_thread(psutil.wait_procs, [program], 10)
    assert not alive
