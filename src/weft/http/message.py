"""What a handler is given and what it gives back, and the errors that belong to HTTP itself."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, overload

from weft.errors import InvalidRequestError, PayloadTooLargeError, RequestError

if TYPE_CHECKING:
    from weft.http.body import Alike, ReplyBody

REASONS: dict[int, str] = {status.value: status.phrase for status in HTTPStatus}
"""Reason phrase of each status."""


class ProtocolError(InvalidRequestError):
    """The other side does not speak HTTP/1.1 as it must; the connection is closed after the answer."""

    code = "bad_http"

    @staticmethod
    def too_many_headers(limit: int) -> ProtocolError:
        """More header fields than ``limit``."""
        return HeadersTooLargeError(f"more than {limit} header fields")


class HeadersTooLargeError(ProtocolError):
    """The head is longer, or has more fields, than the server's limits allow."""

    code = "headers_too_large"
    status = 431


class UriTooLongError(ProtocolError):
    """The request target is too long."""

    code = "uri_too_long"
    status = 414


class ExpectationError(ProtocolError):
    """An ``Expect`` other than ``100-continue``."""

    code = "expectation_failed"
    status = 417


class NotImplementedMethodError(ProtocolError):
    """A method that this server does not know."""

    code = "method_not_implemented"
    status = 501


class TransferCodingError(ProtocolError):
    """A transfer coding other than ``chunked``."""

    code = "transfer_coding"
    status = 501


class VersionError(ProtocolError):
    """A version of HTTP other than 1.0 and 1.1."""

    code = "http_version"
    status = 505


class RequestTimeoutError(RequestError):
    """The request arrived too slowly."""

    code = "request_timeout"
    status: ClassVar[int] = 408
    type = "invalid_request_error"


