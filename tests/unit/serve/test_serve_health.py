"""Liveness and readiness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from weft.errors import UnreachableError
from weft.http.client import Endpoint
from weft.serve import health as health_module
from weft.serve.application import Application
from weft.serve.health import health_routes

Serve = Callable[[Application], Awaitable[Endpoint]]


async def yes() -> bool:
    return True


async def test_ready_when_every_service_is(app: Application, serve: Serve) -> None:
    """200 with each service."""
    app.ready_checks |= {"llm": yes, "store": yes}
    health_routes(app)
    server = await serve(app)
    for path in ("/health/ready", "/health"):
        reply = await server.request("GET", path)
        assert reply.status == 200
        found = msgspec.json.decode(reply.body)
        assert found == {
            "status": "ready", "services": {"llm": {"ready": True}, "store": {"ready": True}}, "degraded": []
        }  # fmt: skip


async def test_degraded_says_which_and_why(app: Application, serve: Serve) -> None:
    """503; every kind of no is told in words, none brings the route down."""

    async def unreachable() -> bool:
        raise UnreachableError("no connection", service="a")

    async def broken() -> bool:
        raise RuntimeError("no")

    async def loading() -> str:
        return "loading the model"

    async def no() -> bool:
        return False

    app.ready_checks |= {"ok": yes, "a": unreachable, "b": broken, "c": loading, "d": no}
    health_routes(app)
    reply = await (await serve(app)).request("GET", "/health/ready")
    found = msgspec.json.decode(reply.body)
    assert (reply.status, found["status"], found["degraded"]) == (503, "degraded", ["a", "b", "c", "d"])
    assert found["services"]["a"]["reason"] == "no connection (service 'a')"
    assert found["services"]["b"]["reason"] == "its check failed: RuntimeError"
    assert found["services"]["c"]["reason"] == "loading the model"
    assert found["services"]["d"]["reason"] == "not ready"


async def test_a_silent_service_is_not_ready(
    app: Application, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given a bounded time."""
    monkeypatch.setattr(health_module, "CHECK_TIMEOUT_S", 0.02)

    async def silent() -> bool:
        await asyncio.Event().wait()
        return True

    app.ready_checks["llm"] = silent
    health_routes(app)
    reply = await (await serve(app)).request("GET", "/health/ready")
    assert reply.status == 503
    assert "no answer" in msgspec.json.decode(reply.body)["services"]["llm"]["reason"]


async def test_checks_under_way_are_shared(app: Application, serve: Serve) -> None:
    """A crowd of probers asks each service once."""
    asked, gate = 0, asyncio.Event()

    async def slow() -> bool:
        nonlocal asked
        asked += 1
        await gate.wait()
        return True

    app.ready_checks["llm"] = slow
    health = health_routes(app)
    await app.start()
    probes = [asyncio.create_task(health.readiness()) for _ in range(5)]
    while not asked:
        await asyncio.sleep(0)
    probes[0].cancel()
    gate.set()
    assert [(await probe).status for probe in probes[1:]] == ["ready"] * 4
    assert asked == 1


async def test_live_whatever_the_state_and_draining_is_not_ready(app: Application, serve: Serve) -> None:
    """Readiness goes first, liveness stays."""
    health_routes(app)
    server = await serve(app)
    await app.drain()
    assert (await server.request("GET", "/health/live")).status == 200
    reply = await server.request("GET", "/health/ready")
    assert (reply.status, msgspec.json.decode(reply.body)["status"]) == (503, "draining")


async def test_starting_is_not_ready_and_asks_nobody(app: Application) -> None:
    """The services are not there yet."""

    async def fail() -> bool:
        raise AssertionError("asked")

    app.ready_checks["llm"] = fail
    found = await health_routes(app).readiness()
    assert (found.status, found.degraded) == ("starting", ["llm"])


async def test_opeas_health_check(app: Application, serve: Serve) -> None:
    """Name and version in OPEA's words."""
    health_routes(app)
    found = await (await serve(app)).get_json("/v1/health_check")
    assert (found["Service Title"], found["Version"]) == ("test", "1.2.3")
