"""What components call other servers with: an endpoint of our HTTP client behind the Protocol of ``weft.host``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from weft.context import Context, current
from weft.errors import DeadlineError, RequestError
from weft.host import EventReader, HttpStream
from weft.http.client import Endpoint, Reply, StreamReply, status_error
from weft.http.sse import events
from weft.http.wire import encode_headers
from weft.transport.sse import EventStream

PROBE_TIMEOUT_S: Final = 1.5
"""Seconds for the answer to a probe: below those that a readiness check has, so that it can say what was wrong."""

PROBE_AGE_S: Final = 1.0
"""Seconds that a probe's outcome holds: whoever waits for readiness asks 20 times a second."""

_REFUSED: Final = (401, 403)


class HostReply:
    """Implements :class:`weft.host.HttpReply`.

    Args:
        reply: The reply.
        method, path, url: What was asked where, for errors.
        keys: What must not be in them.
    """

    __slots__ = ("_keys", "_method", "_path", "_reply", "_url", "body", "status")

    def __init__(self, reply: Reply, method: str, path: str, url: str, keys: tuple[str, ...] = ()) -> None:
        self._reply, self.status, self.body = reply, reply.status, reply.body
        self._method, self._path, self._url, self._keys = method, path, url, keys

    def header(self, name: str) -> str | None:
        """See :class:`weft.host.HttpReply`."""
        return self._reply.headers.get(name)

    def raise_for_status(self) -> None:
        """See :class:`weft.host.HttpReply`."""
        if not 200 <= self.status < 300:
            error = status_error(
                self._method,
                self._path,
                self.status,
                self.body,
                retry_after=self.header("retry-after"),
                endpoint=self._url + self._path,
                elapsed_s=self._reply.elapsed_s,
            )
            raise _without(error, self._keys)


class HostStream:
    """Implements :class:`weft.host.HttpStream`.

    Args:
        reply: The reply.
        method, path, url: What was asked where, for errors.
        keys: What must not be in them.
    """

    __slots__ = ("_keys", "_method", "_path", "_reply", "_url", "status")

    def __init__(
        self, reply: StreamReply, method: str, path: str, url: str, keys: tuple[str, ...] = ()
    ) -> None:
        self._reply, self.status = reply, reply.status
        self._method, self._path, self._url, self._keys = method, path, url, keys

    def header(self, name: str) -> str | None:
        """See :class:`weft.host.HttpStream`."""
        return self._reply.headers.get(name)

    def events(self) -> AsyncIterator[bytes]:
        """See :class:`weft.host.HttpStream`."""
        return events(self._reply.body)

    def chunks(self) -> AsyncIterator[bytes]:
        """See :class:`weft.host.HttpStream`."""
        return aiter(self._reply.body)

    async def raise_for_status(self) -> None:
        """See :class:`weft.host.HttpStream`."""
        if not 200 <= self.status < 300:
            error = status_error(
                self._method,
                self._path,
                self.status,
                await self._reply.read(),
                retry_after=self.header("retry-after"),
                endpoint=self._url + self._path,
                elapsed_s=self._reply.elapsed_s,
            )
            raise _without(error, self._keys)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reply.aclose()


