"""One connection of the server: requests in, replies out, strictly one at a time and in order.

A request is parsed when the one before it is answered; until then its bytes wait, bounded, as they came. The handler's
task is started when the head is complete: a body that came along is handed over whole, any other is streamed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections.abc import Coroutine, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, cast

from weft.errors import RequestError
from weft.http.body import BodyBuffer, ReplyBody
from weft.http.heartbeat import Heartbeat
from weft.http.message import (
    HeadersTooLargeError,
    ProtocolError,
    Request,
    RequestTimeoutError,
    Response,
    StreamResponse,
    UriTooLongError,
    too_large,
)
from weft.http.outbox import BUSY, MAX_GATHERED_BYTES, Noted, direct_writer
from weft.http.wire import (
    MAX_TARGET_BYTES,
    ChunkDecoder,
    RequestHead,
    encode_headers,
    has_bare_line_feed,
    parse_request_head,
)

if TYPE_CHECKING:
    from weft.http.server import Server

_LOG = logging.getLogger("weft.http")

_HEAD, _BUSY, _BODY, _CLOSING = range(4)
"""Waiting for a head; serving, the body is complete; serving, the body is still coming; input is dropped."""

_KEPT_HEAD_BYTES = 4096
"""A head up to this long is remembered: most clients send the same bytes again, and need not be parsed again."""

_ONE_WRITE_BYTES = 65536
"""Up to here head and body are joined; beyond, copying costs more than a second buffer in the same system call."""

_IS_START_OF_HEAD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]|\r\Z").match
_EMPTY_LINES = re.compile(rb"(?:\r\n)+").match

_MAX_REQUEST_LINE_BYTES = MAX_TARGET_BYTES + 32
"""A longer one is too long because of its target: methods and versions are short."""


def _start_task(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    return asyncio.Task(work, loop=loop)


if sys.version_info >= (3, 12):

    def _start_task(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        return asyncio.Task(work, loop=loop, eager_start=True)


class RequestBody(BodyBuffer):
    """The body of a request while it arrives."""

    __slots__ = ("_connection", "_expects_continue")

    def __init__(self, connection: Connection, *, length: int | None, expects_continue: bool) -> None:
        super().__init__(connection.server.loop, connection, length=length)
        self._connection = connection
        self._expects_continue = expects_continue

    async def take(self) -> bytes:
        """As in :class:`BodyBuffer`; a client that waits to be asked is asked now."""
        if self._expects_continue:
            self._expects_continue = False
            if not self.is_ended:
                self._connection.begin_to_want(ask=not self._blocks)
        return await super().take()


class Connection(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_beat",
        "_body",
        "_body_bytes",
        "_buffer",
        "_certificate",
        "_closes_after",
        "_decoder",
        "_drain",
        "_finishes_later",
        "_has_begun",
        "_head",
        "_head_bytes",
        "_is_reading_paused",
        "_is_writing_paused",
        "_left",
        "_mark",
        "_peer",
        "_phase",
        "_relay",
        "_transport",
        "deadline",
        "server",
        "task",
    )

    def __init__(self, server: Server) -> None:
        self.server = server
        self.task: asyncio.Task[None] | None = None
        self.deadline = inf
        self._phase = _HEAD
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self._peer: str | None = None
        self._certificate: Mapping[str, Any] | None = None
        self._buffer = b""
        self._head_bytes = b""
        self._head: RequestHead | None = None
        self._body: RequestBody | None = None
        self._body_bytes = 0
        self._decoder: ChunkDecoder | None = None
        self._left = 0
        self._mark = 0
        self._drain: asyncio.Future[None] | None = None
        self._relay: ReplyBody | None = None
        self._beat: Heartbeat | None = None
        self._has_begun = False
        self._closes_after = False
        self._finishes_later = False
        self._is_reading_paused = False
        self._is_writing_paused = False

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transports are ones in all but their class.
        self._transport = transport = cast("asyncio.Transport", transport)
        server = self.server
        if not server.joined(self):
            self._phase = _CLOSING
            transport.abort()
            return
        transport.set_write_buffer_limits(high=server.limits.write_high_water)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else "unix"
        if server.scheme == "https":
            self._certificate = transport.get_extra_info("peercert") or None
        self._wait(server.limits.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self.server.received_bytes += len(data)
        phase = self._phase
        if phase == _HEAD:
            if self._buffer:
                held, self._buffer = self._buffer, b""
                self._read_head(held + data, seen=len(held))
            else:
                self._read_head(data, seen=0)
        elif phase == _BODY:
            self._read_body(data)
        elif phase == _BUSY:
            self._buffer += data
            if len(self._buffer) > self.server.limits.max_pipelined_bytes and not self._is_reading_paused:
                self._is_reading_paused = True
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Called by the loop: a client that closes its side, even only that, is gone."""
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._gone()
        self.deadline = inf
        self.server.left(self)

    def pause_writing(self) -> None:
        """Called by the transport: the client reads slower than we write."""
        self._is_writing_paused = True
        self._mark = self._transport.get_write_buffer_size()
        self._wait(self.server.limits.write_timeout_s)
        if self._relay is not None:
            self._relay.hold()

    def resume_writing(self) -> None:
        """Called by the transport."""
        self._is_writing_paused = False
        if self._phase == _CLOSING:
            return
        self.deadline = inf
        if self._phase == _BODY:
            self._watch_body()
        elif self._beat is not None:
            self._wait_for(self._beat)
        if self._relay is not None:
            self._relay.release()
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        if self._finishes_later:
            self._finishes_later = False
            self._next_request()

    def expire(self, now: float) -> None:
        """Called when the deadline has passed: what was waited for did not come in time."""
        limits = self.server.limits
        if self._is_writing_paused:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._mark:
                self._mark = unsent
                self.deadline = now + limits.write_timeout_s
            else:
                self.abort()
        elif self._phase == _BODY and self._body is not None:
            if self._mark >= limits.min_body_rate * limits.body_timeout_s:
                self._watch_body()
            else:
                self.deadline = inf
                self.server.refused_total += 1
                self._body.fail(RequestTimeoutError("the body arrives too slowly"))
        elif self._beat is not None and self._phase == _BUSY:
            self._pulse(self._beat, now)
        elif self._phase == _HEAD and self._buffer:
            self._refuse(RequestTimeoutError("the head did not arrive in time"))
        elif self._phase == _HEAD:
            self._close()
        else:
            self._transport.abort()
            self.deadline = inf

    def _wait(self, timeout_s: float) -> None:
        deadlines = self.server.deadlines
        self.deadline = deadline = time.monotonic() + timeout_s
        if deadline < deadlines.at:
            deadlines.arm(deadline)

    def _wait_for(self, beat: Heartbeat) -> None:
        self.deadline = beat.next_look(time.monotonic())
        if self.deadline < self.server.deadlines.at:
            self.server.deadlines.arm(self.deadline)

    def _pulse(self, beat: Heartbeat, now: float) -> None:
        """Say that the stream lives, if it has been silent since the last look."""
        self.deadline = beat.next_look(now)
        if (comment := beat.due(has_begun=self._has_begun)) is not None:
            self._has_begun = True
            self._write(comment)

    def _watch_body(self) -> None:
        self._mark = 0
        self._wait(self.server.limits.body_timeout_s)

    # Reading.

    def _read_head(self, data: bytes, *, seen: int) -> None:
        end = data.find(b"\r\n\r\n", max(seen - 3, 0)) + 4
        if end == 3 or data[0] == 13:
            empty = _EMPTY_LINES(data)
            if empty is not None:
                # RFC 9112, 2.2: empty lines before a request are forgiven. They move no deadline.
                if len(data) > empty.end():
                    self._read_head(data[empty.end() :], seen=0)
                return
            if end == 3:
                self._hold_head(data, seen)
                return
        head = self._head
        head_bytes = data[:end]
        if head is None or head_bytes != self._head_bytes:
            head = self._parse(head_bytes)
            if head is None:
                return
        length = head.length
        if length == len(data) - end:
            self._phase = _BUSY
            self._start(head, data[end:])
        elif 0 <= length < len(data) - end:
            self._phase = _BUSY
            self._buffer = data[end + length :]
            self._start(head, data[end : end + length])
        else:
            self._begin_body(head, data[end:])

    def _hold_head(self, data: bytes, seen: int) -> None:
        limits = self.server.limits
        if len(data) > limits.max_header_bytes:
            self._refuse(self._too_long(data))
        elif _IS_START_OF_HEAD(data) is None or has_bare_line_feed(data, seen):
            self._refuse(ProtocolError("malformed head"))
        else:
            self._buffer = data
            if not seen and data != b"\r":
                self._wait(limits.header_timeout_s)

    def _too_long(self, head: bytes) -> ProtocolError:
        """What is wrong with a head beyond the limit: its first line, or all of it."""
        if head.find(b"\r\n", 0, _MAX_REQUEST_LINE_BYTES) < 0:
            return UriTooLongError(f"the request target is longer than {MAX_TARGET_BYTES} bytes")
        return HeadersTooLargeError(f"the head is larger than {self.server.limits.max_header_bytes} bytes")

    def _parse(self, head_bytes: bytes) -> RequestHead | None:
        """The parsed head; None when it was refused."""
        limits = self.server.limits
        try:
            if len(head_bytes) > limits.max_header_bytes:
                raise self._too_long(head_bytes)
            head = parse_request_head(head_bytes, max_headers=limits.max_headers)
            if head.length > limits.max_body_bytes:
                raise too_large(limits.max_body_bytes)
        except RequestError as error:
            self._refuse(error)
            return None
        self._head = head
        self._head_bytes = head_bytes if len(head_bytes) <= _KEPT_HEAD_BYTES else b""
        return head

    def _begin_body(self, head: RequestHead, data: bytes) -> None:
        """Serve a request whose body is chunked or not complete."""
        if head.length < 0:
            decoder = self._decoder = ChunkDecoder()
            try:
                data = decoder.feed(data) if data else b""
                if len(data) > self.server.limits.max_body_bytes:
                    raise too_large(self.server.limits.max_body_bytes)
            except RequestError as error:
                self._refuse(error)
                return
            if decoder.is_done:
                self._decoder = None
                self._buffer = decoder.rest
                self._phase = _BUSY
                self._start(head, data)
                return
        self._left = head.length - len(data)
        self._body_bytes = len(data)
        length = head.length if head.length >= 0 else None
        body = self._body = RequestBody(self, length=length, expects_continue=head.expects_continue)
        self._phase = _BODY
        if head.expects_continue and not data:
            # It waits to be asked for, which the handler may take its time to do.
            self.deadline = inf
        else:
            self._watch_body()
        body.feed(data, ended=False)
        self._start(head, None)

    def _read_body(self, data: bytes) -> None:
        body, decoder = self._body, self._decoder
        if body is None or body.is_ended:
            return
        self._mark += len(data)
        if decoder is None:
            left = self._left
            if len(data) < left:
                self._left = left - len(data)
                body.feed(data, ended=False)
            else:
                self._end_body(body, data[:left], data[left:])
            return
        try:
            payload = decoder.feed(data)
            self._body_bytes += len(payload)
            if self._body_bytes > self.server.limits.max_body_bytes:
                raise too_large(self.server.limits.max_body_bytes)
        except RequestError as error:
            self.server.refused_total += 1
            body.fail(error)
            return
        if decoder.is_done:
            self._end_body(body, payload, decoder.rest)
        else:
            body.feed(payload, ended=False)

    def _end_body(self, body: RequestBody, block: bytes, rest: bytes) -> None:
        self._decoder = None
        self._buffer = rest
        self._phase = _BUSY
        if not self._is_writing_paused:
            self.deadline = inf
        body.feed(block, ended=True)

    def pause_body(self) -> None:
        """Called by the body: nobody takes it; its clock stands still meanwhile."""
        self._transport.pause_reading()
        if not self._is_writing_paused:
            self.deadline = inf

    def resume_body(self) -> None:
        """Called by the body."""
        if self._phase in (_BODY, _BUSY):
            self._transport.resume_reading()
            if self._phase == _BODY and not self._is_writing_paused:
                self._watch_body()

    def drop(self) -> None:
        """Called by the body."""
        self.abort()

    def begin_to_want(self, *, ask: bool) -> None:
        """Called by the body of a client that waits to be asked for it: its time runs from now."""
        if self._phase == _BODY:
            if not self._is_writing_paused:
                self._watch_body()
            if ask and not self._has_begun:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Serving.

    def _start(self, head: RequestHead, body: bytes | None) -> None:
        server = self.server
        server.requests_total += 1
        server.in_flight += 1
        if body is not None:
            self.deadline = inf
        self._has_begun = False
        request = Request(
            head.method,
            head.path,
            head.raw_path,
            head.query,
            head.headers,
            body,
            self._peer,
            server.scheme,
            self._body,
            self._certificate,
        )
        task = _start_task(self._run(request, head), server.loop)
        if not task.done():
            self.task = task

    async def _run(self, request: Request, head: RequestHead) -> None:
        server = self.server
        try:
            response = await server.handler(request)
            if type(response) is Response:
                self._send(head, response)
            else:
                assert isinstance(response, StreamResponse)
                await self._stream(head, response)
        except Exception as error:  # noqa: BLE001 - every error of the application becomes a reply, here only
            self._fail(error, request, head)
        except BaseException:
            # Cancelled: the client is gone, or the server closes. Whatever was sent is not a whole reply.
            self._phase = _CLOSING
            self._transport.abort()
            raise
        finally:
            server.in_flight -= 1
            self.task = None
        if self._phase != _CLOSING:
            self._finish()

    def _fail(self, error: Exception, request: Request, head: RequestHead) -> None:
        if self._phase == _CLOSING:
            return
        if self._has_begun:
            # The reply cannot be taken back: cut it, so that it is not mistaken for a whole one.
            if not isinstance(error, RequestError):
                _LOG.error("%s failed in mid-reply", request, exc_info=error)
            self.abort()
            return
        response = self.server.error_response(error, request)
        try:
            self._send(head, response)
        except Exception:  # noqa: BLE001 - logged; the connection is cut, which is all that is left
            _LOG.exception("the reply to an error could not be sent")
            self.abort()

    def _keep_alive_line(self, head: RequestHead, *, is_delimited: bool = True) -> bytes:
        """Whether the connection lives on, said in a header where it must be said."""
        if not head.keep_alive or self._phase != _BUSY or self.server.is_leaving or not is_delimited:
            self._closes_after = True
            return b"connection: close\r\n"
        return b"" if head.is_http11 else b"connection: keep-alive\r\n"

    def _send(self, head: RequestHead, response: Response) -> None:
        if self._phase == _CLOSING or self._transport.is_closing():
            return
        server, body, status = self.server, response.body, response.status
        start = server.head(status, response.content_type)
        fields = encode_headers(response.headers) if response.headers else b""
        if status in (204, 304):
            length, body = b"", b""
        else:
            length = b"content-length: %d\r\n" % len(body)
            if head.method == "HEAD":
                body = b""
        self._closes_after = False
        close = self._keep_alive_line(head)
        self._has_begun = True
        message = b"%b%b%b%b%b\r\n" % (start, fields, server.date_line(), close, length)
        size = len(message) + len(body)
        server.sent_bytes += size
        if size <= MAX_GATHERED_BYTES and server.in_flight >= BUSY and not self._closes_after:
            server.outbox.add(self._transport, message + body)
            return
        # A loop may read between the turn of a reply and its flush: what a client sent ahead is answered after it.
        server.outbox.flush()
        if size <= _ONE_WRITE_BYTES:
            self._transport.write(message + body)
        else:
            self._transport.writelines((message, body))

    async def _stream(self, head: RequestHead, response: StreamResponse) -> None:
        body = response.body
        has_body = head.method != "HEAD" and response.status not in (204, 304)
        is_chunked = head.is_http11
        try:
            start = self.server.head(response.status, response.content_type)
            fields = encode_headers(response.headers) if response.headers else b""
            # A 204 must not name a coding (RFC 9112, 6.1); the reply to HEAD says what GET would have said.
            is_coded = is_chunked and response.status not in (204, 304)
            coding = b"transfer-encoding: chunked\r\n" if is_coded else b""
            self._closes_after = False
            close = self._keep_alive_line(head, is_delimited=is_chunked or not has_body)
            prefix = b"%b%b%b%b%b\r\n" % (start, fields, self.server.date_line(), close, coding)
            if not has_body:
                self._has_begun = True
                self._write(prefix)
                return
            error: Exception | None = None
            if response.heartbeat_s and response.content_type.startswith("text/event-stream"):
                self._beat = Heartbeat(response, prefix, is_chunked=is_chunked)
                self._wait_for(self._beat)
            try:
                if isinstance(body, ReplyBody):
                    await self._relay_body(body, response, prefix, is_chunked=is_chunked)
                else:
                    await self._pump_body(response, prefix, is_chunked=is_chunked)
            except Exception as raised:  # noqa: BLE001 - finish decides what it becomes
                error = raised
        finally:
            if self._beat is not None:
                self._beat = None
                if not self._is_writing_paused:
                    self.deadline = inf
            close_body = getattr(body, "aclose", None)
            if close_body is not None:
                await close_body()
        tail = response.finish(error) if response.finish is not None else None
        if error is not None and (tail is None or not self._has_begun):
            raise error
        last = (
            (b"%x\r\n%b\r\n0\r\n\r\n" % (len(tail), tail) if tail else b"0\r\n\r\n")
            if is_chunked
            else tail or b""
        )
        if not self._has_begun:
            last = prefix + last
            self._has_begun = True
        self._write(last)

    async def _pump_body(self, response: StreamResponse, prefix: bytes, *, is_chunked: bool) -> None:
        pass_on = response.pass_on
        body = response.body
        assert not isinstance(body, ReplyBody)
        async for block in body:
            if block and pass_on is not None:
                block = pass_on(block)  # noqa: PLW2901 - what is sent of it
            if not block:
                continue
            framed = b"%x\r\n%b\r\n" % (len(block), block) if is_chunked else block
            if self._beat is not None:
                self._beat.noted.last = framed
            if self._has_begun:
                self._write(framed)
            else:
                self._has_begun = True
                self._write(prefix + framed)
            if self._is_writing_paused:
                await self._drained()

    async def _relay_body(
        self, body: ReplyBody, response: StreamResponse, prefix: bytes, *, is_chunked: bool
    ) -> None:
        pass_on = response.pass_on
        first = b""
        # The head goes out with the first bytes of the body: what is wrong until then is still told by a status.
        while not first:
            first = await body.take()
            if not first:
                return
            if pass_on is not None:
                first = pass_on(first)
        if self._has_begun:
            prefix = b""
        self._has_begun = True
        noted = self._beat.noted if self._beat is not None else Noted()
        noted.last = b"%b%x\r\n%b\r\n" % (prefix, len(first), first) if is_chunked else prefix + first
        self._write(noted.last)
        self._relay = body
        if self._is_writing_paused:
            body.hold()
        begun_bytes = body.received_bytes
        try:
            write = direct_writer(self._transport, noted)
            await body.relay(write, chunked=is_chunked, pass_on=pass_on, alike=response.alike)
            if self._is_writing_paused:
                await self._drained()
        finally:
            self._relay = None
            self.server.sent_bytes += body.received_bytes - begun_bytes

    def _write(self, data: bytes) -> None:
        self.server.outbox.flush()
        self.server.sent_bytes += len(data)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    async def _drained(self) -> None:
        """Wait until the client has taken enough of what was written."""
        self._drain = self.server.loop.create_future()
        try:
            await self._drain
        finally:
            self._drain = None

    # After a reply.

    def _finish(self) -> None:
        body, self._body = self._body, None
        if self._closes_after or (self.server.is_draining and not self.server.grace_s):
            # A reply that began before the draining could not say that it is the last.
            self._close(has_more_input=self._phase == _BODY or bool(self._buffer))
            return
        if body is not None and body.is_paused:
            self._transport.resume_reading()
        if self._is_writing_paused:
            self._finishes_later = True
            return
        if self._buffer:
            # Other connections get their turn between two pipelined requests.
            self.server.loop.call_soon(self._next_request)
            return
        self._phase = _HEAD
        self._wait(self.server.grace_s if self.server.is_draining else self.server.limits.idle_timeout_s)

    def _next_request(self) -> None:
        if self._phase == _CLOSING:
            return
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()
        data, self._buffer = self._buffer, b""
        self._phase = _HEAD
        self._wait(self.server.limits.idle_timeout_s)
        if data:
            self._read_head(data, seen=0)

    def _refuse(self, error: RequestError) -> None:
        """Answer what cannot be served as a request, and end the connection."""
        server = self.server
        server.refused_total += 1
        response = server.error_response(error, None)
        message = b"%b%b%bconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (
            server.head(response.status, response.content_type),
            encode_headers(response.headers),
            server.date_line(),
            len(response.body),
            response.body,
        )
        self._write(message)
        self._close(has_more_input=True)

    def _close(self, *, has_more_input: bool = False) -> None:
        """Close when everything is sent.

        Input still under way is dropped first: closing on it would reset the connection, and the client might never see
        the reply.
        """
        self._phase = _CLOSING
        self._buffer = b""
        self.server.outbox.flush()
        if self._transport.is_closing():
            return
        if has_more_input and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
            self._wait(self.server.limits.linger_s)
        else:
            self._transport.close()
            self._mark = self._transport.get_write_buffer_size()
            self._wait(self.server.limits.write_timeout_s)

    def close_if_idle(self) -> None:
        """Close if no request has begun; where there is a time of grace, after that."""
        if self._phase == _HEAD and not self._buffer:
            if self.server.grace_s:
                self._wait(self.server.grace_s)
            else:
                self._close()

    def abort(self) -> None:
        """Close at once; a request in flight is cancelled."""
        self._gone()
        if self._transport is not None:
            self._transport.abort()

    def _gone(self) -> None:
        self._phase = _CLOSING
        self._buffer = b""
        if self._body is not None:
            self._body.fail(ProtocolError("the client closed the connection"))
        if self._relay is not None:
            self._relay.detach()
        task = self.task
        if task is not None:
            self.task = None
            self.server.ending.add(task)
            task.add_done_callback(self.server.ending.discard)
            task.cancel()
