"""Who may use one of a few slots now, who waits in line, and who is turned away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from weft.errors import OverloadedError

_SMOOTHING = 0.2
"""Weight of the latest use in the average duration: about the last ten count."""


class Slot:
    """One slot in use, until it is freed."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def free(self) -> None:
        """Let the next in line have it; again does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class Slots:
    """A bounded number of slots with a bounded line before them, first come, first served. For one event loop.

    Args:
        count: Slots.
        queue: How many may wait.
        clock: Seconds that only grow.
    """

    def __init__(self, count: int, queue: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._queue, self._clock = count, queue, clock
        self._free = asyncio.Semaphore(count)
        self._busy = self._waiting = 0
        self._average_s = 1.0

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Requests in line."""
        return self._waiting

    async def take(self, *, is_admitted: bool = False) -> Slot:
        """Wait for a slot. Cancelling leaves the line.

        Args:
            is_admitted: It goes on with what was begun in a slot before: it waits like all, but is not turned away.

        Raises:
            OverloadedError: The line is full; it says when the caller might be served.
        """
        if not is_admitted and self._free.locked() and self._waiting >= self._queue:
            raise OverloadedError(
                f"the model is busy: {self._busy} requests are being answered and {self._waiting} wait",
                retry_after_s=max(1.0, round(self._average_s * (self._waiting + 1) / self._count, 1)),
            )
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        self._busy += 1
        return Slot(partial(self._give_back, self._clock()))

    def _give_back(self, since: float) -> None:
        self._busy -= 1
        self._average_s += _SMOOTHING * (self._clock() - since - self._average_s)
        self._free.release()
