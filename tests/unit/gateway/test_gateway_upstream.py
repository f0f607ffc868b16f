"""Upstream routes: what is handed on, what is held back, and what is said when the upstream fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from frontkit import GATEWAY, FrontRig
from upstreamkit import EVENT, WATCHDOG_S, Backend, Seen, streamed, whole
from weft.http.client import Endpoint, Reply

JSON = [("content-type", "application/json")]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with AsyncExitStack() as stack:
        yield await Backend().start(stack)


def route(backend: Backend, upstream: str = "", rest: str = "", path: str = "/v1/foreign") -> str:
    """A Gateway file with one upstream; ``upstream`` are more of its keys, ``rest`` more of the route's."""
    return f"{GATEWAY}  - {{path: {path}, upstream: {{urls: ['{backend.url}']{upstream}}}{rest}}}\n"


async def post(gateway: Endpoint, body: bytes = b"{}", path: str = "/v1/foreign", **headers: str) -> Reply:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await gateway.request("POST", path, body, headers=[*JSON, *fields])


async def test_requests_and_replies_are_handed_on_byte_for_byte(rig: FrontRig, backend: Backend) -> None:
    """The body, the query and the reply, its status and its fields arrive as they were sent."""
    backend.reply = whole(b'{ "odd" :1}', status="207 Multi", extra="x-model: seven\r\netag: W/1\r\n")
    gateway = await rig.gateway(route(backend))
    sent = b'{"messages": [ ],\n "x":1}'
    reply = await post(gateway, sent, "/v1/foreign?a=1&b=%20c", x_custom="yes")
    assert (reply.status, reply.body) == (207, b'{ "odd" :1}')
    assert (reply.headers.get("x-model"), reply.headers.get("etag")) == ("seven", "W/1")
    seen = backend.seen[0]
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/foreign?a=1&b=%20c", sent)
    assert seen.get("x-custom") == "yes"
    assert seen.get("x-request-id") == reply.headers.get("x-request-id")


async def test_streams_are_handed_on_byte_for_byte(rig: FrontRig, backend: Backend) -> None:
    """Events of any form arrive as they were sent, with the comments and the end that the upstream gave them."""
    events = [
        b": hello\n\n",
        EVENT,
        b"event: x\r\ndata: 1\r\n\r\n",
        b"data: cut",
        b" here\n\n",
        b"data: [DONE]\n\n",
    ]
    backend.reply = streamed(*events)
    gateway = await rig.gateway(route(backend))
    reply = await post(gateway)
    assert reply.body == b"".join(events)
    assert reply.headers.get("content-type") == "text/event-stream"


