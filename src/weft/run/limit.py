"""Time limits: one timer that cancels the task which is waiting, and says afterwards that it did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from weft.errors import DeadlineError
from weft.transport.clock import Clock, TimerHandle


def running_task() -> asyncio.Task[object]:
    """The task that runs this."""
    task = asyncio.current_task()
    assert task is not None  # a plan is only ever run in tasks
    return task


class Limit:
    """A timer for whatever task is *inside* when it fires; as ``with``: for the running task, until the end of the block.

    A stream is inside only while it waits for a chunk: the timer must never strike while its reader does something else,
    so what fires outside is noticed at the next entry.

    Attributes:
        fired: Whether the time was up.
        outside: Called when it fires while no task is inside; for what goes on without one (a relay).
    """

    __slots__ = ("_cancelling", "_handle", "_has_struck", "_task", "fired", "outside")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.fired = False
        self.outside: Callable[[], object] | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._has_struck = False
        self._handle: TimerHandle = clock.call_later(seconds, self._fire)

    def _fire(self) -> None:
        self.fired = True
        if self._task is not None:
            self._has_struck = True
            self._task.cancel()
        elif self.outside is not None:
            self.outside()

    def enter(self, task: asyncio.Task[object]) -> None:
        """From now on the timer cancels ``task``."""
        self._task = task
        self._cancelling = task.cancelling()

    def leave(self) -> bool:
        """The task is outside again.

        Returns:
            Whether a CancelledError that left the block was the timer's, and nobody else's.
        """
        task, self._task = self._task, None
        if not self._has_struck or task is None:
            return False
        self._has_struck = False
        return task.uncancel() <= self._cancelling

    def cancel(self) -> None:
        """The timer is not needed any more."""
        self._handle.cancel()

    def __enter__(self) -> Self:
        self.enter(running_task())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if self.leave() and kind is asyncio.CancelledError:
            raise DeadlineError("the time allowed for this node was up") from error
