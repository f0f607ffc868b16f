"""A future that resumes the one task waiting for it at once, inside the call that resolves it.

``asyncio.Future`` wakes its task through ``loop.call_soon``: one more turn of the loop, which for a request that makes
four calls is a tenth of its CPU. A protocol callback (``data_received``, a timer) never runs inside a task, so there the
waiting task can be stepped directly. It stays a real ``asyncio.Task``: ``current_task()``, ``asyncio.timeout()``,
``cancel()`` and context variables work as always, because the task hands us its own wake-up callable and its own context
through the same ``_asyncio_future_blocking`` protocol that every future-like object speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_PENDING: Any = object()
"""The value of a waiter that is not resolved yet."""


class Waiter(Generic[T]):
    """One value, awaited by at most one task, resolved by at most one protocol callback.

    Awaiting it may be cancelled at any time; resolving a cancelled or resolved waiter does nothing.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_error", "_loop", "_value", "_wakeup")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._value: T = _PENDING
        self._error: BaseException | None = None
        self._wakeup: Callable[[Any], None] | None = None
        self._context: Context | None = None

    def wake(self, value: T) -> None:
        """Resolve, and run the waiting task now. Only from a callback of the loop, never inside a task."""
        if self._value is _PENDING and self._error is None:
            self._value = value
            self._run()

    def throw(self, error: BaseException) -> None:
        """Fail, and run the waiting task now. Only from a callback of the loop, never inside a task."""
        if self._value is _PENDING and self._error is None:
            self._error = error
            self._run()

    def wake_soon(self, value: T) -> None:
        """Resolve, and run the waiting task in the next turn of the loop. From anywhere on the loop's thread."""
        if self._value is _PENDING and self._error is None:
            self._value = value
            self._schedule()

    def throw_soon(self, error: BaseException) -> None:
        """Fail, and run the waiting task in the next turn of the loop. From anywhere on the loop's thread."""
        if self._value is _PENDING and self._error is None:
            self._error = error
            self._schedule()

    def done(self) -> bool:
        """Whether it is resolved, failed or cancelled."""
        return self._value is not _PENDING or self._error is not None

    def _run(self) -> None:
        wakeup, context = self._wakeup, self._context
        if wakeup is not None and context is not None:
            self._wakeup = None
            context.run(wakeup, self)

    def _schedule(self) -> None:
        wakeup = self._wakeup
        if wakeup is not None:
            self._wakeup = None
            self._loop.call_soon(wakeup, self, context=self._context)

    # What asyncio.Task asks of the thing it waits for.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it belongs to."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], None], *, context: Context | None = None) -> None:
        """Called by the awaiting task, with its wake-up and its context."""
        self._wakeup, self._context = callback, context
        if self.done():
            self._schedule()

    def remove_done_callback(self, callback: Callable[[Any], None]) -> int:
        """Forget the awaiting task."""
        found = self._wakeup == callback
        if found:
            self._wakeup = None
        return int(found)

    def cancel(self, msg: Any = None) -> bool:
        """Called by ``Task.cancel()`` of the awaiting task."""
        if self.done():
            return False
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._schedule()
        return True

    def cancelled(self) -> bool:
        """Whether the awaiting task was cancelled here."""
        return isinstance(self._error, asyncio.CancelledError)

    def result(self) -> T:
        """The value; raises the error it failed with."""
        if self._error is not None:
            raise self._error
        return self._value

    def __await__(self) -> Generator[Any, None, T]:
        if self._value is _PENDING and self._error is None:
            self._asyncio_future_blocking = True
            yield self
        if self._error is not None:
            raise self._error
        return self._value
