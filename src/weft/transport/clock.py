"""Time as everything that runs a plan sees it: one Protocol, so that tests wait for nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class TimerHandle(Protocol):
    """A call that will be made; until then it can be taken back."""

    def cancel(self) -> None:
        """Take it back; may be called again, and after it was made."""
        ...


class Clock(Protocol):
    """A monotonic clock with timers."""

    def now_ns(self) -> int:
        """Nanoseconds on the scale of :attr:`weft.context.Context.deadline` (which is in seconds)."""
        ...

    def call_later(self, delay_s: float, call: Callable[[], object]) -> TimerHandle:
        """Have ``call`` called in the event loop after ``delay_s``."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait; safe to cancel."""
        ...


class SystemClock:
    """The machine's own clock."""

    # The function itself, not a method around it: it is read twice for each node.
    now_ns = staticmethod(time.monotonic_ns)

    def call_later(self, delay_s: float, call: Callable[[], object]) -> TimerHandle:
        """See :class:`Clock`."""
        return asyncio.get_running_loop().call_later(delay_s, call)

    async def sleep(self, delay_s: float) -> None:
        """See :class:`Clock`."""
        await asyncio.sleep(delay_s)
