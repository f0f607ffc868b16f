"""A backend's event stream: decoded chunk by chunk, or relayed and looked at as it goes by."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.contracts import Operation
from weft.errors import BackendReplyError, RequestError, ServiceError
from weft.host import EventReader
from weft.http.body import Alike, ReplyBody
from weft.http.client import StreamReply
from weft.http.sse import SSEReader, sse
from weft.transport.base import WireStream
from weft.transport.wire_errors import event_error, is_error_event
from weft.types import Usage

DONE: Final = b"[DONE]"


class EventStream(WireStream):
    """One streamed reply.

    Args:
        send: Sends the request and returns when the reply's head is there and says that a stream comes; called once, by
            the first use.
        reader: Understands the events; of this stream alone.
        settle: Told once how it ended: None is well.
    """

    def __init__(
        self,
        send: Callable[[], Awaitable[StreamReply]],
        reader: EventReader,
        settle: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self._send, self._reader, self._on_settled = send, reader, settle
        self._reply: StreamReply | None = None
        self._events = SSEReader()
        self._waiting: deque[bytes] = deque()
        self._failure: RequestError | None = None
        self._has_begun = False
        self._is_done = False
        self._is_closed = False

    async def open(self) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._reply is None:
            self._reply = await self._send()

    @property
    def body(self) -> ReplyBody:
        """See :class:`weft.transport.base.WireStream`."""
        assert self._reply is not None  # it is there once the stream is open
        return self._reply.body

    @property
    def usage(self) -> Usage | None:
        """See :class:`weft.transport.base.WireStream`."""
        return self._reader.usage

    @property
    def has_begun(self) -> bool:
        """See :class:`weft.transport.base.WireStream`."""
        return self._has_begun

    @property
    def has_said_end(self) -> bool:
        """See :class:`weft.transport.base.WireStream`."""
        return self._is_done

    # Read.

    async def __anext__(self) -> Any:
        """The next chunk.

        Raises:
            BackendReplyError: What came is no chunk, or the stream ended before the answer did.
            RequestError: The service's own error.
        """
        waiting, reader = self._waiting, self._reader
        while True:
            while not waiting:
                if self._is_closed:
                    raise StopAsyncIteration
                await self._fill()
            data = waiting.popleft()
            self._has_begun = True
            if data == DONE:
                self._is_done = True
                await self._finished()
                raise StopAsyncIteration
            try:
                chunk = reader.read(data)
            except RequestError as error:
                await self._fail(error)
            if chunk is not None:
                return chunk

    async def _fill(self) -> None:
        """Read until there is an event, or the stream has ended."""
        try:
            await self.open()
            assert self._reply is not None
            block = await self._reply.body.take()
            if block:
                self._waiting.extend(event.data for event in self._events.feed(block))
                return
        except BaseException as error:
            self._settle(error)
            await self._end()
            raise
        await self._finished()

    async def _finished(self) -> None:
        try:
            self._reader.end(is_done=self._is_done)
        except RequestError as error:
            await self._fail(error)
        self._settle(None)
        await self._end()

    async def _fail(self, failure: RequestError) -> None:
        self._settle(failure)
        await self._end()
        raise failure

    # Relay.

    def relays(
        self, *, drops_usage: bool, on_first: Callable[[], None] | None = None
    ) -> Callable[[bytes], bytes]:
        """See :class:`weft.transport.base.WireStream`."""
        is_plain = self._reader.is_plain
        alike = self.alike = Alike()
        is_whole = False  # whether what came so far ends with an event, and the first has been told

        def pass_on(block: bytes) -> bytes:
            nonlocal is_whole
            if is_whole and block[-2:] == b"\n\n" and is_plain(block):
                # An event that begins and ends like this one, and has no quote in its text, is as plain.
                alike.learn(*around_text(block))
                return block
            alike.forget()
            passed = self._read_and_pass(block, drops_usage=drops_usage)
            if passed and not self._has_begun:
                self._has_begun = True
                if on_first is not None:
                    on_first()
            is_whole = (
                self._has_begun
                and self._events.is_between_events
                and self._failure is None
                and not self._is_done
            )
            return passed

        return pass_on

    def _read_and_pass(self, block: bytes, *, drops_usage: bool) -> bytes:
        """The block's events, each read and written anew: for those that say more than a piece of text, or are cut."""
        if self._failure is not None:
            raise self._failure
        if self._is_done:
            return b""  # what comes after the end is not part of the answer
        out: list[bytes] = []
        for event in self._events.feed(block):
            data: bytes | None = event.data
            if data == DONE:
                self._is_done = True
                out.append(b"data: [DONE]\n\n")
                break
            try:
                data = self._reader.relay(event.data)
            except RequestError as error:
                if not out:
                    raise
                self._failure = error  # what came before it goes out first
                break
            if data is not None and not (drops_usage and is_usage_only(data)):
                out.append(sse(data))
        return b"".join(out)

    def finish(self, error: Exception | None) -> Exception | None:
        """See :class:`weft.transport.base.WireStream`."""
        failure = error or self._failure
        if self._is_done:
            failure = None  # the answer was whole before anything went wrong
        elif failure is None:
            try:
                self._reader.end(is_done=self._is_done)
            except RequestError as cut_short:
                failure = cut_short
        self._settle(failure)
        return failure

    def abort(self, error: Exception) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._reply is not None:
            body = self._reply.body
            body.close()
            body.fail(error)

    def abandon(self) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        self._settle(GeneratorExit())

    # End.

    def _settle(self, error: BaseException | None) -> None:
        if isinstance(error, ServiceError) and self._reply is not None:
            error.at(endpoint=self._reply.url, elapsed_s=time.monotonic() - self._reply.started)
        settle, self._on_settled = self._on_settled, None
        if settle is not None:
            settle(error)

    async def _end(self) -> None:
        self._is_closed = True
        if self._reply is not None:
            await self._reply.aclose()

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        self._settle(GeneratorExit())
        await self._end()


