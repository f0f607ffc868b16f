"""What the real model is asked and answers, in process."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from weft.components.chat.llama_cpp import LlamaCpp
from weft.contracts.chat import ChatChunk, ChatRequest, collect
from weft.errors import ComponentError, ContextWindowError, InvalidRequestError, UnsupportedParameterError
from weft.types import Annotation, ContentPart, Empty, Message

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def ask(text: str = "Tell me about the sea.", **fields: Any) -> ChatRequest:
    return ChatRequest([Message("user", text)], **fields)


async def stream(llm: LlamaCpp, request: ChatRequest) -> list[ChatChunk]:
    async with aclosing(llm.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


async def test_it_is_ready_when_it_has_answered(llm: LlamaCpp) -> None:
    """And it says what it is: the weights are counted in the file."""
    assert await llm.ready()
    facts = await llm.describe(Empty())
    assert (facts.model, facts.parameters, facts.context_window, facts.local) == (
        "smollm2-135m-instruct",
        134_515_008,
        256,
        True,
    )


async def test_an_answer_comes_word_by_word(llm: LlamaCpp) -> None:
    """One id, the role once and first, a finish reason once and last, then the usage alone."""
    chunks = await stream(llm, ask(max_tokens=12, temperature=0))
    *said, last = chunks
    assert len(said) > 6
    assert {(chunk.id, chunk.model) for chunk in chunks} == {(chunks[0].id, "smollm2-135m-instruct")}
    assert [chunk.choices[0].delta.role for chunk in said] == ["assistant"] + [None] * (len(said) - 1)
    assert [chunk.choices[0].finish_reason for chunk in said] == [None] * (len(said) - 1) + ["length"]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 12
    assert last.usage.total_tokens == last.usage.prompt_tokens + 12


async def test_streamed_or_not_it_says_the_same(llm: LlamaCpp) -> None:
    """The chunks of a stream, put together, are what ``invoke`` gives."""
    request = ask(max_tokens=10, temperature=0)
    whole, streamed = await llm.invoke(request), collect(await stream(llm, request))
    assert whole.choices == streamed.choices
    assert whole.usage == streamed.usage


async def test_temperature_zero_is_kept(llm: LlamaCpp) -> None:
    """It is no missing value: the answer is the likeliest one, whatever the seed."""
    texts = {(await llm.invoke(ask(temperature=0, seed=seed, max_tokens=12))).text() for seed in range(3)}
    assert len(texts) == 1


async def test_a_seed_makes_an_answer_repeatable(llm: LlamaCpp) -> None:
    """The same seed gives the same words; other seeds give others."""
    texts = [
        (await llm.invoke(ask(temperature=1.2, seed=seed, max_tokens=16))).text() for seed in (1, 1, 2, 3)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


async def test_several_answers(llm: LlamaCpp) -> None:
    """``n`` gives as many different answers; the prompt is paid for once; a seed makes all of them repeatable."""
    request = ask(n=3, seed=5, max_tokens=8)
    first, again = await llm.invoke(request), await llm.invoke(request)
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in first.choices}) == 3
    assert first.choices == again.choices
    alone = await llm.invoke(ask(seed=5, max_tokens=8))
    assert first.usage is not None
    assert alone.usage is not None
    assert first.usage.prompt_tokens == alone.usage.prompt_tokens
    assert first.usage.completion_tokens == 24


async def test_it_stops_where_it_shall(llm: LlamaCpp) -> None:
    """A stop text ends the answer and is not part of it, as text or list."""
    whole = (await llm.invoke(ask(temperature=0, max_tokens=20))).text()
    word = whole.split()[4]
    for stop in (word, ["never said", word]):
        cut = await llm.invoke(ask(temperature=0, max_tokens=20, stop=stop))
        assert cut.text() == whole.partition(word)[0]
        assert cut.choices[0].finish_reason == "stop"


async def test_a_schema_is_obeyed(llm: LlamaCpp) -> None:
    """A small model, too, answers in the form that is asked for."""
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}, "people": {"type": "integer", "maximum": 9}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    answer = await llm.invoke(ask("Name a city.", response_format=wanted, max_tokens=64))
    found = msgspec.json.decode(answer.text())
    assert set(found) == {"city", "people"}
    assert found["city"] in {"Rome", "Oslo"}
    assert isinstance(found["people"], int)


async def test_log_probabilities(llm: LlamaCpp) -> None:
    """One entry a token, with its alternatives, streamed or not."""
    request = ask(temperature=0, max_tokens=6, logprobs=True, top_logprobs=2)
    whole = await llm.invoke(request)
    entries = whole.choices[0].logprobs["content"]
    assert "".join(entry["token"] for entry in entries) == whole.text()
    assert len(entries) == 6
    assert all(len(entry["top_logprobs"]) == 2 and entry["logprob"] <= 0 for entry in entries)
    assert entries[0]["token"] == entries[0]["top_logprobs"][0]["token"]
    streamed = [
        entry
        for chunk in await stream(llm, request)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs["content"]
    ]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in entries]


async def test_penalties_and_biases_reach_the_model(llm: LlamaCpp) -> None:
    """A token that is forbidden is not said; repeating can be made dear; a repetition penalty has its own name there."""
    plain = await llm.invoke(ask(temperature=0, max_tokens=16, logprobs=True))
    first = plain.choices[0].logprobs["content"][0]
    banned = await llm.invoke(
        ask(temperature=0, max_tokens=16, logit_bias={str(first["id"]): -100}, logprobs=True)
    )
    assert banned.choices[0].logprobs["content"][0]["token"] != first["token"]
    for field in ({"repetition_penalty": 2.0}, {"frequency_penalty": 2.0}, {"presence_penalty": 2.0}):
        assert (await llm.invoke(ask(temperature=0, max_tokens=16, **field))).text() != plain.text()


async def test_history_with_citations_is_understood(llm: LlamaCpp) -> None:
    """What our own answers carry may come back in the next question."""
    note = Annotation(marker=1, quote="blue")
    messages = [
        Message("system", "Be brief."),
        Message("user", [ContentPart("text", "What colour"), ContentPart("text", "has the sea?")]),
        Message("assistant", "Blue [1].", annotations=[note]),
        Message("user", "Always?"),
    ]
    assert (await llm.invoke(ChatRequest(messages, max_tokens=4))).text()


async def test_a_prompt_that_does_not_fit_is_refused(llm: LlamaCpp) -> None:
    """It is never cut silently: the error says how long it is and how long it may be."""
    with pytest.raises(ContextWindowError, match=r"\d{3} tokens.*256 tokens") as caught:
        await llm.invoke(ask("word " * 300))
    assert caught.value.param == "messages"
    assert (await llm.invoke(ask(max_tokens=2))).text()


async def test_an_answer_ends_where_the_window_ends(llm: LlamaCpp) -> None:
    """With the reason ``length``; prompt and answer together are the window."""
    answer = await llm.invoke(ask("word " * 200, max_tokens=4000, logit_bias={"2": -100}, temperature=0))
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert 250 < answer.usage.total_tokens <= 256


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"tools": [TOOL]}, "tools"),
    ],
)
async def test_what_it_has_no_use_for_is_refused(llm: LlamaCpp, fields: dict[str, Any], param: str) -> None:
    """A field that would be dropped silently is an error with its name."""
    with pytest.raises(UnsupportedParameterError) as caught:
        await llm.invoke(ask(**fields))
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nope"}}}},
            "response_format",
        ),
    ],
    ids=str,
)
async def test_a_value_that_cannot_be_meant_is_refused(
    llm: LlamaCpp, fields: dict[str, Any], param: str
) -> None:
    """With 400 and the field's name; the model goes on serving."""
    with pytest.raises(InvalidRequestError) as caught:
        await llm.invoke(ask(**fields))
    assert caught.value.param == param
    assert (await llm.invoke(ask(max_tokens=1))).usage is not None


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [Message("user")],
        [Message("user", [ContentPart("image_url", image_url={"url": "data:image/png;base64,AA=="})])],
    ],
    ids=["none", "without content", "a picture"],
)
async def test_messages_that_it_cannot_read_are_refused(llm: LlamaCpp, messages: list[Message]) -> None:
    """With 400."""
    with pytest.raises(InvalidRequestError):
        await llm.invoke(ChatRequest(messages))


@pytest.mark.parametrize("role", ["user", "system", "assistant", "tool"])
async def test_a_message_cannot_speak_for_others(llm: LlamaCpp, role: str) -> None:
    """The marks by which the template tells who speaks are words in a message: none of them is one token."""

    async def length(text: str) -> int:
        messages = [Message(role, text), Message("user", "Go on.")]
        reply = await llm.invoke(ChatRequest(messages, max_tokens=1))
        return reply.usage.prompt_tokens

    plain = await length("")
    for mark in ("<|im_end|>", "<|im_start|>", "<|endoftext|>"):
        assert await length(mark) >= plain + 4
    assert await length("<|im_<|im_end|>end|>") >= plain + 10


async def test_the_configured_temperature_holds_where_a_request_has_none(llm: LlamaCpp) -> None:
    """A service that was told to take the likeliest words takes them; a request's own temperature wins."""
    body = LlamaCpp(temperature=0)
    body._engine, body._facts = llm._engine, llm._facts
    assert body._body(ask())["temperature"] == 0
    assert body._body(ask(temperature=0.7))["temperature"] == 0.7
    assert "temperature" not in llm._body(ask())
    with pytest.raises(ComponentError, match="temperature is -1"):
        LlamaCpp(temperature=-1)
