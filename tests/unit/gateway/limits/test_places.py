"""Limits on how many requests there are at a time: places, the queue before them, and that each is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from limitkit import LimitRig, left, route

from frontkit import ask
from weft.http.client import Endpoint, StreamReply

ONE = "{per: route, concurrent: 1}"
QUEUE = "{per: route, concurrent: 1, queue: 1}"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[LimitRig]:
    async with AsyncExitStack() as stack:
        yield LimitRig(tmp_path, stack)


async def begun(gateway: Endpoint) -> StreamReply:
    """A streamed reply of which something has come."""
    body = {"model": "talk", "messages": [{"role": "user", "content": "Hello?"}], "stream": True}
    reply = await gateway.stream(
        "POST",
        "/v1/chat/completions",
        msgspec.json.encode(body),
        headers=[("content-type", "application/json")],
    )
    assert reply.status == 200
    await anext(aiter(reply.body))
    return reply


async def until(condition) -> None:
    """Return when something has become true; the test's watchdog is the loop's."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def waiting(rig: LimitRig) -> bool:
    """Whether somebody waits for a place."""
    return any(
        getattr(bucket, "waiting", ()) for bucket in rig.assembled.limits.store.ledger.buckets.values()
    )


async def test_one_too_many_is_refused(rig: LimitRig) -> None:
    """While all places are taken another request is refused; when one ends, its place is there again."""
    gateway = await rig.gateway(route(ONE))
    rig.model.gate.clear()
    reply = await begun(gateway)
    status, body, headers = await ask(gateway, stream=False)
    assert (status, headers["retry-after"]) == (429, "1")
    assert (
        body["error"]["message"]
        == "too many requests at once: the limit is 1 requests at a time for this route"
    )
    rig.model.gate.set()
    async for _ in reply.body:
        pass
    assert (await ask(gateway, stream=False))[0] == 200


async def test_who_waits_is_served_in_turn(rig: LimitRig) -> None:
    """As many as the queue takes wait for a place; one more is refused, and those that wait are served."""
    gateway = await rig.gateway(route(QUEUE))
    rig.model.gate.clear()
    reply = await begun(gateway)
    second = asyncio.ensure_future(ask(gateway, stream=False))
    await until(lambda: waiting(rig))
    status, body, _ = await ask(gateway, stream=False)
    assert status == 429
    assert body["error"]["message"].endswith("and the queue is full")
    rig.model.gate.set()
    async for _ in reply.body:
        pass
    assert (await second)[0] == 200


async def test_who_gives_up_waiting_leaves_the_queue(rig: LimitRig) -> None:
    """A client that goes away while it waits leaves its turn to the next."""
    gateway = await rig.gateway(route(QUEUE))
    rig.model.gate.clear()
    reply = await begun(gateway)
    second = asyncio.ensure_future(ask(gateway, stream=False))
    await until(lambda: waiting(rig))
    second.cancel()
    await until(lambda: not waiting(rig))
    await reply.aclose()
    rig.model.gate.set()
    await until(lambda: rig.app.in_flight == 0)
    assert (await ask(gateway, stream=False))[0] == 200


@pytest.mark.parametrize("limit", [ONE, "{per: tenant, tokens: 5000/day}"])
async def test_a_client_that_leaves_gives_everything_back(rig: LimitRig, limit: str) -> None:
    """When a client goes away in mid-stream its place is free at once; of its tokens, what it may have used stays charged."""
    gateway = await rig.gateway(route(limit))
    rig.model.gate.clear()
    reply = await begun(gateway)
    await reply.aclose()
    await until(lambda: rig.app.in_flight == 0)
    rig.model.gate.set()
    status, _, headers = await ask(gateway, stream=False)
    assert status == 200
    if limit is not ONE:
        # The call of the model had taken all that was reserved, for it had no bound of its own.
        assert left(headers, "tenant-tokens-day") == 5000 - 1500 - 1500


async def test_a_request_that_fails_gives_its_place_back(rig: LimitRig) -> None:
    """An error is an end like any other."""
    gateway = await rig.gateway(route(ONE))
    for _ in range(2):
        assert (await ask(gateway, stream=False, messages=[]))[0] == 400
    assert (await ask(gateway, stream=False))[0] == 200


async def test_waiting_ends_with_the_requests_time(rig: LimitRig) -> None:
    """A request with a deadline is told in time that there was no place."""
    gateway = await rig.gateway(route(QUEUE))
    rig.model.gate.clear()
    reply = await begun(gateway)
    status, body, _ = await ask(gateway, headers={"x-weft-timeout-ms": "60"}, stream=False)
    assert status == 429
    assert body["error"]["message"].startswith("no place became free in time")
    await reply.aclose()
