"""ASGI applications mounted in our server, written as frameworks write them; and what only `to_asgi` has to do."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from asgi_server import AsgiServer
from wirekit import WATCHDOG_S, eventually

from weft.http.asgi import from_asgi, to_asgi
from weft.http.message import Response, StreamResponse

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", *, more: bool = False) -> dict:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_scope_is_as_the_standard_says(serve, client) -> None:
    """An application sees method, decoded and raw path, query, headers in lower case, client and root path."""
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(scope)
        await send(start(201, (b"Content-Type", b"text/plain"), (b"X-A", b"b"), (b"Content-Length", b"2")))
        await send(body(b"ok"))

    running = await serve(from_asgi(app, root_path="/admin"))
    reply = await client.endpoint(running.url).request("PUT", "/a%20b?c=%20", b"x", headers=[("X-Y", "z")])
    assert (reply.status, reply.body, reply.headers.get("x-a")) == (201, b"ok", "b")
    assert reply.headers.get_all("content-length") == ["2"]
    (scope,) = seen
    assert (scope["type"], scope["method"], scope["path"]) == ("http", "PUT", "/a b")
    assert (scope["raw_path"], scope["query_string"]) == (b"/a%20b", b"c=%20")
    assert (b"x-y", b"z") in scope["headers"]
    assert (scope["client"][0], scope["root_path"]) == ("127.0.0.1", "/admin")


async def test_body_comes_in_messages(serve, client) -> None:
    """The body comes as it arrives, and ends with a message that says so."""
    messages = []

    async def app(scope, receive, send) -> None:
        while True:
            message = await receive()
            messages.append(message)
            if not message.get("more_body"):
                break
        await send(start())
        await send(body(b"".join(m["body"] for m in messages)))

    running = await serve(from_asgi(app))
    reply = await client.endpoint(running.url).request("POST", "/", b"x" * 200_000)
    assert len(reply.body) == 200_000
    assert messages[-1] == {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize("where", ["receive", "send", "elsewhere"])
async def test_application_ends_with_its_client(serve, where) -> None:
    """A client that goes away ends the application, also one that waits for room to send."""
    ended, waiting = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send) -> None:
        try:
            await send(start())
            await send(body(b"a", more=True))
            waiting.set()
            while where == "send":
                await send(body(bytes(100_000), more=True))
            if where == "receive":
                await receive()
                await receive()
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = await serve(from_asgi(app))
    raw = await running.connect(receive_buffer=16384)
    raw.writer.transport.pause_reading()
    raw.write(GET)
    async with asyncio.timeout(WATCHDOG_S):
        await waiting.wait()
        (connection,) = running.server.connections
        if where == "send":
            await eventually(lambda: connection._is_writing_paused)
        raw.reset()
        await ended.wait()
    await eventually(lambda: running.server.in_flight == 0)


async def test_messages_of_several_tasks_all_arrive(serve, client) -> None:
    """Messages from several tasks each have their turn; none is lost."""

    async def app(scope, receive, send) -> None:
        await send(start())
        await asyncio.gather(*[send(body(b"%d" % i, more=True)) for i in range(10)])
        await send(body())

    running = await serve(from_asgi(app))
    reply = await client.endpoint(running.url).request("GET", "/")
    assert sorted(reply.body) == sorted(b"0123456789")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", [204, 304, 200])
async def test_reply_without_a_body_ends_the_application(serve, client, method, status) -> None:
    """An application that streams where no body is sent is ended, not left waiting for a reader."""
    ended = asyncio.Event()

    async def app(scope, receive, send) -> None:
        try:
            await send(start(status))
            for _ in range(100):
                await send(body(b"a", more=True))
            await send(body())
        finally:
            ended.set()

    running = await serve(from_asgi(app))
    reply = await client.endpoint(running.url).request(method, "/")
    assert reply.body == (b"a" * 100 if (method, status) == ("GET", 200) else b"")
    async with asyncio.timeout(WATCHDOG_S):
        await ended.wait()


async def test_head_of_a_large_file_costs_nothing(serve, client) -> None:
    """HEAD of ten gigabytes makes no gigabyte of anything."""

    async def app(scope, receive, send) -> None:
        await send(start(200, (b"content-length", b"10000000000")))
        await send(body())

    running = await serve(from_asgi(app))
    tracemalloc.start()
    try:
        assert (await client.endpoint(running.url).request("HEAD", "/")).status == 200
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


async def nothing(scope, receive, send) -> None:
    pass


async def only_start(scope, receive, send) -> None:
    await send(start())


async def body_first(scope, receive, send) -> None:
    await send(body(b"a", more=True))
    await send(body(b"b"))


async def raises(scope, receive, send) -> None:
    raise ZeroDivisionError("secret")


async def raises_after_start(scope, receive, send) -> None:
    await send(start())
    raise ZeroDivisionError("secret")


async def breaks_out(scope, receive, send) -> None:
    await send(start(200, (b"x-a", b"b\r\nset-cookie: c")))
    await send(body(b"secret"))


@pytest.mark.parametrize("app", [nothing, only_start, body_first, raises, raises_after_start, breaks_out])
async def test_broken_application_is_a_500(serve, client, app, caplog) -> None:
    """An application that does not answer, or wrongly, is a 500 that says nothing about it, and is logged."""
    running = await serve(from_asgi(app))
    reply = await client.endpoint(running.url).request("GET", "/")
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert "set-cookie" not in reply.headers


async def test_application_that_breaks_off_cuts_the_reply(serve) -> None:
    """An application that ends or fails in mid-reply cuts the connection: nobody takes the reply for whole."""

    async def breaks_off(scope, receive, send) -> None:
        await send(start())
        await send(body(b"half", more=True))
        if scope["path"] == "/fails":
            raise ZeroDivisionError

    running = await serve(from_asgi(breaks_off))
    for path in (b"/ends", b"/fails"):
        answer = await running.ask(GET.replace(b"/ ", path + b" ", 1))
        assert b"half" in answer
        assert not answer.endswith(b"0\r\n\r\n")


async def test_lifespan_is_answered() -> None:
    """As an ASGI application Weft takes part in the server's lifespan; other protocols are refused."""
    app = to_asgi(lambda request: None)
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive() -> dict:
        return incoming.pop(0)

    async def send(message) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(RuntimeError, match="websocket is not served"):
        await app({"type": "websocket"}, receive, send)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_no_unsafe_header_reaches_the_asgi_server(is_stream) -> None:
    """A header that would break out of its line never gets to an ASGI server, which may not look at it."""

    async def blocks():
        yield b"abc"

    async def handler(request) -> Response | StreamResponse:
        headers = [("x-a", "b\r\nset-cookie: c")]
        return StreamResponse(blocks(), 200, headers) if is_stream else Response(200, headers, b"abc")

    server = await AsgiServer.start(to_asgi(handler))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(GET)
    async with asyncio.timeout(WATCHDOG_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 500 ")
    writer.close()
    await server.aclose()
    assert server.sent[0]["status"] == 500
    assert not any(b"\n" in value for _, value in server.sent[0]["headers"])


async def test_unread_body_holds_the_asgi_server_back(client) -> None:
    """While the handler reads nothing, no more of a body is received from the ASGI server than the buffer."""
    received, go = [], asyncio.Event()

    async def handler(request) -> Response:
        await go.wait()
        return Response(body=b"%d" % len(await request.read()))

    app = to_asgi(handler)

    async def watched(scope, receive, send) -> None:
        async def receive_watched() -> dict:
            message = await receive()
            received.append(len(message.get("body", b"")))
            return message

        await app(scope, receive_watched, send)

    server = await AsgiServer.start(watched)
    task = asyncio.ensure_future(
        client.endpoint(f"http://127.0.0.1:{server.port}").request("POST", "/", bytes(3_000_000))
    )
    await eventually(lambda: sum(received) > 65536)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sum(received) <= 2 * 65536
    go.set()
    assert (await task).body == b"3000000"
    await client.aclose()
    await server.aclose()
