"""Each promise of the wire can be broken: a good service is changed in one thing, and that thing is found out."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from weft.contracts import chat
from weft.http.client import Client
from weft.http.message import Request, Response, StreamResponse
from weft.http.server import Server, ServerLimits
from weft.observe.metrics import Metrics
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.health import health_routes
from weft.serve.log import Log
from weft.serve.openapi import documentation_routes
from weft.serve.operations import operation_routes
from weft.serve.scrape import metrics_route
from weft.testing import ScriptedChat
from weft.testing.conform import Report, conform
from weft.testing.wire import requests as wire_requests
from weft.transport.local import LocalTransport

pytestmark = pytest.mark.slow

Reply = Response | StreamResponse
Next = Callable[[Request], Awaitable[Reply]]
Change = Callable[[Request, Next], Awaitable[Reply]]

OWN = "/v1/chat/completions"


class Long(ScriptedChat):
    def words(self, request: chat.ChatRequest) -> str:
        return "and so on " * 500 if (request.max_tokens or 0) > 100 else super().words(request)


@asynccontextmanager
async def changed_service(change: Change | None = None) -> AsyncIterator[str]:
    """A conforming chat service whose requests and replies go through ``change``."""
    metrics = Metrics()
    app = Application(
        name="chat", version="1", access=Access(), metrics=metrics, log=Log(io.StringIO(), pretty=False)
    )
    transport = LocalTransport("chat", "chat", chat.CONTRACT, Long(token_s=0.0005))
    operation_routes(app, chat.CONTRACT, transport.call, transport.stream)
    health_routes(app)
    metrics_route(app, metrics)
    documentation_routes(app)

    async def handle(request: Request) -> Reply:
        return await (app(request) if change is None else change(request, app))

    # No limit of the server's own: what is too large is the routes' to say, and to be changed here.
    server = Server(handle, on_error=app.on_error, limits=ServerLimits(max_body_bytes=1 << 50))
    await app.start()
    port = await server.listen("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.aclose()
        await app.stop()


async def report(change: Change | None = None) -> Report:
    client = Client()
    try:
        async with changed_service(change) as url:
            return await conform(client, url, chat.CONTRACT)
    finally:
        await client.aclose()


async def broken(change: Change | None = None) -> set[str]:
    found = (await report(change)).findings
    return {finding.name for finding in found if finding.outcome == "broken"}


async def test_the_unchanged_service_conforms() -> None:
    """Every must and every should is kept and seen."""
    found = await report()
    assert [f.name for f in found.findings if f.outcome != "kept"] == []
    assert found.conforms


def whole(change: Callable[[Request, Response], Response]) -> Change:
    """Change replies that are no streams."""

    async def changing(request: Request, go_on: Next) -> Reply:
        reply = await go_on(request)
        return change(request, reply) if isinstance(reply, Response) else reply

    return changing


def instead(at: Callable[[Request], bool], status: int, body: bytes = b"{}") -> Change:
    """Answer some requests at once."""

    async def changing(request: Request, go_on: Next) -> Reply:
        if not at(request):
            return await go_on(request)
        if isinstance(reply := await go_on(request), Response):
            return Response(status, reply.headers, body, reply.content_type)
        await aclose(reply)
        return Response(status, (), body)

    return changing


async def aclose(reply: StreamResponse) -> None:
    close: Any = getattr(reply.body, "aclose", None)
    if close is not None:
        await close()


def events(change: Callable[[list[bytes]], list[bytes]], content_type: str = "text/event-stream") -> Change:
    """Change the events of streams; the whole stream is read first."""

    async def changing(request: Request, go_on: Next) -> Reply:
        reply = await go_on(request)
        if not isinstance(reply, StreamResponse):
            return reply
        data = b"".join([bytes(block) async for block in reply.body])
        assert reply.finish is not None
        data += reply.finish(None) or b""
        found = change([event for event in data.split(b"\n\n") if event])

        async def body() -> AsyncIterator[bytes]:
            yield b"".join(event + b"\n\n" for event in found)

        return StreamResponse(body(), 200, reply.headers, content_type)

    return changing


def is_error(reply: Response) -> bool:
    return reply.status >= 400


def path(name: str) -> Callable[[Request], bool]:
    return lambda request: request.path == name


def has(name: str, value: str) -> Callable[[Request], bool]:
    return lambda request: request.headers.get(name) == value


def lost(header: str, *, on_errors: bool = False) -> Change:
    def change(request: Request, reply: Response) -> Response:
        if on_errors and not is_error(reply):
            return reply
        headers = [(name, value) for name, value in reply.headers if name != header]
        return Response(reply.status, headers, reply.body, reply.content_type)

    return whole(change)


def fixed_id(request: Request, reply: Response) -> Response:
    asked = request.headers.get("x-request-id")
    headers = [(n, "always" if n == "x-request-id" and not asked else v) for n, v in reply.headers]
    return Response(reply.status, headers, reply.body, reply.content_type)


def typed(content_type: str) -> Callable[[Request, Response], Response]:
    return lambda request, reply: Response(reply.status, reply.headers, reply.body, content_type)


def error_as(status: int, body: bytes | None = None) -> Change:
    def change(request: Request, reply: Response) -> Response:
        if reply.status not in (400, 413, 422) or request.path != OWN:
            return reply
        return Response(status or reply.status, reply.headers, body or reply.body, reply.content_type)

    return whole(change)


def codeless(request: Request, reply: Response) -> Response:
    if not is_error(reply) or request.path != OWN:
        return reply
    body = msgspec.json.decode(reply.body)
    body["error"]["code"] = None
    return Response(reply.status, reply.headers, msgspec.json.encode(body), reply.content_type)


def with_usage(found: list[bytes]) -> list[bytes]:
    usage = b'data: {"id":"x","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
    return [*[event for event in found[:-1] if b'"usage"' not in event], usage, found[-1]]


def with_other_contract(request: Request, reply: Response) -> Response:
    if request.path != "/v1/contract":
        return reply
    body = msgspec.json.decode(reply.body)
    body["required"]["invoke.request"].append("lang: str")
    return Response(200, reply.headers, msgspec.json.encode(body))


def answers_unknown(request: Request) -> bool:
    return b"x_unknown" in (request.body or b"")


CHANGES = [
    (
        whole(typed("text/plain")),
        {"replies-are-json", "errors-have-their-form", "errors-come-before-streams"},
    ),
    (error_as(400), {"too-large-is-refused"}),
    (instead(path("/health/live"), 404), {"it-says-that-it-lives", "health-asks-for-no-token"}),
    (instead(path("/health/ready"), 503), {"it-says-that-it-is-ready"}),
    (instead(path("/metrics"), 404), {"metrics-are-there"}),
    (instead(path("/openapi.json"), 404), {"routes-are-described"}),
    (instead(path("/v1/contract"), 404), {"contract-is-stated"}),
    (whole(with_other_contract), {"what-is-stated-fits"}),
    (instead(path("/v1/weft-conform-nowhere"), 200), {"what-is-not-there-is-404"}),
    (instead(lambda r: r.method == "GET" and r.path == OWN, 404), {"wrong-methods-are-405"}),
    (instead(answers_unknown, 400), {"unknown-fields-are-ignored"}),
    (instead(has("content-type", "text/csv"), 200), {"other-types-are-415"}),
    (whole(codeless), {"errors-say-what-kind"}),
    (events(lambda found: found[:-1]), {"streams-end-with-done", "usage-comes-when-asked-for"}),
    (events(lambda found: [found[-1], *found]), {"streams-end-with-done"}),
    (
        events(lambda found: [b"data: text", *found]),
        {"streams-are-event-streams", "usage-comes-only-when-asked-for"},
    ),
    (events(with_usage), {"usage-comes-only-when-asked-for"}),
    (instead(has("x-weft-timeout-ms", "soon"), 400), {"deadlines-are-read"}),
    (instead(has("x-weft-timeout-ms", "0"), 200), {"no-time-is-504"}),
    (lost("x-request-id", on_errors=True), {"request-ids-come-back"}),
    (lost("x-request-id"), {"request-ids-come-back", "request-ids-are-made"}),
    (whole(fixed_id), {"request-ids-are-made"}),
    (instead(has("x-weft-context", "forged"), 403), {"forged-identity-is-not-believed"}),
]


@pytest.mark.parametrize(
    ("change", "names"),
    CHANGES,
    ids=[f"{n}-{min(names, default='none')}" for n, (_, names) in enumerate(CHANGES)],
)
async def test_one_change_is_found_out(change: Change, names: set[str]) -> None:
    """What was changed is named, and on the wire nothing else is blamed."""
    wire = {f.name for f in (await report(change)).findings if f.outcome == "broken" and f.section[0] != "8"}
    assert wire == names


@pytest.mark.parametrize("status", [200, 500])
async def test_errors_with_a_wrong_status_are_found_out(status: int) -> None:
    """An error in a reply that says 200 is the worst of them; 500 blames the service for the caller's fault."""
    found = await broken(error_as(status))
    assert "wrong-bodies-are-the-callers-fault" in found
    assert ("failures-have-a-status" in found) == (status == 200)
    assert "errors-come-before-streams" in found


