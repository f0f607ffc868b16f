"""Which addresses this process may connect to, checked on what a name resolved to, at each connect.

Three reaches. *Inner*: services and models, in the operator's networks. *Named*: hosts that the operator's own files
name, anywhere. *Public*: links that users give, global addresses only. None of them ever reaches link-local and
cloud metadata addresses: whoever gets there gets the machine's credentials.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from weft.errors import InvalidRequestError, UnreachableError, UsageError
from weft.http.client import Client, ClientLimits
from weft.http.connect import AddressGuard

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEVER: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local; 169.254.169.254 is the metadata service of most clouds
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # metadata of AWS (fd00:ec2::254)
        "fd20:ce::254/128",  # metadata of Google
        "100.100.100.200/32",  # metadata of Alibaba
        "168.63.129.16/32",  # the host agent of Azure
        "224.0.0.0/4",  # multicast
        "ff00::/8",  # multicast
        "255.255.255.255/32",
    )
)
"""Never connected to."""

PRIVATE: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # carrier NAT; the pods of some clusters, and Tailscale
        "fc00::/7",
    )
)
"""The operator's networks unless others are given: loopback and private ranges."""

SERVICES: Final = ClientLimits(max_connections=1024)
"""Of the clients of services and models: a stream holds its connection, and one that waits for a free one says nothing
to its caller. As many as to an upstream."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def inner_guard(networks: Sequence[Network] = PRIVATE) -> AddressGuard:
    """Refuses what is outside of ``networks``."""

    def check(addresses: Sequence[str]) -> None:
        for address in _checked(addresses):
            if not any(address in network for network in networks):
                raise UnreachableError(
                    f"{address} is outside of the networks that services may be in; name its host in a file of yours, "
                    "or allow it (weft up --allow-model-host NAME)"
                )

    return check


def named_guard(addresses: Sequence[str]) -> None:
    """Refuses only what is never connected to."""
    for _ in _checked(addresses):
        pass


def public_guard(addresses: Sequence[str]) -> None:
    """Refuses what is not a global address."""
    for address in _checked(addresses):
        if not address.is_global:
            raise UnreachableError(f"{address} is not a public address; links may only lead to public ones")


def _checked(addresses: Sequence[str]) -> Iterator[Address]:
    for text in addresses:
        address = real_address(text)
        if address.is_unspecified or any(address in network for network in NEVER):
            raise UnreachableError(
                f"{address} is a link-local, metadata or multicast address: never contacted"
            )
        yield address


def real_address(text: str) -> Address:
    """The address that packets end at: IPv4 out of its IPv6 disguises."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
    return address


class Egress:
    """The HTTP clients of one process, each behind the guard of its reach.

    Args:
        networks: Allowed beside loopback and private ranges (``203.0.113.0/24``).
        hosts: Names or addresses that the operator's own files name.
        ssl_context: For ``https``; None: the system's authorities.
        proxies: Proxy by scheme.
        no_proxy: What is reached directly.
        limits: Of each client; :data:`SERVICES` if left out.

    Raises:
        UsageError: A network is none.
    """

    def __init__(
        self,
        *,
        networks: Iterable[str] = (),
        hosts: Iterable[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        proxies: Mapping[str, str] | None = None,
        no_proxy: Sequence[str] = (),
        limits: ClientLimits | None = None,
    ) -> None:
        try:
            allowed = (*PRIVATE, *(ipaddress.ip_network(network, strict=False) for network in networks))
        except ValueError as error:
            raise UsageError(f"not a network: {error}", hint="write it like 203.0.113.0/24") from error
        self._hosts = {host.lower() for host in hosts}

        def client(guard: AddressGuard) -> Client:
            return Client(
                limits=limits or SERVICES,
                ssl_context=ssl_context,
                proxies=proxies,
                no_proxy=no_proxy,
                resolve=guard,
            )

        self._ssl_context, self._proxies, self._no_proxy = ssl_context, proxies, no_proxy
        self.inner = client(inner_guard(allowed))
        """For addresses that were registered at run time: inside the operator's networks."""
        self.named = client(named_guard)
        """For addresses that the operator's files name."""
        self.public = client(public_guard)
        """For links that users give."""

    def name(self, config: Any) -> None:
        """Take every URL in ``config`` (from the operator's files) as named."""
        self._hosts.update(hosts_in(config))

    def client_for(self, url: str) -> Client:
        """The client for a service's or model's ``url``."""
        return self.named if _host(url) in self._hosts else self.inner

    def apart(self, limits: ClientLimits) -> Client:
        """A client with limits of its own, for addresses that the operator's files name; whoever asks for it closes it."""
        return Client(
            limits=limits,
            ssl_context=self._ssl_context,
            proxies=self._proxies,
            no_proxy=self._no_proxy,
            resolve=named_guard,
        )

    def public_client(self, url: str) -> Client:
        """The client for a link that a user gave.

        Raises:
            InvalidRequestError: It is not http(s).
        """
        if not url.startswith(("http://", "https://")):
            raise InvalidRequestError(f"'{url}' is not an http or https address")
        return self.public

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self.inner, self.named, self.public):
            await client.aclose()


def hosts_in(config: Any) -> set[str]:
    """The hosts of all http(s) URLs in a config value, however deep."""
    if isinstance(config, str):
        return {host} if config.startswith(("http://", "https://")) and (host := _host(config)) else set()
    if isinstance(config, Mapping):
        config = list(config.values())
    if isinstance(config, list | tuple):
        found: set[str] = set()
        for value in config:
            found |= hosts_in(value)
        return found
    return set()


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""  # not a URL: whoever connects says so
