"""``Idempotency-Key``: what is sent again is answered again, and done once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

from accesskit import bearer, made
from frontkit import GATEWAY, TALK, FrontRig
from protocolkit import WAITS, delta, model_of, speaking, usage

ROUTE = "  - {path: /v1/greet, megaservice: talk}\n"
LIMITED = "  - {path: /v1/greet, megaservice: talk, limits: [{per: route, requests: 1/hour}]}\n"
KEY = {"idempotency-key": "k-1"}
ASKED: dict[str, Any] = {"model": "talk", "messages": [{"role": "user", "content": "Hello?"}]}
SAID = [delta(content="Yes"), delta("stop", content="."), usage(1, 2)]

PROTOCOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", ASKED),
    "chat, streamed": ("/v1/chat/completions", ASKED | {"stream": True}),
    "own path, streamed": ("/v1/greet", {"messages": "Hello?"}),
    "anthropic": ("/v1/messages", ASKED | {"max_tokens": 9}),
    "anthropic, streamed": ("/v1/messages", ASKED | {"max_tokens": 9, "stream": True}),
    "responses": ("/v1/responses", {"model": "talk", "input": "Hello?"}),
}


async def post(rig: FrontRig, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(base_url=rig.url, timeout=20) as client:
        return await client.post(path, json=body, headers=KEY | (headers or {}))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_is_sent_again_is_answered_again(rig: FrontRig, protocol: str) -> None:
    """The model is asked once, nothing is charged a second time, and the reply is the same, with a header that says so."""
    await speaking(rig, SAID, LIMITED)
    path, body = PROTOCOLS[protocol]
    first = await post(rig, path, body)
    await _settled(rig)
    again = await post(rig, path, body)
    assert (first.status_code, again.status_code) == (200, 200)
    if protocol == "responses":  # when it was told is its own
        now = {"created_at": 0, "completed_at": 0}
        assert again.json() | now == first.json() | now
    else:
        assert again.text == first.text
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(model_of(rig).seen) == 1


async def _settled(rig: FrontRig) -> None:
    """Until what a stream said is kept."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_key_stands_for_one_request(rig: FrontRig) -> None:
    """With another body, or on another path, it is refused; with another key both are answered."""
    await speaking(rig, SAID, ROUTE)
    await post(rig, "/v1/chat/completions", ASKED)
    for path, body in (("/v1/chat/completions", ASKED | {"seed": 1}), ("/v1/greet", ASKED)):
        reply = await post(rig, path, body)
        assert reply.status_code == 422
        assert "idempotency_key_reused" in reply.text
    assert (
        await post(rig, "/v1/chat/completions", ASKED | {"seed": 1}, {"idempotency-key": "k-2"})
    ).is_success


async def test_a_second_while_the_first_is_answered_is_told_to_come_back(rig: FrontRig) -> None:
    """409 with Retry-After, and the model is asked once; when the first has ended, its reply is told."""
    await speaking(rig, [WAITS, *SAID], ROUTE)
    model = model_of(rig)
    first = asyncio.ensure_future(post(rig, "/v1/chat/completions", ASKED))
    await asyncio.wait_for(model.waits.wait(), 10)
    second = await post(rig, "/v1/chat/completions", ASKED)
    assert (second.status_code, second.headers["retry-after"]) == (409, "1")
    model.gate.set()
    assert (await first).text == (await post(rig, "/v1/chat/completions", ASKED)).text
    assert len(model.seen) == 1


