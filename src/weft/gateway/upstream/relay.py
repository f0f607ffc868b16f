"""The way to an upstream and back: bytes are handed on as they come, and every wait has an end."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from weft.context import Context
from weft.errors import BackendStatusError, DeadlineError, NotFoundError, OverloadedError, RequestError
from weft.gateway.passage import Passage, Reply
from weft.gateway.upstream.headers import ReplyHeaders, RequestHeaders
from weft.gateway.upstream.usage import UsageReader
from weft.http.body import ReplyBody
from weft.http.client import wait_of
from weft.http.message import Request, Response, StreamResponse
from weft.http.wire import ReplyHead
from weft.run import Breaker
from weft.serve.application import CLIENT_GONE, named
from weft.serve.problems import Place, as_request_error, error_event
from weft.serve.streams import DEADLINE_GRACE_S
from weft.spec.gateway import RouteSpec
from weft.transport.attempts import Asking, Attempts, Budget, Tried
from weft.transport.balance import beginning
from weft.transport.clock import Clock
from weft.transport.replicas import Replica, Replicas

TIMEOUT_S: Final = 600.0
"""Seconds for a reply's head, and for silence in its body, where the route says nothing: as a service's."""

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that may be sent twice, as HTTP has them."""

ELSEWHERE: Final = frozenset({429, 502, 503, 504})
"""Replies that say that the server, or who stands before it, is in trouble: another address may do better. A 500 may
well be what this very request comes to everywhere."""

_NO_BODY: Final = frozenset({"GET", "HEAD", "DELETE"})
_SEGMENT = re.compile(r"\{([^{}]*)\}")


Sent: TypeAlias = tuple[ReplyHead, bytes | ReplyBody]
"""A reply as far as it is here: whole, or its body is on its way."""


class Relay:
    """Answers a route's requests with what an upstream answers.

    Args:
        rule: The route; it has an upstream.
        replicas: Chooses among its addresses.
        budget: Of the process's retries.
        clock: Time.
        breaker: The circuit to it.

    Attributes:
        place: What is said of it in errors.
        replicas, attempts, breaker: For whoever watches them.
    """

    def __init__(
        self, rule: RouteSpec, replicas: Replicas, *, budget: Budget, clock: Clock, breaker: Breaker
    ) -> None:
        upstream = rule.upstream
        assert upstream is not None  # a route to an upstream has one
        self._rule, self.replicas, self.breaker = rule, replicas, breaker
        self.place = Place(rule.target, "upstream")
        self.attempts = Attempts(replicas, budget, clock, judge=_fault, discard=_discard)
        self._path = upstream.path or rule.path
        self._is_fixed = "{" not in self._path
        self._timeout_s = rule.timeout_s or TIMEOUT_S
        self._max_bytes = rule.max_body_bytes
        replaced = [*upstream.headers, *(("authorization",) if upstream.api_key is not None else ())]
        reads_reply = rule.response is not None or rule.cache is not None
        forward = upstream.forward
        self._requests = RequestHeaders(forward=forward, replaced=replaced, keeps_coding=not reads_reply)
        self._counted = RequestHeaders(forward=forward, replaced=replaced, keeps_coding=False)
        self._replies = ReplyHeaders(forward=upstream.forward)

    async def __call__(self, passage: Passage) -> Reply:
        """Ask the upstream.

        Raises:
            ServiceError: It cannot be reached, breaks HTTP's rules, or does not answer in time.
        """
        request, context, breaker, replicas = passage.request, passage.context, self.breaker, self.replicas
        body = request.body
        if body is None:
            body = await request.read(self._max_bytes)  # an upload, which the application leaves to be read
        method = request.method
        send = partial(
            self._send, method, self._target(request), self._lines(request, context, body), context
        )
        key = beginning(body, replicas.spec.prefix_chars) if replicas.uses_prefix else b""
        is_admitted = False
        try:
            breaker.admit()
            is_admitted = True
            if self.attempts.hedges:
                sent, replica = await self._asked(send, key, method, context)
            else:
                # What the attempts do, for the way that nearly every request takes.
                self.attempts.budget.deposit()
                replica = replicas.choose(key)
                started = time.monotonic() if replicas.measures else 0.0
                try:
                    sent = await send(replica)
                except BaseException as error:
                    replicas.failed(replica, error)
                    if not isinstance(error, RequestError):
                        raise
                    sent, replica = await self._asked(send, key, method, context, (error, replica))
                else:
                    if sent[0].status in ELSEWHERE:
                        failed = (sent, replica, _fault(sent))
                        sent, replica = await self._asked(send, key, method, context, (failed, replica))
                    elif replicas.measures:
                        replicas.measured(replica, time.monotonic() - started)
        except BaseException as error:
            if is_admitted:
                breaker.settle(error)
            self.place.name(error)
            raise
        return self._reply(passage, sent, replica)

    def _asked(
        self,
        send: Asking[Sent],
        key: bytes,
        method: str,
        context: Context,
        failed: tuple[RequestError | Tried[Sent], Replica] | None = None,
    ) -> Awaitable[tuple[Sent, Replica]]:
        """Ask as often, and as many, as the file allows, after a first failure or from the beginning."""
        deadline_ns = int(context.deadline * 1e9) if context.deadline is not None else None
        repeatable = method in IDEMPOTENT or self.replicas.spec.idempotent
        if failed is None:
            return self.attempts.ask(send, key=key, repeatable=repeatable, deadline_ns=deadline_ns)
        what, replica = failed
        return self.attempts.again(
            send, what, [replica], key=key, repeatable=repeatable, deadline_ns=deadline_ns
        )

    def _target(self, request: Request) -> str:
        path = self._path if self._is_fixed else self._filled(request)
        return f"{path}?{request.query}" if request.query else path

    def _lines(self, request: Request, context: Context, body: bytes) -> bytes:
        """What is sent after the lines that are the same each time: the rest of the head, and the body."""
        # Where tokens are counted, the reply is read on its way: it must not come compressed.
        lines = (self._requests if context.tally is None else self._counted).lines(request.headers)
        own = context.request_id.encode("latin-1")
        if body or request.method not in _NO_BODY:
            return b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (lines, own, len(body), body)
        return b"%bx-request-id: %b\r\n\r\n" % (lines, own)

    def _send(
        self, method: str, path: str, lines: bytes, context: Context, replica: Replica
    ) -> Coroutine[Any, Any, Sent]:
        endpoint, started = replica.endpoint, time.monotonic()
        latest = started + self._timeout_s
        deadline = context.deadline
        if deadline is not None and deadline < latest:
            latest = deadline
            if deadline <= started:
                raise DeadlineError("the time allowed for the request was up", endpoint=endpoint.url)
        return endpoint.relay(
            path,
            endpoint.start(method, path) + lines,
            started,
            latest,
            idle_timeout_s=self._timeout_s,
            is_resendable=method in IDEMPOTENT,
            is_head_request=method == "HEAD",
        )

    def _filled(self, request: Request) -> str:
        """The upstream's path, with the values of the route's named segments."""
        values = named(request)

        def value(match: re.Match[str]) -> str:
            found = values.get(match[1], "")
            if found in (".", "..") or not found:
                raise NotFoundError(f"'{found}' is no segment of a path")
            return quote(found, safe="")

        return _SEGMENT.sub(value, self._path)

    def _reply(self, passage: Passage, sent: Sent, replica: Replica) -> Reply:
        head, payload = sent
        headers, content_type = self._replies.fields(head)
        fault = _fault(sent) if head.status in ELSEWHERE else None
        if fault is not None or not self.breaker.is_calm:
            self.breaker.settle(fault)
        if isinstance(payload, bytes):
            self._settle(replica, fault)
            if passage.context.tally is not None and head.is_json:
                UsageReader(passage.context).read(payload)
            if passage.request.method != "HEAD":
                return Response(head.status, headers, payload, content_type)
            return StreamResponse(_nothing(), head.status, headers, content_type)
        events = is_events(content_type)
        relayed = Relayed(payload, passage.context, self.place, is_events=events)

        def ended(status: int) -> None:
            relayed.end()
            failure = relayed.failure
            if failure is not None:
                self.breaker.settle(failure)
            left = asyncio.CancelledError() if status == CLIENT_GONE else None
            self._settle(replica, failure or fault or left)

        passage.on_end(ended)
        reply = StreamResponse(
            payload, head.status, headers, content_type, finish=relayed.finish, begin=_begun
        )
        if events and passage.context.tally is not None:
            reader = UsageReader(passage.context)
            reply.pass_on, reply.alike = reader.pass_on, reader.alike
        return reply

    def _settle(self, replica: Replica, error: BaseException | None) -> None:
        if error is None:
            self.replicas.succeeded(replica)
        else:
            self.replicas.failed(replica, error)


