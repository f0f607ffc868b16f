"""Limits by tokens and cost: reserved before, settled after, whatever way the request ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from limitkit import WORDS, LimitRig, left, route, service

from frontkit import GATEWAY, TALK, ask

DAY = "{per: tenant, tokens: 5000/day}"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[LimitRig]:
    async with AsyncExitStack() as stack:
        yield LimitRig(tmp_path, stack)


@pytest.mark.parametrize("kind", [route, service])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/greet", "/v1/chat/completions"])
async def test_what_was_used_is_charged(rig: LimitRig, kind, stream: bool, path: str) -> None:
    """After a request exactly its tokens are charged: whole or streamed, megaservice or service, on every path."""
    gateway = await rig.gateway(kind(DAY))
    model = "talk" if kind is route else "llm"
    _, _, headers = await ask(gateway, path, model=model, stream=stream)
    reserved = 5000 - left(headers, "tenant-tokens-day")
    assert reserved == 1500 if kind is route else reserved > 100
    _, _, headers = await ask(gateway, path, model=model, stream=stream)
    assert left(headers, "tenant-tokens-day") == 5000 - WORDS - reserved


async def test_a_reservation_keeps_others_out(rig: LimitRig) -> None:
    """While a request runs, all that it may use is taken: another that does not fit beside it is refused, and fits after it."""
    gateway = await rig.gateway(route("{per: tenant, tokens: 2500/day}"))
    model = rig.model
    model.gate.clear()
    first = asyncio.ensure_future(ask(gateway, stream=False))
    while not model.running:
        await asyncio.sleep(0)
    status, body, headers = await ask(gateway, stream=False)
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert left(headers, "tenant-tokens-day") == 1000
    model.gate.set()
    assert (await first)[0] == 200
    assert (await ask(gateway, stream=False))[0] == 200


async def test_more_than_the_limit_ever_has_is_told(rig: LimitRig) -> None:
    """A request that could never fit is refused in words that say what to change."""
    gateway = await rig.gateway(service("{per: tenant, tokens: 90/day}"))
    status, body, _ = await ask(gateway, model="llm", stream=False, max_tokens=80)
    assert status == 429
    assert "more than the limit ever has" in body["error"]["message"]
    assert "max_tokens" in body["error"]["message"]


async def test_what_is_refused_before_the_model_costs_nothing(rig: LimitRig) -> None:
    """A request that is wrong in itself is charged nothing."""
    gateway = await rig.gateway(service(DAY))
    status, _, _ = await ask(gateway, model="llm", stream=False, temperature=99)
    assert status == 400
    status, _, headers = await ask(gateway, model="llm", stream=False, messages=[])
    assert status == 400
    reserved = 5000 - left(headers, "tenant-tokens-day")
    _, _, headers = await ask(gateway, model="llm", stream=False, messages=[])
    assert 5000 - left(headers, "tenant-tokens-day") == reserved


async def test_a_service_is_held_to_its_reserve(rig: LimitRig) -> None:
    """Where a request bounds nothing, the route's reserve bounds the model's answer."""
    gateway = await rig.gateway(service(DAY, "reserve: 160"))
    status, body, _ = await ask(gateway, model="llm", stream=False)
    assert status == 200, body
    asked = rig.model.requests[-1]
    assert asked.max_tokens is not None
    assert 1 <= asked.max_tokens < 160
    status, body, _ = await ask(gateway, model="llm", stream=False, max_tokens=400)
    assert (status, body["error"]["code"]) == (400, "reserve_exceeded")
    assert "reserves 160" in body["error"]["message"]


async def test_cost_is_counted_by_the_price_table(rig: LimitRig) -> None:
    """Tokens read and written have prices of their own, and what a request cost is charged to the millionth."""
    prices = "prices: {talk: {input: 10, output: 100}}\n"
    gateway = await rig.gateway(route("{per: key, cost: 0.5/day}") + prices)
    _, _, headers = await ask(gateway, stream=False)
    assert left(headers, "key-cost-day") == 500_000 - 1500 * 100
    _, _, headers = await ask(gateway, stream=False)
    assert left(headers, "key-cost-day") == 500_000 - (1 * 10 + 4 * 100) - 1500 * 100
    assert headers["ratelimit-policy"] == '"key-cost-day";q=500000;w=86400;qu="cost"'


async def test_limits_over_all_routes_count_them_together(rig: LimitRig) -> None:
    """A limit of the whole file counts what every route grants, beside the routes' own."""
    text = (
        route("{per: key, requests: 5/min}")
        + "  - {path: /v1/llm, service: llm}\nlimits: [{per: tenant, requests: 3/min}]\n"
    )
    gateway = await rig.gateway(text)
    assert (await ask(gateway, stream=False))[0] == 200
    _, _, headers = await ask(gateway, "/v1/llm", model="llm", stream=False)
    assert left(headers, "all-tenant-requests-min") == 1
    assert (await ask(gateway, stream=False))[0] == 200
    status, body, _ = await ask(gateway, "/v1/llm", model="llm", stream=False)
    assert status == 429
    assert "3 requests a minute for each tenant" in (body.get("detail") or body["error"]["message"])


