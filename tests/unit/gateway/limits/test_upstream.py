"""Tokens of foreign servers: asked for, counted from the wire, and settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from limitkit import LimitRig, left

from frontkit import GATEWAY
from upstreamkit import Backend, streamed, whole
from weft.gateway.limits.wire import Wire
from weft.http.message import StreamResponse

USAGE = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":13,"total_tokens":20}}'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}\n\n'


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[LimitRig]:
    async with AsyncExitStack() as stack:
        yield LimitRig(tmp_path, stack)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with AsyncExitStack() as stack:
        yield await Backend().start(stack)


def text(backend: Backend) -> str:
    """A Gateway file with one upstream whose tokens and cost are limited."""
    return (
        f"{GATEWAY}  - path: /v1/far\n    upstream: {{urls: ['{backend.url}']}}\n    reserve: 400\n"
        "    limits: [{per: route, tokens: 1000/day}, {per: route, cost: 1/day}]\n"
        "prices: {far: {input: 100, output: 1000}, large: {input: 1000, output: 2000}}\n"
    )


async def ask(gateway, **fields):
    body = {"messages": [{"role": "user", "content": "Hello?"}], **fields}
    return await gateway.request(
        "POST", "/v1/far", msgspec.json.encode(body), headers=[("content-type", "application/json")]
    )


def remaining(reply, name: str) -> int:
    return left(dict(reply.headers.items()), name)


async def test_a_stream_is_counted_and_its_caller_sees_nothing_of_that(
    rig: LimitRig, backend: Backend
) -> None:
    """A stream's cost is asked for; the event that tells it is left out for who has not asked, and its tokens are charged."""
    backend.reply = streamed(TEXT, b"data: " + USAGE[:30], USAGE[30:] + b"\n\n", b"data: [DONE]\n\n")
    gateway = await rig.gateway(text(backend))
    reply = await ask(gateway, stream=True)
    assert reply.body == TEXT + b"data: [DONE]\n\n"
    sent = msgspec.json.decode(backend.seen[-1].body)
    assert sent["stream_options"] == {"include_usage": True}
    assert sent["max_tokens"] < 400
    reply = await ask(gateway, stream=True, stream_options={"include_usage": True})
    assert reply.body == TEXT + b"data: " + USAGE + b"\n\ndata: [DONE]\n\n"
    assert remaining(reply, "route-tokens-day") == 1000 - 20 - 400


async def test_a_whole_reply_is_counted_at_its_models_price(rig: LimitRig, backend: Backend) -> None:
    """Tokens of a whole reply are charged, at the price of the model that was asked for."""
    backend.reply = whole(USAGE)
    gateway = await rig.gateway(text(backend))
    await ask(gateway, model="large", max_tokens=10)
    reply = await ask(gateway, max_tokens=10)
    prompt = 1000 - 20 - 10 - remaining(reply, "route-tokens-day")
    cost = 7 * 1000 + 13 * 2000
    assert remaining(reply, "route-cost-day") == 1_000_000 - cost - (prompt * 100 + 10 * 1000)


async def test_a_stream_that_breaks_off_is_charged_in_full(rig: LimitRig, backend: Backend) -> None:
    """Nobody knows what a broken stream cost: what was reserved stays charged. A refusal costs nothing."""

    async def breaking(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(streamed()[0] + b"5\r\nda")
        await writer.drain()
        writer.close()

    backend.answer = breaking
    gateway = await rig.gateway(text(backend))
    await ask(gateway, stream=True)
    backend.answer = backend._answer
    backend.reply = whole(b'{"error": "no"}', status="429 Too Many Requests")
    assert (await ask(gateway, max_tokens=10)).status == 429
    reply = await ask(gateway, max_tokens=10)
    prompt = 1000 - 400 - 10 - remaining(reply, "route-tokens-day")
    assert 90 < prompt < 200


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_events_in_pieces_go_by_unchanged(end: bytes) -> None:
    """Whatever the pieces in which a stream comes, all of it is passed on but the event that was not asked for."""
    events = [
        b": note",
        TEXT.strip(),
        b'data: {"choices":[{}],"usage":{}}',
        b"data: " + USAGE,
        b"data: [DONE]",
    ]
    stream = b"".join(event + end for event in events) + b"data: cut"
    for size in (1, 7, 50, len(stream)):
        wire = Wire(drops=True)
        reply = wire.watch(StreamResponse(_nothing(), content_type="text/event-stream"))
        assert isinstance(reply, StreamResponse)
        out = b"".join(reply.pass_on(stream[at : at + size]) for at in range(0, len(stream), size))
        assert out + (reply.finish(None) or b"") == stream.replace(b"data: " + USAGE + end, b"")
        assert wire.is_whole


async def _nothing():
    return
    yield