async def test_an_event_is_passed_on_when_it_comes(rig: FrontRig, backend: Backend) -> None:
    """The first event reaches the caller while the upstream has not made the second."""
    head, first, second, end = streamed(EVENT, b"data: [DONE]\n\n")
    go_on = asyncio.Event()

    async def answer(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(head + first)
        await go_on.wait()
        writer.write(second + end)

    backend.answer = answer
    gateway = await rig.gateway(route(backend))
    async with await gateway.stream("POST", "/v1/foreign", b"{}", headers=JSON) as reply:
        assert await asyncio.wait_for(reply.body.take(), WATCHDOG_S) == EVENT
        go_on.set()
        assert await asyncio.wait_for(reply.body.take(), WATCHDOG_S) == b"data: [DONE]\n\n"
        assert await reply.body.take() == b""


async def test_what_is_secret_or_of_one_connection_is_not_handed_on(rig: FrontRig, backend: Backend) -> None:
    """Neither what the caller showed to us, nor where it is, nor fields of its connection reach the upstream."""
    gateway = await rig.gateway(route(backend))
    held = {
        "authorization": "Bearer ours",
        "cookie": "session=1",
        "x-api-key": "ours",
        "x-forwarded-for": "10.1.2.3",
        "x-weft-tenant": "forged",
        "x-weft-timeout-ms": "5000",
        "te": "trailers",
        "x-private": "1",
        "connection": "x-private, keep-alive",
    }
    await gateway.request("POST", "/v1/foreign", b"{}", headers=[*JSON, *held.items()])
    names = {name for name, _ in backend.seen[0].headers}
    assert not names & held.keys()
    assert [value for name, value in backend.seen[0].headers if name == "host"] == [backend.url[7:]]


async def test_headers_that_are_set_take_the_callers_place(rig: FrontRig, backend: Backend) -> None:
    """What the file sets is sent, from secrets too, once and instead of the caller's own."""
    text = route(backend, ", api_key: {secret: UP}, headers: {x-team: red, x-extra: {secret: MORE}}")
    gateway = await rig.gateway(text, secrets={"UP": "k-1", "MORE": "m-1"})
    await post(gateway, authorization="Bearer ours", x_team="blue")
    fields = [f for f in backend.seen[0].headers if f[0] in ("authorization", "x-team", "x-extra")]
    assert sorted(fields) == [("authorization", "Bearer k-1"), ("x-extra", "m-1"), ("x-team", "red")]


async def test_what_is_held_back_is_handed_on_where_the_file_says_so(rig: FrontRig, backend: Backend) -> None:
    """``forward`` lets the caller's own key through, and the upstream's cookies back."""
    backend.reply = whole(b"{}", extra="set-cookie: a=1\r\nset-cookie: b=2\r\n")
    gateway = await rig.gateway(route(backend, ", forward: [authorization, set-cookie]"))
    reply = await post(gateway, authorization="Bearer theirs")
    assert backend.seen[0].get("authorization") == "Bearer theirs"
    assert reply.headers.get_all("set-cookie") == ["a=1", "b=2"]


async def test_fields_that_speak_for_the_gateway_are_not_taken_from_an_upstream(
    rig: FrontRig, backend: Backend
) -> None:
    """An upstream cannot set cookies for this host, open it to other origins, or speak as Weft."""
    held = [
        "set-cookie: weft=1",
        "access-control-allow-origin: *",
        "x-weft-build: x",
        "server: up/1",
        "alt-svc: h3",
    ]
    backend.reply = whole(
        b"{}", extra="".join(f"{line}\r\n" for line in [*held, "connection: x-hop", "x-hop: 1"])
    )
    reply = await post(await rig.gateway(route(backend)))
    names = {name for name, _ in reply.headers.items()}
    assert not names & {
        "set-cookie",
        "access-control-allow-origin",
        "x-weft-build",
        "server",
        "alt-svc",
        "x-hop",
    }


async def test_methods_are_those_that_the_route_names(rig: FrontRig, backend: Backend) -> None:
    """A listed method is handed on, HEAD with GET, and another is answered 405 with those that are."""
    gateway = await rig.gateway(route(backend, rest=", methods: [GET, DELETE]"))
    for method in ("GET", "HEAD", "DELETE"):
        reply = await gateway.request(method, "/v1/foreign")
        assert (reply.status, reply.body == b"") == (200, method == "HEAD")
    assert [seen.method for seen in backend.seen] == ["GET", "HEAD", "DELETE"]
    reply = await post(gateway)
    assert (reply.status, reply.headers.get("allow")) == (405, "DELETE, GET, HEAD")


async def test_named_segments_are_put_into_the_upstreams_path(rig: FrontRig, backend: Backend) -> None:
    """A segment is encoded anew, and one that would lead elsewhere leads nowhere."""
    text = route(backend, ", path: '/items/{id}/raw'", ", methods: [GET]", "'/v1/things/{id}'")
    gateway = await rig.gateway(text)
    assert (await gateway.request("GET", "/v1/things/a%3Fb")).status == 200
    assert backend.seen[0].target == "/items/a%3Fb/raw"
    for path in ("/v1/things/..", "/v1/things/%2e%2e", "/v1/things/a%2Fb", "/v1/things/"):
        assert (await gateway.request("GET", path)).status == 404
    assert len(backend.seen) == 1


async def test_a_large_body_passes_in_pieces(rig: FrontRig, backend: Backend) -> None:
    """A reply beyond what one read brings arrives whole, and so does one that ends with its connection."""
    body = bytes(range(256)) * 20_000
    gateway = await rig.gateway(route(backend))
    for raw in (
        whole(body, kind="application/octet-stream"),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\r\n" + body,
    ):

        async def answer(seen: object, writer: asyncio.StreamWriter, raw: bytes = raw) -> None:
            writer.write(raw)
            await writer.drain()
            if b"content-length" not in raw[:200]:
                writer.close()

        backend.answer = answer
        reply = await post(gateway)
        assert (reply.status, reply.body == body) == (200, True)


async def test_errors_name_the_upstream(rig: FrontRig, backend: Backend) -> None:
    """An upstream that is not there is 502, with the route's name and the address."""
    text = route(backend)
    await backend.stop()
    reply = await post(await rig.gateway(text))
    assert reply.status == 502
    for part in (b'"code":"unreachable"', b"service 'foreign'", backend.url.encode()):
        assert part in reply.body


async def test_metadata_addresses_are_not_contacted(rig: FrontRig) -> None:
    """Not even where the operator's own file names one: whoever gets there gets the machine's credentials."""
    text = f"{GATEWAY}  - {{path: /v1/foreign, upstream: {{urls: ['http://169.254.169.254/latest']}}}}\n"
    reply = await post(await rig.gateway(text))
    assert reply.status == 502
    assert b"never contacted" in reply.body


async def test_a_stream_that_breaks_off_ends_in_words(rig: FrontRig, backend: Backend) -> None:
    """What came before is kept; an event tells what went wrong, and no end of the upstream's is made up."""

    async def answer(seen: object, writer: asyncio.StreamWriter) -> None:
        head, first, *_ = streamed(EVENT)
        writer.write(head + first)
        await writer.drain()
        writer.close()

    backend.answer = answer
    reply = await post(await rig.gateway(route(backend)))
    assert reply.body.startswith(EVENT)
    assert b'"code":"backend_reply"' in reply.body
    assert b"service 'foreign'" in reply.body
    assert b"[DONE]" not in reply.body


async def test_a_body_that_breaks_off_is_not_taken_for_whole(rig: FrontRig, backend: Backend) -> None:
    """A reply of another kind is cut where the upstream cut it."""

    async def answer(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"x" * 5000, kind="text/plain")[:-1000])
        await writer.drain()
        writer.close()

    backend.answer = answer
    gateway = await rig.gateway(route(backend))
    with pytest.raises(Exception, match="cut short"):
        await post(gateway)


