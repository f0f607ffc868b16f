"""What components call other servers with: an endpoint of our HTTP client behind the Protocol of ``weft.host``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

from weft.context import current
from weft.errors import DeadlineError
from weft.http.client import Endpoint, Reply, StreamReply
from weft.http.sse import events


class HostReply:
    """Implements :class:`weft.host.HttpReply`."""

    __slots__ = ("_reply", "body", "status")

    def __init__(self, reply: Reply) -> None:
        self._reply, self.status, self.body = reply, reply.status, reply.body

    def header(self, name: str) -> str | None:
        """See :class:`weft.host.HttpReply`."""
        return self._reply.headers.get(name)


class HostStream:
    """Implements :class:`weft.host.HttpStream`."""

    __slots__ = ("_reply", "status")

    def __init__(self, reply: StreamReply) -> None:
        self._reply, self.status = reply, reply.status

    def header(self, name: str) -> str | None:
        """See :class:`weft.host.HttpStream`."""
        return self._reply.headers.get(name)

    def events(self) -> AsyncIterator[bytes]:
        """See :class:`weft.host.HttpStream`."""
        return events(self._reply.body)

    def chunks(self) -> AsyncIterator[bytes]:
        """See :class:`weft.host.HttpStream`."""
        return aiter(self._reply.body)

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
        tells: Whether the other side learns the request's trace and deadline: services do, strangers do not.
    """

    __slots__ = ("_endpoint", "_tells", "_timeout_s")

    def __init__(self, endpoint: Endpoint, *, timeout_s: float, tells: bool) -> None:
        self._endpoint, self._timeout_s, self._tells = endpoint, timeout_s, tells

    async def post_json(
        self, path: str, value: Any, *, type: Any = Any, headers: Mapping[str, str] | None = None
    ) -> Any:
        """See :class:`weft.host.HttpClient`."""
        sent, timeout_s = self._prepare(headers)
        return await self._endpoint.post_json(path, value, type=type, headers=sent, timeout_s=timeout_s)

    async def get_json(self, path: str, *, type: Any = Any, headers: Mapping[str, str] | None = None) -> Any:
        """See :class:`weft.host.HttpClient`."""
        sent, timeout_s = self._prepare(headers)
        return await self._endpoint.get_json(path, type=type, headers=sent, timeout_s=timeout_s)

    async def request(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> HostReply:
        """See :class:`weft.host.HttpClient`."""
        sent, timeout_s = self._prepare(headers)
        return HostReply(await self._endpoint.request(method, path, body, headers=sent, timeout_s=timeout_s))

    async def stream(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> HostStream:
        """See :class:`weft.host.HttpClient`."""
        sent, timeout_s = self._prepare(headers)
        return HostStream(await self._endpoint.stream(method, path, body, headers=sent, timeout_s=timeout_s))

    def _prepare(self, headers: Mapping[str, str] | None) -> tuple[list[tuple[str, str]], float]:
        sent = list(headers.items()) if headers else []
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
            sent.append(("traceparent", context.traceparent()))
            if left is not None:
                sent.append(("x-weft-timeout-ms", str(max(1, int(left * 1000)))))
        return sent, timeout_s
