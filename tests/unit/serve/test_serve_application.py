"""The one pass of checks, errors as replies, headers on every reply, the lifespan."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from weft.context import Context, current
from weft.errors import OverloadedError, ServiceError, UsageError
from weft.http.client import Endpoint, Reply
from weft.http.message import Request, Response, StreamResponse
from weft.observe.metrics import Metrics
from weft.serve.application import Access, Application, RouteDoc, named

Serve = Callable[[Application], Awaitable[Endpoint]]
JSON = [("content-type", "application/json")]


async def hello(request: Request, context: Context) -> Response:
    return Response(200, (), b'"hello"')


def problem(reply: Reply) -> dict[str, Any]:
    assert reply.headers.get("content-type") == "application/problem+json"
    found: dict[str, Any] = msgspec.json.decode(reply.body)
    assert found["status"] == reply.status
    return found


async def test_every_reply_carries_id_and_build(app: Application, serve: Serve) -> None:
    """Good ones and errors."""
    app.route("GET", "/hello", hello)
    server = await serve(app)
    for path in ("/hello", "/nothing"):
        reply = await server.request("GET", path)
        assert reply.headers.get("x-weft-build") == "b1"
        assert reply.headers.get("x-request-id")
    one = await server.request("GET", "/hello")
    two = await server.request("GET", "/hello")
    assert one.headers.get("x-request-id") != two.headers.get("x-request-id")


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False)]
)
async def test_a_sane_request_id_comes_back(app: Application, serve: Serve, sent: str, kept: bool) -> None:
    """One that could not stand in a log line is replaced."""
    app.route("GET", "/hello", hello)
    server = await serve(app)
    reply = await server.request("GET", "/hello", headers=[("x-request-id", sent)])
    assert (reply.headers.get("x-request-id") == sent) is kept


async def test_an_unknown_path_names_the_nearest(app: Application, serve: Serve) -> None:
    """404 as a problem."""
    app.route("GET", "/v1/models", hello)
    server = await serve(app)
    found = problem(await server.request("GET", "/v1/model"))
    assert found["status"] == 404
    assert found["code"] == "not_found"
    assert "did you mean /v1/models?" in found["detail"]


async def test_a_trace_is_answered_as_any_wrong_method(app: Application, serve: Serve) -> None:
    """HTTP knows the method, and no path here has it: nothing of the request comes back."""
    app.route("POST", "/v1/ask", hello)
    reply = await (await serve(app)).request("TRACE", "/v1/ask", headers=[("x-secret", "abc")])
    assert (reply.status, reply.headers.get("allow")) == (405, "POST")
    assert b"abc" not in reply.body


async def test_a_wrong_method_is_405_with_allow(app: Application, serve: Serve) -> None:
    """The reply says which methods there are."""
    app.route("GET", "/hello", hello)
    server = await serve(app)
    reply = await server.request("POST", "/hello", b"{}", headers=JSON)
    assert reply.status == 405
    assert reply.headers.get("allow") == "GET, HEAD"


async def test_get_answers_head(app: Application, serve: Serve) -> None:
    """Without a body."""
    app.route("GET", "/hello", hello)
    server = await serve(app)
    reply = await server.request("HEAD", "/hello")
    assert (reply.status, reply.body) == (200, b"")


async def test_patterns_give_their_segments(app: Application, serve: Serve) -> None:
    """An exact path wins over a pattern, a more literal pattern over a less literal one."""

    async def show(request: Request, context: Context) -> Response:
        return Response(200, (), msgspec.json.encode(named(request)))

    app.route("GET", "/v1/{kind}/{name}", show)
    app.route("GET", "/v1/models/{model}", show)
    app.route("GET", "/v1/models/all", hello)
    server = await serve(app)
    assert (await server.get_json("/v1/models/chatqna@1")) == {"model": "chatqna@1"}
    assert (await server.get_json("/v1/things/x")) == {"kind": "things", "name": "x"}
    assert (await server.get_json("/v1/models/all")) == "hello"
    assert (await server.request("GET", "/v1/models/")).status == 404


async def test_errors_in_openais_form(app: Application, serve: Serve) -> None:
    """On routes that say so, also when the method is wrong."""

    async def fail(request: Request, context: Context) -> Response:
        raise OverloadedError("busy", retry_after_s=3)

    app.route("POST", "/v1/chat/completions", fail, errors="openai")
    server = await serve(app)
    reply = await server.request("POST", "/v1/chat/completions", b"{}", headers=JSON)
    error = msgspec.json.decode(reply.body)["error"]
    assert (reply.status, reply.headers.get("retry-after")) == (429, "3")
    assert {k: error[k] for k in ("message", "type", "param", "code")} == {
        "message": "busy", "type": "rate_limit_error", "param": None, "code": "overloaded"
    }  # fmt: skip
    wrong = await server.request("GET", "/v1/chat/completions")
    assert msgspec.json.decode(wrong.body)["error"]["code"] == "method_not_allowed"


async def test_a_services_error_says_where(app: Application, serve: Serve) -> None:
    """Node, service, component, endpoint and elapsed time are members of the problem."""

    async def fail(request: Request, context: Context) -> Response:
        raise ServiceError("it broke").at(
            node="answer", service="llm", component="openai-chat", endpoint="http://x", elapsed_s=1.5
        )

    app.route("GET", "/fail", fail)
    server = await serve(app)
    found = problem(await server.request("GET", "/fail"))
    assert found["status"] == 502
    assert found["node"] == "answer"
    assert (found["service"], found["component"]) == ("llm", "openai-chat")
    assert (found["endpoint"], found["elapsed_s"]) == ("http://x", 1.5)
    assert found["type"] == "urn:weft:error:service_failed"


async def test_an_unexpected_error_is_logged_once_and_says_nothing(
    app: Application, serve: Serve, logged: io.StringIO
) -> None:
    """500; the cause is in the log with the request's id."""

    async def fail(request: Request, context: Context) -> Response:
        raise RuntimeError("password=1234")

    app.route("GET", "/fail", fail)
    server = await serve(app)
    reply = await server.request("GET", "/fail", headers=[("x-request-id", "r1")])
    assert reply.status == 500
    assert b"1234" not in reply.body
    lines = [msgspec.json.decode(line) for line in logged.getvalue().splitlines()]
    assert [(line["level"], line["request_id"]) for line in lines] == [("error", "r1")]
    assert "password=1234" in lines[0]["traceback"]