AGENT = '''\
from weft.contracts.chat import Chat, ChatRequest, ChatResponse


class Agent:
    """Asks its model three times, and gives the last answer."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        for _ in range(3):
            answer = await self._chat.invoke(ChatRequest(request.messages, max_tokens=100))
        return answer
'''


async def test_a_component_is_held_to_what_its_route_reserves(rig: LimitRig) -> None:
    """Calls of models that a component makes are taken from the reserve one by one, and those beyond it fail."""
    (rig.folder / "agent.py").write_text(AGENT)
    head = TALK.replace(
        '  llm: {component: "./chat.py:Chat"}\n',
        '  llm: {component: "./chat.py:Chat"}\n  agent: {component: "./agent.py:Agent", uses: {chat: llm}}\n',
    )
    text = f"{head}{GATEWAY}  - {{path: /v1/agent, service: agent, limits: [{DAY}], reserve: RESERVE}}\n"
    gateway = await rig.gateway(text.replace("RESERVE", "250"))
    status, body, _ = await ask(gateway, model="agent", stream=False)
    assert status == 200, body
    _, _, headers = await ask(gateway, model="agent", stream=False)
    assert left(headers, "tenant-tokens-day") == 5000 - 3 * WORDS - 250
    gateway = await rig.gateway(text.replace("RESERVE", "190"))
    status, body, _ = await ask(gateway, model="agent", stream=False)
    assert (status, body["error"]["code"]) == (400, "reserve_exceeded")
    assert "service 'llm'" in body["error"]["message"]
    assert len(rig.model.requests) == 1


async def test_an_embedder_is_bounded_by_its_texts(rig: LimitRig) -> None:
    """What counts tokens and is no chat model reserves the bytes of its request, and is charged what it reports."""
    (rig.folder / "embed.py").write_text(
        "from weft.testing import ScriptedEmbedder\n\n\nclass Embed(ScriptedEmbedder):\n    pass\n"
    )
    head = TALK.replace("services:\n", 'services:\n  embed: {component: "./embed.py:Embed"}\n')
    gateway = await rig.gateway(f"{head}{GATEWAY}  - {{path: /v1/embed, service: embed, limits: [{DAY}]}}\n")
    sent = {"model": "embed", "input": ["one two three"]}
    body = msgspec.json.encode(sent)
    for used in (0, 3):
        reply = await gateway.request(
            "POST", "/v1/embeddings", body, headers=[("content-type", "application/json")]
        )
        assert reply.status == 200, reply.body
        assert left(dict(reply.headers.items()), "tenant-tokens-day") == 5000 - used - len(body) - 64
