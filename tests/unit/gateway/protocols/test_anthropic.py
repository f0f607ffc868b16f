"""Anthropic's Messages API, asked with the SDK as it comes and by hand."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import MessageParam

from accesskit import made
from frontkit import GATEWAY, TALK, FrontRig
from protocolkit import CITED, call, delta, speaking, usage
from weft.serve.access import Access

ROUTE = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n"
ASKED: list[MessageParam] = [{"role": "user", "content": "Hello?"}]

TOOL: Any = {
    "name": "weather",
    "description": "The weather of a place.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
}

CALLING = [
    delta(role="assistant", content="Let me see."),
    call(0, "", name="weather", id_="call_1"),
    call(0, '{"place":'),
    call(0, ' "Oslo"}'),
    call(1, '{"place": "Rome"}', name="weather", id_="call_2"),
    delta("tool_calls"),
    usage(9, 7),
]


def client_of(rig: FrontRig, **options: Any) -> anthropic.AsyncAnthropic:
    client = anthropic.AsyncAnthropic(base_url=rig.url, **({"api_key": "nobody", "max_retries": 0} | options))
    rig.stack.push_async_callback(client.close)
    return client


async def post(rig: FrontRig, **fields: Any) -> httpx.Response:
    body = {"model": "talk", "max_tokens": 50, "messages": ASKED} | fields
    async with httpx.AsyncClient(base_url=rig.url) as client:
        return await client.post("/v1/messages", json={k: v for k, v in body.items() if v is not None})


def events_of(reply: httpx.Response) -> list[str]:
    return [line.removeprefix("event: ") for line in reply.text.splitlines() if line.startswith("event:")]


async def test_a_whole_answer(rig: FrontRig) -> None:
    """The SDK gets the words, why they ended and what they cost."""
    await rig.gateway(ROUTE)
    message = await client_of(rig).messages.create(model="talk", max_tokens=50, messages=ASKED)
    assert [block.text for block in message.content if block.type == "text"] == ["Good morning to you."]
    assert (message.stop_reason, message.role, message.type) == ("end_turn", "assistant", "message")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 4)
    assert message.id.startswith("msg_")


async def test_a_streamed_answer(rig: FrontRig) -> None:
    """The SDK puts the same message together from the events."""
    await rig.gateway(ROUTE)
    async with client_of(rig).messages.stream(model="talk", max_tokens=50, messages=ASKED) as stream:
        words = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
    assert words == ["Good ", "morning ", "to ", "you."]
    assert message.content[0].type == "text"
    assert message.content[0].text == "Good morning to you."
    assert (message.usage.input_tokens, message.usage.output_tokens) == (1, 4)
    assert message.stop_reason == "end_turn"


async def test_the_order_of_the_events(rig: FrontRig) -> None:
    """It is Anthropic's: a start, each block between its own start and stop, a ping, the usage, the stop."""
    await rig.gateway(ROUTE)
    assert events_of(await post(rig, stream=True)) == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_without_a_gateway_file_it_answers_too(rig: FrontRig) -> None:
    """The protocol is the gateway's own, whatever the files say."""
    await rig.gateway(TALK.removesuffix("---\n"))
    message = await client_of(rig).messages.create(model="talk", max_tokens=50, messages=ASKED)
    assert message.content[0].type == "text"


@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_of_tools(rig: FrontRig, *, streamed: bool) -> None:
    """Each call is a block with its arguments, whole and streamed alike."""
    await speaking(rig, CALLING)
    messages, asked = (
        client_of(rig).messages,
        {"model": "talk", "max_tokens": 50, "messages": ASKED, "tools": [TOOL]},
    )
    if streamed:
        async with messages.stream(**asked) as stream:  # type: ignore[arg-type]
            message: Any = await stream.get_final_message()
    else:
        message = await messages.create(**asked)  # type: ignore[call-overload]
    text, first, second = message.content
    assert text.text == "Let me see."
    assert (first.id, first.name, first.input) == ("call_1", "weather", {"place": "Oslo"})
    assert (second.id, second.input) == ("call_2", {"place": "Rome"})
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 7)