async def test_a_strangers_host_or_origin_is_403(app: Application, serve: Serve) -> None:
    """On every route, health included."""
    app.route("GET", "/open", hello, open=True)
    server = await serve(app)
    reply = await server.request("GET", "/open", headers=[("origin", "http://evil.example")])
    assert reply.status == 403
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(b"GET /open HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"403"
    writer.close()
    await writer.wait_closed()


async def test_a_configured_origin_gets_cors(serve: Serve) -> None:
    """The preflight and the reply itself."""
    app = Application(name="t", version="1", access=Access("token", origins=["https://chat.example"]))
    app.route("POST", "/hello", hello)
    server = await serve(app)
    origin = ("origin", "https://chat.example")
    preflight = await server.request(
        "OPTIONS", "/hello", headers=[origin, ("access-control-request-method", "POST")]
    )
    assert preflight.status == 204
    assert preflight.headers.get("access-control-allow-origin") == "https://chat.example"
    reply = await server.request(
        "POST", "/hello", b"{}", headers=[origin, *JSON, ("authorization", "Bearer token")]
    )
    assert reply.status == 200
    assert reply.headers.get("access-control-allow-origin") == "https://chat.example"


async def test_the_token_guards_every_route_but_open_ones(serve: Serve) -> None:
    """Unknown paths as well: who has no token learns nothing."""
    app = Application(name="t", version="1", access=Access("token"))
    app.route("GET", "/hello", hello)
    app.route("GET", "/health/live", hello, open=True)
    server = await serve(app)
    assert (await server.request("GET", "/health/live")).status == 200
    for path in ("/hello", "/nothing"):
        reply = await server.request("GET", path)
        assert reply.status == 401
        assert reply.headers.get("www-authenticate") == 'Bearer realm="weft"'
    assert (await server.request("GET", "/hello", headers=[("authorization", "Bearer token")])).status == 200


async def test_the_printed_link_opens_the_pages(serve: Serve) -> None:
    """It sets the cookie and leads on without the token; a wrong token does not."""
    app = Application(name="t", version="1", access=Access("token"))
    app.route("GET", "/", hello)
    server = await serve(app)
    reply = await server.request("GET", "/?token=token")
    assert (reply.status, reply.headers.get("location")) == (303, "/")
    cookie = reply.headers.get("set-cookie", "").partition(";")[0]
    assert (await server.request("GET", "/", headers=[("cookie", cookie)])).status == 200
    assert (await server.request("GET", "/?token=wrong")).status == 401
    leading = await server.request("GET", "//evil.example/?token=token")
    assert leading.headers.get("location") == "/evil.example/"


async def test_a_browser_without_token_gets_a_page(serve: Serve) -> None:
    """Which says where the link is, and carries the security headers."""
    app = Application(name="t", version="1", access=Access("token"))
    server = await serve(app)
    reply = await server.request("GET", "/", headers=[("accept", "text/html,*/*")])
    assert reply.status == 401
    assert b"printed" in reply.body
    assert "frame-ancestors 'none'" in reply.headers.get("content-security-policy", "")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("application/vnd.x+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
async def test_only_json_is_read(app: Application, serve: Serve, content_type: str, status: int) -> None:
    """A page of another site can only send the types that are refused."""
    app.route("POST", "/hello", hello)
    server = await serve(app)
    reply = await server.request("POST", "/hello", b"{}", headers=[("content-type", content_type)])
    assert reply.status == status


async def test_a_body_beyond_the_routes_bound_is_413(app: Application, serve: Serve) -> None:
    """Whether it came with the head or after it."""
    app.route("POST", "/hello", hello, max_body_bytes=10)
    server = await serve(app)
    assert (await server.request("POST", "/hello", b"x" * 10, headers=JSON)).status == 200
    assert (await server.request("POST", "/hello", b"x" * 11, headers=JSON)).status == 413
    assert (await server.request("POST", "/hello", b"x" * 1_000_000, headers=JSON)).status == 413


async def test_the_context_of_a_request(app: Application, serve: Serve) -> None:
    """Id, trace and deadline come from headers; it is current while the handler runs."""
    seen: list[Context] = []

    async def look(request: Request, context: Context) -> Response:
        assert current.get() is context
        seen.append(context)
        return Response()

    app.route("GET", "/look", look)
    server = await serve(app)
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    await server.request(
        "GET",
        "/look",
        headers=[("traceparent", trace), ("x-weft-timeout-ms", "5000")],
    )
    context = seen[0]
    assert context.trace_id == "a" * 32
    left = context.time_left_s()
    assert left is not None
    assert 0 < left <= 5
    assert (context.tenant, context.caller, context.readers) == ("default", "", None)


class Verifier:
    """Believes what is ``good``."""

    def verify(self, header: str) -> tuple[str, str, list[str] | None] | None:
        return ("acme", "ann", ["staff"]) if header == "good" else None


async def test_a_signed_context_is_taken_and_another_is_refused(serve: Serve) -> None:
    """Only if the verifier says so; what it does not believe is 401, not somebody else's request."""
    app = Application(name="t", version="1", access=Access(), verifier=Verifier())

    async def look(request: Request, context: Context) -> Response:
        return Response(200, (), msgspec.json.encode([context.tenant, context.caller, context.readers]))

    app.route("GET", "/look", look)
    server = await serve(app)
    good = await server.request("GET", "/look", headers=[("x-weft-context", "good")])
    bad = await server.request("GET", "/look", headers=[("x-weft-context", "bad")])
    none = await server.request("GET", "/look")
    assert msgspec.json.decode(good.body) == ["acme", "ann", ["staff"]]
    assert msgspec.json.decode(none.body) == ["default", "", None]
    assert (bad.status, msgspec.json.decode(bad.body)["code"]) == (401, "unauthorized")


async def test_a_signed_context_that_nobody_can_verify_is_refused(serve: Serve) -> None:
    """An application without a key serves a request that was signed for a tenant for no other tenant."""
    app = Application(name="t", version="1", access=Access())

    async def look(request: Request, context: Context) -> Response:
        return Response()

    app.route("GET", "/look", look)
    server = await serve(app)
    assert (await server.request("GET", "/look", headers=[("x-weft-context", "good")])).status == 401


async def test_an_application_for_those_with_the_key_answers_nobody_else(serve: Serve) -> None:
    """Without a signature everything but the open routes is 401, whether it is there or not."""
    app = Application(name="t", version="1", access=Access(), verifier=Verifier(), only_signed=True)

    async def look(request: Request, context: Context) -> Response:
        return Response()

    app.route("GET", "/look", look)
    app.route("GET", "/open", look, open=True)
    server = await serve(app)
    signed = [("x-weft-context", "good")]
    assert (await server.request("GET", "/look", headers=signed)).status == 200
    assert (await server.request("GET", "/open")).status == 200
    for path in ("/look", "/nothing", "/look/", "//look"):
        assert (await server.request("GET", path)).status == 401
        assert (await server.request("POST", path)).status == 401


async def test_a_stream_that_fails_first_is_an_error_with_our_headers(app: Application, serve: Serve) -> None:
    """It gets a status, an id and the form of its route."""

    async def body() -> AsyncIterator[bytes]:
        raise OverloadedError("busy")
        yield b""

    async def stream(request: Request, context: Context) -> StreamResponse:
        return StreamResponse(body())

    app.route("GET", "/stream", stream, errors="openai")
    server = await serve(app)
    reply = await server.request("GET", "/stream", headers=[("x-request-id", "r7")])
    assert (reply.status, reply.headers.get("x-request-id")) == (429, "r7")
    assert msgspec.json.decode(reply.body)["error"]["code"] == "overloaded"


async def test_requests_are_counted_once_however_they_end(serve: Serve) -> None:
    """By route and status; a client that leaves is 499; nothing stays in flight."""
    metrics = Metrics()
    app = Application(name="t", version="1", access=Access(), metrics=metrics)
    entered, left = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            left.set()

    async def stream(request: Request, context: Context) -> StreamResponse:
        return StreamResponse(body())

    app.route("GET", "/stream", stream)
    app.route("GET", "/hello", hello)
    server = await serve(app)
    await server.request("GET", "/hello")
    await server.request("GET", "/unknown")
    async with asyncio.timeout(10):
        reply = await server.stream("GET", "/stream")
        await entered.wait()
        assert app.in_flight == 1
        await reply.aclose()
        await left.wait()
        while app.in_flight:
            await asyncio.sleep(0)
    text = metrics.render()
    assert 'weft_http_requests_total{route="/hello",method="GET",status="200"} 1' in text
    assert 'weft_http_requests_total{route="unrouted",method="",status="404"} 1' in text
    assert 'weft_http_requests_total{route="/stream",method="GET",status="499"} 1' in text
    assert "weft_http_requests_in_flight 0" in text


async def test_while_it_starts_only_open_routes_are_served(app: Application, serve: Serve) -> None:
    """Others are told to come again."""
    app.route("GET", "/hello", hello)
    app.route("GET", "/health/live", hello, open=True)
    server = await serve(app)
    app.state = "starting"
    reply = await server.request("GET", "/hello")
    assert (reply.status, reply.headers.get("retry-after")) == (503, "1")
    assert (await server.request("GET", "/health/live")).status == 200
    await app.drain()
    assert (await server.request("GET", "/hello")).status == 200


async def test_hooks_run_in_order_and_back(app: Application, logged: io.StringIO) -> None:
    """Stop hooks run in reverse, each whatever became of the others."""
    ran: list[str] = []

    async def one() -> None:
        ran.append("one")

    async def two() -> None:
        ran.append("two")
        raise RuntimeError("no")

    app.on_start.append(one)
    app.on_stop += [one, two]
    await app.start()
    assert app.state == "running"
    await app.stop()
    assert ran == ["one", "two", "one"]
    assert "stopping failed" in logged.getvalue()


async def test_a_start_that_fails_is_stopped_again(app: Application) -> None:
    """What was opened before is closed."""
    closed: list[bool] = []

    async def fail() -> None:
        raise UsageError("no")

    async def close() -> None:
        closed.append(True)

    app.on_start.append(fail)
    app.on_stop.append(close)
    with pytest.raises(UsageError):
        await app.start()
    assert (closed, app.state) == ([True], "stopped")


def test_a_route_cannot_be_taken_twice(app: Application) -> None:
    """Which of two would answer must not depend on the order."""
    app.route("GET", "/a", hello, doc=RouteDoc())
    app.route("POST", "/a", hello)
    with pytest.raises(UsageError):
        app.route("GET", "/a", hello)
    with pytest.raises(UsageError):
        app.route("GET", "a", hello)
