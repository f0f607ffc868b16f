"""Making connections: addresses, their guard, TLS, and proxies on the way."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

from weft.errors import UnreachableError, UsageError

P = TypeVar("P", bound=asyncio.Protocol)

AddressGuard: TypeAlias = Callable[[Sequence[str]], None]
"""Called with the IP addresses that a name resolved to, at each connect; raises to refuse them."""

_MAX_TUNNEL_HEAD_BYTES = 16384
"""Longest reply of a proxy to CONNECT."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Name or address, without brackets; empty for a Unix socket.
        port: 0 for a Unix socket.
        unix_path: Path of a Unix socket.
        proxy: URL of the proxy to go through.
    """

    scheme: str
    host: str
    port: int
    unix_path: str = ""
    proxy: str | None = None

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        if self.unix_path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> tuple[Origin, str]:
    """An origin, and the path in front of every request's.

    Args:
        url: ``http://``, ``https://``, ``unix:/path/of.sock`` or ``unix:/path/of.sock:/prefix``.

    Raises:
        UsageError: It is none of these.
    """
    if url.startswith("unix:"):
        path, _, prefix = url[5:].partition(":")
        if not path.startswith("/"):
            raise UsageError(f"'{url}' is not an address", hint="a Unix socket is unix:/absolute/path")
        return Origin("http", "", 0, unix_path=path), prefix.rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"'{url}' is not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"'{url}' is not an address", hint="write http://host:port, https://host or unix:/path"
        )
    if parts.username is not None:
        raise UsageError("an address has no user name or password in it", hint="send them in a header")
    host = parts.hostname
    try:
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UsageError(f"'{url}' is not an address: {error}") from error
    return Origin(parts.scheme, host, port or (443 if parts.scheme == "https" else 80)), parts.path.rstrip(
        "/"
    )


def is_direct(host: str, port: int, no_proxy: Sequence[str]) -> bool:
    """Whether ``no_proxy`` excepts a host: by name, domain, ``host:port``, address, network, or ``*``."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in (each.strip().lower() for each in no_proxy):
        if entry == "*" or entry in (host, f"{host}:{port}"):
            return True
        domain = entry.removeprefix("*").removeprefix(".")
        if domain and host.endswith("." + domain):
            return True
        if address is not None:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
    return False


class Dialer:
    """Opens connections to one origin.

    Args:
        origin: Where to.
        tls: Makes the context for TLS; called when the first connection needs it.
        guard: See :data:`AddressGuard`.
    """

    __slots__ = ("_guard", "_origin", "_tls")

    def __init__(
        self, origin: Origin, *, tls: Callable[[], ssl.SSLContext], guard: AddressGuard | None
    ) -> None:
        self._origin, self._tls, self._guard = origin, tls, guard

    async def dial(self, make: Callable[[], P], *, timeout_s: float) -> P:
        """A connected protocol.

        Cancelling it leaves no socket behind.

        Raises:
            UnreachableError: Refused, no route, no such name, TLS failed, or not within ``timeout_s``.
            Exception: What the guard raised.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dial(make, time.monotonic() + timeout_s)
        except TimeoutError as error:
            raise UnreachableError(f"no connection within {timeout_s:.3g} s") from error
        except ssl.SSLError as error:
            raise UnreachableError(f"TLS failed: {error}") from error
        except OSError as error:
            raise UnreachableError(f"no connection: {error.strerror or error}") from error

    async def _dial(self, make: Callable[[], P], until: float) -> P:
        loop, origin = asyncio.get_running_loop(), self._origin
        if origin.unix_path:
            _, protocol = await loop.create_unix_connection(make, origin.unix_path)
            return protocol
        is_tls = origin.scheme == "https"
        if origin.proxy is None:
            addresses = await _resolve(origin.host, origin.port)
            if self._guard is not None:
                self._guard(addresses)
            tls = self._tls() if is_tls else None
            return await _connect(make, addresses, origin.port, tls=tls, name=origin.host, until=until)
        await self._guard_proxied()
        proxy, _ = parse_url(_without_user(origin.proxy))
        proxy_tls = self._tls() if proxy.scheme == "https" else None
        addresses = await _resolve(proxy.host, proxy.port)
        if not is_tls:
            return await _connect(make, addresses, proxy.port, tls=proxy_tls, name=proxy.host, until=until)
        tunnel = await _connect(_Tunnel, addresses, proxy.port, tls=proxy_tls, name=proxy.host, until=until)
        try:
            transport = await tunnel.open(f"{origin.host}:{origin.port}", proxy_credentials(origin.proxy))
            protocol = make()
            secured = await loop.start_tls(transport, protocol, self._tls(), server_hostname=origin.host)
        except BaseException:
            tunnel.close()
            raise
        if secured is None:
            raise UnreachableError("the proxy closed the connection")
        protocol.connection_made(secured)
        return protocol

    async def _guard_proxied(self) -> None:
        """Guard the target itself; a name that only the proxy can resolve is the proxy's to judge."""
        if self._guard is None:
            return
        try:
            addresses = await _resolve(self._origin.host, self._origin.port)
        except OSError:
            return
        self._guard(addresses)


async def _resolve(host: str, port: int) -> list[str]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[4][0]) for address in found))
    return [host]


async def _connect(
    make: Callable[[], P],
    addresses: Sequence[str],
    port: int,
    *,
    tls: ssl.SSLContext | None,
    name: str,
    until: float,
) -> P:
    """Try each address, each with its share of the time that is left."""
    loop = asyncio.get_running_loop()
    errors: list[OSError] = []
    for position, address in enumerate(addresses):
        share_s = (until - time.monotonic()) / (len(addresses) - position)
        try:
            async with asyncio.timeout(share_s):
                _, protocol = await loop.create_connection(
                    make, address, port, ssl=tls, server_hostname=name if tls is not None else None
                )
        except OSError as error:
            errors.append(error)
        else:
            return protocol
    raise errors[0] if errors else OSError(f"{name} has no address")


def _without_user(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def proxy_credentials(url: str) -> str | None:
    """The ``proxy-authorization`` value for user name and password in a proxy's URL."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, for a stream protocol

    async def open(self, authority: str, credentials: str | None) -> asyncio.Transport:
        """The transport, once the proxy has agreed."""
        assert self._transport is not None
        login = f"proxy-authorization: {credentials}\r\n" if credentials else ""
        self._transport.write(
            f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n{login}\r\n".encode("latin-1")
        )
        await self._opened
        return self._transport

    def data_received(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if self._opened.done() or (end < 0 and len(self._head) < _MAX_TUNNEL_HEAD_BYTES):
            return
        status = self._head[9:12]
        if self._head.startswith(b"HTTP/1.") and status[:1] == b"2" and end + 4 == len(self._head):
            self._opened.set_result(None)
        else:
            line = self._head.partition(b"\r\n")[0][:100].decode("latin-1")
            self._opened.set_exception(UnreachableError(f"the proxy refused the tunnel: {line}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(UnreachableError("the proxy closed the connection"))

    def close(self) -> None:
        """Give up."""
        if self._transport is not None:
            self._transport.abort()
        self._opened.cancel()