async def test_a_conversation_with_tools_is_a_chat(rig: FrontRig) -> None:
    """Systems, calls, their results and pictures become chat messages; sampling and tools their chat fields."""
    await speaking(rig, [delta("stop", content="Cold.")])
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    conversation: Any = [
        {"role": "user", "content": [{"type": "text", "text": "And in Oslo?"}, picture]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"place": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "-3"}]},
                {
                    "type": "tool_result",
                    "tool_use_id": "call_2",
                    "content": "no such place",
                    "is_error": True,
                },
                {"type": "text", "text": "Well?"},
            ],
        },
    ]
    await client_of(rig).messages.create(
        model="talk",
        max_tokens=50,
        messages=conversation,
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        metadata={"user_id": "u-1"},
        extra_body={"temperature": 0.5},
    )
    asked = rig.requests()[-1]
    assert [(m.role, m.text(), m.tool_call_id) for m in asked.messages] == [
        ("system", "Be brief.\n\nBe kind.", None),
        ("user", "And in Oslo?", None),
        ("assistant", "Let me see.", None),
        ("tool", "-3", "call_1"),
        ("tool", "error: no such place", "call_2"),
        ("user", "Well?", None),
    ]
    assert asked.messages[1].content[1].image_url == {"url": "data:image/png;base64,aGk="}
    made = asked.messages[2].tool_calls[0]
    assert (made.id, made.function.name, made.function.arguments) == ("call_1", "weather", '{"place":"Oslo"}')
    assert asked.tools == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": TOOL["input_schema"],
                "description": "The weather of a place.",
            },
        }
    ]
    assert asked.tool_choice == {"type": "function", "function": {"name": "weather"}}
    assert (asked.parallel_tool_calls, asked.stops(), asked.max_tokens) == (False, ["END"], 50)
    assert asked.temperature == 0.5


@pytest.mark.parametrize("streamed", [False, True])
async def test_citations_are_told_as_search_results(rig: FrontRig, *, streamed: bool) -> None:
    """Each annotation is a citation of its block, with the words that it quotes and where they are."""
    said = [delta(content="Yes [1]."), delta("stop", annotations=[CITED]), usage(1, 1)]
    await speaking(rig, said)
    messages = client_of(rig).messages
    if streamed:
        async with messages.stream(model="talk", max_tokens=50, messages=ASKED) as stream:
            block: Any = (await stream.get_final_message()).content[0]
    else:
        block = (await messages.create(model="talk", max_tokens=50, messages=ASKED)).content[0]
    (cited,) = block.citations
    assert (cited.type, cited.cited_text) == ("search_result_location", "Thirty days.")
    assert (cited.source, cited.title, cited.search_result_index) == ("http://here/p/7", "Handbook", 0)


@pytest.mark.parametrize("streamed", [False, True])
async def test_thoughts_are_told_to_who_lets_the_model_think(rig: FrontRig, *, streamed: bool) -> None:
    """``thinking: adaptive`` shows what the model thought as a block of its own; without it there is none."""
    await speaking(rig, [delta(reasoning_content="Hm."), delta("stop", content="Yes."), usage(1, 1)])

    async def kinds(**thinking: Any) -> list[str]:
        messages = client_of(rig).messages
        if streamed:
            async with messages.stream(model="talk", max_tokens=50, messages=ASKED, **thinking) as stream:
                return [block.type for block in (await stream.get_final_message()).content]
        made = await messages.create(model="talk", max_tokens=50, messages=ASKED, **thinking)
        return [block.type for block in made.content]

    assert await kinds(thinking={"type": "adaptive"}) == ["thinking", "text"]
    assert await kinds() == ["text"]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("tool_calls", "tool_use"),
    ],
)
async def test_why_an_answer_ended(rig: FrontRig, finish: str, reason: str) -> None:
    """Chat's reasons are Anthropic's."""
    await speaking(rig, [delta(finish, content="Yes.")])
    made = await client_of(rig).messages.create(model="talk", max_tokens=50, messages=ASKED)
    assert made.stop_reason == reason


async def test_a_stream_that_breaks_ends_with_an_error(rig: FrontRig) -> None:
    """The SDK raises what the error event says; there is no message_stop."""
    await speaking(rig, [delta(content="Yes"), {"fails": "the model is gone"}])
    reply = await post(rig, stream=True)
    assert events_of(reply)[-1] == "error"
    with pytest.raises(anthropic.APIStatusError, match="the model is gone"):
        async with client_of(rig).messages.stream(model="talk", max_tokens=50, messages=ASKED) as stream:
            await stream.get_final_message()


async def test_a_stream_that_fails_before_it_begins_has_a_status(rig: FrontRig) -> None:
    """Nothing has gone out: the error is the reply, in Anthropic's form."""
    await speaking(rig, [{"fails": "the model is gone"}])
    reply = await post(rig, stream=True)
    assert reply.status_code == 502
    assert (reply.json()["type"], reply.json()["error"]["type"]) == ("error", "api_error")


async def test_errors_have_anthropics_form(rig: FrontRig) -> None:
    """The SDK raises its own class for each, with the message and the request's id."""
    await rig.gateway(ROUTE)
    messages = client_of(rig).messages
    with pytest.raises(anthropic.NotFoundError, match="there is no model 'nobody'") as missing:
        await messages.create(model="nobody", max_tokens=50, messages=ASKED)
    assert missing.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    assert missing.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        await messages.create(model="talk", max_tokens=0, messages=ASKED)


