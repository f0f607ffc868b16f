"""A service's event stream: decoded chunk by chunk, or relayed untouched and looked at as it goes by."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.contracts import Operation
from weft.errors import BackendReplyError, RequestError
from weft.http.body import ReplyBody
from weft.http.client import StreamReply
from weft.http.sse import SSEReader
from weft.transport.base import WireStream
from weft.transport.replicas import Replica, Replicas
from weft.transport.wire_errors import event_error, is_error_event
from weft.types import Usage

DONE: Final = b"[DONE]"

TAIL_BYTES: Final = 4096
"""How much of the end of a relayed stream is kept to be looked at: the usage, ``[DONE]`` or an error are its last events."""


class _Tail(Struct):
    usage: Usage | None = None


_decode_tail = msgspec.json.Decoder(_Tail).decode


class SseStream(WireStream):
    """One streamed reply.

    Args:
        operation: Whose chunks they are.
        send: Sends the request; called once, by the first use.
        replicas: Is told how it ended.
    """

    def __init__(
        self,
        operation: Operation,
        send: Callable[[], Awaitable[tuple[StreamReply, Replica]]],
        replicas: Replicas,
    ) -> None:
        self._send, self._replicas = send, replicas
        self._decode = msgspec.json.Decoder(operation.chunk).decode
        self._reply: StreamReply | None = None
        self._replica: Replica | None = None
        self._reader = SSEReader()
        self._events: deque[bytes] = deque()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._usage: Usage | None = None
        self._is_closed = False

    async def open(self) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._reply is None:
            self._reply, self._replica = await self._send()

    @property
    def body(self) -> ReplyBody:
        """See :class:`weft.transport.base.WireStream`."""
        assert self._reply is not None  # it is there once the stream is open
        return self._reply.body

    @property
    def usage(self) -> Usage | None:
        """See :class:`weft.transport.base.WireStream`."""
        return self._usage

    # Read.

    async def __anext__(self) -> Any:
        """The next chunk.

        Raises:
            BackendReplyError: What came is no chunk, or the stream ended without ``[DONE]``.
            RequestError: The service's own error.
        """
        events = self._events
        while not events:
            if self._is_closed:
                raise StopAsyncIteration
            await self._fill()
        data = events.popleft()
        if data == DONE:
            self._settle(None)
            await self._end()
            raise StopAsyncIteration
        if is_error_event(data):
            await self._fail(event_error(data))
        try:
            chunk = self._decode(data)
        except msgspec.DecodeError as error:
            await self._fail(BackendReplyError(f"an event is no chunk of its contract: {error}"))
        return chunk

    async def _fill(self) -> None:
        """Read until there is an event, or the stream has failed."""
        try:
            await self.open()
            assert self._reply is not None
            block = await self._reply.body.take()
            if block:
                self._events.extend(event.data for event in self._reader.feed(block))
                return
        except BaseException as error:
            self._settle(error)
            await self._end()
            raise
        await self._fail(BackendReplyError("the stream ended before its end ('[DONE]')"))

    async def _fail(self, failure: RequestError) -> None:
        self._settle(failure)
        await self._end()
        raise failure

    # Relay.

    def inspect(self, block: bytes) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        tail = self._tail
        tail.append(block)
        self._tail_size += len(block)
        while self._tail_size - len(tail[0]) >= TAIL_BYTES:
            self._tail_size -= len(tail.popleft())

    def finish(self, error: Exception | None) -> Exception | None:
        """See :class:`weft.transport.base.WireStream`."""
        if error is not None:
            self._settle(error)
            return error
        events = _last_events(b"".join(self._tail))
        last = events[-1] if events else b""
        for data in reversed(events):
            if b'"usage"' in data and not is_error_event(data):
                self._usage = _usage(data)
                break
        if last == DONE:
            self._settle(None)
            return None
        failure = event_error(last) if is_error_event(last) else None
        self._settle(failure or BackendReplyError("the stream was cut short"))
        # The service's own error has gone to the caller as it came: there is nothing to add.
        return (
            None if failure is not None else BackendReplyError("the stream ended before its end ('[DONE]')")
        )

    def abort(self, error: Exception) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._reply is not None:
            body = self._reply.body
            body.close()
            body.fail(error)

    # End.

    def _settle(self, error: BaseException | None) -> None:
        """Tell the replicas how it ended, once."""
        replica, self._replica = self._replica, None
        if replica is None:
            return
        if error is None:
            self._replicas.succeeded(replica)
        else:
            self._replicas.failed(replica, error)

    async def _end(self) -> None:
        self._is_closed = True
        if self._reply is not None:
            await self._reply.aclose()

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        self._settle(GeneratorExit())
        await self._end()


def _last_events(tail: bytes) -> list[bytes]:
    """The data of the whole events at the end of a stream; the first of them may have lost its beginning."""
    if b"\r" in tail:
        tail = tail.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = tail.split(b"\n")
    return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def _usage(data: bytes) -> Usage | None:
    try:
        return _decode_tail(data).usage
    except msgspec.DecodeError:
        return None
