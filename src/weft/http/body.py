"""Bodies on their way through: a bounded buffer between a connection and one reader, and the relay past it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import Protocol

BUFFER_BYTES = 65536
"""Bytes held for a slow reader before the sender is held back: a socket's usual read."""


def _discard(_block: bytes) -> None:
    """Where a relay writes when its reader is gone."""


@lru_cache(maxsize=1024)
def _head_of_chunk(length: int) -> bytes:
    """The head of the chunk that is ``length`` bytes long with head and end, as nearly all servers write it; else empty."""
    for digits in range(1, 6):
        size = length - digits - 4
        if size > 0 and len(head := b"%x\r\n" % size) == digits + 2:
            return head
    return b""


class Alike:
    """What a stream's blocks have in common that a relay need not show to its ``pass_on``.

    A block that begins with ``before`` and ends with ``behind``, and has no quote in between but the one that ``behind``
    begins with, goes out as it came. Whoever passes blocks on changes it as it learns.
    """

    __slots__ = ("before", "before_size", "behind", "behind_size")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """No block is known to be alike."""
        self.learn(b"\0", b"\0")

    def learn(self, before: bytes, behind: bytes) -> None:
        """Blocks that begin and end like this are."""
        self.before, self.behind = before, behind
        self.before_size, self.behind_size = len(before), len(behind)


class Tap(Protocol):
    """The connection that a body comes from."""

    def pause_body(self) -> None:
        """Stop reading from the socket."""
        ...

    def resume_body(self) -> None:
        """Read on."""
        ...

    def drop(self) -> None:
        """Nobody wants the rest: end the connection."""
        ...


class ReplyTap(Tap, Protocol):
    """The connection that a reply's body comes from.

    Attributes:
        forward: Where it takes a read first that begins between two chunks; False means that it must be fed.
    """

    forward: Callable[[bytes], bool] | None


