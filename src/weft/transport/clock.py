"""Time as everything that runs a plan sees it: one Protocol, so that tests wait for nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from weft.http.deadlines import Deadlines, Timed


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
    """The machine's own clock.

    Its timers share one of the event loop's: nearly all of them are taken back, and a timer of uvloop's costs more than
    two nodes of a graph.
    """

    # The function itself, not a method around it: it is read twice for each node.
    now_ns = staticmethod(time.monotonic_ns)

    def __init__(self) -> None:
        self._deadlines: Deadlines | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def call_later(self, delay_s: float, call: Callable[[], object]) -> TimerHandle:
        """See :class:`Clock`."""
        deadlines = self._deadlines
        if deadlines is None or self._loop is None or self._loop.is_closed():
            self._loop = asyncio.get_running_loop()
            deadlines = self._deadlines = Deadlines(self._loop)
        deadline = time.monotonic() + delay_s
        timer = _Timer(deadline, call, deadlines.members)
        if deadline < deadlines.at:
            deadlines.arm(deadline)
        return timer

    async def sleep(self, delay_s: float) -> None:
        """See :class:`Clock`."""
        await asyncio.sleep(delay_s)


class _Timer:
    """One call to come."""

    __slots__ = ("_call", "_members", "deadline")

    def __init__(self, deadline: float, call: Callable[[], object], members: set[Timed]) -> None:
        self.deadline = deadline
        self._call, self._members = call, members
        members.add(self)

    def expire(self, _now: float) -> None:
        """See :class:`weft.http.deadlines.Timed`."""
        if self in self._members:  # one that fired before it in this turn may have taken it back
            self._members.discard(self)
            self._call()

    def cancel(self) -> None:
        """See :class:`TimerHandle`."""
        self._members.discard(self)