_TEXT: Final = (b'"content":"', b'"content": "')
"""How a piece of text begins in an event, as most servers write it."""


def around_text(event: bytes) -> tuple[bytes, bytes]:
    """What is before the text of a plain event and, the closing quote included, behind it; nothing that fits if unclear."""
    for mark in _TEXT:
        begin = event.find(mark) + len(mark)
        end = event.find(b'"', begin)
        if begin > len(mark) and end >= 0 and event[end - 1 : end] != b"\\" and event.count(b"\n\n") == 1:
            return event[:begin], event[end:]
    return b"\0", b"\0"


class _Tail(Struct):
    usage: Usage | None = None


class _Counted(Struct):
    choices: list[msgspec.Raw] = []
    usage: Any = None


_decode_tail = msgspec.json.Decoder(_Tail).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode
_USAGE: Final = b'"usage"'


def is_usage_only(data: bytes) -> bool:
    """Whether an event is the one that OpenAI's ``stream_options.include_usage`` asks for: a usage without choices."""
    if _USAGE not in data:
        return False
    try:
        found = _decode_counted(data)
    except (ValueError, RecursionError):
        return False  # an error event, or not a chunk: passed on as it is
    return found.usage is not None and not found.choices


class ContractReader:
    """Reads the events of a Weft service: its contract's chunks, an error, and ``[DONE]`` at the end.

    Args:
        operation: Whose chunks they are.
    """

    __slots__ = ("_decode", "_is_known", "usage")

    def __init__(self, operation: Operation) -> None:
        self._decode = msgspec.json.Decoder(operation.chunk).decode
        self._is_known = False
        self.usage: Usage | None = None

    def is_plain(self, block: bytes) -> bool:
        """See :class:`weft.host.EventReader`."""
        return not (_USAGE in block or DONE in block or b'"error"' in block or b"\r" in block)

    def read(self, data: bytes) -> Any:
        """See :class:`weft.host.EventReader`."""
        if is_error_event(data):
            raise event_error(data)
        try:
            return self._decode(data)
        except (ValueError, RecursionError) as error:
            raise BackendReplyError(f"an event is no chunk of its contract: {error}") from error

    def relay(self, data: bytes) -> bytes:
        """See :class:`weft.host.EventReader`."""
        if not self._is_known:
            # A service that begins with chunks of its contract is taken at its word for the others.
            self.read(data)
            self._is_known = True
        if is_error_event(data):
            raise event_error(data)
        if _USAGE in data:
            try:
                self.usage = _decode_tail(data).usage or self.usage
            except (ValueError, RecursionError) as error:
                raise BackendReplyError(f"an event is no chunk of its contract: {error}") from error
        return data

    def end(self, *, is_done: bool) -> None:
        """See :class:`weft.host.EventReader`."""
        if not is_done:
            raise BackendReplyError("the stream ended before its end ('[DONE]')")