class BodyBuffer:
    """Blocks fed by a protocol's callbacks, taken by one task; beyond its bound the connection is paused."""

    __slots__ = ("_blocks", "_ended", "_error", "_loop", "_paused", "_size", "_tap", "_waiter", "length")

    def __init__(self, loop: asyncio.AbstractEventLoop, tap: Tap, *, length: int | None = None) -> None:
        self._loop = loop
        self._tap = tap
        self._blocks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.length = length

    @property
    def is_ended(self) -> bool:
        """Whether the last block was fed, or the body failed."""
        return self._ended or self._error is not None

    @property
    def is_paused(self) -> bool:
        """Whether the sender is held back because nobody takes."""
        return self._paused

    def feed(self, block: bytes, *, ended: bool) -> None:
        """Called by the connection for each read; ``ended`` with or after the last block."""
        if block:
            self._blocks.append(block)
            self._size += len(block)
        self._ended = ended
        if self._size > BUFFER_BYTES and not ended and not self._paused:
            self._paused = True
            self._tap.pause_body()
        if self._waiter is not None and (block or ended):
            self._wake()

    def fail(self, error: Exception) -> None:
        """Called by the connection; what was fed before is still taken first."""
        if self.is_ended:
            return
        self._error = error
        if self._waiter is not None:
            self._wake()

    async def take(self) -> bytes:
        """The next block; empty at the end. For one task at a time; safe to cancel.

        Raises: what the body failed with, after the blocks before it.
        """
        if not self._blocks:
            if not self.is_ended:
                await self._wait()
            if not self._blocks:
                if self._error is not None:
                    raise self._error
                return b""
        block = self._blocks.popleft()
        self._size -= len(block)
        if self._paused and self._size <= BUFFER_BYTES // 2:
            self._paused = False
            self._tap.resume_body()
        return block

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class ReplyBody(BodyBuffer):
    """The body of a backend's reply while it arrives: an async iterator with one item for each read of the socket.

    Attributes:
        received_bytes: So far.

    Framing is taken off. An early end, malformed framing or silence raises ``BackendReplyError`` or
    ``DeadlineError`` after the blocks before it. Not read to its end, it must be closed (:meth:`aclose`), which drops the
    connection, so that the backend sees at once that nobody listens.
    """

    __slots__ = ("_forward", "_held", "_pass_on", "_source", "_write", "_write_chunked", "received_bytes")

    def __init__(self, loop: asyncio.AbstractEventLoop, tap: ReplyTap, *, length: int | None = None) -> None:
        super().__init__(loop, tap, length=length)
        self._source = tap
        self._forward: Callable[[bytes], bool] | None = None
        self._write: Callable[[bytes], object] | None = None
        self._pass_on: Callable[[bytes], bytes] | None = None
        self._held = False
        self._write_chunked = False
        self.received_bytes = 0

    def feed_reply(self, block: bytes, ended: bool) -> None:
        """Called by the client's connection for each read.

        Args:
            block: The payload.
            ended: This was the last.
        """
        self.received_bytes += len(block)
        write = self._write
        if write is None:
            self.feed(block, ended=ended)
            return
        self._ended = ended
        try:
            if block and (block := self._passed(block)):
                write(b"%x\r\n%b\r\n" % (len(block), block) if self._write_chunked else block)
        except Exception as error:  # noqa: BLE001 - handed to the task that relays, which raises it
            self._give_up(error)
            return
        if ended and self._waiter is not None:
            self._wake()

    def _forwarder(
        self,
        write: Callable[[bytes], object],
        pass_on: Callable[[bytes], bytes] | None,
        alike: Alike | None,
    ) -> Callable[[bytes], bool]:
        """What :meth:`feed_reply` does, for reads that are one whole chunk, in as few steps as can be.

        Returns:
            Takes a read that follows a whole chunk; tells whether it was one, and is dealt with.
        """
        shape = alike or Alike()

        def forward(data: bytes) -> bool:
            # Anything but one plain chunk, alone and whole, is left to the decoder; so is the last, which is empty.
            size = len(data)
            head = _head_of_chunk(size)
            if not head or not data.startswith(head) or not data.endswith(b"\r\n"):
                return False
            start = len(head)
            self.received_bytes += size
            try:
                if pass_on is not None and not (
                    data.startswith(shape.before, start)
                    and data.endswith(shape.behind, 0, -2)
                    and data.find(b'"', start + shape.before_size) == size - 2 - shape.behind_size
                ):
                    block = data[start:-2]
                    passed = pass_on(block)
                    if passed is not block:
                        if not passed:
                            return True
                        data = b"%x\r\n%b\r\n" % (len(passed), passed)
                write(data)
            except Exception as error:  # noqa: BLE001 - handed to the task that relays, which raises it
                self._give_up(error)
            return True

        return forward

    def _passed(self, block: bytes) -> bytes:
        return block if self._pass_on is None else self._pass_on(block)

    def _stop_writing(self) -> None:
        self._write = None
        if self._forward is not None and self._source.forward is self._forward:
            self._source.forward = None

    def _give_up(self, error: Exception) -> None:
        """The relay failed on this side."""
        was_ended, self._ended = self._ended, False
        self._stop_writing()
        self.fail(error)
        if not was_ended:
            self._tap.drop()

    async def relay(
        self,
        write: Callable[[bytes], object],
        *,
        chunked: bool = False,
        pass_on: Callable[[bytes], bytes] | None = None,
        alike: Alike | None = None,
    ) -> None:
        """Hand every block to ``write`` straight from the socket's read, without waking a task; returns at the end.

        One write for each read. Hold the backend back with :meth:`hold`. Cancelling it, or an error of ``write`` or
        ``pass_on``, drops the connection.

        Args:
            write: Takes the bytes; runs in the backend connection's callback and must not wait.
            chunked: Frame each block as a chunk; chunks that came whole are passed on untouched.
            pass_on: Gets each payload and returns what is written of it; what it raises ends the relay.
            alike: Which payloads it need not see.

        Raises:
            ServiceError: The body failed.
            Exception: What ``write`` or ``pass_on`` raised.
        """
        finished = False
        self._pass_on = pass_on
        try:
            while self._blocks:
                block = self._blocks.popleft()
                self._size -= len(block)
                if block := self._passed(block):
                    write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            if not self.is_ended:
                self._write, self._write_chunked = write, chunked
                if chunked:
                    self._source.forward = self._forward = self._forwarder(write, pass_on, alike)
                if self._paused and not self._held:
                    self._tap.resume_body()
                self._paused = False
                await self._wait()
            if self._error is not None:
                raise self._error
            finished = True
        finally:
            self._stop_writing()
            if not finished and not self.is_ended:
                self._tap.drop()

    @property
    def is_held(self) -> bool:
        """Whether the backend is held back, by a full buffer or a slow relay."""
        return self._held or self._paused

    def detach(self) -> None:
        """The relay's reader is gone: write no more. The relaying task is about to be cancelled."""
        if self._write is not None:
            self._stop_writing()
            self._write = _discard

    def hold(self) -> None:
        """Stop reading from the backend until :meth:`release`: the relay's own reader is full."""
        if not self._held and not self.is_ended:
            self._held = True
            self._tap.pause_body()

    def release(self) -> None:
        """Read from the backend again."""
        if self._held:
            self._held = False
            if not self.is_ended and not self._paused:
                self._tap.resume_body()

    async def ready(self) -> None:
        """Wait until there is a block to take, or the end.

        Raises: what the body failed with, if there is no block before it.
        """
        if not self._blocks and not self.is_ended:
            await self._wait()
        if not self._blocks and self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while block := await self.take():
            yield block

    async def aclose(self) -> None:
        """Done with it: an unfinished body's connection is dropped. May be called again."""
        self.close()

    def close(self) -> None:
        """:meth:`aclose` for where nothing can be awaited."""
        if not self.is_ended:
            self._tap.drop()
        self._blocks.clear()
        self._size = 0
