"""Which addresses may be connected to."""

from __future__ import annotations

import pytest

from weft.errors import InvalidRequestError, UnreachableError, UsageError
from weft.http.message import Request, Response
from weft.http.server import Server
from weft.serve.egress import Egress, hosts_in, inner_guard, named_guard, public_guard
from weft.spec.gateway import UpstreamSpec

METADATA = ["169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "224.0.0.1", "0.0.0.0", "::"]  # fmt: skip


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("guard", [inner_guard(), named_guard, public_guard])
def test_metadata_and_link_local_are_never_reached(guard: object, address: str) -> None:
    """Whatever the reach, and in whatever disguise."""
    with pytest.raises(UnreachableError, match="never contacted"):
        guard([address])  # type: ignore[operator]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.1.2.3", "172.20.0.1", "192.168.0.5", "fd12::1", "100.64.1.1"]
)
def test_services_are_in_private_networks(address: str) -> None:
    """Which links that users give must not lead into."""
    inner_guard()([address])
    with pytest.raises(UnreachableError, match="not a public address"):
        public_guard([address])


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_public_addresses_are_for_links_and_named_hosts(address: str) -> None:
    """A service registered at run time may not be there."""
    public_guard([address])
    named_guard([address])
    with pytest.raises(UnreachableError, match="outside of the networks"):
        inner_guard()([address])


def test_one_bad_address_of_several_is_enough() -> None:
    """A name may resolve to a good and a bad one."""
    with pytest.raises(UnreachableError):
        public_guard(["93.184.216.34", "127.0.0.1"])


def test_disguised_private_addresses_are_not_public() -> None:
    """IPv4 inside of IPv6 is what it ends at."""
    for address in ("::ffff:10.0.0.1", "64:ff9b::0a00:1", "2002:0a00:0001::1"):
        with pytest.raises(UnreachableError):
            public_guard([address])


async def test_what_the_operators_files_name_may_be_anywhere() -> None:
    """Every URL in a config, however deep; others stay inside."""
    egress = Egress(networks=["203.0.113.0/24"])
    egress.name({"url": "https://api.example/v1", "more": [{"at": "http://[2001:db8::1]:80/x"}], "n": 1})
    assert egress.client_for("https://API.example/other") is egress.named
    assert egress.client_for("http://[2001:db8::1]/") is egress.named
    assert egress.client_for("http://other.example") is egress.inner
    assert egress.client_for("unix:/tmp/x.sock") is egress.inner
    await egress.aclose()


def test_hosts_in_plain_values() -> None:
    """Only http(s) URLs name a host."""
    assert hosts_in({"a": "ftp://x", "b": None, "c": ["http://y:1"], "d": "http://["}) == {"y"}


def test_a_network_that_is_none() -> None:
    """Is the operator's mistake, said with an example."""
    with pytest.raises(UsageError, match="not a network"):
        Egress(networks=["example.com"])


async def test_a_users_link_never_reaches_this_machine() -> None:
    """Checked at the connect itself, on what the name resolved to; Unix sockets are no links."""

    async def answer(request: Request, context: object = None) -> Response:
        raise AssertionError("reached")

    server = Server(answer)
    port = await server.listen("127.0.0.1", 0)
    egress = Egress()
    for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
        url = f"http://{host}:{port}"
        with pytest.raises(UnreachableError, match="not a public address"):
            await egress.public_client(url).endpoint(url).request("GET", "/")
    with pytest.raises(InvalidRequestError):
        egress.public_client("unix:/tmp/x.sock")
    await egress.aclose()
    await server.aclose()


def test_a_service_takes_as_many_streams_as_an_upstream() -> None:
    """A stream holds its connection; those beyond would wait without a word."""
    egress = Egress()
    upstream = UpstreamSpec(urls=("http://127.0.0.1:1",)).connections
    assert egress.inner.limits.max_connections == egress.named.limits.max_connections == upstream
