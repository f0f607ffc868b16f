"""OpenAI's Responses API, asked with the SDK as it comes and by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import openai
import pytest

from frontkit import GATEWAY, TALK, FrontRig

ROUTE = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def client_of(rig: FrontRig) -> openai.AsyncOpenAI:
    client = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="nobody", max_retries=0)
    rig.stack.push_async_callback(client.close)
    return client


async def test_a_whole_response(rig: FrontRig) -> None:
    """The SDK gets the words, the state and what they cost."""
    await rig.gateway(ROUTE)
    client = await client_of(rig)
    response = await client.responses.create(model="talk", input="Hello?", instructions="Be kind.")
    assert response.output_text == "Good morning to you."
    assert (response.status, response.instructions, response.object) == ("completed", "Be kind.", "response")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 4)


async def test_the_events_of_a_streamed_response(rig: FrontRig) -> None:
    """They come in the documented order, numbered from 0, and the SDK puts the response together from them."""
    await rig.gateway(ROUTE)
    client = await client_of(rig)
    async with client.responses.stream(model="talk", input="Hello?") as stream:
        events = [event async for event in stream]
        response = await stream.get_final_response()
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 4,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert response.output_text == "Good morning to you."
    assert response.usage is not None
    assert response.usage.total_tokens == 5


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_conversation_goes_on_from_a_response(rig: FrontRig, *, streamed: bool) -> None:
    """What was said comes before the new input, without the instructions that held then."""
    await rig.gateway(ROUTE)
    client = await client_of(rig)
    if streamed:
        async with client.responses.stream(model="talk", input="Hello?", instructions="Be kind.") as stream:
            first = (await stream.get_final_response()).id
    else:
        first = (await client.responses.create(model="talk", input="Hello?", instructions="Be kind.")).id
    await client.responses.create(model="talk", input="And now?", previous_response_id=first)
    asked = rig.requests()[-1]
    assert [(message.role, message.text()) for message in asked.messages] == [
        ("user", "Hello?"),
        ("assistant", "Good morning to you."),
        ("user", "And now?"),
    ]


async def test_a_response_is_kept_and_deleted(rig: FrontRig) -> None:
    """It is had again whole, with what it answered, until it is deleted."""
    await rig.gateway(ROUTE)
    client = await client_of(rig)
    made = await client.responses.create(model="talk", input="Hello?")
    again = await client.responses.retrieve(made.id)
    assert again.output_text == made.output_text
    items = await client.responses.input_items.list(made.id)
    assert [item.type for item in items.data] == ["message"]
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_what_shall_not_be_kept_is_not(rig: FrontRig) -> None:
    """``store: false``: the response cannot be had again, nor gone on with."""
    await rig.gateway(ROUTE)
    client = await client_of(rig)
    made = await client.responses.create(model="talk", input="Hello?", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError) as caught:
        await client.responses.create(model="talk", input="And now?", previous_response_id=made.id)
    assert caught.value.param == "previous_response_id"
