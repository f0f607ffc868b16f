"""What components are handed."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from weft.context import Context, current
from weft.errors import BackendStatusError, DeadlineError
from weft.host import Host, ModelFiles
from weft.http.message import Request, Response, StreamResponse
from weft.http.server import Server
from weft.observe.metrics import Metrics
from weft.serve.egress import Egress
from weft.serve.host import ServiceHost, usable_cpus
from weft.serve.log import Log


class NoModels:
    async def files(self, reference: str, *, kind: str) -> ModelFiles:
        raise AssertionError("not asked")


@pytest.fixture
async def host(tmp_path: Path, logged: io.StringIO) -> AsyncIterator[ServiceHost]:
    egress = Egress()
    found = ServiceHost(
        "llm",
        egress=egress,
        models=NoModels(),
        metrics=Metrics().of_service("llm"),
        storage=tmp_path / "data",
        log=Log(logged, name="t", pretty=False),
    )
    yield found
    await found.aclose()
    await egress.aclose()


@pytest.fixture
async def backend() -> AsyncIterator[str]:
    """Gives back what it was sent."""

    async def answer(request: Request) -> Response | StreamResponse:
        if request.path == "/v1/fail":
            return Response(418, (), b'"teapot"')
        if request.path == "/v1/moved":
            return Response(302, [("location", "http://elsewhere/")])
        if request.path == "/v1/events":

            async def body() -> AsyncIterator[bytes]:
                yield b"data: 1\n\nda"
                yield b"ta: 2\n\n"

            return StreamResponse(body())
        return Response(200, (), msgspec.json.encode(dict(request.headers.items())))

    server = Server(answer)
    port = await server.listen("127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}/v1"
    await server.aclose()


def test_it_is_a_host(host: ServiceHost) -> None:
    """As the Protocol says it."""
    as_protocol: Host = host
    assert as_protocol.service == "llm"
    assert as_protocol.cpu_count == usable_cpus() >= 1
    assert host.storage.is_dir()
    host.metrics.counter("tokens", "Tokens.").add(3)
    host.metrics.gauge("slots", "Slots.").set(1)


async def test_calls_carry_trace_and_time_left(host: ServiceHost, backend: str) -> None:
    """With the component's own headers, under the URL's path."""
    client = host.http(backend, headers={"authorization": "Bearer k"})
    context = Context("r1", deadline=time.monotonic() + 5)
    current.set(context)
    sent = await client.post_json("/echo", {"a": 1}, headers={"x-one": "1"})
    assert sent["traceparent"] == context.traceparent()
    assert 0 < int(sent["x-weft-timeout-ms"]) <= 5000
    assert (sent["authorization"], sent["x-one"]) == ("Bearer k", "1")


async def test_no_call_after_the_deadline(host: ServiceHost, backend: str) -> None:
    """Nothing new starts then."""
    current.set(Context("r1", deadline=time.monotonic() - 1))
    with pytest.raises(DeadlineError):
        await host.http(backend).get_json("/echo")


async def test_statuses_and_redirects(host: ServiceHost, backend: str) -> None:
    """JSON calls raise; plain ones leave the status to the caller, redirects included."""
    client = host.http(backend)
    with pytest.raises(BackendStatusError, match="418"):
        await client.get_json("/fail")
    reply = await client.request("GET", "/moved")
    assert (reply.status, reply.header("location")) == (302, "http://elsewhere/")
    assert (await client.request("GET", "/fail")).body == b'"teapot"'


async def test_events_arrive_whole(host: ServiceHost, backend: str) -> None:
    """However they were cut."""
    client = host.http(backend)
    async with await client.stream("GET", "/events") as stream:
        assert stream.status == 200
        assert stream.header("content-type") == "text/event-stream"
        assert [event async for event in stream.events()] == [b"1", b"2"]
    async with await client.stream("GET", "/events") as stream:
        assert b"".join([block async for block in stream.chunks()]) == b"data: 1\n\ndata: 2\n\n"


async def test_what_runs_beside_ends_with_the_component(host: ServiceHost, logged: io.StringIO) -> None:
    """Its errors are logged."""
    ended, entered = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail() -> None:
        raise RuntimeError("no")

    host.spawn(forever(), name="watch")
    host.spawn(fail(), name="poll")
    async with asyncio.timeout(10):
        await entered.wait()
        await host.aclose()
        await ended.wait()
    assert "poll failed" in logged.getvalue()


async def test_log_lines_are_json_with_the_service(host: ServiceHost, logged: io.StringIO) -> None:
    """One line each; values that JSON does not know are written as text."""
    host.log("loaded", seconds=1.5, path=Path("/x"))
    line = msgspec.json.decode(logged.getvalue())
    assert (line["message"], line["service"], line["seconds"], line["path"]) == ("loaded", "llm", 1.5, "/x")


async def test_log_lines_for_people() -> None:
    """On a terminal."""
    out = io.StringIO()
    Log(out, name="weft", pretty=True).warning("careful", port=1)
    assert out.getvalue().endswith("weft: warning: careful  port=1\n")


async def test_a_lane_ends_with_the_component(host: ServiceHost) -> None:
    """Its threads take no more work."""
    lane = host.lane(threads=1, queue=1)
    assert await lane.run(lambda: 4) == 4
