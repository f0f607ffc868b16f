"""Fallback chains: who is asked when a route's own target fails, through which stages, and who is told what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from frontkit import GATEWAY, TALK, FrontRig
from upstreamkit import EVENT, WATCHDOG_S, Backend, Seen, streamed, whole
from weft.http.client import Endpoint, Reply

JSON = [("content-type", "application/json")]
ASKED = b'{"model": "talk", "messages": [{"role": "user", "content": "Hello?"}]}'


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


@pytest.fixture
async def pair() -> AsyncIterator[list[Backend]]:
    async with AsyncExitStack() as stack:
        yield [await Backend(whole(b'{"from": %d}' % number)).start(stack) for number in range(2)]


def chain(pair: list[Backend], first: str = "", second: str = "", more: str = "") -> str:
    """A route to the first, which falls back to the second."""
    return (
        f"{GATEWAY}  - {{path: /v1/first, upstream: {{urls: ['{pair[0].url}']}}, backends: {{attempts: 1, fallback: "
        f"[second{more}]}}{first}}}\n"
        f"  - {{path: /v1/second, upstream: {{urls: ['{pair[1].url}'], path: /other}}{second}}}\n"
    )


async def post(gateway: Endpoint, path: str = "/v1/first", body: bytes = b'{"x": 1}') -> Reply:
    return await gateway.request("POST", path, body, headers=JSON)


@pytest.mark.parametrize("status", ["500 No", "503 No", "429 Busy"])
async def test_another_target_answers_for_one_in_trouble(
    rig: FrontRig, pair: list[Backend], status: str
) -> None:
    """With the same body, at its own path, and a header says who it was."""
    pair[0].reply = whole(b"no", status=status)
    gateway = await rig.gateway(chain(pair))
    reply = await post(gateway)
    assert (reply.status, reply.body, reply.headers.get("x-weft-fallback")) == (200, b'{"from": 1}', "second")
    assert (pair[1].seen[0].target, pair[1].seen[0].body) == ("/other", b'{"x": 1}')
    metrics = (await gateway.request("GET", "/metrics")).body.decode()
    assert 'weft_route_fallbacks_total{route="first",target="second"} 1' in metrics


async def test_one_that_is_not_there_is_stood_in_for(rig: FrontRig, pair: list[Backend]) -> None:
    """No connection is trouble, too; the caller waits for nothing."""
    text = chain(pair)
    await pair[0].stop()
    assert (await post(await rig.gateway(text))).body == b'{"from": 1}'


async def test_what_the_caller_did_wrong_is_told_by_who_was_asked(rig: FrontRig, pair: list[Backend]) -> None:
    """A 4xx is the answer, and the other is not asked."""
    pair[0].reply = whole(b"wrong", status="422 Wrong")
    reply = await post(await rig.gateway(chain(pair)))
    assert (reply.status, reply.body, pair[1].seen) == (422, b"wrong", [])


async def test_when_all_fail_the_first_failure_is_told(rig: FrontRig, pair: list[Backend]) -> None:
    """As it came: the caller asked that target."""
    pair[0].reply = whole(b"first", status="503 No")
    pair[1].reply = whole(b"second", status="502 No")
    reply = await post(await rig.gateway(chain(pair)))
    assert (reply.status, reply.body, reply.headers.get("x-weft-fallback")) == (503, b"first", None)
    text = chain(pair)
    await pair[0].stop()
    reply = await post(await rig.gateway(text))
    assert (reply.status, msgspec.json.decode(reply.body)["service"]) == (502, "first")


async def test_a_stream_that_breaks_before_its_first_event_is_stood_in_for(
    rig: FrontRig, pair: list[Backend]
) -> None:
    """And one that breaks later is not: what has gone out cannot be taken back."""
    sent: list[bytes] = []

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(sent))
        await writer.drain()
        writer.close()

    pair[0].answer = answer
    pair[1].reply = streamed(EVENT, b"data: [DONE]\n\n")
    gateway = await rig.gateway(chain(pair))
    head, first, *_ = streamed(EVENT)
    sent[:] = [head]
    assert (await post(gateway)).body == EVENT + b"data: [DONE]\n\n"
    sent[:] = [head, first]
    reply = await post(gateway)
    assert reply.body.startswith(EVENT)
    assert b'"code":"backend_reply"' in reply.body
    assert len(pair[1].seen) == 1


async def test_routes_may_stand_in_for_each_other(rig: FrontRig, pair: list[Backend]) -> None:
    """Each is asked once, however they name each other."""
    for backend in pair:
        backend.reply = whole(b"no", status="503 No")
    gateway = await rig.gateway(chain(pair, second=", backends: {attempts: 1, fallback: [first]}"))
    assert (await post(gateway)).status == 503
    assert [len(backend.seen) for backend in pair] == [1, 1]


async def test_who_stands_in_is_asked_through_its_own_stages(rig: FrontRig, pair: list[Backend]) -> None:
    """Its transformation and its limits hold; what they refuse does not hide the first failure."""
    pair[0].reply = whole(b"first", status="503 No")
    limits = "limits: [{per: route, requests: 1/hour}]"
    second = f", request: {{set: {{who: \"'second'\"}}}}, {limits}"
    gateway = await rig.gateway(chain(pair, second=second))
    assert (await post(gateway)).status == 200
    assert msgspec.json.decode(pair[1].seen[0].body) == {"x": 1, "who": "second"}
    reply = await post(gateway)
    assert (reply.status, reply.body) == (503, b"first")


async def test_what_a_limit_refuses_is_not_stood_in_for(rig: FrontRig, pair: list[Backend]) -> None:
    """Whoever has used up what they have is told so."""
    gateway = await rig.gateway(chain(pair, first=", limits: [{per: route, requests: 1/hour}]"))
    assert [(await post(gateway)).status for _ in range(2)] == [200, 429]
    assert pair[1].seen == []


async def test_a_full_route_is_stood_in_for(rig: FrontRig, pair: list[Backend]) -> None:
    """Its load is its own: whoever finds no place there is served elsewhere."""
    gateway = await rig.gateway(chain(pair, first=", load: {concurrent: 1, queue: 0}"))
    pair[0].gate.clear()
    first = asyncio.ensure_future(post(gateway))
    await pair[0].until_asked()
    assert (await post(gateway)).body == b'{"from": 1}'
    pair[0].gate.set()
    assert (await asyncio.wait_for(first, WATCHDOG_S)).body == b'{"from": 0}'


async def test_a_megaservice_stands_in_for_an_upstream_and_the_other_way(
    rig: FrontRig, pair: list[Backend]
) -> None:
    """Each is asked in the form in which the request came."""
    pair[0].reply = whole(b"no", status="503 No")
    text = (
        f"{TALK}{GATEWAY}  - {{path: /v1/first, upstream: {{urls: ['{pair[0].url}']}}, backends: {{fallback: [talk]}}}}\n"
        "  - {path: /v1/greet, megaservice: talk, backends: {fallback: [second]}}\n"
        f"  - {{path: /v1/second, upstream: {{urls: ['{pair[1].url}']}}}}\n"
    )
    gateway = await rig.gateway(text)
    reply = await post(gateway, body=ASKED)
    assert msgspec.json.decode(reply.body)["choices"][0]["message"]["content"] == "Good morning to you."
    streaming = ASKED[:-1] + b', "stream": true}'
    assert b"data: [DONE]" in (await post(gateway, body=streaming)).body
    broken = rig.folder / "chat.py"
    broken.write_text(broken.read_text().replace("self.seen.append(request)", "raise RuntimeError"))
    gateway = await rig.gateway(text)
    for path in ("/v1/chat/completions", "/v1/greet"):
        for body in (ASKED, streaming):
            reply = await post(gateway, path, body)
            assert (reply.status, reply.body) == (200, b'{"from": 1}')
            assert pair[1].seen[-1].body == body
