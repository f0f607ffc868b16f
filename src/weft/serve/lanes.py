"""A bounded thread pool with a bounded queue: blocking work beside the event loop.

The threads are daemons. A component's work may sit in native code for seconds; a process that was asked to end must
not wait for it, as it would with ``concurrent.futures``, whose threads are joined at exit.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from weft.errors import OverloadedError, UnavailableError

P = ParamSpec("P")
R = TypeVar("R")

NICE: Final = 10
"""Of a background lane's threads: where both have work, others get about ten times their time."""


class _Job:
    """One call on its way through the queue."""

    __slots__ = ("cancelled", "future", "loop", "work")

    def __init__(
        self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]
    ) -> None:
        self.work, self.loop, self.future = work, loop, future
        self.cancelled = False


class ThreadLane:
    """Implements :class:`weft.host.Lane`.

    Args:
        name: Whose work it is; the threads are called so.
        threads: How many calls run at once.
        queue_size: How many more may wait.
        background: Whether its threads stand back behind all others, where the system can do that (Linux).
    """

    def __init__(self, name: str, *, threads: int, queue_size: int, background: bool = False) -> None:
        self._background = background
        self._name, self._threads, self._queue_size = name, threads, queue_size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._load = 0
        self._started = 0
        self._closed = False

    @property
    def load(self) -> int:
        """Calls that run or wait."""
        return self._load

    async def run(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """See :meth:`weft.host.Lane.run`. Work that has not begun when its caller is cancelled never begins."""
        if self._closed:
            raise UnavailableError("the service is stopping", service=self._name)
        if self._load >= self._threads + self._queue_size:
            raise OverloadedError(
                f"service '{self._name}' is busy: {self._threads} calls run and {self._queue_size} wait"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        # The thread sees the request's context (id, deadline, tenant), as a task would.
        context = contextvars.copy_context()
        job = _Job(lambda: context.run(work, *args, **kwargs), loop, future)
        self._load += 1
        if self._started < min(self._threads, self._load):
            self._started += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._started}", daemon=True).start()
        self._jobs.put(job)
        try:
            return await future
        finally:
            job.cancelled = True  # only matters while it still waits in the queue

    def close(self) -> None:
        """Take no more work; waiting calls fail, threads end when their work does. Does not wait."""
        self._closed = True
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                self._settle(job, None, UnavailableError("the service is stopping", service=self._name))
        for _ in range(self._started):
            self._jobs.put(None)

    def _serve(self) -> None:
        if self._background and sys.platform == "linux":  # elsewhere threads have no priority of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while (job := self._jobs.get()) is not None:
            result: Any = None
            error: BaseException | None = None
            if not job.cancelled:
                try:
                    result = job.work()
                except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
                    error = raised
            try:
                job.loop.call_soon_threadsafe(self._settle, job, result, error)
            except RuntimeError:
                return  # the loop is closed: the process is ending and nobody waits any more

    def _settle(self, job: _Job, result: Any, error: BaseException | None) -> None:
        """Hand the outcome over, in the loop's thread (the count is only touched there)."""
        self._load -= 1
        if job.future.done():
            return
        if error is None:
            job.future.set_result(result)
        elif isinstance(error, StopIteration):
            # A future cannot carry StopIteration: it would end the awaiting coroutine silently.
            job.future.set_exception(RuntimeError("the work raised StopIteration"))
        else:
            job.future.set_exception(error)