async def test_a_request_ends_at_its_time(rig: FrontRig, backend: Backend) -> None:
    """An upstream that does not answer in the route's time, or stops in the middle of a stream, is left."""
    gateway = await rig.gateway(route(backend, rest=", timeout_s: 0.05"))
    backend.gate.clear()
    assert (await post(gateway)).status == 504
    await asyncio.wait_for(backend.seen[0].left.wait(), WATCHDOG_S)

    async def answer(seen: object, writer: asyncio.StreamWriter) -> None:
        head, first, *_ = streamed(EVENT)
        writer.write(head + first)
        await asyncio.Event().wait()

    backend.answer = answer
    reply = await post(gateway)
    assert reply.body.startswith(EVENT)
    assert b'"code":"deadline_exceeded"' in reply.body
    await asyncio.wait_for(backend.seen[1].left.wait(), WATCHDOG_S)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_caller_that_leaves_ends_the_upstreams_work(
    rig: FrontRig, backend: Backend, is_stream: bool
) -> None:
    """The backend's connection is closed when the caller's is, before the reply or in the middle of it."""

    async def answer(seen: object, writer: asyncio.StreamWriter) -> None:
        if is_stream:
            head, first, *_ = streamed(EVENT)
            writer.write(head + first)
        await asyncio.Event().wait()

    backend.answer = answer
    gateway = await rig.gateway(route(backend))
    asking = asyncio.ensure_future(gateway.stream("POST", "/v1/foreign", b"{}", headers=JSON))
    await backend.until_asked()
    if is_stream:
        reply = await asking
        await reply.body.take()
        await reply.aclose()
    else:
        asking.cancel()
    await asyncio.wait_for(backend.seen[0].left.wait(), WATCHDOG_S)
    assert rig.app is not None
    await asyncio.wait_for(rig.app.until_done(), WATCHDOG_S)
    assert rig.app.in_flight == 0


