"""``heartbeat_s`` of a route: its streams are heard of while they are silent, in every protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import httpx
import openai
import pytest

from frontkit import FrontRig
from protocolkit import WAITS, delta, model_of, speaking, usage

ROUTE = "  - {path: /v1/greet, megaservice: talk, heartbeat_s: 0.04}\n"
ASKED: Any = [{"role": "user", "content": "Hello?"}]
SAID = [delta(content="Well, "), WAITS, delta("stop", content="yes."), usage(1, 2)]

ANY = {"accept": "application/json, text/event-stream"}

STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": "talk", "messages": ASKED}),
    "own path": ("/v1/greet", {"messages": "Hello?"}),
    "anthropic": ("/v1/messages", {"model": "talk", "max_tokens": 9, "messages": ASKED}),
    "responses": ("/v1/responses", {"model": "talk", "input": "Hello?"}),
    "mcp": (
        "/mcp",
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "talk", "arguments": {"messages": "Hello?"}, "_meta": {"progressToken": 1}},
        },
    ),
    "responses, not kept": ("/v1/responses", {"model": "talk", "input": "Hello?", "store": False}),
}


async def lines_of(rig: FrontRig, path: str, body: dict[str, Any]) -> list[str]:
    """What the stream has, where the model waits until two comments have come."""
    found: list[str] = []
    async with (
        httpx.AsyncClient(base_url=rig.url, timeout=20) as client,
        client.stream("POST", path, json=body | {"stream": True}, headers=ANY) as reply,
    ):
        assert reply.status_code == 200
        async for line in reply.aiter_lines():
            found.append(line)
            if found.count(":") == 2:
                model_of(rig).gate.set()
    return found


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_silent_stream_is_heard_of(rig: FrontRig, stream: str) -> None:
    """Comments come while the model is silent, and all its events after them."""
    await speaking(rig, SAID, ROUTE)
    lines = await lines_of(rig, *STREAMS[stream])
    assert lines.count(":") >= 2
    assert any("yes." in line for line in lines)


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_stream_that_has_not_begun_is_heard_of_too(rig: FrontRig, stream: str) -> None:
    """The head goes out with the first comment; what then fails is told in the stream's own form."""
    await speaking(rig, [WAITS, {"fails": "the model is gone"}], ROUTE)
    lines = await lines_of(rig, *STREAMS[stream])
    assert lines[0] == ":"
    assert any("the model is gone" in line for line in lines)
    assert "data: [DONE]" not in lines


async def test_the_sdks_read_over_it(rig: FrontRig) -> None:
    """Comments are no events to openai's and anthropic's clients."""
    await speaking(rig, SAID, ROUTE)
    chats = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="nobody")
    claude = anthropic.AsyncAnthropic(base_url=rig.url, api_key="nobody")
    open_gate = asyncio.get_running_loop().call_later
    async with chats, claude:
        open_gate(0.15, model_of(rig).gate.set)  # after some comments
        stream = await chats.chat.completions.create(model="talk", messages=ASKED, stream=True)
        assert "yes." in [c.delta.content async for chunk in stream for c in chunk.choices]
        model_of(rig).gate.clear()
        open_gate(0.15, model_of(rig).gate.set)
        async with claude.messages.stream(model="talk", max_tokens=9, messages=ASKED) as events:
            assert (await events.get_final_message()).content[0].text == "Well, yes."  # type: ignore[union-attr]
