"""Ways to a server: TLS with one's own authority, client certificates, proxies, names with several addresses."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl

import pytest
from wirekit import WATCHDOG_S, answering, eventually, json_reply, read_request, until_closed

from papers import Papers
from weft.errors import UnreachableError, UsageError
from weft.http.client import Client, ClientLimits
from weft.http.connect import is_direct
from weft.http.message import Response
from weft.http.server import ServerLimits

ONE = json_reply(b"1")


async def ok(request) -> Response:
    return Response(body=request.scheme.encode(), content_type="text/plain")


@pytest.fixture(scope="module")
def papers(tmp_path_factory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


async def get(url: str, **arguments) -> bytes:
    """The body at ``url`` for a client made so; it must end with nothing open."""
    client = Client(**arguments)
    try:
        return (await client.endpoint(url, timeout_s=WATCHDOG_S).request("GET", "/")).body
    finally:
        await client.aclose()
        assert client.open_connections == 0


@pytest.mark.system("openssl")
async def test_own_authority_is_trusted(serve, papers) -> None:
    """With its authority given a server is reached, by name and by address; the scheme is the request's."""
    running = await serve(ok, ssl=papers.server_context())
    assert await get(f"https://127.0.0.1:{running.port}", ca_file=papers.ca) == b"https"
    assert await get(f"https://localhost:{running.port}", ca_file=papers.ca) == b"https"


@pytest.mark.system("openssl")
async def test_unknown_authority_is_not(serve, papers) -> None:
    """A server whose authority nobody trusts is UnreachableError that says why."""
    running = await serve(ok, ssl=papers.server_context())
    with pytest.raises(UnreachableError, match="TLS failed.*certificate verify failed"):
        await get(f"https://127.0.0.1:{running.port}")


