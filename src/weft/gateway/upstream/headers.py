"""Which header fields pass: what belongs to one connection stays on it, and what is secret is not handed on unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from weft.errors import InvalidRequestError
from weft.http.message import Headers
from weft.http.wire import ReplyHead

Field = tuple[bytes, bytes]

HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that belong to one connection (RFC 9110, 7.6.1); never handed on."""

WRITTEN: Final = frozenset(
    {b"host", b"content-length", b"expect", b"user-agent", b"x-request-id", b"traceparent", b"tracestate"}
)
"""Fields of a request that are written anew, or answered here."""

SECRET: Final = frozenset(
    {b"authorization", b"cookie", b"cookie2", b"x-api-key", b"api-key", b"x-goog-api-key", b"x-auth-token"}
)
"""What a caller shows to this gateway; handed on only where ``forward:`` says so."""

ABOUT_CLIENT: Final = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"origin",
        b"referer",
    }
)
"""Where the caller is and comes from, or says so: nobody's business unless ``forward:`` says so."""

REPLY_HELD: Final = frozenset(
    {
        b"content-length",
        b"content-type",
        b"date",
        b"server",
        b"via",
        b"x-powered-by",
        b"x-request-id",
        b"set-cookie",
        b"set-cookie2",
        b"alt-svc",
        b"strict-transport-security",
        b"public-key-pins",
        b"clear-site-data",
    }
)
"""Fields of a reply that the gateway writes itself, or that speak for its host name: a cookie of an upstream's would be
sent to everything else here, too. ``forward:`` lets ``set-cookie`` and others of these pass."""

OURS: Final = b"x-weft-"
"""How fields begin that Weft's own processes speak in."""

CORS: Final = b"access-control-"
"""How fields begin that say which pages may read a reply: the gateway decides that."""

_NEVER: Final = HOP | {b"host", b"content-length", b"content-type", b"expect", b"date"}

MAX_REMEMBERED: Final = 512
"""Heads of requests whose lines need not be made again: clients send the same head with each request of a connection."""

KEPT_BYTES: Final = 4096
"""Lines up to this long are remembered: as long a head as connections remember themselves."""

MAX_REPLIES: Final = 64
"""Heads of replies that need not be looked at again: as many as an origin's connections remember."""


class RequestHeaders:
    """Makes the header lines for an upstream out of a request's.

    Args:
        forward: Fields that are held back unless they are named here.
        replaced: Fields that are sent with every request and take the place of the caller's.
        keeps_coding: Whether the reply may come compressed; not where somebody has to read it on the way.
    """

    def __init__(
        self, *, forward: Iterable[str] = (), replaced: Iterable[str] = (), keeps_coding: bool = True
    ) -> None:
        wanted = {name.lower().encode() for name in forward} - HOP
        held = (HOP | WRITTEN | SECRET | ABOUT_CLIENT) - (wanted - {b"host", b"content-length", b"expect"})
        held |= {name.lower().encode() for name in replaced}
        self._held = held if keeps_coding else held | {b"accept-encoding"}
        self._known: dict[int, tuple[Headers, bytes]] = {}

    def lines(self, headers: Headers) -> bytes:
        """The lines to send, each with its end.

        Raises:
            InvalidRequestError: A value would break out of its line.
        """
        known = self._known.get(id(headers))
        if known is not None and known[0] is headers:
            return known[1]
        lines = _lines(headers.raw, self._passes(headers))
        if len(lines) <= KEPT_BYTES:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[id(headers)] = headers, lines
        return lines

    def _passes(self, headers: Headers) -> Callable[[bytes], bool]:
        held = self._held | _options(headers.raw)
        return lambda name: name not in held and not name.startswith(OURS)


class ReplyHeaders:
    """Makes the fields for the caller out of an upstream's.

    Args:
        forward: Fields that are held back unless they are named here.
    """

    def __init__(self, *, forward: Iterable[str] = ()) -> None:
        wanted = {name.lower().encode() for name in forward}
        self._held = (HOP | REPLY_HELD) - (wanted - _NEVER)
        self._known: dict[int, tuple[ReplyHead, list[tuple[str, str]], str]] = {}

    def fields(self, head: ReplyHead) -> tuple[list[tuple[str, str]], str]:
        """The fields to answer with, and the content type."""
        known = self._known.get(id(head))
        if known is None or known[0] is not head:
            held = self._held | _options(head.headers.raw)
            fields = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in head.headers.raw
                if name not in held and not name.startswith((OURS, CORS))
            ]
            if len(self._known) >= MAX_REPLIES:
                self._known.clear()
            known = self._known[id(head)] = head, fields, head.headers.get("content-type", "")
        return known[1], known[2]


def _options(raw: list[Field]) -> frozenset[bytes]:
    """What a ``Connection`` names besides: such fields end here, too."""
    return frozenset(
        option.strip().lower() for name, value in raw if name == b"connection" for option in value.split(b",")
    )


def _lines(raw: list[Field], passes: Callable[[bytes], bool]) -> bytes:
    fields = [b"%b: %b\r\n" % field for field in raw if passes(field[0])]
    lines = b"".join(fields)
    if lines.count(b"\n") != len(fields) or lines.count(b"\r") != len(fields) or b"\0" in lines:
        raise InvalidRequestError("a header would break out of its line")
    return lines
