"""Streams between nodes: a head start for the producer, and bounded copies for those who watch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from weft.context import current
from weft.errors import ServiceError
from weft.run.failures import is_cancelled
from weft.run.group import start_task, stop_tasks
from weft.run.state import fork

AHEAD: Final = 64
"""Chunks that a producer may be ahead of its reader: a second of a fast model, so that neither waits for the other."""

COPIED: Final = 1024
"""Chunks that an observer may be behind: longer answers than most, and some hundred kilobytes."""


class Pump:
    """Runs a producer in a task of its own, so that it works before it is read, and reads it from a bounded buffer.

    The producer starts at once, stops when it is :data:`AHEAD` of its reader, and has ended when :meth:`aclose` returns.
    """

    __slots__ = ("_buffer", "_ended", "_error", "_source", "_task", "_waiter")

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self._source = source
        self._buffer: deque[Any] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._task = start_task(self._run())

    async def _run(self) -> None:
        context = current.get(None)
        if context is not None:
            fork(context)
        buffer = self._buffer
        try:
            async for chunk in self._source:
                buffer.append(chunk)
                self._wake()
                while len(buffer) >= AHEAD:
                    await self._wait()
        except BaseException as error:  # noqa: BLE001 - handed to the reader, whatever it is
            self._error = error
        finally:
            self._ended = True
            self._wake()
            await close(self._source)

    # One future serves both sides: they never wait at the same time (the buffer is either empty or full).

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def first(self) -> None:
        """Return when the first chunk is there, or the end.

        Raises:
            BaseException: What the producer raised before its first chunk.
        """
        while not self._buffer and not self._ended:
            await self._wait()
        if not self._buffer and self._error is not None:
            raise self._error

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        buffer = self._buffer
        while not buffer:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            await self._wait()
        chunk = buffer.popleft()
        if len(buffer) == AHEAD - 1:
            self._wake()
        return chunk

    async def aclose(self) -> None:
        """End the producer now; it has ended when this returns."""
        await stop_tasks([self._task])
        self._buffer.clear()


class Tap:
    """A bounded copy of a stream for one observer, who can neither delay nor fail it.

    An observer that falls too far behind gets an error after the chunks that it was given.
    """

    __slots__ = ("_buffer", "_ended", "_error", "_waiter")

    def __init__(self) -> None:
        self._buffer: deque[Any] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, chunk: Any) -> None:
        """A chunk went by."""
        if self._ended:
            return
        if len(self._buffer) >= COPIED:
            self.end(ServiceError(f"the observer is {COPIED} chunks behind: its copy ends here"))
            return
        self._buffer.append(chunk)
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """The stream has ended, or failed; what comes after the first end does not count."""
        if not self._ended:
            self._ended, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._buffer:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._buffer.popleft()

    async def aclose(self) -> None:
        """Watch no longer."""
        self.end()
        self._buffer.clear()


async def close(chunks: object) -> None:
    """End whatever makes these chunks, if it can be ended. What it raises while it ends is nobody's any more."""
    aclose = getattr(chunks, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
    except BaseException as error:
        if is_cancelled(error):
            raise
