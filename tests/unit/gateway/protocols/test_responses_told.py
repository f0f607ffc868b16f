"""The Responses API: what it can ask for, what comes out, in which order, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from frontkit import GATEWAY, TALK, FrontRig
from protocolkit import CITED, call, delta, relaying, speaking, usage

ROUTE = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n"
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": True,
}
CALLING = [
    delta(role="assistant", reasoning_content="Hm, "),
    delta(reasoning_content="weather."),
    delta(content="Let me see [1]."),
    delta(annotations=[CITED]),
    call(0, "", name="weather", id_="call_1"),
    call(0, '{"place":'),
    call(0, ' "Oslo"}'),
    call(1, '{"place": "Rome"}', name="weather", id_="call_2"),
    delta("tool_calls"),
    usage(9, 7),
]


def client_of(rig: FrontRig) -> openai.AsyncOpenAI:
    client = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="nobody", max_retries=0)
    rig.stack.push_async_callback(client.close)
    return client


async def post(rig: FrontRig, **fields: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=rig.url) as client:
        return await client.post("/v1/responses", json={"model": "talk", "input": "Hello?"} | fields)


@pytest.mark.parametrize("streamed", [False, True])
async def test_all_that_can_come_out(rig: FrontRig, *, streamed: bool) -> None:
    """Thoughts, words with their citations and calls are items, in their order, whole and streamed alike."""
    await speaking(rig, CALLING)
    responses = client_of(rig).responses
    if streamed:
        async with responses.stream(model="talk", input="And?", tools=[TOOL]) as stream:
            response: Any = await stream.get_final_response()
    else:
        response = await responses.create(model="talk", input="And?", tools=[TOOL])
    thought, message, first, second = response.output
    assert (thought.type, thought.content[0].text) == ("reasoning", "Hm, weather.")
    (part,) = message.content
    assert (message.status, part.text) == ("completed", "Let me see [1].")
    (cited,) = part.annotations
    assert (cited.type, cited.url, cited.title) == ("url_citation", "http://here/p/7", "Handbook")
    assert (cited.start_index, cited.end_index, cited.quote) == (4, 7, "Thirty days.")
    assert (first.type, first.call_id, first.name, first.arguments) == (
        "function_call", "call_1", "weather", '{"place": "Oslo"}',
    )  # fmt: skip
    assert (second.call_id, second.arguments) == ("call_2", '{"place": "Rome"}')
    assert response.usage.output_tokens == 7
    assert len({item.id for item in response.output}) == 4


async def test_the_order_of_all_events(rig: FrontRig) -> None:
    """Each item is added and done, each part within its item, each delta within its part; the numbers have no gap."""
    await speaking(rig, CALLING)
    stream = await client_of(rig).responses.create(model="talk", input="And?", stream=True, tools=[TOOL])
    events = [event async for event in stream]
    assert [event.type.removeprefix("response.") for event in events] == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.annotation.added",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    assert added == [0, 1, 2, 3]


async def test_a_conversation_with_calls_is_a_chat(rig: FrontRig) -> None:
    """Items become chat messages: calls that follow each other are one message's; developers are the system."""
    await speaking(rig, [delta("stop", content="Cold.")])
    items: Any = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "And here?"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "-3"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "30"}]},
    ]
    await client_of(rig).responses.create(
        model="talk",
        input=items,
        instructions="Be kind.",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "weather", "schema": {"type": "object"}}},
        metadata={"a": "b"},
    )
    asked = rig.requests()[-1]
    assert [(m.role, m.text(), m.tool_call_id) for m in asked.messages] == [
        ("system", "Be kind.", None),
        ("system", "Be brief.", None),
        ("user", "And here?", None),
        ("assistant", "Let me see.", None),
        ("tool", "-3", "c1"),
        ("tool", "30", "c2"),
    ]
    assert asked.messages[2].content[1].image_url == {"url": "data:image/png;base64,aGk=", "detail": "low"}
    assert [made.id for made in asked.messages[3].tool_calls] == ["c1", "c2"]
    function = {name: TOOL[name] for name in ("name", "description", "parameters", "strict")}
    assert asked.tools == [{"type": "function", "function": function}]
    assert asked.tool_choice == {"type": "function", "function": {"name": "weather"}}
    assert (asked.max_tokens, asked.temperature, asked.top_p) == (9, 0.5, 0.9)
    assert (asked.parallel_tool_calls, asked.reasoning_effort) == (False, "low")
    assert asked.response_format["json_schema"] == {"name": "weather", "schema": {"type": "object"}}


