"""Tasks that belong together: the first failure stops the others, and nobody leaves before all have ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

if sys.version_info >= (3, 12):

    def start_task(coroutine: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """A task that runs at once, up to where it first waits."""
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)

else:

    def start_task(coroutine: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """A task that runs in the next turn of the loop."""
        return asyncio.get_running_loop().create_task(coroutine)


class Group:
    """Some tasks and the one that waits for them.

    The tasks' coroutines catch what they raise and hand it to :meth:`fail`; no callbacks are attached to them, which
    halves the cost of a short task.

    Attributes:
        left: Units of work that are not done; whoever does one counts it down with :meth:`done`.
        error: The first failure.
    """

    __slots__ = ("_tasks", "_waiter", "error", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.error: BaseException | None = None
        self._tasks: list[asyncio.Task[object]] = []
        self._waiter: asyncio.Future[None] | None = None

    def spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run it in a task, in a copy of this context."""
        self._tasks.append(start_task(coroutine))

    def done(self) -> None:
        """One unit is done."""
        self.left -= 1
        if not self.left:
            self.wake()

    def fail(self, error: BaseException) -> None:
        """A task has failed; only the first failure counts."""
        if self.error is None:
            self.error = error
            self.wake()

    def wake(self) -> None:
        """Have the waiting task look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Return when all is done; after a failure or a cancellation, when all tasks have ended.

        Raises:
            BaseException: The first failure.
        """
        try:
            while self.left and self.error is None:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        except asyncio.CancelledError:
            await self.stop()
            raise
        if self.error is not None:
            await self.stop()
            raise self.error

    async def stop(self) -> None:
        """Cancel what still runs; it has ended when this returns."""
        await stop_tasks(self._tasks)


async def stop_tasks(tasks: list[asyncio.Task[object]]) -> None:
    """Cancel tasks and wait until they have ended, even when this is cancelled meanwhile (it then says so at the end)."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while running:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
        running = [task for task in running if not task.done()]
    if cancelled is not None:
        raise cancelled
