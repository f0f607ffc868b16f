"""The HTTP/1.1 client: endpoints on pools of kept-alive connections, everything bounded, every error with its endpoint."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from types import TracebackType
from typing import Any, Self, TypeAlias, cast

import msgspec

from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    InternalError,
    OverloadedError,
    ServiceError,
    UnreachableError,
)
from weft.http.body import ReplyBody
from weft.http.connect import AddressGuard, Dialer, Origin, is_direct, parse_url, proxy_credentials
from weft.http.deadlines import Deadlines
from weft.http.message import Headers
from weft.http.outbox import Outbox
from weft.http.pool import Answer, ClientConnection, DiedBeforeReply, Pool
from weft.http.wire import ReplyHead, encode_headers, encode_lines

HeaderLines: TypeAlias = Sequence[tuple[str, str]] | bytes
"""Header fields; or, made once with ``encode_headers`` for many requests, their lines."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_NO_BODY = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})

_MAX_CACHED_STARTS = 256
"""Request lines kept ready for one endpoint; paths with ids in them fill it, and it is emptied."""

_WHOLE_BYTES = 1024 * 1024
"""No read of a socket is larger: what a relay is handed whole has been read already."""

_QUOTED_CHARACTERS = 500
"""How much of an error's body is quoted: enough for a JSON error or the title of an HTML page."""

_IS_TARGET = re.compile(r"/[\x21-\x22\x24-\x7e]*").fullmatch


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What one client, and one backend, may take."""

    max_connections: int = 256
    """Connections to one origin; further requests wait. Default 256: a model server's usual queue."""

    max_waiting: int = 1024
    """Requests that wait for a connection to one origin; beyond: OverloadedError. Default 1024."""

    max_reply_bytes: int = 64 * 1024 * 1024
    """Bytes of a whole reply, where a call sets no other bound. Default 64 MiB: embeddings of a large batch."""

    max_header_bytes: int = 65536
    """Bytes of a reply's head. Default 64 KiB."""

    max_headers: int = 200
    """Header fields of a reply. Default 200."""

    connect_timeout_s: float = 5.0
    """Seconds to make a connection, TLS and proxy included. Default 5; the request's own time left wins if shorter."""

    idle_timeout_s: float = 60.0
    """Seconds that an unused connection is kept. Default 60: below the 75 of our server and nginx, so that ours ends first."""


@dataclass(slots=True)
class Reply:
    """A whole reply.

    Attributes:
        status: The HTTP status; 200 to 599.
        headers: Its fields.
        body: Decoded from its transfer coding.
        elapsed_s: From the call to the last byte.
    """

    status: int
    headers: Headers
    body: bytes
    elapsed_s: float


class StreamReply:
    """A reply whose body is still arriving. Leaving the ``async with``, or ``aclose()``, before its end drops the connection.

    Attributes:
        status: The HTTP status.
        headers: Its fields.
        body: The body.
        elapsed_s: From the call to the head.
        url: What was asked.
        started: ``time.monotonic()`` of the call.
    """

    __slots__ = ("body", "elapsed_s", "headers", "started", "status", "url")

    def __init__(
        self, status: int, headers: Headers, body: ReplyBody, *, elapsed_s: float, url: str, started: float
    ) -> None:
        self.status, self.headers, self.body, self.elapsed_s = status, headers, body, elapsed_s
        self.url, self.started = url, started

    async def read(self, max_bytes: int = _QUOTED_CHARACTERS * 4) -> bytes:
        """The start of the body, and no more of it: for quoting an error. The connection is dropped if there was more."""
        blocks, size = [], 0
        async for block in self.body:
            blocks.append(block)
            size += len(block)
            if size >= max_bytes:
                break
        await self.aclose()
        return b"".join(blocks)[:max_bytes]

    async def aclose(self) -> None:
        """Done with it; may be called again."""
        self.body.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.body.close()


