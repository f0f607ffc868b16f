"""Who may talk to an application: Host, Origin and the access token.

Three checks, each against a thing that a browser does for a stranger's page. *Host*: a page whose name was re-bound
to 127.0.0.1 sends its own name in ``Host``; only loopback names, configured names and plain addresses (which nobody
can re-bind) are served. *Origin*: a stranger's page may send requests here; only pages of the same origin and
configured ones are served. *Token*: bound wider than loopback, every route but the open ones asks for it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

LOOPBACK_NAMES: Final = frozenset({"localhost", "ip6-localhost", ""})
"""Names that always mean this machine; empty is a request without ``Host``, which no browser sends."""

REQUEST_HEADERS: Final = (
    "authorization", "content-type", "x-request-id", "x-weft-timeout-ms", "x-api-key", "x-weft-version", "idempotency-key",
    "cache-control", "anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access",
    "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name",
)  # fmt: skip
"""Headers that pages of other origins may send."""

REPLY_HEADERS: Final = (
    "x-request-id", "x-weft-build", "x-weft-version", "x-weft-cache", "x-weft-ignored", "retry-after", "ratelimit",
    "ratelimit-policy", "deprecation", "sunset", "mcp-session-id", "age", "idempotent-replayed", "request-id",
)  # fmt: skip
"""Headers of replies that they may read."""

REMEMBERED_HOSTS: Final = 1024
"""Values of ``Host`` that passed are remembered so that the next costs one set lookup; bounded against floods."""


def new_token() -> str:
    """A fresh access token: 32 random bytes, safe in a URL."""
    return secrets.token_urlsafe(32)


class Access:
    """What an application asks of a request before any route sees it.

    Args:
        token: The access token; None asks for none.
        hosts: Names under which this application may be reached, beside loopback ones and plain addresses;
            ``*`` is any (behind a proxy that checks it).
        origins: Origins (``https://chat.example``) whose pages may call it, beside its own; ``*`` is any.
        headers: Headers that these pages may send, beside the usual ones.
        max_age_s: How long their browsers remember that.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        headers: Iterable[str] = (),
        max_age_s: int = 600,
    ) -> None:
        self.token = token
        self.hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self.origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._preflight = (
            ("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE"),
            (
                "access-control-allow-headers",
                ", ".join([*REQUEST_HEADERS, *(name.lower() for name in headers)]),
            ),
            ("access-control-max-age", str(max_age_s)),
        )
        self.good_hosts: set[str] = set()
        """Values of ``Host`` that have passed; the hot path looks here first."""
        digest = _digest(token) if token is not None else b""
        self._digest = digest
        # The cookie holds a value derived from the token: reading the cookie jar does not give the token away.
        self._session = hmac.new(digest, b"weft session", hashlib.sha256).hexdigest()
        # Cookies are shared between the ports of a host: two servers must not overwrite each other's.
        self.cookie = f"weft_{self._session[:8]}"
        self._session_digest = _digest(self._session)

    def allows_host(self, host: str) -> bool:
        """Whether a request with this ``Host`` header is served."""
        if host in self.good_hosts:
            return True
        name = _host_name(host)
        if not (
            name in LOOPBACK_NAMES
            or name in self.hosts
            or "*" in self.hosts
            or name.endswith(".localhost")
            or _is_address(name)
        ):
            return False
        if len(self.good_hosts) < REMEMBERED_HOSTS:
            self.good_hosts.add(host)
        return True

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of ``origin`` may send requests to ``host``: its own origin, or a configured one."""
        return self.is_same_origin(origin, host) or self.allows_cross_origin(origin)

    def is_same_origin(self, origin: str, host: str) -> bool:
        """Whether the page came from here. The scheme does not count: TLS may end at a proxy in front."""
        try:
            parts = urlsplit(origin.lower())
        except ValueError:
            return False  # no origin of any page
        return parts.scheme in ("http", "https") and bool(parts.netloc) and parts.netloc == host.lower()

    def allows_cross_origin(self, origin: str) -> bool:
        """Whether ``origin`` is configured: its pages also get CORS headers."""
        return origin.lower().rstrip("/") in self.origins or "*" in self.origins

    def cross_origin(self, origin: str) -> list[tuple[str, str]]:
        """The headers of a reply to a page of an origin that may call."""
        exposed = ", ".join(REPLY_HEADERS)
        return [
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", exposed),
            ("vary", "origin"),
        ]

    @property
    def preflight(self) -> tuple[tuple[str, str], ...]:
        """What the browser is told before such a page's request, beside these."""
        return self._preflight

    def has_token(self, authorization: str | None, cookies: str | None, api_key: str | None = None) -> bool:
        """Whether a request carries the token: as ``Authorization: Bearer``, as ``x-api-key`` or as the printed link's cookie."""
        if self.token is None:
            return True
        if authorization is not None and authorization[:7].lower() == "bearer ":
            return self.is_token(authorization[7:].strip())
        if api_key is not None:
            return self.is_token(api_key.strip())
        for part in (cookies or "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie:
                return hmac.compare_digest(_digest(value), self._session_digest)
        return False

    def is_token(self, text: str) -> bool:
        """Compare with the token; takes the same time wherever they differ (digests are compared)."""
        return self.token is not None and hmac.compare_digest(_digest(text), self._digest)

    def set_cookie(self, *, secure: bool = False) -> str:
        """The ``Set-Cookie`` value with which the printed link opens the pages to this browser."""
        return f"{self.cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict" + (
            "; Secure" if secure else ""
        )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _host_name(host: str) -> str:
    """The name in a ``Host`` header: without port, brackets, upper case and the root's dot."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
