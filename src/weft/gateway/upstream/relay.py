"""The way to an upstream and back: bytes are handed on as they come, and every wait has an end."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from weft.context import Context
from weft.errors import DeadlineError, NotFoundError
from weft.gateway.passage import Passage, Reply
from weft.gateway.upstream.headers import ReplyHeaders, RequestHeaders
from weft.http.body import ReplyBody
from weft.http.client import Endpoint
from weft.http.message import Request, Response, StreamResponse
from weft.http.wire import ReplyHead
from weft.serve.application import CLIENT_GONE, named
from weft.serve.problems import Place, as_request_error, error_event
from weft.serve.streams import DEADLINE_GRACE_S
from weft.spec.gateway import RouteSpec
from weft.transport.replicas import Replica, Replicas

TIMEOUT_S: Final = 600.0
"""Seconds for a reply's head, and for silence in its body, where the route says nothing: as a service's."""

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that may be sent twice, as HTTP has them."""

_NO_BODY: Final = frozenset({"GET", "HEAD", "DELETE"})
_SEGMENT = re.compile(r"\{([^{}]*)\}")


class Relay:
    """Answers a route's requests with what an upstream answers.

    Args:
        rule: The route; it has an upstream.
        replicas: Chooses among its addresses.
    """

    def __init__(self, rule: RouteSpec, replicas: Replicas) -> None:
        upstream = rule.upstream
        assert upstream is not None  # a route to an upstream has one
        self._rule, self._replicas = rule, replicas
        self.place = Place(rule.target, "upstream")
        self._path = upstream.path or rule.path
        self._is_fixed = "{" not in self._path
        self._timeout_s = rule.timeout_s or TIMEOUT_S
        replaced = [*upstream.headers, *(("authorization",) if upstream.api_key is not None else ())]
        reads_reply = rule.response is not None or rule.cache is not None or bool(rule.limits)
        self._requests = RequestHeaders(
            forward=upstream.forward, replaced=replaced, keeps_coding=not reads_reply
        )
        self._replies = ReplyHeaders(forward=upstream.forward)

    async def __call__(self, passage: Passage) -> Reply:
        """Ask the upstream.

        Raises:
            ServiceError: It cannot be reached, breaks HTTP's rules, or does not answer in time.
        """
        request = passage.request
        body = request.body
        if body is None:
            body = await request.read()
        try:
            return await self._ask(passage, self._replicas.choose(), request, body)
        except Exception as error:
            self.place.name(error)
            raise

    async def _ask(self, passage: Passage, replica: Replica, request: Request, body: bytes) -> Reply:
        try:
            head, payload = await self._send(replica.endpoint, request, body, passage.context)
        except BaseException as error:
            self._replicas.failed(replica, error)
            raise
        headers, content_type = self._replies.fields(head)
        if isinstance(payload, bytes):
            self._replicas.succeeded(replica)
            if request.method != "HEAD":
                return Response(head.status, headers, payload, content_type)
        return self._streamed(passage, replica, head.status, headers, content_type, payload)

    async def _send(
        self, endpoint: Endpoint, request: Request, body: bytes, context: Context
    ) -> tuple[ReplyHead, bytes | ReplyBody]:
        started = time.monotonic()
        deadline = started + self._timeout_s
        if context.deadline is not None and context.deadline < deadline:
            deadline = context.deadline
            if deadline <= started:
                raise DeadlineError("the time allowed for the request was up", endpoint=endpoint.url)
        method = request.method
        path = self._path if self._is_fixed else self._filled(request)
        if request.query:
            path = f"{path}?{request.query}"
        lines = self._requests.lines(request.headers)
        own = b"x-request-id: %b\r\n" % context.request_id.encode("latin-1")
        start = endpoint.start(method, path)
        if body or method not in _NO_BODY:
            message = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (start, lines, own, len(body), body)
        else:
            message = b"%b%b%b\r\n" % (start, lines, own)
        return await endpoint.relay(
            path,
            message,
            started,
            deadline,
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

    def _streamed(
        self,
        passage: Passage,
        replica: Replica,
        status: int,
        headers: list[tuple[str, str]],
        content_type: str,
        payload: bytes | ReplyBody,
    ) -> StreamResponse:
        """A reply whose body is still on its way: it goes from connection to connection."""
        if isinstance(payload, bytes):
            return StreamResponse(_nothing(), status, headers, content_type)
        relayed = Relayed(payload, passage.context, self.place, is_events=is_events(content_type))

        def ended(status: int) -> None:
            relayed.end()
            if relayed.failure is not None:
                self._replicas.failed(replica, relayed.failure)
            elif status == CLIENT_GONE:
                self._replicas.failed(replica, asyncio.CancelledError())
            else:
                self._replicas.succeeded(replica)

        passage.on_end(ended)
        if relayed.is_events:
            headers = [*headers, ("x-accel-buffering", "no")]
        return StreamResponse(payload, status, headers, content_type, finish=relayed.finish)


class Relayed:
    """A body on its way through.

    Attributes:
        failure: What it failed with; None: nothing.
    """

    def __init__(self, body: ReplyBody, context: Context, place: Place, *, is_events: bool) -> None:
        self._body, self._place, self._request_id = body, place, context.request_id
        self.is_events = is_events
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
        if not self.is_events:
            return None
        # It may have broken off within an event: an empty line ends that.
        return b"\n\n" + error_event(as_request_error(error), self._request_id)

    def end(self) -> None:
        """Nothing more comes."""
        if self._alarm is not None:
            self._alarm.cancel()


def is_events(content_type: str) -> bool:
    """Whether a reply is a stream of server-sent events."""
    return content_type[:17].lower() == "text/event-stream"


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