# With the other things that a route may say.


async def test_replies_of_an_upstream_are_changed_as_a_routes_are(rig: FrontRig, backend: Backend) -> None:
    """Whole ones and the events of streams; what is compressed is asked for plain, so that it can be read."""
    text = route(backend, rest=", response: {remove: [secret]}")
    gateway = await rig.gateway(text)
    backend.reply = whole(b'{"kept": 1, "secret": 2}')
    assert (await post(gateway, accept_encoding="gzip")).body == b'{"kept":1}'
    assert backend.seen[0].get("accept-encoding") is None
    backend.reply = streamed(b'data: {"kept": 1, "secret": 2}\n\n', b"data: [DONE]\n\n")
    assert (await post(gateway)).body == b'data: {"kept":1}\n\ndata: [DONE]\n\n'


async def test_a_silent_stream_is_kept_alive_and_another_body_left_alone(
    rig: FrontRig, backend: Backend
) -> None:
    """Comments go out between the events of a stream; a body that is none gets nothing that is not its own."""
    go_on = asyncio.Event()
    pieces: list[bytes] = []

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(pieces[:2]))
        await go_on.wait()
        writer.write(b"".join(pieces[2:]))

    backend.answer = answer
    gateway = await rig.gateway(route(backend, rest=", heartbeat_s: 0.02"))
    for kind, is_kept_alive in (("text/event-stream", True), ("application/octet-stream", False)):
        go_on.clear()
        pieces[:] = streamed(EVENT, EVENT, kind=kind)
        async with await gateway.stream("POST", "/v1/foreign", b"{}", headers=JSON) as reply:
            assert await reply.body.take() == EVENT
            if is_kept_alive:
                comment = await asyncio.wait_for(reply.body.take(), WATCHDOG_S)
                assert comment.startswith(b":")
            go_on.set()
            rest = b"".join([block async for block in reply.body])
        assert rest.endswith(EVENT)
        assert is_kept_alive or rest == EVENT


async def test_comments_go_out_before_the_first_event(rig: FrontRig, backend: Backend) -> None:
    """A model that reads a long prompt says nothing for a while; what fails then is told by an event."""
    go_on = asyncio.Event()

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(streamed()[0])
        await go_on.wait()
        writer.close()

    backend.answer = answer
    gateway = await rig.gateway(route(backend, rest=", heartbeat_s: 0.02"))
    async with await gateway.stream("POST", "/v1/foreign", b"{}", headers=JSON) as reply:
        assert (await asyncio.wait_for(reply.body.take(), WATCHDOG_S)).startswith(b":")
        go_on.set()
        rest = b"".join([block async for block in reply.body])
    assert b'"code":"backend_reply"' in rest


async def test_an_upload_passes_and_one_too_long_does_not(rig: FrontRig, backend: Backend) -> None:
    """Forms are handed on as they came, up to the length that the route allows."""
    gateway = await rig.gateway(route(backend, rest=", max_body_bytes: 5000"))
    form = [("content-type", "multipart/form-data; boundary=x")]
    body = b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n' + b"a" * 4000 + b"\r\n--x--\r\n"
    assert (await gateway.request("POST", "/v1/foreign", body, headers=form)).status == 200
    assert (backend.seen[0].body, backend.seen[0].get("content-type")) == (body, form[0][1])
    assert (await gateway.request("POST", "/v1/foreign", body * 2, headers=form)).status == 413
    assert len(backend.seen) == 1