async def test_a_conversation_with_calls_goes_on(rig: FrontRig) -> None:
    """What a call gave is sent with the response that asked for it: the model sees both."""
    await speaking(rig, CALLING)
    responses = client_of(rig).responses
    first = await responses.create(model="talk", input="And?", tools=[TOOL])
    output: Any = [{"type": "function_call_output", "call_id": "call_1", "output": "-3"}]
    await responses.create(model="talk", input=output, previous_response_id=first.id)
    roles = [(m.role, [made.id for made in m.tool_calls or ()]) for m in rig.requests()[-1].messages]
    assert roles == [("user", []), ("assistant", ["call_1", "call_2"]), ("tool", [])]


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_is_cut_off_is_incomplete(rig: FrontRig, *, streamed: bool) -> None:
    """Its status says so, with the reason; so does its last item's."""
    await speaking(rig, [delta("length", content="Cut"), usage(1, 1)])
    if streamed:
        stream = await client_of(rig).responses.create(model="talk", input="And?", stream=True)
        last: Any = [event async for event in stream][-1]
        assert last.type == "response.incomplete"
        response = last.response
    else:
        response = await client_of(rig).responses.create(model="talk", input="And?")
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[-1].status == "incomplete"


async def test_a_refusal_is_a_part_of_its_own(rig: FrontRig) -> None:
    """What a model says in place of an answer is no answer."""
    await speaking(rig, [delta("stop", refusal="I may not."), usage(1, 1)])
    for stream in (False, True):
        if stream:
            async with client_of(rig).responses.stream(model="talk", input="And?") as events:
                response: Any = await events.get_final_response()
        else:
            response = await client_of(rig).responses.create(model="talk", input="And?")
        assert response.output[0].content[0].refusal == "I may not."


async def test_a_stream_that_breaks_has_failed(rig: FrontRig) -> None:
    """The last event says what happened; there is no ``response.completed``."""
    await speaking(rig, [delta(content="Yes"), {"fails": "the model is gone"}])
    stream = await client_of(rig).responses.create(model="talk", input="And?", stream=True)
    events: list[Any] = [event async for event in stream]
    assert (events[-1].type, events[-1].response.status) == ("response.failed", "failed")
    assert "the model is gone" in events[-1].response.error.message


async def test_a_stream_that_fails_before_it_begins_has_a_status(rig: FrontRig) -> None:
    """Nothing has gone out: the error is the reply, in OpenAI's form."""
    await speaking(rig, [{"fails": "the model is gone"}])
    reply = await post(rig, stream=True)
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "backend_reply")


async def test_log_probabilities_are_asked_for_and_told(rig: FrontRig) -> None:
    """``include`` and ``top_logprobs`` are the chat's ``logprobs``."""
    said = delta("stop", content="Yes")
    said["choices"][0]["logprobs"] = {
        "content": [{"token": "Yes", "logprob": -0.1, "bytes": [], "top_logprobs": []}]
    }
    await speaking(rig, [said, usage(1, 1)])
    made: Any = await client_of(rig).responses.create(
        model="talk", input="And?", include=["message.output_text.logprobs"], top_logprobs=2
    )
    assert made.output[0].content[0].logprobs[0].logprob == -0.1
    asked = rig.requests()[-1]
    assert (asked.logprobs, asked.top_logprobs) == (True, 2)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"background": True}, "background"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"truncation": "auto"}, "truncation"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"include": ["web_search_call.results"]}, "include"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ({"text": {"verbosity": "low"}}, "text"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0]",
    ),
    ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"frequency": 1}, "frequency"),
]


async def test_what_cannot_be_honoured_is_refused(rig: FrontRig) -> None:
    """A field or item that nothing here can do justice to is a 400 that names it."""
    await rig.gateway(ROUTE)
    for fields, param in REFUSED:
        reply = await post(rig, **fields)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text


NOTHING: list[dict[str, Any]] = [
    {"prompt_cache_key": "k"}, {"safety_identifier": "s"}, {"truncation": "disabled"}, {"service_tier": "auto"},
     {"background": False}, {"include": ["reasoning.encrypted_content"]}, {"stream_options": {"include_obfuscation": False}},
     {"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {"reasoning": {"summary": "auto"}},
]  # fmt: skip


async def test_what_asks_for_nothing_is_let_pass(rig: FrontRig) -> None:
    """Hints, and values that are what holds anyway."""
    await rig.gateway(ROUTE)
    for fields in NOTHING:
        reply = await post(rig, **fields)
        assert reply.status_code == 200, reply.text


async def test_a_backends_stream_is_told_too(rig: FrontRig) -> None:
    """Bytes that come from a backend's connection are told as they come, in both protocols, with their end."""
    await relaying(rig)
    async with client_of(rig).responses.stream(model="talk", input="Hello?") as stream:
        assert (await stream.get_final_response()).output_text == "Good morning to you."
    body = {
        "model": "talk",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hello?"}],
        "stream": True,
    }
    async with httpx.AsyncClient(base_url=rig.url) as client:
        for path, asked in (
            ("/v1/messages", body),
            ("/v1/responses", {"model": "talk", "input": "Hello?", "store": False, "stream": True}),
        ):
            reply = await client.post(path, json=asked)
            assert "morning" in reply.text
            assert reply.text.rstrip().splitlines()[-2] in (
                "event: message_stop",
                "event: response.completed",
            )
            assert "[DONE]" not in reply.text