async def test_the_sdk_that_tries_again_gets_the_first_answer(rig: FrontRig) -> None:
    """The client of OpenAI repeats a request that was refused with 409, under the same key: it gets what the first was told."""
    await speaking(rig, [WAITS, *SAID], ROUTE)
    model = model_of(rig)
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="nobody", max_retries=3) as client:

        def ask() -> asyncio.Future[Any]:
            made = client.chat.completions.create(model="talk", messages=ASKED["messages"], extra_headers=KEY)
            return asyncio.ensure_future(made)

        first = ask()
        await asyncio.wait_for(model.waits.wait(), 10)
        second = ask()
        asyncio.get_running_loop().call_later(0.2, model.gate.set)
        assert (await first).id == (await second).id
    assert len(model.seen) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_failed_can_be_tried_again(rig: FrontRig, *, streamed: bool) -> None:
    """A failure is not kept: the same key asks the model anew."""
    await speaking(rig, [delta(content="Well"), {"fails": "the model is gone"}], ROUTE)
    for _ in range(2):
        reply = await post(rig, "/v1/chat/completions", ASKED | {"stream": streamed})
        assert "the model is gone" in reply.text
        assert "idempotent-replayed" not in reply.headers
        await _settled(rig)
    assert len(model_of(rig).seen) == 2


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_its_caller_left_can_be_tried_again(rig: FrontRig, *, streamed: bool) -> None:
    """A caller that went away before the end has had no reply: the key is free."""
    await speaking(rig, [delta(content="Yes"), WAITS, *SAID], ROUTE)
    model = model_of(rig)
    left = asyncio.ensure_future(post(rig, "/v1/chat/completions", ASKED | {"stream": streamed}))
    await asyncio.wait_for(model.waits.wait(), 10)
    left.cancel()
    await asyncio.wait_for(model.ended.wait(), 10)
    model.gate.set()
    async with asyncio.timeout(10):
        while (
            again := await post(rig, "/v1/chat/completions", ASKED | {"stream": streamed})
        ).status_code == 409:
            pass  # the key is let go when the request has ended, a moment after the model has
    assert again.is_success
    assert "idempotent-replayed" not in again.headers


async def test_a_refusal_is_not_kept(rig: FrontRig) -> None:
    """A request that a limit refused is let in under the same key when the limit allows it: nothing was done."""
    await speaking(rig, SAID, LIMITED)
    await post(rig, "/v1/chat/completions", ASKED, {"idempotency-key": "other"})
    for _ in range(2):
        assert (await post(rig, "/v1/chat/completions", ASKED)).status_code == 429


async def test_a_key_is_its_callers_own(rig: FrontRig) -> None:
    """The same key of a colleague, or in another tenant, is another key, whatever headers it comes with."""
    keys = [
        bearer(await made(rig, name, tenant=tenant, owner=owner))
        for name, tenant, owner in (
            ("one", "a", "anna"),
            ("colleague", "a", "ben"),
            ("namesake", "b", "anna"),
        )
    ]
    await rig.gateway(f"{TALK}{GATEWAY}{ROUTE}auth: {{keys: true}}\n")
    for number, key in enumerate(keys):
        for forged in ({}, {"x-weft-tenant": "a", "x-tenant": "a"}):
            reply = await post(rig, "/v1/chat/completions", ASKED, key | forged)
            assert ("idempotent-replayed" in reply.headers) == bool(forged), number


@pytest.mark.parametrize("key", ["", "x" * 256, '""'])
async def test_a_key_that_is_none_is_refused(rig: FrontRig, key: str) -> None:
    """1 to 255 printable characters; quoted, as the draft has it, is the same as bare."""
    await speaking(rig, SAID, ROUTE)
    reply = await post(rig, "/v1/chat/completions", ASKED, {"idempotency-key": key})
    assert reply.status_code == 400
    await post(rig, "/v1/chat/completions", ASKED)
    quoted = await post(rig, "/v1/chat/completions", ASKED, {"idempotency-key": '"k-1"'})
    assert quoted.headers["idempotent-replayed"] == "true"


async def test_without_a_key_each_request_is_its_own(rig: FrontRig) -> None:
    """The same body twice is asked twice."""
    await speaking(rig, SAID, ROUTE)
    async with httpx.AsyncClient(base_url=rig.url) as client:
        for _ in range(2):
            assert (await client.post("/v1/chat/completions", json=ASKED)).is_success
    assert len(model_of(rig).seen) == 2