REFUSED = [
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"messages": [*ASKED, {"role": "assistant", "content": "The answer is"}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "n", "input": {}}]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True}}]}]}, "messages[0].content[0].citations"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ({"top_k": 5}, "top_k"),
    ({"container": "c-1"}, "container"),
    ({"max_tokens": None}, None),
]  # fmt: skip


async def test_what_cannot_be_honoured_is_refused(rig: FrontRig) -> None:
    """A field or content that nothing here can do justice to is a 400 that names it."""
    await rig.gateway(ROUTE)
    for fields, param in REFUSED:
        reply = await post(rig, **fields)
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_a_refused_field_is_called_as_the_caller_wrote_it(rig: FrontRig) -> None:
    """A chat field that nothing reads is named by Anthropic's name for it."""
    await rig.gateway(ROUTE.replace("fill_from: request, ", ""))
    reply = await post(rig, stop_sequences=["END"])
    assert reply.json()["error"]["param"] == "stop_sequences"
    assert "'stop_sequences' is not supported" in reply.json()["error"]["message"]


async def test_max_tokens_is_left_out_where_nothing_reads_it(rig: FrontRig) -> None:
    """Anthropic's clients must send it: a megaservice that has no use for it answers, and the reply says so."""
    await rig.gateway(ROUTE.replace("fill_from: request, ", ""))
    reply = await post(rig)
    assert (reply.status_code, reply.headers["x-weft-ignored"]) == (200, "max_tokens")


@pytest.mark.parametrize(
    ("version", "status"), [("2023-06-01", 200), ("2026-10-21", 200), ("1999-01-01", 400)]
)
async def test_the_version_of_the_api(rig: FrontRig, version: str, status: int) -> None:
    """The two that there are answer; another is refused with the choices."""
    await rig.gateway(ROUTE)
    body = {"model": "talk", "max_tokens": 5, "messages": ASKED}
    async with httpx.AsyncClient(base_url=rig.url) as client:
        reply = await client.post("/v1/messages", json=body, headers={"anthropic-version": version})
    assert reply.status_code == status


@pytest.mark.parametrize("option", ["api_key", "auth_token"])
async def test_the_access_token_is_the_key(rig: FrontRig, option: str) -> None:
    """The SDK's key and its token both carry the access token; another is refused in Anthropic's form."""
    await rig.gateway(ROUTE, Access("secret"))
    known = client_of(rig, **{"api_key": None, option: "secret"})
    assert (await known.messages.create(model="talk", max_tokens=5, messages=ASKED)).content
    stranger = client_of(rig, **{"api_key": None, option: "guess"})
    with pytest.raises(anthropic.AuthenticationError) as refused:
        await stranger.messages.create(model="talk", max_tokens=5, messages=ASKED)
    assert refused.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


async def test_the_key_may_come_as_x_api_key(rig: FrontRig) -> None:
    """Older clients send it so."""
    await rig.gateway(ROUTE, Access("secret"))
    body = {"model": "talk", "max_tokens": 5, "messages": ASKED}
    async with httpx.AsyncClient(base_url=rig.url) as client:
        for key, status in (("secret", 200), ("guess", 401)):
            reply = await client.post("/v1/messages", json=body, headers={"x-api-key": key})
            assert reply.status_code == status


async def test_tokens_are_counted_without_asking_the_model(rig: FrontRig) -> None:
    """Words, tools and pictures count; more of them are more."""
    await rig.gateway(ROUTE)
    messages = client_of(rig).messages
    few = (await messages.count_tokens(model="talk", messages=ASKED)).input_tokens
    long: Any = [{"role": "user", "content": "Good morning to all of you. " * 100}]
    many = (await messages.count_tokens(model="talk", messages=long, system="Be kind.")).input_tokens
    tools = (await messages.count_tokens(model="talk", messages=ASKED, tools=[TOOL])).input_tokens
    assert few < tools < many
    assert 600 <= many <= 2400  # a tokenizer counts about 700
    assert not rig.requests()
    with pytest.raises(anthropic.NotFoundError):
        await messages.count_tokens(model="nobody", messages=ASKED)


async def test_tokens_are_counted_for_whom_the_model_is_for(rig: FrontRig) -> None:
    """The route's roles hold."""
    keys = [await made(rig, "clerk", roles=("clerk",)), await made(rig, "other")]
    await rig.gateway(ROUTE.replace("talk}\n", "talk, roles: [clerk]}\nauth: {keys: true}\n"))
    clerk, other = [client_of(rig, api_key=key).messages for key in keys]
    assert (await clerk.count_tokens(model="talk", messages=ASKED)).input_tokens
    with pytest.raises(anthropic.PermissionDeniedError):
        await other.count_tokens(model="talk", messages=ASKED)


async def test_the_models_are_listed(rig: FrontRig) -> None:
    """The SDK finds the names that can be asked."""
    await rig.gateway(ROUTE)
    models = client_of(rig).models
    assert [model.id async for model in models.list()] == ["talk"]
    assert (await models.retrieve("talk")).id == "talk"
