"""Calls a service over HTTP: the own form of its operation's first route, everything that comes back checked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from weft.context import Context, current
from weft.contracts import Contract, Operation, Route
from weft.errors import BackendReplyError, DeadlineError, RequestError, ServiceError
from weft.http.client import Client, Endpoint, StreamReply, status_error
from weft.http.message import Headers
from weft.http.wire import ReplyHead, encode_headers
from weft.spec.gateway import BackendSpec
from weft.transport.attempts import Attempts, Budget
from weft.transport.balance import beginning_of
from weft.transport.base import Call, StreamCall
from weft.transport.clock import Clock, SystemClock
from weft.transport.replicas import Replica, Replicas
from weft.transport.requests import streamed, whole
from weft.transport.signing import ContextSigner
from weft.transport.sse import ContractReader, EventStream
from weft.transport.usage import USAGE_HEADER, read_header
from weft.transport.wire_errors import read_error

TIMEOUT_S: Final = 600.0
"""Seconds for a reply where the request has no deadline: the longest that a model on a CPU takes for one answer."""

READY_TIMEOUT_S: Final = 2.0
"""Seconds for a readiness probe: it is asked again soon."""

ERROR_BYTES: Final = 64 * 1024
"""Bytes of an error's body that are read: our own are a kilobyte."""

INVOKE: Final = Route("/v1/invoke")
"""Where a component of no family answers."""

Opened: TypeAlias = tuple[StreamReply, Replica]


