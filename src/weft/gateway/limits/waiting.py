"""Those of this process that wait for a place which another process counts: the first of each queue asks for all."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from weft.gateway.limits.terms import Ticket

POLL_S: Final = 0.02
"""How often the first of a queue asks: a place that another process gives back stays empty for so long at most."""


class Line(Ticket):
    """A place in the queue of one bucket.

    Attributes:
        bucket: Where it waits; empty: nowhere.
        me, hold: Under which name and id that is known where it is counted.
        called: Whether it is worth asking at once.
    """

    __slots__ = ("bucket", "called", "hold", "me")

    def __init__(self) -> None:
        self.bucket = self.me = self.hold = ""
        self.called = asyncio.Event()


class Lines:
    """The queues of this process."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Line]] = {}

    def join(self, ticket: Line, bucket: str) -> None:
        """Wait in a bucket's queue, at its end."""
        ticket.bucket = bucket
        self._lines.setdefault(bucket, deque()).append(ticket)

    def leave(self, ticket: Line) -> None:
        """Wait no longer; whoever is first then is called."""
        line = self._lines.get(ticket.bucket)
        ticket.bucket, bucket = "", ticket.bucket
        if line is None:
            return
        line.remove(ticket)
        if not line:
            del self._lines[bucket]
        else:
            line[0].called.set()

    def call(self, bucket: str) -> None:
        """A place of a bucket was given back here: its first asks at once."""
        if (line := self._lines.get(bucket)) is not None:
            line[0].called.set()

    async def turn(self, ticket: Line) -> None:
        """Return when it is worth asking: it is the first, and was called or has waited a while."""
        line = self._lines.get(ticket.bucket)
        if line is None or line[0] is not ticket:
            await ticket.called.wait()
        elif not ticket.called.is_set():
            try:
                async with asyncio.timeout(POLL_S):
                    await ticket.called.wait()
            except TimeoutError:
                return
        ticket.called.clear()
