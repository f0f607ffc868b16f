"""Many deadlines on one timer.

A connection's deadline moves with every request, almost always to later, and almost never passes. So a moved deadline
is one attribute written; the timer is armed for the earliest one known, and looks at all of them when it fires.
"""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import Protocol


class Timed(Protocol):
    """Something that ends when its time is up."""

    deadline: float
    """``time.monotonic()`` at which :meth:`expire` is called; ``inf``: never."""

    def expire(self, now: float) -> None:
        """Act on the deadline, or move it: called once it has passed, never before."""
        ...


class Deadlines:
    """Watches the ``deadline`` of each member; ``at`` is when it looks next.

    After writing an earlier deadline than before, a member calls ``arm`` (hot paths test ``deadline < at`` first).
    """

    __slots__ = ("_handle", "_loop", "at", "members")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self.at = inf
        self.members: set[Timed] = set()

    def arm(self, when: float) -> None:
        """Look at ``when`` at the latest."""
        if when < self.at:
            self.close()
            self.at = when
            # A delay, not a time: the loop's clock need not be ours (uvloop's has milliseconds and stands still in a turn).
            self._handle = self._loop.call_later(max(when - time.monotonic(), 0.0), self._fire)

    def _fire(self) -> None:
        self.at, self._handle = inf, None
        now = time.monotonic()
        # A timer may fire a clock tick early; what is due within that tick counts as due.
        due = now + 0.0005
        for member in list(self.members):
            if member.deadline <= due:
                member.expire(now)
        earliest = min((member.deadline for member in self.members), default=inf)
        if earliest < inf:
            # Never busy: a member that does not move its deadline is looked at again after a millisecond.
            self.arm(max(earliest, now + 0.001))

    def close(self) -> None:
        """Stop the timer; members stay."""
        if self._handle is not None:
            self._handle.cancel()
        self.at, self._handle = inf, None