class Client:
    """Owns the connections. One for an application; for one event loop.

    Args:
        limits: See :class:`ClientLimits`.
        ssl_context: For ``https``; without one, the system's authorities are trusted.
        ca_file: Authorities to trust besides them (PEM).
        client_cert: Certificate and key file (PEM) to show to servers that ask.
        proxies: Proxy URL by scheme of the target (``{"http": ..., "https": ...}``); the environment is never read.
        no_proxy: Hosts, domains, addresses and networks that are reached directly.
        resolve: Guard of addresses: called with the resolved IP addresses at each connect, raises to refuse.
    """

    def __init__(
        self,
        *,
        limits: ClientLimits | None = None,
        ssl_context: ssl.SSLContext | None = None,
        ca_file: str | None = None,
        client_cert: tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
        no_proxy: Sequence[str] = (),
        resolve: AddressGuard | None = None,
    ) -> None:
        self.limits = limits or ClientLimits()
        self._ssl_context = ssl_context
        self._ca_file = ca_file
        self._client_cert = client_cert
        self._proxies = dict(proxies or {})
        self._no_proxy = tuple(no_proxy)
        self._resolve = resolve
        self._pools: dict[Origin, Pool] = {}
        self._deadlines: Deadlines | None = None
        self._outbox: Outbox | None = None

    def endpoint(self, base_url: str, *, timeout_s: float = 30.0, headers: HeaderLines = ()) -> Endpoint:
        """Something to send requests to; connects with the first one.

        Args:
            base_url: ``http://``, ``https://``, ``unix:/path`` or ``unix:/path:/prefix``; its path is put before each request's.
            timeout_s: Time for one request, where the call sets no other.
            headers: Sent with each request.

        Raises:
            UsageError: The URL is not one of these.
        """
        origin, prefix = parse_url(base_url)
        proxy = None if origin.unix_path else self._proxies.get(origin.scheme)
        if proxy and not is_direct(origin.host, origin.port, self._no_proxy):
            origin = Origin(origin.scheme, origin.host, origin.port, proxy=proxy)
        return Endpoint(self, origin, base_url, prefix=prefix, timeout_s=timeout_s, headers=headers)

    @property
    def open_connections(self) -> int:
        """Connections that stand or are being made."""
        return sum(pool.open_connections for pool in self._pools.values())

    async def aclose(self) -> None:
        """Close every connection; requests under way fail with UnavailableError."""
        for pool in list(self._pools.values()):
            await pool.aclose()
        if self._deadlines is not None:
            self._deadlines.close()

    def pool(self, origin: Origin) -> Pool:
        """The connections to ``origin``; within a running loop."""
        pool = self._pools.get(origin)
        if pool is None:
            loop = asyncio.get_running_loop()
            if self._deadlines is None or self._outbox is None:
                self._deadlines, self._outbox = Deadlines(loop), Outbox(loop)
            dialer = Dialer(origin, tls=self._tls, guard=self._resolve)
            pool = Pool(dialer, limits=self.limits, loop=loop, deadlines=self._deadlines, outbox=self._outbox)
            self._pools[origin] = pool
        return pool

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            context = ssl.create_default_context()
            if self._ca_file is not None:
                context.load_verify_locations(self._ca_file)
            if self._client_cert is not None:
                context.load_cert_chain(*self._client_cert)
            self._ssl_context = context
        return self._ssl_context