async def test_errors_in_another_form_are_found_out() -> None:
    """Text, problem+json on OpenAI's routes, an error that says nothing."""
    for body in (b"Bad Request", b'{"title":"x","status":400,"detail":"y"}', b'{"error":{"message":""}}'):
        assert "errors-have-their-form" in await broken(error_as(400, body))


async def test_a_service_that_works_on_for_nobody_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own count of requests in flight does not fall when the callers have gone."""
    monkeypatch.setattr(wire_requests, "STOPS_WITHIN_S", 0.05)
    asked = 0

    def growing(request: Request, reply: Response) -> Response:
        nonlocal asked
        if request.path != "/metrics":
            return reply
        asked += 1
        return Response(200, reply.headers, b"weft_http_requests_in_flight %d\n" % asked, "text/plain")

    found = {f.name: f for f in (await report(whole(growing))).findings}
    assert found["who-leaves-ends-the-work"].outcome == "broken"
    assert "requests in flight after" in found["who-leaves-ends-the-work"].came


async def test_a_connection_that_is_not_kept_is_found_out() -> None:
    """``connection: close`` on every reply costs each call a connection."""

    def closing(request: Request, reply: Response) -> Response:
        return Response(
            reply.status, [*reply.headers, ("connection", "close")], reply.body, reply.content_type
        )

    assert "connections-are-kept" in await broken(whole(closing))
