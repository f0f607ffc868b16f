"""HTTP/1.1 framing, the same rules for requests and replies: how a head is read and where a body ends.

A message is cut at the first empty line. httptools (llhttp, in its strict mode) reads the header fields of a complete
head; the request line, the rules that llhttp leaves open (Host, versions, methods) and the framing of bodies are decided
here, once, so that no two parsers can disagree about where a message ends. Everything doubtful is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

import httptools

from weft.errors import InternalError
from weft.http.message import (
    ExpectationError,
    Headers,
    NotImplementedMethodError,
    ProtocolError,
    TransferCodingError,
    UriTooLongError,
    VersionError,
)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"})
"""Methods that HTTP knows, which a handler serves or answers 405; any other well-formed one is answered 501."""

MAX_TARGET_BYTES = 8192
"""Longest request target; RFC 9110 asks for at least 8000."""

_MAX_LENGTH_DIGITS = 18
"""Digits of a Content-Length: an exabyte less one. Python itself refuses to read numbers of thousands of digits."""

MAX_TRAILER_BYTES = 8192
"""Trailer fields after a chunked body are checked and dropped; beyond this many bytes they are refused."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n" % _TOKEN).match
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~!$&'()*+,;=%\-]*)(?::[0-9]*)?").fullmatch
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^#]*)", re.IGNORECASE).fullmatch
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;|$)", re.IGNORECASE).match
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_BARE_LF = re.compile(rb"(?<!\r)\n").search
# Chunk extensions may be there (RFC 9112, 7.1.1) and mean nothing to us; 256 bytes are plenty for any seen in the wild.
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]{0,8};[\t\x20-\x7e]{0,256})?\r\n").match
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n").match
_CHUNK_SIZE_PART = re.compile(rb"[0-9A-Fa-f]{1,15}(?:[ \t]{0,8}(?:;[\t\x20-\x7e]{0,256})?)?\r?").fullmatch
_TRAILER = re.compile(rb"%b:[\t\x20-\x7e\x80-\xff]*" % _TOKEN).fullmatch


class RequestHead:
    """The head of a request that keeps every rule; shared by all requests with the same bytes, never changed."""

    __slots__ = (
        "expects_continue",
        "headers",
        "is_http11",
        "keep_alive",
        "length",
        "method",
        "path",
        "query",
        "raw_path",
    )

    method: str
    path: str
    raw_path: str
    query: str
    headers: Headers
    length: int
    """Bytes of the body; -1 when it is chunked."""
    keep_alive: bool
    is_http11: bool
    expects_continue: bool


class ReplyHead:
    """The head of a reply; shared by all replies with the same bytes, never changed."""

    __slots__ = ("headers", "is_json", "keep_alive", "length", "status")

    status: int
    headers: Headers
    length: int
    """Bytes of the body; -1 when it is chunked, -2 when it ends with the connection."""
    keep_alive: bool
    is_json: bool
    """Whether the body is said to be JSON, and is not compressed."""


class _Collector:
    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def has_bare_line_feed(data: bytes, start: int) -> bool:
    """Whether a line of ``data`` that ends at ``start`` or later does so without a carriage return, which no head may."""
    return _BARE_LF(data, start) is not None


def parse_request_head(head: bytes, *, max_headers: int) -> RequestHead:
    """Read a request head, which ends with its empty line.

    Raises:
        ProtocolError: Or one of its kinds, with the status to answer.
    """
    line = _REQUEST_LINE(head)
    if line is None:
        raise ProtocolError("malformed request line")
    method, target, major, minor = line.groups()
    if major != b"1":
        raise VersionError(f"HTTP version {major.decode()}.{minor.decode()} is not spoken here")
    if minor not in b"01":
        raise VersionError(f"HTTP version 1.{minor.decode()} is not spoken here")
    name = method.decode("ascii")
    if name not in METHODS:
        raise NotImplementedMethodError(f"method {name[:32]} is not served")
    if len(target) > MAX_TARGET_BYTES:
        raise UriTooLongError(f"request target is longer than {MAX_TARGET_BYTES} bytes")
    collected = _read_fields(httptools.HttpRequestParser, head)
    fields = collected.fields
    if len(fields) > max_headers:
        raise ProtocolError.too_many_headers(max_headers)
    parsed = RequestHead()
    parsed.method = name
    parsed.headers = Headers(fields)
    parsed.is_http11 = minor == b"1"
    parsed.length = _request_length(fields, is_http11=parsed.is_http11)
    parsed.keep_alive = _keep_alive(fields, is_http11=parsed.is_http11)
    parsed.expects_continue = _expects_continue(fields)
    authority = _read_target(parsed, target)
    _check_host(fields, authority=authority, is_http11=parsed.is_http11)
    return parsed


