"""Streamed replies: chunks as server-sent events.

Every stream ends in one of three ways. It ended well: ``data: [DONE]``. It failed after its first byte: one
``data: {"error": ...}`` and no ``[DONE]``. The client went away: nothing, and the work behind it is closed. One that
fails before its first byte is no stream yet: the reply is the error, with its status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from weft.context import Context
from weft.contracts.chat import ChatChunk, ChunkChoice
from weft.errors import DeadlineError, RequestError
from weft.http.message import StreamResponse
from weft.http.sse import sse
from weft.serve.log import Log
from weft.serve.problems import Place, as_request_error, error_event
from weft.transport.base import WireStream
from weft.types import Usage

_encode = msgspec.json.Encoder().encode

DONE: Final = b"data: [DONE]\n\n"
"""The last event of a stream that ended well."""

_HEADERS: Final = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))
"""Nothing in between may hold events back."""


DEADLINE_GRACE_S: Final = 0.02
"""What runs inside knows more about where the time went: its own deadline is given the first word."""


class Overtime:
    """A timeout a little after the request's deadline, so that what runs inside is heard first, however late the loop is.

    Args:
        left_s: Until the deadline.
    """

    __slots__ = ("_handle", "_timeout")

    def __init__(self, left_s: float) -> None:
        self._timeout = asyncio.timeout(None)
        # The grace begins when the loop gets to the deadline: a loop that was busy would else see both at once.
        self._handle = asyncio.get_running_loop().call_later(max(0.0, left_s), self._begin_grace)

    def _begin_grace(self) -> None:
        self._timeout.reschedule(asyncio.get_running_loop().time() + DEADLINE_GRACE_S)

    @property
    def is_over(self) -> bool:
        """Whether it was this timeout that struck."""
        return self._timeout.expired()

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        await self._timeout.__aexit__(kind, error, trace)


class Ending:
    """How a stream ends; its :meth:`finish` is the reply's.

    Attributes:
        has_begun: Whether a block has gone out: before that, a failure is answered as any other.
    """

    __slots__ = ("_done", "_log", "_place", "_request_id", "has_begun")

    def __init__(self, log: Log, context: Context, *, place: Place | None = None, done: bytes = DONE) -> None:
        self._log, self._request_id, self._done = log, context.request_id, done
        self._place = place
        self.has_begun = False

    def begin(self) -> None:
        """Something else has gone out: a failure can only be told in the stream."""
        self.has_begun = True

    def pass_on(self, block: bytes) -> bytes:
        """Each block on its way out, as it is."""
        self.has_begun = True
        return block

    def finish(self, error: Exception | None) -> bytes | None:
        """The last block: ``[DONE]``, or the error in words."""
        if error is None:
            return self._done
        if self._place is not None:
            self._place.name(error)
        if not self.has_begun:
            return None  # nothing has gone out: the error becomes a reply with a status
        if not isinstance(error, RequestError):
            self._log.failure("a stream failed unexpectedly", cause=error, request_id=self._request_id)
        return error_event(as_request_error(error), self._request_id)


def stream_reply(
    body: AsyncIterator[bytes], *, log: Log, context: Context, place: Place | None = None, done: bytes = DONE
) -> StreamResponse:
    """Server-sent events as a reply that ends as the module says."""
    ending = Ending(log, context, place=place, done=done)
    return StreamResponse(
        body, 200, _HEADERS, "text/event-stream", ending.pass_on, ending.finish, begin=ending.begin
    )


async def relay_reply(
    stream: WireStream, *, log: Log, context: Context, place: Place | None = None, drops_usage: bool = False
) -> StreamResponse:
    """A backend's own events: its bytes go from connection to connection.

    Args:
        stream: Not begun.
        log: For unexpected errors.
        context: The request.
        place: For errors that do not know their service.
        drops_usage: The caller did not ask for the chunk with the usage, which backends are always asked for: it is
            left out, and everything else is passed on as it came.

    Raises: what was wrong with the backend's reply before its body.
    """
    try:
        await stream.open()
    except BaseException:
        await stream.aclose()
        raise
    ending = Ending(log, context, place=place)
    left_s = context.time_left_s()
    alarm = _Alarm(stream, left_s) if left_s is not None else None

    def count() -> None:
        """The stream's tokens are the request's, for whoever counts these around the reply; the same object counts once."""
        if context.tally is not None:
            context.tally.add(stream.usage)

    def ended(_task: asyncio.Task[Any]) -> None:
        # A client that goes away cancels the task that relays, and nobody finishes the stream.
        if alarm is not None:
            alarm.cancel()
        stream.abandon()
        count()

    task = asyncio.current_task()
    assert task is not None  # each request has one
    task.add_done_callback(ended)

    def finish(error: Exception | None) -> bytes | None:
        if alarm is not None:
            alarm.cancel()
        failure = stream.finish(error)
        count()
        ending.has_begun = ending.has_begun or stream.has_begun
        if failure is None and stream.has_said_end:
            return b""
        tail = ending.finish(failure)
        if failure is not None and tail is None:
            raise failure  # nothing has gone out, even where the body ended well: it is told by a status
        # The backend's stream may have broken off within an event: an empty line ends it, whatever it was.
        return b"\n\n" + tail if failure is not None and tail is not None else tail

    pass_on = stream.relays(drops_usage=drops_usage)
    return StreamResponse(
        stream.body, 200, _HEADERS, "text/event-stream", pass_on, finish, stream.alike, begin=ending.begin
    )


class _Alarm:
    """Ends a relay at the request's deadline: no task waits in it that could be told. As late as :class:`Overtime`."""

    def __init__(self, stream: WireStream, left_s: float) -> None:
        self._stream = stream
        self._handle = asyncio.get_running_loop().call_later(max(0.0, left_s), self._begin_grace)

    def _begin_grace(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(DEADLINE_GRACE_S, self._end)

    def _end(self) -> None:
        self._stream.abort(DeadlineError("the time allowed for the request was up"))

    def cancel(self) -> None:
        """The relay has ended."""
        self._handle.cancel()


async def events(chunks: AsyncIterator[Any], context: Context) -> AsyncIterator[bytes]:
    """Each chunk as one event; closing it closes ``chunks``."""
    try:
        async for chunk in _in_time(chunks, context):
            yield sse(_encode(chunk))
    finally:
        await close(chunks)


async def chat_events(
    chunks: AsyncIterator[ChatChunk], context: Context, *, include_usage: bool
) -> AsyncIterator[bytes]:
    """Chat chunks in OpenAI's form: the role first, and the usage in a chunk of its own, only when asked for.

    Args:
        chunks: As the component makes them: with or without role, usage anywhere.
        context: The request; its usage is taken where no chunk has any.
        include_usage: ``stream_options.include_usage``.
    """
    spoken: set[int] = set()
    usage: Usage | None = None
    last: ChatChunk | None = None
    try:
        async for chunk in _in_time(chunks, context):
            if chunk.usage is not None:
                usage = chunk.usage
            last = chunk
            if not chunk.choices:
                continue
            choices = chunk.choices
            if len(choices) != 1 or choices[0].index not in spoken:
                choices = [_with_role(choice, spoken) for choice in choices]
            if choices is not chunk.choices or chunk.usage is not None:
                chunk = ChatChunk(chunk.id, chunk.model, choices, chunk.created)  # noqa: PLW2901 - a chunk may be shared
            yield sse(_encode(chunk))
    finally:
        await close(chunks)
    if context.tally is not None:  # the component has asked others: their tokens are in what its answer cost
        context.tally.add(usage)
        usage = context.tally.total
    if include_usage and last is not None:
        if usage is None and context.usage is not None:
            asked, answered = context.usage
            usage = Usage(asked, answered, asked + answered)
        yield sse(_encode(ChatChunk(last.id, last.model, [], last.created, usage or Usage())))


def _with_role(choice: ChunkChoice, spoken: set[int]) -> ChunkChoice:
    if choice.index in spoken:
        return choice
    spoken.add(choice.index)
    if choice.delta.role is not None:
        return choice
    delta = msgspec.structs.replace(choice.delta, role="assistant")
    return ChunkChoice(choice.index, delta, choice.finish_reason, choice.logprobs)


async def close(chunks: object) -> None:
    """End the producer of ``chunks``, if it can be ended."""
    aclose = getattr(chunks, "aclose", None)
    if aclose is not None:
        await aclose()


async def _in_time(chunks: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
    """The chunks until the request's deadline.

    Raises:
        DeadlineError: The next chunk did not come in time.
    """
    if context.deadline is None:
        async for chunk in chunks:
            yield chunk
        return
    iterator = aiter(chunks)
    while True:
        # Around each wait, not around the loop: a timeout must never strike while the client is being written to.
        try:
            async with Overtime(context.deadline - monotonic()) as overtime:
                chunk = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            if overtime.is_over:
                raise DeadlineError("the time allowed for the request was up") from error
            raise
        yield chunk
