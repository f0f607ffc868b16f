"""Anthropic's Messages API, asked with the SDK as it comes and by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import anthropic
import pytest

from frontkit import GATEWAY, TALK, FrontRig

ROUTE = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n"
ASKED: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Hello?"}]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def client_of(rig: FrontRig) -> anthropic.AsyncAnthropic:
    client = anthropic.AsyncAnthropic(base_url=rig.url, api_key="nobody", max_retries=0)
    rig.stack.push_async_callback(client.close)
    return client


async def test_a_whole_answer(rig: FrontRig) -> None:
    """The SDK gets the words, why they ended and what they cost."""
    await rig.gateway(ROUTE)
    client = await client_of(rig)
    message = await client.messages.create(model="talk", max_tokens=50, messages=ASKED)
    assert [block.text for block in message.content if block.type == "text"] == ["Good morning to you."]
    assert (message.stop_reason, message.role, message.type) == ("end_turn", "assistant", "message")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 4)
    assert message.id.startswith("msg_")


async def test_a_streamed_answer(rig: FrontRig) -> None:
    """The SDK puts the same message together from the events."""
    await rig.gateway(ROUTE)
    client = await client_of(rig)
    async with client.messages.stream(model="talk", max_tokens=50, messages=ASKED) as stream:
        words = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
    assert words == ["Good ", "morning ", "to ", "you."]
    assert message.content[0].type == "text"
    assert message.content[0].text == "Good morning to you."
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 4)
    assert message.stop_reason == "end_turn"