def parse_reply_head(head: bytes, *, max_headers: int) -> ReplyHead:
    """Read the head of a reply, which ends with its empty line.

    Raises:
        ProtocolError: It breaks a rule; the caller decides what that means for its request.
    """
    if head[:9] not in (b"HTTP/1.1 ", b"HTTP/1.0 "):
        raise ProtocolError("the reply does not start with an HTTP/1.1 status line")
    collected = _read_fields(httptools.HttpResponseParser, head)
    fields = collected.fields
    if len(fields) > max_headers:
        raise ProtocolError.too_many_headers(max_headers)
    parsed = ReplyHead()
    parsed.status = int(head[9:12])
    if not 100 <= parsed.status < 600:
        raise ProtocolError("the reply has no valid status")
    parsed.headers = Headers(fields)
    is_http11 = head[:9] == b"HTTP/1.1 "
    parsed.keep_alive = _keep_alive(fields, is_http11=is_http11)
    parsed.length = -2
    for name, value in fields:
        if name == b"content-length":
            if len(value) > _MAX_LENGTH_DIGITS:
                raise ProtocolError("the reply's Content-Length is out of range")
            parsed.length = int(value)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked" or not is_http11 or parsed.length == -1:
                raise ProtocolError("the reply's transfer encoding is not plain chunked")
            parsed.length = -1
    if parsed.status in (204, 304):
        parsed.length = 0
    elif parsed.status < 200:
        # Another head follows, whatever this one says of a length.
        parsed.length = -2
    parsed.is_json = (
        _JSON(parsed.headers.get("content-type", "")) is not None and "content-encoding" not in parsed.headers
    )
    if parsed.length == -2:
        parsed.keep_alive = False
    return parsed


def _read_fields(
    parser: type[httptools.HttpRequestParser | httptools.HttpResponseParser], head: bytes
) -> _Collector:
    collected = _Collector()
    try:
        parser(collected).feed_data(head)
    except httptools.HttpParserUpgrade:
        # Upgrade is offered by the other side and not taken: the message is read as if it were not.
        pass
    except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
        codings = [v.lower() for n, v in collected.fields if n == b"transfer-encoding"]
        if collected.complete and len(codings) == 1 and codings[0] != b"chunked":
            raise TransferCodingError("no transfer coding but chunked is read here") from error
        raise ProtocolError(f"malformed head: {error}") from error
    if not collected.complete:
        raise ProtocolError("malformed head")
    return collected


def _request_length(fields: list[tuple[bytes, bytes]], *, is_http11: bool) -> int:
    length, codings = None, 0
    for name, value in fields:
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
                raise ProtocolError("duplicate or malformed Content-Length")
            length = int(value)
        elif name == b"transfer-encoding":
            codings += 1
            if codings > 1:
                raise ProtocolError("more than one Transfer-Encoding")
            if value.lower() != b"chunked":
                raise TransferCodingError("no transfer coding but chunked is read here")
    if not codings:
        return length or 0
    if length is not None:
        raise ProtocolError("Content-Length and Transfer-Encoding together")
    if not is_http11:
        raise ProtocolError("Transfer-Encoding in an HTTP/1.0 request")
    return -1


def _keep_alive(fields: list[tuple[bytes, bytes]], *, is_http11: bool) -> bool:
    keep = is_http11
    for name, value in fields:
        if name == b"connection":
            options = [option.strip() for option in value.lower().split(b",")]
            if b"close" in options:
                return False
            keep = keep or b"keep-alive" in options
    return keep


def _expects_continue(fields: list[tuple[bytes, bytes]]) -> bool:
    expected = [value for name, value in fields if name == b"expect"]
    if not expected:
        return False
    if len(expected) > 1 or expected[0].lower() != b"100-continue":
        raise ExpectationError("the only expectation met here is 100-continue")
    return True


