"""How the events of one answer get from the engine's thread to the event loop, and the wish to stop back."""

from __future__ import annotations

import asyncio
from collections import deque


class Inbox:
    """The events of one answer. A thread puts them in; one task takes them out, many at once where they come fast."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._is_announced = False
        self._is_stopped = False
        self._is_ended = False

    @property
    def is_stopped(self) -> bool:
        """Whether the reader has gone: nothing more is wanted."""
        return self._is_stopped

    def put(self, event: bytes) -> bool:
        """In the engine's thread: hand an event over. Returns whether to stop, as the engine asks of its callback."""
        if self._is_stopped:
            return True
        self._events.append(event)
        if not self._is_announced:
            self._is_announced = True
            try:
                self._loop.call_soon_threadsafe(self._arrived.set)
            except RuntimeError:  # the loop is closed: nobody reads any more
                self._is_stopped = True
        return self._is_stopped

    def stop(self) -> None:
        """In any thread: have the engine give up at its next event."""
        self._is_stopped = True

    def end(self) -> None:
        """In the loop: there will be no more events."""
        self._is_ended = True
        self._arrived.set()

    async def take(self) -> list[bytes]:
        """In the loop: the events that have come, waiting for one; none when there will be no more."""
        while not self._events and not self._is_ended:
            await self._arrived.wait()
            self._arrived.clear()
            # Before the events are looked at: one that comes meanwhile is either seen now or announced.
            self._is_announced = False
        return [self._events.popleft() for _ in range(len(self._events))]