class HttpTransport:
    """A service somewhere else, on one address or on several (replicas).

    Args:
        service: The service's name.
        component: What it is, for messages.
        contract: What it fulfils.
        urls: Base addresses: ``http://``, ``https://`` or ``unix:``.
        client: Owns the connections; it is not closed here.
        signer: Signs ``x-weft-context``; None: the service sees anonymous requests.
        timeout_s: For a reply, where the request has no deadline.
        clock: For leaving a failing replica alone.
        headers: Sent with each request (an ``authorization``, say).
        spec: How several addresses are used, where the Gateway file says so.
        budget: Of the process's retries; with ``spec``.

    Attributes:
        replicas, attempts: The addresses and how they are asked, for whoever watches them.
    """

    streams_wire = True

    def __init__(
        self,
        service: str,
        component: str,
        contract: Contract,
        urls: Sequence[str],
        *,
        client: Client,
        signer: ContextSigner | None = None,
        timeout_s: float = TIMEOUT_S,
        clock: Clock | None = None,
        headers: Sequence[tuple[str, str]] = (),
        spec: BackendSpec | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.service, self.component, self.contract = service, component, contract
        self.endpoint: str | None = ", ".join(urls)
        self._signer, self._timeout_s = signer, timeout_s
        static = encode_headers([("content-type", "application/json"), *headers])
        clock = clock or SystemClock()
        self.replicas = Replicas(
            [client.endpoint(url, timeout_s=timeout_s, headers=static) for url in urls], clock, spec
        )
        self.attempts: Attempts[Any] | None = None
        if spec is not None and budget is not None:
            self.attempts = Attempts(self.replicas, budget, clock, discard=_give_up)

    def bind(self, operation: str) -> Call:
        """See :class:`weft.transport.base.Bindable`."""
        asked = self.contract.operations[operation]
        replicas, attempts = self.replicas, self.attempts
        asks = [self._asking(asked, endpoint) for endpoint in replicas.endpoints]
        if attempts is not None:
            return self._again(asked, asks, attempts)
        if len(asks) == 1:
            return asks[0]  # with nothing to choose from, nothing need be known of it

        async def ask(request: Any) -> Any:
            replica = replicas.choose()
            try:
                response = await asks[replica.index](request)
            except BaseException as error:
                replicas.failed(replica, error)
                raise
            replicas.succeeded(replica)
            return response

        return ask

    def _again(self, asked: Operation, asks: Sequence[Call], attempts: Attempts[Any]) -> Call:
        """Asks as the Gateway file says: again, elsewhere, or twice."""
        replicas = self.replicas
        repeatable = asked.idempotent or replicas.spec.idempotent

        async def ask(request: Any) -> Any:
            async def send(replica: Replica) -> Any:
                return await asks[replica.index](request)

            key, deadline_ns = self._key(request), _deadline_ns()
            response, replica = await attempts.ask(
                send, key=key, repeatable=repeatable, deadline_ns=deadline_ns
            )
            replicas.succeeded(replica)
            return response

        return ask

    def _key(self, request: Any) -> bytes:
        replicas = self.replicas
        return beginning_of(request, replicas.spec.prefix_chars) if replicas.uses_prefix else b""

    def _asking(self, asked: Operation, endpoint: Endpoint) -> Call:
        """Asks one address for whole replies, with everything made beforehand that is the same each time."""
        route = asked.routes[0] if asked.routes else INVOKE
        path, method, is_idempotent = route.path, route.method, asked.idempotent
        decode = msgspec.json.Decoder(asked.response).decode
        encode = msgspec.json.Encoder().encode
        can_stream = "stream" in asked.request.__struct_fields__
        carries_usage = "usage" in asked.response.__struct_fields__
        start, exchange, max_bytes = endpoint.start(method, path), endpoint.exchange, endpoint.max_reply_bytes
        prepare, now = self._prepare, time.monotonic
        good: ReplyHead | None = None  # one that was looked at: 200, JSON, and nothing else to read in it

        async def ask(request: Any) -> Any:
            nonlocal good
            started = now()
            headers, deadline = prepare(started)
            body = whole(request) if can_stream and request.stream is True else encode(request)
            message = b"%b%bcontent-length: %d\r\n\r\n%b" % (start, headers, len(body), body)
            head, payload = await exchange(path, message, started, deadline, max_bytes, is_idempotent)
            if head is not good:
                elapsed_s = now() - started
                check(endpoint.url, method, path, head, payload, elapsed_s)
                spent = None if carries_usage else head.headers.get(USAGE_HEADER)
                if spent is None:
                    good = head
                elif (context := current.get(None)) is not None:
                    context.count(read_header(spent))
            try:
                return decode(payload)
            except (ValueError, RecursionError) as error:
                failure = BackendReplyError(
                    f"{method} {path}: the reply is not as its contract says: {error}"
                )
                raise failure.at(endpoint=endpoint.url + path, elapsed_s=now() - started) from error

        return ask

    def bind_stream(self, operation: str) -> StreamCall:
        """See :class:`weft.transport.base.Bindable`: what it returns is a :class:`weft.transport.base.WireStream`."""
        asked = self.contract.operations[operation]

        def ask(request: Any) -> AsyncIterator[Any]:
            asking: Replica | None = None

            async def send() -> StreamReply:
                nonlocal asking
                reply, asking = await self._first(asked, request)
                return reply

            def settle(error: BaseException | None) -> None:
                if asking is None:
                    return
                if error is None:
                    self.replicas.succeeded(asking)
                else:
                    self.replicas.failed(asking, error)

            return EventStream(send, ContractReader(asked), settle)

        return ask

    async def call(self, operation: str, request: Any) -> Any:
        """See :class:`weft.transport.base.Transport`."""
        return await self.bind(operation)(request)

    def stream(self, operation: str, request: Any) -> AsyncIterator[Any]:
        """See :class:`weft.transport.base.Transport`."""
        return self.bind_stream(operation)(request)

    async def ready(self) -> bool:
        """See :class:`weft.transport.base.Transport`: whether any replica is."""
        for endpoint in self.replicas.endpoints:
            try:
                reply = await endpoint.request("GET", "/health/ready", timeout_s=READY_TIMEOUT_S)
            except RequestError:
                continue
            if reply.status == 200:
                return True
        return False

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.Transport`: the connections belong to the client."""

    # One request.

    def _prepare(self, now: float) -> tuple[bytes, float]:
        """Headers that tell the other side whose request this is and until when, and when its time is up.

        Raises:
            DeadlineError: None is left.
        """
        context = current.get(None)
        latest = now + self._timeout_s
        if context is None:
            return b"", latest
        lines = _identity(context, self._signer)
        deadline = context.deadline
        if deadline is None:
            return lines, latest
        left_ms = int((deadline - now) * 1000)
        if left_ms <= 0:
            if deadline <= now:
                raise DeadlineError("the time allowed for the request was up", endpoint=self.endpoint)
            left_ms = 1  # 0 would be taken for no time at all, and the last millisecond is ours to measure
        timeout = b"%bx-weft-timeout-ms: %d\r\n" % (lines, left_ms)
        return timeout, min(latest, deadline)

    async def _first(self, operation: Operation, request: Any) -> Opened:
        """Have a stream from one address, of those that there are."""
        replicas, attempts = self.replicas, self.attempts
        body = streamed(request)

        async def send(replica: Replica) -> StreamReply:
            return await self._open(operation, body, replica.endpoint)

        if attempts is not None:
            repeatable = operation.idempotent or replicas.spec.idempotent
            return await attempts.ask(
                send, key=self._key(request), repeatable=repeatable, deadline_ns=_deadline_ns()
            )
        replica = replicas.choose()
        try:
            return await send(replica), replica
        except BaseException as error:
            replicas.failed(replica, error)
            raise

    async def _open(self, operation: Operation, body: bytes, endpoint: Endpoint) -> StreamReply:
        """Send a request for a stream; returns when the head is there and says that one comes."""
        route = operation.routes[0] if operation.routes else INVOKE
        now = time.monotonic()
        headers, deadline = self._prepare(now)
        timeout_s = deadline - now
        headers += b"accept: text/event-stream\r\n"
        reply = await endpoint.stream(
            route.method,
            route.path,
            body,
            headers=headers,
            timeout_s=timeout_s,
            idle_timeout_s=timeout_s,
            idempotent=operation.idempotent,
        )
        try:
            if reply.status != 200 or content_type(reply.headers) != b"text/event-stream":
                await self._refuse(endpoint, route, reply)
        except BaseException:
            await reply.aclose()
            raise
        return reply

    async def _refuse(self, endpoint: Endpoint, route: Route, reply: StreamReply) -> None:
        """Say what is wrong with a reply that is no stream."""
        body = await reply.read(ERROR_BYTES)
        if 200 <= reply.status < 300:
            kind = content_type(reply.headers).decode("latin-1") or "nothing said"
            failure: RequestError = BackendReplyError(
                f"{route.method} {route.path}: the reply is no event stream, but {kind}"
            )
        else:
            failure = failure_of(route.method, route.path, reply.status, reply.headers, body)
        raise placed(failure, endpoint.url + route.path, reply.elapsed_s)


def _deadline_ns() -> int | None:
    context = current.get(None)
    return None if context is None or context.deadline is None else int(context.deadline * 1e9)


def _give_up(reply: Any) -> None:
    """End a reply that came second."""
    if isinstance(reply, StreamReply):
        reply.body.close()


def check(url: str, method: str, path: str, head: ReplyHead, body: bytes, elapsed_s: float) -> None:
    """Raise what is wrong with a reply, if it is not 200 and JSON."""
    status = head.status
    if status == 200 and head.is_json:
        return
    failure: RequestError
    if 200 <= status < 300:
        kind = content_type(head.headers).decode("latin-1") or "nothing said"
        failure = BackendReplyError(f"{method} {path}: the reply is {status} and not JSON, but {kind}")
    else:
        failure = failure_of(method, path, status, head.headers, body)
    raise placed(failure, url + path, elapsed_s)


_LINES: Final = "weft.transport.http"
"""Where a request keeps what its calls have in common: the signature in it, and the lines."""


def _identity(context: Context, signer: ContextSigner | None) -> bytes:
    """The lines that are the same for every call of one request; made once for it, and again when its signature is old."""
    values = context.values
    if values is None:
        values = context.values = {}
    signed = signer.sign(context) if signer is not None else ""
    known: tuple[str, bytes] | None = values.get(_LINES)  # type: ignore[assignment]  # put there below
    if known is not None and known[0] == signed:
        return known[1]
    fields = [("traceparent", context.traceparent())]
    if context.request_id:
        fields.append(("x-request-id", context.request_id))
    if signer is not None:
        fields.append(("x-weft-context", signed))
    lines = encode_headers(fields)
    values[_LINES] = signed, lines
    return lines


def content_type(headers: Headers) -> bytes:
    """The media type of a reply, in lower case, without parameters."""
    for name, value in headers.raw:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def is_json(headers: Headers) -> bool:
    """Whether a reply says that it is JSON."""
    kind = content_type(headers)
    return kind == b"application/json" or kind.endswith(b"+json")


def failure_of(method: str, path: str, status: int, headers: Headers, body: bytes) -> RequestError:
    """What an error reply says: the service's own error, or what it answered."""
    known = read_error(status, body, retry_after=headers.get("retry-after")) if is_json(headers) else None
    return known or status_error(method, path, status, body)


def placed(failure: RequestError, endpoint: str, elapsed_s: float) -> RequestError:
    """The failure with where it came from, if it can carry that."""
    return (
        failure.at(endpoint=endpoint, elapsed_s=elapsed_s) if isinstance(failure, ServiceError) else failure
    )