def _read_target(parsed: RequestHead, target: bytes) -> bytes | None:
    """Set the path and query; returns the authority of an absolute target."""
    authority = None
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE(target)
        if absolute is not None:
            authority, rest = absolute.groups()
            target = rest if rest.startswith(b"/") else b"/" + rest
        elif target != b"*" or parsed.method != "OPTIONS":
            raise ProtocolError("malformed request target")
    if b"#" in target:
        raise ProtocolError("a fragment in the request target")
    raw_path, _, query = target.partition(b"?")
    parsed.raw_path, parsed.query = raw_path.decode("ascii"), query.decode("ascii")
    parsed.path = parsed.raw_path
    if b"%" in raw_path:
        decoded = unquote_to_bytes(raw_path)
        if _BAD_PERCENT(raw_path) is not None or b"\0" in decoded:
            raise ProtocolError("malformed percent-encoding in the path")
        try:
            parsed.path = decoded.decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("the path is not UTF-8") from None
    return authority


def _check_host(fields: list[tuple[bytes, bytes]], *, authority: bytes | None, is_http11: bool) -> None:
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (is_http11 and not hosts):
        raise ProtocolError("exactly one Host is needed")
    if hosts and _HOST(hosts[0]) is None:
        raise ProtocolError("malformed Host")
    if authority is not None and hosts and authority.lower() != hosts[0].lower():
        raise ProtocolError("Host and the request target disagree")


def encode_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    """Header lines of a reply or request.

    Raises:
        InternalError: A name or value could break out of its line, or is not latin-1.
    """
    return encode_lines("".join([f"{name}: {value}\r\n" for name, value in headers]), count=len(headers))


def encode_lines(text: str, *, count: int) -> bytes:
    """``text`` in latin-1, if it is exactly ``count`` lines."""
    if text.count("\n") != count or text.count("\r") != count or "\0" in text:
        raise InternalError("a header would break out of its line")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise InternalError("a header has characters beyond latin-1") from None


_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkDecoder:
    """Takes the framing off a chunked body, however it is cut into reads.

    ``is_done`` after the last chunk; ``rest`` is then what follows the message.
    """

    __slots__ = ("_held", "_left", "_state", "_trailer_bytes", "is_done", "rest")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._held = b""
        self._trailer_bytes = 0
        self.is_done = False
        self.rest = b""

    @property
    def is_between_chunks(self) -> bool:
        """Whether what comes next begins a chunk."""
        return self._state == _SIZE and not self._held

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``, of all its chunks together.

        Raises:
            ProtocolError: The framing is malformed.
        """
        if self._state == _SIZE and not self._held:
            # One whole chunk in one read, as servers of events send them.
            line = _PLAIN_SIZE(data)
            if line is not None and data[-2:] == b"\r\n":
                start = line.end()
                if (size := int(line[1], 16)) and start + size + 2 == len(data):
                    return data[start:-2]
        return self._feed(data)

    def _feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        if self._held:
            data, self._held = self._held + data, b""
        pos, size = 0, len(data)
        while pos < size:
            if self._state == _DATA:
                block = data[pos : pos + self._left]
                out.append(block)
                pos += len(block)
                self._left -= len(block)
                if not self._left:
                    self._state = _DATA_END
            elif self._state == _DATA_END:
                if data[pos : pos + 2] == b"\r\n":
                    pos += 2
                    self._state = _SIZE
                elif data[pos:] == b"\r":
                    self._held, pos = b"\r", size
                else:
                    raise ProtocolError("a chunk is longer than its size")
            elif self._state == _SIZE:
                pos = self._read_size(data, pos)
            elif self._state == _TRAILERS:
                pos = self._read_trailer(data, pos)
            else:
                self.rest, pos = data[pos:], size
        return out[0] if len(out) == 1 else b"".join(out)

    def _read_size(self, data: bytes, pos: int) -> int:
        line = _CHUNK_SIZE(data, pos)
        if line is None:
            if _CHUNK_SIZE_PART(data[pos : pos + 300]) is None:
                raise ProtocolError("malformed chunk size")
            self._held = data[pos:]
            return len(data)
        self._left = int(line[1], 16)
        self._state = _DATA if self._left else _TRAILERS
        return line.end()

    def _read_trailer(self, data: bytes, pos: int) -> int:
        end = data.find(b"\r\n", pos)
        if end == pos:
            self._state, self.is_done = _DONE, True
            return pos + 2
        # The last byte may be the first half of the line's end.
        length = (len(data) - data.endswith(b"\r") if end < 0 else end) - pos
        if self._trailer_bytes + length > MAX_TRAILER_BYTES:
            raise ProtocolError("too many trailer bytes")
        if end < 0:
            self._held = data[pos:]
            return len(data)
        if _TRAILER(data, pos, end) is None:
            raise ProtocolError("malformed trailer field")
        self._trailer_bytes += length
        return end + 2
