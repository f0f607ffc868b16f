"""``openai-chat`` against what each make of server sends, and against servers that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from makes import MAKES, USAGE, chunk, event, whole
from rawserver import RawServer, Sent, json_reply, sse_reply

from weft.components.chat.openai import OpenAIChat
from weft.contracts.chat import ChatRequest, ChatResponse, collect
from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    ContextWindowError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
    ServiceError,
)
from weft.serve.host import ServiceHost
from weft.types import Annotation, FunctionCall, Message, ToolCall, Usage

ASK = ChatRequest([Message("user", "count")])
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])

Chat = Callable[..., Awaitable[OpenAIChat]]


@pytest.fixture
def chat(server: RawServer, host: ServiceHost) -> Chat:
    """Makes the component, started, on the test's server."""

    async def make(**config: Any) -> OpenAIChat:
        component = OpenAIChat(server.url + "/v1", model="big", **config)
        await component.start(host)
        return component

    return make


async def ask(component: OpenAIChat, request: ChatRequest = ASK, *, streamed: bool = True) -> ChatResponse:
    if not streamed:
        return await component.invoke(request)
    return collect([part async for part in component.stream(request)])


@pytest.mark.parametrize("cut", [False, True], ids=["at-once", "byte-by-byte"])
@pytest.mark.parametrize("make", MAKES)
async def test_a_stream_of_each_make_is_read(server: RawServer, chat: Chat, make: str, cut: bool) -> None:
    """Words, thought, finish reason and counts arrive, however the bytes were cut."""
    sent = MAKES[make]
    blocks = [sent.stream[i : i + 1] for i in range(len(sent.stream))] if cut else [sent.stream]
    server.answer = sse_reply(*blocks)
    answer = await ask(await chat())
    assert answer.text() == "one two three"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.reasoning_content == ("hm" if sent.reasoning else None)
    assert answer.usage == (Usage(**USAGE) if sent.usage else None)
    assert server.asked[0].path == "/v1/chat/completions"


@pytest.mark.parametrize("make", MAKES)
async def test_a_whole_reply_of_each_make_is_read(server: RawServer, chat: Chat, make: str) -> None:
    """The same answer, not streamed."""
    server.answer = json_reply(MAKES[make].whole)
    answer = await ask(await chat(), streamed=False)
    assert answer.text() == "one two three"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.reasoning_content == ("hm" if MAKES[make].reasoning else None)
    assert answer.usage == Usage(**USAGE)
    assert not answer.choices[0].message.tool_calls


@pytest.mark.parametrize("make", MAKES)
async def test_a_failure_in_mid_stream_of_each_make_is_an_error(
    server: RawServer, chat: Chat, make: str
) -> None:
    """What had come is given; then the server's words are an error with the endpoint, and never an answer."""
    server.answer = sse_reply(event(chunk({"content": "one "})), MAKES[make].failing)
    component = await chat()
    words = []
    with pytest.raises(RequestError) as caught:
        async for part in component.stream(ASK):
            words.append(part.choices[0].delta.content)
    assert words == ["one "]
    said = ("error", "limit", "died", "aborted", "failed", "terminated", "exceeded", "gone")
    assert any(word in str(caught.value) for word in said)
    assert f"{server.url}/v1/chat/completions" in str(caught.value)


@pytest.mark.parametrize("make", MAKES)
async def test_a_stream_that_breaks_off_is_an_error(server: RawServer, chat: Chat, make: str) -> None:
    """Each make's stream, ended before its finish reason, in order or by a broken connection, is no answer."""
    stream = MAKES[make].stream
    component = await chat()
    for ends in (True, False):
        server.answer = sse_reply(stream[: stream.index(b"three") - 40], ends=ends)
        with pytest.raises(BackendReplyError) as caught:
            await ask(component)
        assert f"{server.url}/v1/chat/completions" in str(caught.value)


async def test_one_of_two_answers_cut_short_is_an_error(server: RawServer, chat: Chat) -> None:
    """With ``n: 2`` both answers must have ended; one finish reason is not the end of the other."""
    second = chunk({"content": "uno"})
    second["choices"][0]["index"] = 1
    server.answer = sse_reply(event(chunk({"content": "one"})), event(second), event(chunk({}, "stop")))
    with pytest.raises(BackendReplyError, match="cut short"):
        await ask(await chat())


async def test_an_empty_stream_is_no_answer(server: RawServer, chat: Chat) -> None:
    """llama-server before late 2025 put errors into a field that no reader of events knows, and then said [DONE]."""
    server.answer = sse_reply(b'error: {"code":400,"message":"too long"}\n\ndata: [DONE]\n\n')
    with pytest.raises(BackendReplyError, match="without an answer"):
        await ask(await chat())