class Headers:
    """Header fields in the order in which they came; names match whatever their case.

    Args:
        raw: Names (in lower case) and values as bytes; kept, not copied.
    """

    __slots__ = ("_first", "raw")

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw
        self._first: dict[str, str] | None = None

    def _index(self) -> dict[str, str]:
        first: dict[str, str] = {}
        for name, value in self.raw:
            first.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        self._first = first
        return first

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of ``name``, latin-1 decoded."""
        first = self._first
        if first is None:
            first = self._index()
        return first.get(name if name.islower() else name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        """Every value of ``name``, in order."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, value in self.raw if key == wanted]

    def items(self) -> list[tuple[str, str]]:
        """All fields as text, names in lower case."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        return f"Headers({[name.decode('latin-1') for name, _ in self.raw]})"


class BodySource(Protocol):
    """Where the rest of a request's body comes from: the server's connection, or an ASGI server."""

    async def take(self) -> bytes:
        """The next block; empty at the end. Waits, and while nobody takes, the sender is held back."""
        ...

    @property
    def length(self) -> int | None:
        """Bytes of the whole body, where it was declared."""
        ...


class Request:
    """One request.

    Attributes:
        method: ``GET``, ``POST``, ...
        path: Percent-decoded, once; without the query.
        raw_path: As it was sent.
        query: As it was sent, without the question mark.
        headers: Its fields.
        peer: The client's IP address, ``"unix"`` on a Unix socket, None where unknown.
        scheme: ``http`` or ``https``.
        certificate: The client's, as :meth:`ssl.SSLSocket.getpeercert` tells it; None: it showed none.
        body: The whole body, if it had arrived when the handler was called; else None until it has been read.
        scope: Free for the application.
    """

    __slots__ = (
        "_most_bytes",
        "_source",
        "body",
        "certificate",
        "headers",
        "method",
        "path",
        "peer",
        "query",
        "raw_path",
        "scheme",
        "scope",
    )

    def __init__(
        self,
        method: str,
        path: str,
        raw_path: str,
        query: str,
        headers: Headers,
        body: bytes | None = b"",
        peer: str | None = None,
        scheme: str = "http",
        source: BodySource | None = None,
        certificate: Mapping[str, Any] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.raw_path = raw_path
        self.query = query
        self.headers = headers
        self.body = body
        self.peer = peer
        self.scheme = scheme
        self.certificate = certificate
        self.scope: Any = None
        self._source = source
        self._most_bytes: int | None = None

    def bound(self, max_bytes: int) -> None:
        """Refuse a body of more bytes, now or while it is read.

        Raises:
            PayloadTooLargeError: It is there and longer, or was declared to be.
        """
        self._most_bytes = max_bytes
        length = len(self.body) if self.body is not None else self._source.length if self._source else None
        if length is not None and length > max_bytes:
            raise too_large(max_bytes)

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The whole body.

        May be called again after it returned. Safe to cancel: the connection ends with the request.

        Raises:
            PayloadTooLargeError: It is longer than ``max_bytes``, or than the server allows.
            RequestTimeoutError: It arrives too slowly.
            ProtocolError: Its framing is malformed.
        """
        body = self.body
        if body is None:
            body = self.body = await self._collect(max_bytes)
        if max_bytes is not None and len(body) > max_bytes:
            raise too_large(max_bytes)
        return body

    async def _collect(self, max_bytes: int | None) -> bytes:
        source = self._source
        if source is None:
            raise RuntimeError("the body was already taken by chunks()")
        if max_bytes is not None and source.length is not None and source.length > max_bytes:
            raise too_large(max_bytes)
        blocks, size = [], 0
        while block := await source.take():
            blocks.append(block)
            size += len(block)
            if max_bytes is not None and size > max_bytes:
                raise too_large(max_bytes)
        self._source = None
        return b"".join(blocks)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in blocks as they arrive, once; while none is taken the client is held back.

        Raises: what :meth:`read` raises; PayloadTooLargeError beyond :meth:`bound`.
        """
        if self.body is not None:
            if self.body:
                yield self.body
            return
        source, self._source = self._source, None
        if source is None:
            raise RuntimeError("the body was already taken by chunks()")
        size = 0
        while block := await source.take():
            size += len(block)
            if self._most_bytes is not None and size > self._most_bytes:
                raise too_large(self._most_bytes)
            yield block

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.raw_path}>"


def too_large(max_bytes: int) -> PayloadTooLargeError:
    """The error for a body beyond ``max_bytes``."""
    return PayloadTooLargeError(f"the body is larger than {max_bytes} bytes")


@dataclass(slots=True)
class Response:
    """A whole reply.

    Attributes:
        status: 200 to 599.
        headers: Beyond ``content-type``, ``content-length`` and ``date``, which the server writes.
        body: The body; not sent, but counted, for ``HEAD``.
        content_type: Empty: none is sent.
    """

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(slots=True)
class StreamResponse:
    """A reply that is sent as it is produced.

    The head goes out together with the first block: a body that fails before it is answered by ``on_error``. A body that
    fails later cuts the connection, so that nobody takes the reply for whole, unless ``finish`` ends it in words.

    Attributes:
        status: 200 to 599.
        headers: As in :class:`Response`.
        content_type: As in :class:`Response`.
        body: The producer, awaited only as fast as the client reads, and closed in every case; or the body of a
            backend's reply, which is then relayed straight from connection to connection.
        pass_on: Gets each block and returns what is sent of it, which may be nothing; what it raises ends the stream as a
            failing body does.
        alike: Which blocks of a relayed body ``pass_on`` need not see.
        finish: Called once when the body has ended, with its error if it failed. Bytes that it returns are sent as the
            last block, and the reply ends cleanly; None after an error cuts the connection.
        heartbeat_s: An event stream is never silent for longer: a comment is sent, between two events. 0: it may be.
        begin: Called when a comment is the first that goes out, before the body gave anything: from then on an error can
            only be told in the stream. None: the head waits for the body.
    """

    body: AsyncIterable[bytes] | ReplyBody
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = "text/event-stream"
    pass_on: Callable[[bytes], bytes] | None = None
    finish: Callable[[Exception | None], bytes | None] | None = None
    alike: Alike | None = None
    heartbeat_s: float = 0.0
    begin: Callable[[], object] | None = None


Handler: TypeAlias = Callable[[Request], Awaitable[Response | StreamResponse]]
"""What a server serves. It runs in a task of its own, which is cancelled when the client goes away."""

ErrorHandler: TypeAlias = Callable[[Exception, Request | None], Response]
"""Turns what a handler raised, or what was wrong with a request (then without one), into the reply."""
