"""A caller that goes away ends all that was begun for it: every backend's connection, at any depth, and every count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from frontkit import GATEWAY, FrontRig
from upstreamkit import WATCHDOG_S, Backend, Seen, streamed, whole
from weft.http.client import Endpoint

JSON = [("content-type", "application/json")]
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"word "},"finish_reason":null}]}\n\n'
)

DEEP = """\
apiVersion: weft/v1
kind: Services
services:
  one: {component: openai-chat, config: {url: "URL0/v1", model: m}}
  two: {component: openai-chat, config: {url: "URL1/v1", model: m}}
---
apiVersion: weft/v1
kind: Megaservice
name: inner
version: "1.0.0"
contract: chat
nodes:
  answer: {service: one, fill_from: request, inputs: {messages: request.messages}}
output: answer
---
apiVersion: weft/v1
kind: Megaservice
name: middle
version: "1.0.0"
contract: chat
nodes:
  answer: {component: megaservice/inner, fill_from: request, inputs: {messages: request.messages}}
output: answer
---
apiVersion: weft/v1
kind: Megaservice
name: outer
version: "1.0.0"
contract: chat
nodes:
  beside: {service: two, inputs: {messages: request.messages}, effect: true}
  answer: {component: megaservice/middle, fill_from: request, inputs: {messages: request.messages}}
output: answer
---
"""
"""Three megaservices deep, and a second backend beside."""

ROUTES = {
    "megaservice": "  - {path: /v1/ask, megaservice: outer, load: {concurrent: 4}}\n",
    "upstream": "  - {path: /v1/ask, upstream: {urls: ['URL0']}, load: {}}\n",
    "hedged": "  - {path: /v1/ask, upstream: {urls: ['URL0', 'URL1']}, "
    "backends: {hedge_after_s: 0.01, idempotent: true}, load: {concurrent: 4}}\n",
    "fallback": "  - {path: /v1/ask, upstream: {urls: ['URL2']}, backends: {attempts: 1, fallback: [other]}}\n"
    "  - {path: /v1/other, upstream: {urls: ['URL0']}, load: {concurrent: 4}}\n",
}

CASES = [
    ("megaservice", False, 2),
    ("megaservice", True, 2),
    ("upstream", False, 1),
    ("upstream", True, 1),
    ("hedged", False, 2),
    ("fallback", False, 1),
    ("fallback", True, 1),
]
"""A route, whether it streams, and how many backends are at work when the caller leaves."""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


@pytest.fixture
async def backends() -> AsyncIterator[list[Backend]]:
    """Two that never end their answers, and one that is in trouble."""
    async with AsyncExitStack() as stack:
        found = [await Backend().start(stack) for _ in range(3)]
        for backend in found[:2]:
            backend.answer = stalling
        found[2].reply = whole(b"no", status="503 No")
        yield found


async def stalling(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Says one word, where it is asked for a stream, and no more."""
    if b'"stream":true' in seen.body:
        head, first, *_ = streamed(CHUNK)
        writer.write(head + first)
    await asyncio.Event().wait()


async def leave(gateway: Endpoint, *, stream: bool, when: Callable[[], Awaitable[object]]) -> None:
    """Ask, and go away when ``when`` has come."""
    body = msgspec.json.encode(
        {"model": "outer", "messages": [{"role": "user", "content": "Hello?"}], "stream": stream}
    )
    asking = asyncio.ensure_future(gateway.stream("POST", "/v1/ask", body, headers=JSON))
    await when()
    if stream:
        reply = await asyncio.wait_for(asking, WATCHDOG_S)
        await reply.body.take()
        await reply.aclose()
        return
    asking.cancel()
    await asyncio.wait({asking})


@pytest.mark.parametrize(("kind", "stream", "at_work"), CASES)
async def test_every_backend_is_left_and_nothing_stays_counted(
    rig: FrontRig, backends: list[Backend], kind: str, stream: bool, at_work: int
) -> None:
    """Streamed or not, three megaservices deep, hedged, or in another's place."""
    text = (DEEP if kind == "megaservice" else "") + GATEWAY + ROUTES[kind]
    for number, backend in enumerate(backends):
        text = text.replace(f"URL{number}", backend.url)
    gateway = await rig.gateway(text)
    working = backends[:2][:at_work] if kind != "fallback" else backends[:1]

    async def when() -> None:
        for backend in working:
            await backend.until_asked()

    await leave(gateway, stream=stream, when=when)
    for backend in working:
        await asyncio.wait_for(backend.seen[-1].left.wait(), WATCHDOG_S)
    assert rig.app is not None
    await asyncio.wait_for(rig.app.until_done(), WATCHDOG_S)
    assert rig.app.in_flight == 0
    assert [backend.busy for backend in backends] == [0, 0, 0]
    metrics = (await gateway.request("GET", "/metrics")).body.decode()
    counts = [
        line
        for line in metrics.splitlines()
        if line.startswith(("weft_route_running", "weft_route_waiting", "weft_backend_in_flight"))
    ]
    assert kind == "fallback" or counts
    assert all(line.endswith(" 0") for line in counts), counts
