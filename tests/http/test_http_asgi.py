"""The same tests on three servers: ours, ours through both adapters, and an ASGI server; then what is the adapters' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from asgi_server import AsgiServer
from wirekit import WATCHDOG_S, Raw

from weft.errors import InvalidRequestError
from weft.http.asgi import from_asgi, to_asgi
from weft.http.message import ProtocolError, Response, StreamResponse
from weft.http.server import Server, ServerLimits

KINDS = ("own", "mounted", "asgi")


@dataclass
class Somewhere:
    """A handler, served in one of three ways."""

    port: int
    errors: list[Exception] = field(default_factory=list)
    raws: list[Raw] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connect(self) -> Raw:
        raw = await Raw.open(self.port)
        self.raws.append(raw)
        return raw


Host = Callable[..., Awaitable[Somewhere]]


@pytest.fixture(params=KINDS)
async def host(request) -> AsyncIterator[Host]:
    """Serves a handler: by our server, by our server through both adapters, and by an ASGI server."""
    closers, places = [], []

    async def start(handler, limits: ServerLimits | None = None) -> Somewhere:
        if request.param == "asgi":
            asgi = await AsgiServer.start(to_asgi(handler, limits=limits))
            closers.append(asgi.aclose)
            place = Somewhere(asgi.port, asgi.errors)
        else:
            if request.param == "mounted":
                handler = from_asgi(to_asgi(handler, limits=limits))
            server = Server(handler, limits=limits)
            place = Somewhere(await server.listen("127.0.0.1", 0))
            closers.append(server.aclose)
        places.append(place)
        return place

    yield start
    for place in places:
        for raw in place.raws:
            await raw.aclose()
    for close in closers:
        async with asyncio.timeout(WATCHDOG_S):
            await close()


async def echo(request) -> Response:
    return Response(body=await request.read(), content_type="text/plain")


async def test_body_is_echoed(host, client) -> None:
    """A body of any size comes back whole, declared or chunked; the connection is used again."""
    place = await host(echo)
    endpoint = client.endpoint(place.url)
    for size in (0, 1, 70_000, 1_000_000):
        reply = await endpoint.request("POST", "/", b"x" * size)
        assert (reply.status, len(reply.body)) == (200, size)
    assert client.open_connections == 1
    raw = await place.connect()
    await raw.pieces(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na", b"\r\n0\r\n\r\n"
    )
    assert (await raw.reply())[2] == b"a"


async def test_request_says_what_came(host, client) -> None:
    """Method, path, query, headers and peer are the same everywhere."""
    seen = []

    async def handler(request) -> Response:
        seen.append(
            (request.method, request.raw_path, request.query, request.headers.get("X-A"), request.peer)
        )
        return Response()

    place = await host(handler)
    await client.endpoint(place.url).request("PUT", "/a/b?c=d", b"1", headers=[("x-a", "b")])
    assert seen == [("PUT", "/a/b", "c=d", "b", "127.0.0.1")]


@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_framing_of_replies(host, client, status, method, is_stream) -> None:
    """HEAD, 204 and 304 have no body, nothing of one, and the connection lives on; a 204 names neither length nor coding."""
    closed = []

    class Blocks:
        def __aiter__(self):
            return self._blocks()

        async def _blocks(self):
            yield b"abc"

        async def aclose(self) -> None:
            closed.append(True)

    async def handler(request) -> Response | StreamResponse:
        if is_stream:
            return StreamResponse(Blocks(), status, content_type="text/plain")
        return Response(status, body=b"abc", content_type="text/plain")

    place = await host(handler)
    endpoint = client.endpoint(place.url)
    for _ in range(2):
        reply = await endpoint.request(method, "/")
        assert reply.status == status
        assert reply.body == (b"abc" if method == "GET" and status in (200, 404) else b"")
        if status == 204:
            assert "content-length" not in reply.headers
            assert "transfer-encoding" not in reply.headers
    assert closed == [True, True] * is_stream


async def test_stream_comes_block_by_block(host, client) -> None:
    """A block is at the client before the next one is made."""
    seen = asyncio.Event()

    async def blocks() -> AsyncIterator[bytes]:
        yield b"one"
        await seen.wait()
        yield b"two"

    async def handler(request) -> StreamResponse:
        return StreamResponse(blocks())

    place = await host(handler)
    async with asyncio.timeout(WATCHDOG_S), await client.endpoint(place.url).stream("GET", "/") as reply:
        assert await reply.body.take() == b"one"
        seen.set()
        assert await reply.body.take() == b"two"
        assert await reply.body.take() == b""


@pytest.mark.parametrize("when", ["before_body", "in_body", "after_body", "in_stream"])
async def test_client_gone_cancels(host, when) -> None:
    """A client that closes cancels the handler, whatever the handler waits for."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(what: Awaitable[object]) -> None:
        started.set()
        try:
            await what
        except (asyncio.CancelledError, ProtocolError):
            # A read may also fail with the news, which ends the handler as well.
            cancelled.set()
            raise

    async def blocks() -> AsyncIterator[bytes]:
        yield b"one"
        await wait(asyncio.Event().wait())

    async def handler(request) -> Response | StreamResponse:
        if when == "in_stream":
            return StreamResponse(blocks())
        await wait(request.read() if when == "in_body" else asyncio.Event().wait())
        return Response()

    place = await host(handler)
    raw = await place.connect()
    raw.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    raw.write(b"abcd" if when in ("after_body", "in_stream") else b"ab")
    async with asyncio.timeout(WATCHDOG_S):
        await started.wait()
        await raw.aclose()
        await cancelled.wait()


