"""Calls a service over HTTP: the own form of its operation's first route, everything that comes back checked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from weft.context import Context, current
from weft.contracts import Contract, Operation, Route
from weft.errors import BackendReplyError, DeadlineError, RequestError, ServiceError
from weft.http.client import Client, Endpoint, Reply, StreamReply, status_error
from weft.http.message import Headers
from weft.http.wire import encode_headers
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
    ) -> None:
        self.service, self.component, self.contract = service, component, contract
        self.endpoint: str | None = ", ".join(urls)
        self._signer, self._timeout_s = signer, timeout_s
        static = encode_headers([("content-type", "application/json"), *headers])
        self._replicas = Replicas(
            [client.endpoint(url, timeout_s=timeout_s, headers=static) for url in urls],
            clock or SystemClock(),
        )

    def bind(self, operation: str) -> Call:
        """See :class:`weft.transport.base.Bindable`."""
        asked = self.contract.operations[operation]
        route = asked.routes[0] if asked.routes else INVOKE
        decode = msgspec.json.Decoder(asked.response).decode
        replicas, path, method, is_idempotent = self._replicas, route.path, route.method, asked.idempotent
        carries_usage = "usage" in asked.response.__struct_fields__

        async def ask(request: Any) -> Any:
            headers, timeout_s = self._prepare()
            body = whole(request)
            replica = replicas.choose()
            try:
                reply = await replica.endpoint.request(
                    method, path, body, headers=headers, timeout_s=timeout_s, idempotent=is_idempotent
                )
                response = self._read(replica.endpoint, method, path, reply, decode)
            except BaseException as error:
                replicas.failed(replica, error)
                raise
            replicas.succeeded(replica)
            if not carries_usage and (spent := reply.headers.get(USAGE_HEADER)) is not None:
                context = current.get(None)
                if context is not None:
                    context.count(read_header(spent))
            return response

        return ask

    def bind_stream(self, operation: str) -> StreamCall:
        """See :class:`weft.transport.base.Bindable`: what it returns is a :class:`weft.transport.base.WireStream`."""
        asked = self.contract.operations[operation]

        def ask(request: Any) -> AsyncIterator[Any]:
            asking: Replica | None = None

            async def send() -> StreamReply:
                nonlocal asking
                reply, asking = await self._open(asked, request)
                return reply

            def settle(error: BaseException | None) -> None:
                if asking is None:
                    return
                if error is None:
                    self._replicas.succeeded(asking)
                else:
                    self._replicas.failed(asking, error)

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
        for endpoint in self._replicas.endpoints:
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

    def _prepare(self) -> tuple[bytes, float]:
        """Headers that tell the other side whose request this is and until when, and the time that is left.

        Raises:
            DeadlineError: None is left.
        """
        context = current.get(None)
        if context is None:
            return b"", self._timeout_s
        lines = _identity(context, self._signer)
        if context.deadline is None:
            return lines, self._timeout_s
        left_s = context.deadline - time.monotonic()
        if left_s <= 0:
            raise DeadlineError("the time allowed for the request was up", endpoint=self.endpoint)
        # At least 1: 0 would be taken for no time at all, and the last half millisecond is ours to measure.
        return lines + b"x-weft-timeout-ms: %d\r\n" % max(1, int(left_s * 1000)), min(left_s, self._timeout_s)

    def _read(
        self, endpoint: Endpoint, method: str, path: str, reply: Reply, decode: Callable[[bytes], Any]
    ) -> Any:
        status = reply.status
        failure: RequestError
        if status == 200 and is_json(reply.headers):
            try:
                return decode(reply.body)
            except (msgspec.DecodeError, RecursionError) as error:
                failure = BackendReplyError(
                    f"{method} {path}: the reply is not as its contract says: {error}"
                )
                raise failure.at(endpoint=endpoint.url + path, elapsed_s=reply.elapsed_s) from error
        if 200 <= status < 300:
            kind = content_type(reply.headers).decode("latin-1") or "nothing said"
            failure = BackendReplyError(f"{method} {path}: the reply is {status} and not JSON, but {kind}")
        else:
            failure = failure_of(method, path, status, reply.headers, reply.body)
        raise placed(failure, endpoint.url + path, reply.elapsed_s)

    async def _open(self, operation: Operation, request: Any) -> Opened:
        """Send a request for a stream; returns when the head is there and says that one comes."""
        route = operation.routes[0] if operation.routes else INVOKE
        headers, timeout_s = self._prepare()
        headers += b"accept: text/event-stream\r\n"
        body = streamed(request)
        replica = self._replicas.choose()
        endpoint, path = replica.endpoint, route.path
        try:
            reply = await endpoint.stream(
                route.method,
                path,
                body,
                headers=headers,
                timeout_s=timeout_s,
                idle_timeout_s=timeout_s,
                idempotent=operation.idempotent,
            )
            if reply.status != 200 or content_type(reply.headers) != b"text/event-stream":
                await self._refuse(endpoint, route, reply)
        except BaseException as error:
            self._replicas.failed(replica, error)
            raise
        return reply, replica

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


class _Lines(NamedTuple):
    """What a request's calls have in common, and the signature in it."""

    signed: str
    lines: bytes


def _identity(context: Context, signer: ContextSigner | None) -> bytes:
    """The lines that are the same for every call of one request; made once for it, and again when its signature is old."""
    values = context.values
    if values is None:
        values = context.values = {}
    signed = signer.sign(context) if signer is not None else ""
    known = values.get("weft.transport.http")
    if isinstance(known, _Lines) and known.signed == signed:
        return known.lines
    fields = [("traceparent", context.traceparent())]
    if context.request_id:
        fields.append(("x-request-id", context.request_id))
    if signer is not None:
        fields.append(("x-weft-context", signed))
    made = values["weft.transport.http"] = _Lines(signed, encode_headers(fields))
    return made.lines


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
