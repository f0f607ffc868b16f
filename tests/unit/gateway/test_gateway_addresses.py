"""Upstream routes with several addresses: who is asked, again, as well, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from frontkit import GATEWAY, FrontRig
from upstreamkit import WATCHDOG_S, Backend, Seen, whole
from weft.http.client import Endpoint, Reply

JSON = [("content-type", "application/json")]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def post(gateway: Endpoint, body: bytes = b"{}") -> Reply:
    return await gateway.request("POST", "/v1/foreign", body, headers=JSON)


def several(backends: list[Backend], rest: str = "") -> str:
    urls = ", ".join(f"'{backend.url}'" for backend in backends)
    return f"{GATEWAY}  - {{path: /v1/foreign, methods: [GET, POST], upstream: {{urls: [{urls}]}}{rest}}}\n"


@pytest.fixture
async def pair() -> AsyncIterator[list[Backend]]:
    async with AsyncExitStack() as stack:
        yield [await Backend().start(stack) for _ in range(2)]


async def test_a_dead_address_is_not_noticed(rig: FrontRig, pair: list[Backend]) -> None:
    """What cannot be connected to is asked elsewhere, whatever the method, and after some failures not at all."""
    text = several(pair)
    await pair[0].stop()
    gateway = await rig.gateway(text)
    for _ in range(12):
        assert (await post(gateway)).status == 200
    metrics = (await gateway.request("GET", "/metrics")).body.decode()
    assert f'weft_backend_ejections_total{{target="foreign",endpoint="{pair[0].url}"}} 1' in metrics
    assert f'weft_backend_able{{target="foreign",endpoint="{pair[0].url}"}} 0' in metrics
    assert 'weft_backend_retries_total{target="foreign"} 3' in metrics


async def test_a_reply_that_means_trouble_is_asked_for_elsewhere(rig: FrontRig, pair: list[Backend]) -> None:
    """503 is; of a request that may not be sent twice, 502 is not, unless the file says that it may."""
    pair[0].reply = whole(b"no", status="503 No")
    gateway = await rig.gateway(several(pair))
    assert [(await post(gateway)).status for _ in range(4)] == [200] * 4
    pair[0].reply = whole(b"the words", status="502 Bad", kind="text/plain")
    for idempotent, statuses in (("false", {200, 502}), ("true", {200})):
        gateway = await rig.gateway(several(pair, f", backends: {{idempotent: {idempotent}}}"))
        assert {(await post(gateway)).status for _ in range(2)} == statuses
    assert {(await gateway.request("GET", "/v1/foreign")).status for _ in range(2)} == {200}


async def test_trouble_everywhere_is_handed_on_as_it_is(rig: FrontRig, pair: list[Backend]) -> None:
    """The last reply is the caller's to read, with its body and its Retry-After."""
    for backend in pair:
        backend.reply = whole(b"busy", status="429 Busy", kind="text/plain", extra="retry-after: 7\r\n")
    reply = await post(await rig.gateway(several(pair)))
    assert (reply.status, reply.body, reply.headers.get("retry-after")) == (429, b"busy", "7")
    assert [len(backend.seen) for backend in pair] == [1, 1]


async def test_a_circuit_opens(rig: FrontRig, pair: list[Backend]) -> None:
    """After failures in a row nothing is sent, and the error says why."""
    text = several(pair, ", backends: {attempts: 1}")
    for backend in pair:
        await backend.stop()
    gateway = await rig.gateway(text)
    replies = [await post(gateway) for _ in range(8)]
    assert replies[-1].status == 503
    assert b"the circuit to the upstream 'foreign' is open" in replies[-1].body


async def test_the_same_prompt_leads_to_the_same_address(rig: FrontRig, pair: list[Backend]) -> None:
    """Whatever else is asked for; and different prompts are spread."""
    gateway = await rig.gateway(several(pair, ", backends: {balance: prefix}"))
    for number in range(30):
        before = [len(backend.seen) for backend in pair]
        for temperature in range(3):
            body = (
                f'{{"temperature": {temperature}, "messages": [{{"role": "user", "content": "{number}"}}]}}'
            )
            await post(gateway, body.encode())
        assert 3 in [len(b.seen) - n for b, n in zip(pair, before, strict=True)]
    assert all(backend.seen for backend in pair)


async def test_a_second_address_answers_for_a_slow_one(rig: FrontRig, pair: list[Backend]) -> None:
    """What may be sent twice is, after so long; the slow one is left at once."""
    gateway = await rig.gateway(several(pair, ", backends: {hedge_after_s: 0.02}"))
    pair[0].gate.clear()
    for _ in range(2):
        assert (await gateway.request("GET", "/v1/foreign")).status == 200
    slow = pair[0].seen[0]
    await asyncio.wait_for(slow.left.wait(), WATCHDOG_S)
    assert (
        'weft_backend_hedges_total{target="foreign"} 1'
        in (await gateway.request("GET", "/metrics")).body.decode()
    )


async def test_an_address_is_asked_for_its_health(rig: FrontRig, pair: list[Backend]) -> None:
    """One whose health path answers badly gets no requests, though it would answer them."""

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        ill = seen.target == "/health" and pair[0].gate.is_set()
        writer.write(whole(b"{}", status="500 No" if ill else "200 OK"))

    pair[0].answer = answer
    rest = ", backends: {health: /health, health_s: 0.01, unwell_after: 2}"
    gateway = await rig.gateway(several(pair, rest))
    able = f'weft_backend_able{{target="foreign",endpoint="{pair[0].url}"}} '
    for is_able in (False, True):
        async with asyncio.timeout(WATCHDOG_S):
            while f"{able}{int(is_able)}" not in (await gateway.request("GET", "/metrics")).body.decode():
                await asyncio.sleep(0)
        asked = [seen for seen in pair[0].seen if seen.target == "/v1/foreign"]
        for _ in range(4):
            assert (await post(gateway)).status == 200
        now = [seen for seen in pair[0].seen if seen.target == "/v1/foreign"]
        assert len(now) - len(asked) == (2 if is_able else 0)
        pair[0].gate.clear()