async def test_tool_calls_of_all_makes_are_folded(server: RawServer, chat: Chat) -> None:
    """OpenAI's parts, Ollama's whole calls and TGI's single object all become calls with JSON text."""

    def calls(*deltas: Any) -> bytes:
        made = [event(chunk({"tool_calls": delta})) for delta in deltas]
        return b"".join(made) + event(chunk({}, "tool_calls")) + b"data: [DONE]\n\n"

    parts = [
        [{"index": 0, "id": "a", "type": "function", "function": {"name": "sum", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"x":'}}],
        [{"index": 0, "function": {"arguments": "1}"}}],
        [{"index": 1, "id": "b", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
    ]
    at_once = [[{**parts[0][0], "function": {"name": "sum", "arguments": '{"x":1}'}}, parts[3][0]]]
    single = [parts[0][0], parts[1][0], parts[2][0], parts[3][0]]
    component = await chat()
    for deltas in (parts, at_once, single):
        server.answer = sse_reply(calls(*deltas))
        answer = await ask(component)
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.choices[0].message.tool_calls == [
            ToolCall("a", function=FunctionCall("sum", '{"x":1}')),
            ToolCall("b", function=FunctionCall("now", "{}")),
        ]
    tgi = {
        "id": 0,
        "type": "function",
        "function": {"description": None, "name": "sum", "arguments": {"x": 1}},
    }
    server.answer = json_reply(whole({"role": "assistant", "content": None, "tool_calls": [tgi]}))
    answer = await ask(component, streamed=False)
    assert answer.choices[0].message.tool_calls == [ToolCall("0", function=FunctionCall("sum", '{"x":1}'))]


@BOTH
async def test_what_was_set_is_sent_and_nothing_else(server: RawServer, chat: Chat, streamed: bool) -> None:
    """Zeros, false and empty values are values; the component's model and the usage of a stream are asked for."""
    server.answer = sse_reply(MAKES["openai"].stream) if streamed else json_reply(whole())
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    settings: dict[str, Any] = {
        "temperature": 0,
        "top_p": 0.5,
        "seed": 0,
        "stop": ["\n"],
        "n": 1,
        "logprobs": True,
        "top_logprobs": 0,
        "presence_penalty": 0,
        "tools": tools,
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
        "logit_bias": {"7": -100},
        "user": "u",
    }
    request = ChatRequest(ASK.messages, model="chatqna", metadata={"ours": "yes"}, **settings)
    await ask(await chat(), request, streamed=streamed)
    assert server.asked[0].body == {
        "messages": [{"role": "user", "content": "count"}],
        "model": "big",
        **settings,
        **({"stream": True, "stream_options": {"include_usage": True}} if streamed else {}),
    }


async def test_a_conversation_goes_out_as_openai_wants_it(server: RawServer, chat: Chat) -> None:
    """A tool call has its type and arguments even when they are the defaults; our citations stay with us."""
    server.answer = json_reply(whole())
    messages = [
        Message("assistant", "See [1].", annotations=[Annotation(marker=1)]),
        Message("assistant", tool_calls=[ToolCall("a", function=FunctionCall("now"))]),
        Message("tool", "noon", tool_call_id="a"),
    ]
    await ask(await chat(), ChatRequest(messages), streamed=False)
    assert server.asked[0].body["messages"] == [
        {"role": "assistant", "content": "See [1]."},
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "now", "arguments": ""}}],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "a"},
    ]
    assert messages[0].annotations  # the caller's own messages are left alone


@pytest.mark.parametrize("asked", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("sent", ["max_tokens", "max_completion_tokens"])
async def test_the_bound_has_the_name_that_the_server_knows(
    server: RawServer, chat: Chat, asked: str, sent: Any
) -> None:
    """Under whichever name it was set: Ollama and older servers know only the one, OpenAI's models only the other."""
    server.answer = json_reply(whole())
    await ask(await chat(limit_name=sent), ChatRequest(ASK.messages, **{asked: 5}), streamed=False)
    assert {name: v for name, v in server.asked[0].body.items() if name.startswith("max_")} == {sent: 5}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://mine.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("http://127.0.0.1:11434/v1", "max_tokens"),
        ("https://openai.example.com/v1", "max_tokens"),
    ],
)
def test_the_name_of_the_bound_follows_from_the_address(url: str, name: str) -> None:
    """OpenAI and Azure take the new name, everybody else the old one."""
    assert OpenAIChat(url, model="m")._limit_name == name