async def test_errors_are_replies(host, client) -> None:
    """An error before the first block is its status and problem details; an unexpected one says nothing about itself."""

    async def failing() -> AsyncIterator[bytes]:
        raise InvalidRequestError("no such thing")
        yield b""

    async def handler(request) -> Response | StreamResponse:
        if request.path == "/stream":
            return StreamResponse(failing())
        if request.path == "/bug":
            raise ValueError("secret")
        raise InvalidRequestError("no such thing")

    endpoint = client.endpoint((await host(handler)).url)
    for path in ("/", "/stream"):
        reply = await endpoint.request("GET", path)
        assert (reply.status, b"no such thing" in reply.body) == (400, True)
        assert reply.headers.get("content-type") == "application/problem+json"
    reply = await endpoint.request("GET", "/bug")
    assert (reply.status, b"secret" in reply.body) == (500, False)


async def test_error_in_mid_stream_cuts(host) -> None:
    """An error after the first block cuts the connection, so that nobody takes the reply for whole."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        raise InvalidRequestError("broken")

    async def handler(request) -> StreamResponse:
        return StreamResponse(failing())

    place = await host(handler)
    raw = await place.connect()
    raw.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await raw.rest()
    assert b"one" in answer
    assert not answer.endswith(b"0\r\n\r\n")


async def test_finish_has_the_last_word(host, client) -> None:
    """``finish`` is called once with the error; what it returns is sent, and the reply ends cleanly."""
    errors = []

    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        raise InvalidRequestError("broken")

    def finish(error: Exception | None) -> bytes:
        errors.append(str(error))
        return b" end"

    async def handler(request) -> StreamResponse:
        return StreamResponse(failing(), finish=finish)

    reply = await client.endpoint((await host(handler)).url).request("GET", "/")
    assert (reply.body, errors) == (b"one end", ["broken"])


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "a\rb", "a\0b", "\u20ac"])
@pytest.mark.parametrize("where", ["value", "name", "content_type"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_header_cannot_break_out(host, client, value, where, is_stream) -> None:
    """A header that would break out of its line is a 500, and nothing of it is sent."""

    async def blocks() -> AsyncIterator[bytes]:
        yield b"abc"

    async def handler(request) -> Response | StreamResponse:
        headers = [("x-a", value)] if where == "value" else [(value, "a")] if where == "name" else []
        kind = value if where == "content_type" else "text/plain"
        if is_stream:
            return StreamResponse(blocks(), 200, headers, kind)
        return Response(200, headers, b"abc", kind)

    reply = await client.endpoint((await host(handler)).url).request("GET", "/")
    assert reply.status == 500
    assert "set-cookie" not in reply.headers
    assert b"abc" not in reply.body


async def test_body_is_bounded(host, client) -> None:
    """A body beyond the bound is 413, declared or not."""
    place = await host(echo, ServerLimits(max_body_bytes=1000, linger_s=0.05))
    reply = await client.endpoint(place.url).request("POST", "/", b"x" * 1001)
    assert reply.status == 413
    raw = await place.connect()
    raw.write(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n"
        + b"x" * 2000
        + b"\r\n0\r\n\r\n"
    )
    assert (await raw.reply())[0] == 413