class HostClient:
    """Implements :class:`weft.host.HttpClient`.

    Args:
        endpoint: Where to.
        timeout_s: Until a reply's head (for whole replies: its end), if the request's own deadline is not sooner.
        keys: What must not be in an error: servers quote the key that they refuse.
        tells: Whether the other side learns the request's trace and deadline: services do, strangers do not.
    """

    __slots__ = ("_endpoint", "_keys", "_probed", "_tells", "_timeout_s")

    def __init__(
        self, endpoint: Endpoint, *, timeout_s: float, tells: bool, keys: tuple[str, ...] = ()
    ) -> None:
        self._endpoint, self._timeout_s, self._tells, self._keys = endpoint, timeout_s, tells, keys
        self._probed: dict[str, tuple[float, RequestError | None]] = {}

    async def post_json(
        self, path: str, value: Any, *, type: Any = Any, headers: Mapping[str, str] | None = None
    ) -> Any:
        """See :class:`weft.host.HttpClient`."""
        sent, timeout_s = self._prepare(headers)
        try:
            return await self._endpoint.post_json(path, value, type=type, headers=sent, timeout_s=timeout_s)
        except RequestError as error:
            raise _without(error, self._keys) from error.__cause__

    async def get_json(self, path: str, *, type: Any = Any, headers: Mapping[str, str] | None = None) -> Any:
        """See :class:`weft.host.HttpClient`."""
        sent, timeout_s = self._prepare(headers)
        try:
            return await self._endpoint.get_json(path, type=type, headers=sent, timeout_s=timeout_s)
        except RequestError as error:
            raise _without(error, self._keys) from error.__cause__

    async def request(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> HostReply:
        """See :class:`weft.host.HttpClient`."""
        sent, timeout_s = self._prepare(headers)
        reply = await self._endpoint.request(method, path, body, headers=sent, timeout_s=timeout_s)
        return HostReply(reply, method, path, self._endpoint.url, self._keys)

    async def stream(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> HostStream:
        """See :class:`weft.host.HttpClient`."""
        sent, timeout_s = self._prepare(headers)
        reply = await self._endpoint.stream(method, path, body, headers=sent, timeout_s=timeout_s)
        return HostStream(reply, method, path, self._endpoint.url, self._keys)

    def events(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        reader: EventReader,
        check: Callable[[HttpStream], Awaitable[None]],
        headers: Mapping[str, str] | None = None,
    ) -> EventStream:
        """See :class:`weft.host.HttpClient`: a :class:`weft.transport.base.WireStream`."""

        async def send() -> StreamReply:
            sent, timeout_s = self._prepare(headers)
            reply = await self._endpoint.stream(method, path, body, headers=sent, timeout_s=timeout_s)
            try:
                await check(HostStream(reply, method, path, self._endpoint.url, self._keys))
            except BaseException:
                await reply.aclose()
                raise
            return reply

        return EventStream(send, reader)

    async def probe(self, path: str) -> bool:
        """See :class:`weft.host.HttpClient`."""
        asked_at, failure = self._probed.get(path, (float("-inf"), None))
        if time.monotonic() - asked_at > PROBE_AGE_S:
            failure = await self._ask(path)
            self._probed[path] = time.monotonic(), failure
        if failure is not None:
            raise failure.with_traceback(None)
        return True

    async def _ask(self, path: str) -> RequestError | None:
        sent, timeout_s = self._prepare(None)
        try:
            reply = await self._endpoint.request(
                "GET", path, headers=sent, timeout_s=min(timeout_s, PROBE_TIMEOUT_S)
            )
        except RequestError as error:
            return error
        if reply.status in _REFUSED or reply.status >= 500:
            url = self._endpoint.url + path
            return _without(status_error("GET", path, reply.status, reply.body, endpoint=url), self._keys)
        return None

    def _prepare(self, headers: Mapping[str, str] | None) -> tuple[bytes, float]:
        sent = encode_headers(list(headers.items())) if headers else b""
        timeout_s = self._timeout_s
        context = current.get(None)
        if context is None:
            return sent, timeout_s
        left = context.time_left_s()
        if left is not None and left < timeout_s:
            if left <= 0:
                raise DeadlineError("the time allowed for the request was up", endpoint=self._endpoint.url)
            timeout_s = left
        if self._tells:
            sent += trace_line(context)
            if left is not None:
                sent += b"x-weft-timeout-ms: %d\r\n" % max(1, int(left * 1000))
        return sent, timeout_s


def _without(error: RequestError, keys: tuple[str, ...]) -> RequestError:
    """The error without the keys that its server has quoted."""
    for key in keys:
        if key in error.message:
            error.message = error.message.replace(key, "***")
            error.args = (error.message,)
    return error


def trace_line(context: Context) -> bytes:
    """The ``traceparent`` of what is called for a request; made once for it."""
    values = context.values
    if values is None:
        values = context.values = {}
    line = values.get("weft.serve.outbound")
    if isinstance(line, bytes):
        return line
    made = values["weft.serve.outbound"] = b"traceparent: %b\r\n" % context.traceparent().encode()
    return made