@BOTH
@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (
            json_reply({"error": {"message": "Incorrect API key"}}, 401),
            BackendStatusError,
            "Incorrect API key",
        ),
        (
            json_reply({"object": "error", "message": "no model big", "code": 404}, 404),
            BackendStatusError,
            "no model",
        ),
        (Sent([b"<html>boom</html>"], 500, "text/html"), BackendStatusError, "boom"),
        (Sent([b"<html>Gateway Time-out</html>"], 504, "text/html"), BackendStatusError, "504.*Time-out"),
        (
            json_reply({"error": {"message": "Loading model", "code": 503}}, 503),
            BackendStatusError,
            "Loading",
        ),
        (
            json_reply({"error": {"message": "temperature is 9", "param": "t"}}, 400),
            InvalidRequestError,
            "is 9",
        ),
        (
            json_reply({"error": {"code": 400, "message": "x", "type": "exceed_context_size_error"}}, 400),
            ContextWindowError,
            "exceed_context",
        ),
        (
            json_reply({"error": {"message": "This model's maximum context length is 8"}}, 400),
            ContextWindowError,
            "is 8",
        ),
        (
            json_reply({"error": "`inputs` tokens + `max_new_tokens` must be <= 4"}, 422),
            ContextWindowError,
            "<= 4",
        ),
        (Sent([b"<html>hello</html>"], 200, "text/html"), BackendReplyError, "hello"),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
async def test_an_error_reply_is_an_error_with_the_endpoint(
    server: RawServer, chat: Chat, reply: Sent, kind: type[RequestError], words: str, streamed: bool
) -> None:
    """Its status decides which; the start of the body is quoted, and the endpoint named."""
    server.answer = reply
    component = await chat()
    with pytest.raises(kind, match=words) as caught:
        await ask(component, streamed=streamed)
    assert f"{server.url}/v1/chat/completions" in str(caught.value)


@BOTH
async def test_a_busy_server_says_when_to_come_back(server: RawServer, chat: Chat, streamed: bool) -> None:
    """429 stays 429, with the server's ``Retry-After`` and words."""
    server.answer = json_reply(
        {"error": "Model is overloaded", "error_type": "overloaded"}, 429, retry_after="7"
    )
    component = await chat()
    with pytest.raises(OverloadedError, match="Model is overloaded") as caught:
        await ask(component, streamed=streamed)
    assert caught.value.retry_after_s == 7
    assert f"{server.url}/v1/chat/completions" in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Sent([b'{"id":"1","model":"m","choi']), "truncated"),
        (Sent([b'{"id":"1","model":"m","choi'], ends=False), "cut short"),
        (json_reply({"id": "1", "model": "m", "choices": []}), "no answer in it"),
        (json_reply({"error": {"message": "out of memory"}}), "out of memory"),
        (json_reply({"object": "error", "message": "out of memory"}), "out of memory"),
        (json_reply(whole({"role": "assistant", "tool_calls": [7]})), "tool call"),
    ],
)
async def test_a_reply_that_is_no_answer_is_an_error(
    server: RawServer, chat: Chat, reply: Sent, words: str
) -> None:
    """Truncated, cut off, empty, or an error in spite of its status: with the endpoint in it."""
    server.answer = reply
    component = await chat()
    with pytest.raises(ServiceError, match=words) as caught:
        await component.invoke(ASK)
    assert f"{server.url}/v1/chat/completions" in str(caught.value)


@pytest.mark.parametrize("data", [b'{"id":', b"hello", b"[]", b'{"detail": "no"}', b'{"choices":[7]}'])
async def test_an_event_that_is_no_chunk_is_an_error(server: RawServer, chat: Chat, data: bytes) -> None:
    """It is quoted, and the endpoint named."""
    server.answer = sse_reply(b"data: " + data + b"\n\n")
    component = await chat()
    with pytest.raises(BackendReplyError, match="is no chat chunk") as caught:
        await ask(component)
    assert data.decode() in str(caught.value)
    assert f"{server.url}/v1/chat/completions" in str(caught.value)


async def test_closing_a_stream_closes_the_connection(server: RawServer, chat: Chat) -> None:
    """The server sees at once that nobody reads on, and can stop."""
    begun = sse_reply(event(chunk({"content": "one"})), ends=True)
    waits = asyncio.Event()

    class Slow(list[bytes]):
        def __iter__(self) -> Any:
            yield from super().__iter__()
            waits.set()
            while not server.gone.is_set():
                yield b": still there\n\n" * 1000

    server.answer = Sent(Slow(begun.blocks), content_type="text/event-stream")
    component = await chat()
    stream = component.stream(ASK)
    assert (await anext(stream)).choices[0].delta.content == "one"
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    async with asyncio.timeout(10):
        await server.gone.wait()


async def test_ready_means_that_the_server_answers(server: RawServer, chat: Chat) -> None:
    """A list of models will do, and so will 404; a refused key, a failing server and one that is gone will not."""
    for status in (200, 404):
        server.answer = json_reply({"data": []}, status)
        assert await (await chat(api_key="k")).ready()
    assert server.asked[-1].headers["authorization"] == "Bearer k"
    assert server.asked[-1].path == "/v1/models"
    for status in (401, 403, 500, 503):
        server.answer = json_reply({"error": "go away"}, status)
        with pytest.raises(BackendStatusError, match="go away"):
            await (await chat()).ready()
