"""The parent's side of :meth:`weft.host.Host.isolated`: a pool of processes that can be killed."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from weft.errors import DeadlineError, OverloadedError, ServiceError, UnavailableError
from weft.serve.isolate import LENGTH, frame

R = TypeVar("R")

MAX_REPLY_BYTES: Final = 1 << 30
"""A larger result is a fault of the work: it would be held twice in memory here."""

QUEUE_PER_WORKER: Final = 16
"""Calls that may wait for each worker."""


class Isolation:
    """Runs calls in child processes, each under a limit of time and memory.

    A worker that ran its call well is used again; one that was cancelled, too slow, too large or crashed is killed.

    Args:
        service: Whose work it is, for messages.
        workers: How many processes at most.
    """

    def __init__(self, service: str, *, workers: int) -> None:
        self._service, self._workers = service, workers
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._slots = asyncio.Semaphore(workers)
        self._waiting = 0
        self._closed = False

    async def run(
        self,
        work: Callable[..., R],
        /,
        *args: Any,
        timeout_s: float,
        max_memory_bytes: int,
        **kwargs: Any,
    ) -> R:
        """See :meth:`weft.host.Host.isolated`. Cancelling kills the process; waiting counts as part of no limit."""
        if self._waiting >= self._workers * QUEUE_PER_WORKER:
            raise OverloadedError(
                f"service '{self._service}' is busy: {self._waiting} calls wait for a process"
            )
        call = frame(pickle.dumps((work, args, kwargs, timeout_s, max_memory_bytes)))
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            reply = await self._run(call, timeout_s, max_memory_bytes)
        finally:
            self._slots.release()
        return reply  # type: ignore[no-any-return]  # pickle gives back what work returned

    async def _run(self, call: bytes, timeout_s: float, max_memory_bytes: int) -> Any:
        process = await self._process()
        begun = time.monotonic()
        done = False
        try:
            async with asyncio.timeout(timeout_s):
                kind, value = await _exchange(process, call)
            done = kind != "memory"  # a heap that once hit its limit is fragmented: start afresh
        except TimeoutError as error:
            raise DeadlineError(
                f"the work took longer than {timeout_s:g} s and was ended",
                service=self._service,
                elapsed_s=time.monotonic() - begun,
            ) from error
        except (EOFError, ConnectionError, asyncio.IncompleteReadError) as error:
            status = await self._end(process)
            raise ServiceError(
                f"the process that did the work ended with status {status}", service=self._service
            ) from error
        finally:
            if done and not self._closed:
                self._idle.append(process)
            else:
                await self._end(process)
        if kind == "error":
            raise value
        if kind == "memory":
            raise ServiceError(
                f"the work needed more than {max_memory_bytes >> 20} MB of memory", service=self._service
            )
        return value

    async def _process(self) -> Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
            self._all.discard(process)
        if self._closed:
            raise UnavailableError("the service is stopping", service=self._service)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "weft.serve.isolate",
            stdin=PIPE,
            stdout=PIPE,
            limit=1 << 20,
            start_new_session=True,  # so that programs which the work has started end with it
        )
        self._all.add(process)
        if self._closed:
            await self._end(process)
            raise UnavailableError("the service is stopping", service=self._service)
        assert process.stdin is not None
        process.stdin.write(frame(pickle.dumps(sys.path)))
        return process

    async def _end(self, process: Process) -> int:
        """Kill a process and reap it, also while this task is being cancelled."""
        self._all.discard(process)
        with suppress(ProcessLookupError, PermissionError):  # it ended by itself just now
            if sys.platform != "win32":
                os.killpg(process.pid, signal.SIGKILL)
            elif process.returncode is None:
                process.kill()
        if process.stdin is not None:
            process.stdin.close()
        return await asyncio.shield(process.wait())

    async def aclose(self) -> None:
        """Kill every process, whatever it does, and wait until they are gone."""
        self._closed = True
        self._idle.clear()
        await asyncio.gather(*(self._end(process) for process in list(self._all)))


async def _exchange(process: Process, call: bytes) -> tuple[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(call)
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > MAX_REPLY_BYTES:
        raise EOFError(f"a result of {length} bytes")
    reply: tuple[str, Any] = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - our own child
    return reply