class Relayed:
    """A body on its way through.

    Attributes:
        failure: What it failed with; None: nothing.
    """

    def __init__(self, body: ReplyBody, context: Context, place: Place, *, is_events: bool) -> None:
        self._body, self._place, self._request_id = body, place, context.request_id
        self._is_events = is_events
        self.failure: Exception | None = None
        left_s = context.time_left_s()
        self._alarm = None
        if left_s is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(max(0.0, left_s) + DEADLINE_GRACE_S, self._out_of_time)

    def _out_of_time(self) -> None:
        if not self._body.is_ended:
            self._body.close()
            self._body.fail(DeadlineError("the time allowed for the request was up"))

    def finish(self, error: Exception | None) -> bytes | None:
        """The last block: an event that tells what went wrong; a reply of another kind is cut off instead."""
        self.end()
        if error is None:
            return None
        self.failure = error
        self._place.name(error)
        if not self._is_events:
            return None
        # It may have broken off within an event: an empty line ends that.
        return b"\n\n" + error_event(as_request_error(error), self._request_id)

    def end(self) -> None:
        """Nothing more is wanted."""
        self._body.close()
        if self._alarm is not None:
            self._alarm.cancel()


def is_events(content_type: str) -> bool:
    """Whether a reply is a stream of server-sent events."""
    return content_type[:17].lower() == "text/event-stream"


def _fault(sent: Sent) -> RequestError | None:
    """What a reply says about the server, if it is in trouble."""
    head = sent[0]
    if head.status not in ELSEWHERE:
        return None
    message = f"the upstream answered {head.status}"
    if head.status == 429:
        return OverloadedError(message, retry_after_s=wait_of(head.headers.get("retry-after")))
    return BackendStatusError(message, backend_status=head.status)


def _discard(sent: Sent) -> None:
    if isinstance(sent[1], ReplyBody):
        sent[1].close()


def _begun() -> None:
    """A comment has gone out before the first event: what fails then is told by an event, as it is later."""


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