@pytest.mark.system("openssl")
async def test_other_name_is_refused(serve, papers) -> None:
    """A certificate for another name is refused, whoever signed it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*papers.client)
    running = await serve(ok, ssl=context)
    for name in ("localhost", "127.0.0.1"):
        with pytest.raises(UnreachableError, match="(?i)TLS failed.*mismatch"):
            await get(f"https://{name}:{running.port}", ca_file=papers.ca)


@pytest.mark.system("openssl")
async def test_client_certificate(serve, papers) -> None:
    """A server that asks for a certificate serves who shows one, and nobody else."""
    running = await serve(ok, ssl=papers.server_context(asks_client=True))
    url = f"https://localhost:{running.port}"
    assert await get(url, ca_file=papers.ca, client_cert=papers.client) == b"https"
    with pytest.raises(UnreachableError):
        await get(url, ca_file=papers.ca)


@pytest.mark.system("openssl")
async def test_plain_and_tls_do_not_mix(serve, papers) -> None:
    """TLS to a plain port, and plain HTTP to a TLS port, fail with a word; a handshake that is not made is cut off."""
    plain = await serve(ok)
    with pytest.raises(UnreachableError, match="TLS failed"):
        await get(f"https://127.0.0.1:{plain.port}", ca_file=papers.ca)
    secured = await serve(ok, ssl=papers.server_context(), limits=ServerLimits(header_timeout_s=0.1))
    with pytest.raises(UnreachableError):
        await get(f"http://127.0.0.1:{secured.port}")
    silent = await secured.connect()
    assert await silent.rest() == b""


@pytest.mark.system("openssl")
async def test_pieces_over_tls(serve, papers) -> None:
    """A large body goes both ways over TLS, and the connection is used again."""

    async def echo(request) -> Response:
        return Response(body=await request.read(), content_type="text/plain")

    running = await serve(echo, ssl=papers.server_context())
    client = Client(ca_file=papers.ca)
    endpoint = client.endpoint(f"https://localhost:{running.port}")
    for size in (1, 3_000_000, 1):
        assert len((await endpoint.request("POST", "/", bytes(size))).body) == size
    assert client.open_connections == 1
    await client.aclose()


class Proxy:
    """A proxy's conversation: tunnels for CONNECT, answers everything else itself; ``heads`` is what it was asked."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.heads: list[bytes] = []
        self._refuses = refuses

    async def __call__(self, reader, writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if not head.startswith(b"CONNECT "):
            writer.write(ONE)
            await until_closed(reader)
            return
        if self._refuses:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            await until_closed(reader)
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        back_reader, back_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        tasks = [
            asyncio.ensure_future(pump(reader, back_writer)),
            asyncio.ensure_future(pump(back_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back_writer.transport.abort()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def pump(reader, writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def test_http_proxy_is_asked_for_the_whole_address(backend) -> None:
    """Over a proxy, a plain request names its whole address, and the credentials of the proxy's URL go along."""
    proxy = Proxy()
    server = await backend(proxy)
    url = f"http://us%20er:pass@127.0.0.1:{server.port}"
    assert await get("http://somewhere.example/base", proxies={"http": url}) == b"1"
    (head,) = proxy.heads
    assert head.startswith(b"GET http://somewhere.example/base/ HTTP/1.1\r\nhost: somewhere.example\r\n")
    login = base64.b64encode(b"us er:pass").decode()
    assert f"\r\nproxy-authorization: Basic {login}\r\n".encode() in head


@pytest.mark.system("openssl")
async def test_https_goes_through_a_tunnel(serve, backend, papers) -> None:
    """Over a proxy, TLS is with the target: the proxy is asked for a tunnel and sees nothing else."""
    running = await serve(ok, ssl=papers.server_context())
    proxy = Proxy()
    server = await backend(proxy)
    url = f"http://user:pass@127.0.0.1:{server.port}"
    answer = await get(f"https://localhost:{running.port}", proxies={"https": url}, ca_file=papers.ca)
    assert answer == b"https"
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % running.port)
    assert b"proxy-authorization: Basic " in head


async def test_refused_tunnel_says_so(backend) -> None:
    """A proxy that refuses is named with what it said; its connection is closed."""
    server = await backend(Proxy(refuses=True))
    with pytest.raises(UnreachableError, match="refused the tunnel: HTTP/1.1 407"):
        await get("https://localhost:1", proxies={"https": f"http://127.0.0.1:{server.port}"})


async def test_no_proxy_goes_directly(backend) -> None:
    """An excepted host is reached without the proxy."""
    server = await backend(answering(ONE))
    assert await get(server.url, proxies={"http": "http://127.0.0.1:1"}, no_proxy=("127.0.0.0/8",)) == b"1"
    with pytest.raises(UnreachableError):
        await get(server.url, proxies={"http": "http://127.0.0.1:1"}, no_proxy=("10.0.0.0/8",))


@pytest.mark.parametrize(
    ("host", "entry", "direct"),
    [
        ("a.example", "a.example", True),
        ("a.example", "A.Example ", True),
        ("b.a.example", "a.example", True),
        ("b.a.example", ".a.example", True),
        ("b.a.example", "*.a.example", True),
        ("ba.example", "a.example", False),
        ("a.example", "a.example:80", True),
        ("a.example", "a.example:81", False),
        ("a.example", "*", True),
        ("a.example", "", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("::1", "::1", True),
        ("10.1.2.3", "not/a/network", False),
    ],
)
def test_exceptions_from_the_proxy(host, entry, direct) -> None:
    """Names, domains, ports, addresses, networks and the star, as other tools read ``NO_PROXY``."""
    assert is_direct(host, 80, ["other", entry]) is direct


def resolving(monkeypatch, *addresses: str) -> None:
    """Let every name have these addresses."""

    async def getaddrinfo(self, host, port, **arguments):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo, raising=False)


async def test_next_address_is_tried(backend, monkeypatch) -> None:
    """Of a name's addresses the first that answers is used; when none does, the error is of the first."""
    server = await backend(answering(ONE))
    guarded: list[str] = []
    with monkeypatch.context() as patch:
        try:
            resolving(patch, "127.0.0.9", "127.0.0.1")
        except TypeError:
            pytest.skip("uvloop's loop cannot be changed; the code is the same on both")
        url = f"http://name.example:{server.port}"
        assert await get(url, resolve=guarded.extend) == b"1"
    assert guarded == ["127.0.0.9", "127.0.0.1"]


async def test_guard_refuses_before_connecting(backend) -> None:
    """What the guard of addresses raises is the caller's to see; nothing is connected."""
    server = await backend(answering(ONE))

    def refuse(addresses) -> None:
        raise UsageError(f"{addresses} are not allowed")

    with pytest.raises(UsageError, match="127.0.0.1"):
        await get(server.url, resolve=refuse)
    assert server.connections == 0


async def test_unknown_name_and_refused_port() -> None:
    """A name without address and a port that nobody has are UnreachableError."""
    for url in ("http://name.invalid", "http://127.0.0.1:1"):
        with pytest.raises(UnreachableError, match="no connection"):
            await get(url)


async def test_silent_handshake_meets_the_timeout(backend) -> None:
    """A server that never shakes hands costs the connect timeout, and leaves no socket."""

    async def silent(reader, writer) -> None:
        await until_closed(reader)
        raise ConnectionError

    server = await backend(silent)
    limits = ClientLimits(connect_timeout_s=0.1)
    with pytest.raises(UnreachableError, match=r"no connection within 0\.1 s"):
        await get(f"https://127.0.0.1:{server.port}", limits=limits)
    await eventually(server.gone.is_set)


async def test_cancelled_dial_leaves_no_socket(backend) -> None:
    """The same for a request that is cancelled while the handshake is under way."""
    arrived = asyncio.Event()

    async def silent(reader, writer) -> None:
        arrived.set()
        await until_closed(reader)
        raise ConnectionError

    server = await backend(silent)
    client = Client()
    task = asyncio.ensure_future(client.endpoint(f"https://127.0.0.1:{server.port}").request("GET", "/"))
    async with asyncio.timeout(WATCHDOG_S):
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await eventually(server.gone.is_set)
    assert client.open_connections == 0
    await client.aclose()


async def test_unix_socket(tmp_path) -> None:
    """A Unix socket is an address like any other, with a prefix if given."""
    path = str(tmp_path / "s")
    targets = []

    async def conversation(reader, writer) -> None:
        targets.append((await read_request(reader)).split()[1])
        writer.write(ONE)
        await until_closed(reader)
        writer.close()

    server = await asyncio.start_unix_server(conversation, path)
    assert await get(f"unix:{path}") == b"1"
    assert await get(f"unix:{path}:/v1") == b"1"
    assert targets == [b"/", b"/v1/"]
    server.close()
    await asyncio.sleep(0.01)