class Endpoint:
    """A base URL on a :class:`Client`.

    Every call may be cancelled; its connection is then dropped, so that the server sees it at once. Errors are
    ``UnreachableError``, ``DeadlineError``, ``BackendReplyError``, ``BackendStatusError`` or ``OverloadedError``; all
    but the last carry ``endpoint`` and ``elapsed_s``.

    A request is sent again, once and on a fresh connection, only if a kept-alive one turned out to be closed before any
    byte of the reply, and the request is idempotent by its method or by ``idempotent=True``.
    """

    __slots__ = (
        "_client",
        "_decoders",
        "_encode",
        "_fields",
        "_origin",
        "_pool",
        "_prefix",
        "_starts",
        "timeout_s",
        "url",
    )

    def __init__(
        self, client: Client, origin: Origin, url: str, *, prefix: str, timeout_s: float, headers: HeaderLines
    ) -> None:
        self._client = client
        self._origin = origin
        self._pool: Pool | None = None
        self._prefix = prefix
        self._starts: dict[tuple[str, str, bool], bytes] = {}
        self._decoders: dict[Any, Callable[[bytes], Any]] = {}
        self._encode = msgspec.json.Encoder().encode
        self.url = url
        self.timeout_s = timeout_s
        fields = headers if isinstance(headers, bytes) else encode_headers(headers)
        if (
            origin.proxy is not None
            and origin.scheme == "http"
            and (login := proxy_credentials(origin.proxy))
        ):
            fields += encode_headers([("proxy-authorization", login)])
        self._fields = fields

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: HeaderLines = (),
        timeout_s: float | None = None,
        max_bytes: int | None = None,
        idempotent: bool | None = None,
    ) -> Reply:
        """Send a request and read the whole reply, whatever its status.

        Args:
            method: Upper case.
            path: Percent-encoded, with its query.
            body: Sent with a ``content-length``; its ``content-type`` is the caller's to give.
            headers: Beyond the endpoint's.
            timeout_s: For all of it; the endpoint's by default.
            max_bytes: A longer body raises BackendReplyError as soon as it is known.
            idempotent: May be sent twice; by default the method says.
        """
        started = time.monotonic()
        deadline = started + (self.timeout_s if timeout_s is None else timeout_s)
        message = self._message(method, path, body, headers, is_json=False)
        is_resendable = method in _IDEMPOTENT if idempotent is None else idempotent
        limit = self._client.limits.max_reply_bytes if max_bytes is None else max_bytes
        if method == "HEAD":
            head, payload = await self._exchange(
                path, message, started, deadline, limit, is_resendable, is_head_request=True
            )
        else:
            head, payload = await self.exchange(path, message, started, deadline, limit, is_resendable)
        return Reply(head.status, head.headers, cast("bytes", payload), time.monotonic() - started)

    async def post_json(
        self,
        path: str,
        value: Any,
        *,
        type: Any = Any,
        headers: HeaderLines = (),
        timeout_s: float | None = None,
        idempotent: bool = False,
    ) -> Any:
        """POST ``value`` as JSON and decode the JSON reply.

        Args:
            path: Percent-encoded.
            value: Anything that msgspec encodes; ``bytes`` are sent as they are.
            type: What the reply must be.
            headers: Beyond the endpoint's.
            timeout_s: For all of it; the endpoint's by default.
            idempotent: May be sent twice.

        Raises:
            BackendStatusError: The status is not 2xx; the start of the body is quoted.
            OverloadedError: The status is 429.
            BackendReplyError: Not JSON, or not of that type.
        """
        started = time.monotonic()
        body = value if isinstance(value, bytes) else self._encode(value)
        deadline = started + (self.timeout_s if timeout_s is None else timeout_s)
        message = self._message("POST", path, body, headers, is_json=True)
        limit = self._client.limits.max_reply_bytes
        head, payload = await self.exchange(path, message, started, deadline, limit, idempotent)
        return self._decode("POST", path, head, payload, type, started)

    async def get_json(
        self, path: str, *, type: Any = Any, headers: HeaderLines = (), timeout_s: float | None = None
    ) -> Any:
        """GET a JSON reply; see :meth:`post_json`."""
        started = time.monotonic()
        deadline = started + (self.timeout_s if timeout_s is None else timeout_s)
        message = self._message("GET", path, b"", headers, is_json=True)
        limit = self._client.limits.max_reply_bytes
        head, payload = await self.exchange(path, message, started, deadline, limit, True)
        return self._decode("GET", path, head, payload, type, started)

    async def stream(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: HeaderLines = (),
        timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        idempotent: bool | None = None,
    ) -> StreamReply:
        """Send a request; returns when the reply's head is there, whatever its status.

        Args:
            method: Upper case.
            path: Percent-encoded, with its query.
            body: Sent with a ``content-length``.
            headers: Beyond the endpoint's.
            timeout_s: Until the head; the endpoint's by default.
            idle_timeout_s: Longest silence within the body (noticed at most a quarter of it late); ``timeout_s`` by default.
            idempotent: May be sent twice; by default the method says.
        """
        started = time.monotonic()
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        head, payload = await self._exchange(
            path,
            self._message(method, path, body, headers, is_json=False),
            started,
            started + limit_s,
            0,
            method in _IDEMPOTENT if idempotent is None else idempotent,
            is_stream=True,
            idle_timeout_s=limit_s if idle_timeout_s is None else idle_timeout_s,
        )
        return StreamReply(
            head.status,
            head.headers,
            cast("ReplyBody", payload),
            elapsed_s=time.monotonic() - started,
            url=self.url + path,
            started=started,
        )

    async def exchange(
        self,
        path: str,
        message: bytes,
        started: float,
        deadline: float,
        max_bytes: int,
        is_resendable: bool,
    ) -> tuple[ReplyHead, bytes]:
        """Send a message for a whole reply: what every other call that is not ``HEAD`` comes down to.

        For those who call the same path again and again: the message is :meth:`start`, further header lines, and
        ``content-length: N``, an empty line and the body.

        Args:
            path: For errors.
            message: The whole request.
            started: ``time.monotonic()`` of the call.
            deadline: ``time.monotonic()`` at which it fails.
            max_bytes: A longer body raises BackendReplyError as soon as it is known.
            is_resendable: May be sent twice.
        """
        pool = self._pool
        connection = pool.take(started) if pool is not None else None
        if connection is None:
            return await self._exchange(path, message, started, deadline, max_bytes, is_resendable)  # type: ignore[return-value]  # no stream was asked for
        waiter = connection.send(message, deadline, max_bytes)
        try:
            return await waiter  # type: ignore[return-value]  # the same
        except DiedBeforeReply as error:
            if not is_resendable:
                raise self._unreachable(path, started, error) from error
        except ServiceError as error:
            raise error.at(
                endpoint=self.url + path, elapsed_s=time.monotonic() - started
            ) from error.__cause__
        except BaseException:
            # Cancelled. A reply that came just before has given the connection back already; another may hold it.
            if not waiter.done() or waiter.cancelled():
                connection.drop()
            raise
        return await self._exchange(path, message, started, deadline, max_bytes, False, is_fresh=True)  # type: ignore[return-value]  # the same

    async def relay(
        self,
        path: str,
        message: bytes,
        started: float,
        deadline: float,
        *,
        idle_timeout_s: float,
        is_resendable: bool,
        is_head_request: bool = False,
    ) -> tuple[ReplyHead, bytes | ReplyBody]:
        """Send a message for whatever reply: whole where it came in one read, else its body as it arrives.

        Args:
            path: For errors.
            message: The whole request; see :meth:`exchange`.
            started: ``time.monotonic()`` of the call.
            deadline: ``time.monotonic()`` at which it fails, unless the head is there.
            idle_timeout_s: Longest silence within the body.
            is_resendable: May be sent twice.
            is_head_request: The reply has no body, whatever its head says.
        """
        pool = self._pool
        connection = pool.take(started) if pool is not None else None
        if connection is None:
            return await self._relay(
                path, message, started, deadline, idle_timeout_s, is_resendable, is_head_request
            )
        # What _exchange does, for the way that nearly every request takes.
        connection.endpoint, connection.started = self.url + path, started
        waiter = connection.send_for(
            message,
            deadline,
            _WHOLE_BYTES,
            is_head_request=is_head_request,
            is_stream=True,
            takes_whole=True,
            idle_timeout_s=idle_timeout_s,
        )
        try:
            return await waiter
        except DiedBeforeReply as error:
            if not is_resendable:
                raise self._unreachable(path, started, error) from error
        except ServiceError as error:
            raise error.at(
                endpoint=self.url + path, elapsed_s=time.monotonic() - started
            ) from error.__cause__
        except BaseException:
            self._give_up(connection, waiter)
            raise
        return await self._relay(
            path, message, started, deadline, idle_timeout_s, False, is_head_request, is_fresh=True
        )

    def _relay(
        self,
        path: str,
        message: bytes,
        started: float,
        deadline: float,
        idle_timeout_s: float,
        is_resendable: bool,
        is_head_request: bool,
        *,
        is_fresh: bool = False,
    ) -> Awaitable[tuple[ReplyHead, bytes | ReplyBody]]:
        return self._exchange(
            path,
            message,
            started,
            deadline,
            _WHOLE_BYTES,
            is_resendable,
            is_fresh=is_fresh,
            is_head_request=is_head_request,
            is_stream=True,
            takes_whole=True,
            idle_timeout_s=idle_timeout_s,
        )

    async def _exchange(
        self,
        path: str,
        message: bytes,
        started: float,
        deadline: float,
        max_bytes: int,
        is_resendable: bool,
        *,
        is_fresh: bool = False,
        is_head_request: bool = False,
        is_stream: bool = False,
        takes_whole: bool = False,
        idle_timeout_s: float = 0.0,
    ) -> tuple[ReplyHead, bytes | ReplyBody]:
        """:meth:`exchange` for every kind of reply; ``is_fresh``: on no connection that was used before."""
        pool = self._pool
        if pool is None:
            pool = self._pool = self._client.pool(self._origin)
        connection = None if is_fresh else pool.take(started)
        is_reused = connection is not None
        waiter: asyncio.Future[Answer] | None = None
        while True:
            try:
                if connection is None:
                    waiter = None
                    connection, is_reused = await pool.dial(deadline)
                if is_stream:
                    connection.endpoint, connection.started = self.url + path, started
                waiter = connection.send_for(
                    message,
                    deadline,
                    max_bytes,
                    is_head_request=is_head_request,
                    is_stream=is_stream,
                    takes_whole=takes_whole,
                    idle_timeout_s=idle_timeout_s,
                )
                return await waiter
            except DiedBeforeReply as error:
                if is_reused and is_resendable:
                    connection, is_reused = None, False
                    continue
                raise self._unreachable(path, started, error) from error
            except ServiceError as error:
                raise error.at(
                    endpoint=self.url + path, elapsed_s=time.monotonic() - started
                ) from error.__cause__
            except BaseException:
                self._give_up(connection, waiter)
                raise

    @staticmethod
    def _give_up(connection: ClientConnection | None, waiter: asyncio.Future[Answer] | None) -> None:
        """Cancelled. A reply that came just before has given the connection back already; another may hold it."""
        if waiter is None or not waiter.done() or waiter.cancelled():
            if connection is not None:
                connection.drop()
        elif waiter.exception() is None and isinstance(body := waiter.result()[1], ReplyBody):
            body.close()

    def _unreachable(self, path: str, started: float, error: Exception) -> UnreachableError:
        unreachable = UnreachableError(f"the connection ended before the reply ({error})")
        unreachable.was_sent = True
        unreachable.at(endpoint=self.url + path, elapsed_s=time.monotonic() - started)
        return unreachable

    def _message(self, method: str, path: str, body: bytes, headers: HeaderLines, *, is_json: bool) -> bytes:
        start = self.start(method, path, is_json=is_json)
        if headers:
            start += headers if isinstance(headers, bytes) else encode_headers(headers)
        if not body and method in _NO_BODY:
            return start + b"\r\n"
        return b"%bcontent-length: %d\r\n\r\n%b" % (start, len(body), body)

    @property
    def max_reply_bytes(self) -> int:
        """Bytes of a whole reply, where a call sets no other bound."""
        return self._client.limits.max_reply_bytes

    def start(self, method: str, path: str, *, is_json: bool = False) -> bytes:
        """The request line and the headers that are the same every time.

        Args:
            method: Upper case.
            path: Percent-encoded, with its query.
            is_json: Whether it says that JSON is sent and wanted.
        """
        known = self._starts.get((method, path, is_json))
        if known is not None:
            return known
        target = self._prefix + path or "/"
        if _IS_TARGET(target) is None or not method.isalpha():
            raise InternalError(f"'{method} {path}' cannot be sent: the path must be percent-encoded")
        origin = self._origin
        if origin.proxy is not None and origin.scheme == "http":
            target = f"http://{origin.authority}{target}"
        lines = [f"{method} {target} HTTP/1.1", f"host: {origin.authority}", "user-agent: weft"]
        if is_json:
            lines.append("accept: application/json")
            if method == "POST":
                lines.append("content-type: application/json")
        start = encode_lines("".join([f"{line}\r\n" for line in lines]), count=len(lines)) + self._fields
        if len(self._starts) >= _MAX_CACHED_STARTS:
            self._starts.clear()
        self._starts[method, path, is_json] = start
        return start

    def _decode(self, method: str, path: str, head: ReplyHead, body: bytes, type: Any, started: float) -> Any:
        if 200 <= head.status < 300 and head.is_json:
            decode = self._decoders.get(type)
            if decode is None:
                decode = self._decoders[type] = msgspec.json.Decoder(type).decode
            try:
                return decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                failure: ServiceError = BackendReplyError(
                    f"{method} {path}: the reply is not as declared: {error}"
                )
                raise failure.at(endpoint=self.url + path, elapsed_s=time.monotonic() - started) from error
        elapsed_s = time.monotonic() - started
        if not 200 <= head.status < 300:
            raise status_error(
                method,
                path,
                head.status,
                body,
                retry_after=head.headers.get("retry-after"),
                endpoint=self.url + path,
                elapsed_s=elapsed_s,
            )
        kind = head.headers.get("content-type", "nothing said")
        failure = BackendReplyError(f"{method} {path}: the reply is not JSON ({kind}): {_quote(body)}")
        raise failure.at(endpoint=self.url + path, elapsed_s=elapsed_s)


def status_error(
    method: str,
    path: str,
    status: int,
    body: bytes,
    *,
    retry_after: str | None = None,
    endpoint: str | None = None,
    elapsed_s: float | None = None,
) -> BackendStatusError | OverloadedError:
    """The error for a status that is not a success, with the start of the body in its message.

    429 is a backend that is busy, as a full queue of ours is: the caller learns when to come back.
    """
    text = f"{method} {path} answered {status}: {_quote(body)}"
    if status == 429:
        where = f" (at {endpoint})" if endpoint else ""
        return OverloadedError(text + where, retry_after_s=wait_of(retry_after))
    error = BackendStatusError(text, backend_status=status)
    error.at(endpoint=endpoint, elapsed_s=elapsed_s)
    return error


def wait_of(retry_after: str | None) -> float:
    """Seconds in a ``Retry-After``; 1 where there is none, or none that is a finite number."""
    try:
        seconds = float(retry_after) if retry_after else 1.0
    except ValueError:
        return 1.0  # a date, which nobody sends for seconds
    return max(0.0, seconds) if isfinite(seconds) else 1.0


def _quote(body: bytes) -> str:
    text = " ".join(body[: _QUOTED_CHARACTERS * 4].decode("utf-8", "replace").split())
    return text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "..."
