"""A reply that was kept, told again: whole, or as the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from weft.contracts.chat import ChatChunk, ChatResponse, ChunkChoice, Delta
from weft.types import Usage


def is_whole(response: Any) -> bool:
    """Whether an answer is one to be told again: not one that was broken off by a filter, or has no end."""
    if not isinstance(response, ChatResponse):
        return True
    return bool(response.choices) and all(
        choice.finish_reason in ("stop", "length", "tool_calls") for choice in response.choices
    )


def again(response: Any) -> Any:
    """The response as who asks again gets it: it costs them no tokens."""
    return replace(response, usage=Usage()) if hasattr(response, "usage") else response


def chunks_of(response: ChatResponse) -> Iterator[ChatChunk]:
    """A whole answer as the chunks of a stream: each answer's words at once, then its end; at last the usage."""

    def chunk(choice: ChunkChoice) -> ChatChunk:
        return ChatChunk(response.id, response.model, [choice], response.created)

    for choice in response.choices:
        message = choice.message
        if message.reasoning_content:
            delta = Delta("assistant", reasoning_content=message.reasoning_content)
            yield chunk(ChunkChoice(choice.index, delta))
        calls = message.tool_calls
        said = Delta(
            "assistant",
            message.text() or None,
            refusal=message.refusal,
            tool_calls=[replace(call, index=index) for index, call in enumerate(calls)] if calls else None,
            annotations=message.annotations,
        )
        yield chunk(ChunkChoice(choice.index, said, logprobs=choice.logprobs))
        yield chunk(ChunkChoice(choice.index, Delta(), choice.finish_reason))
    yield ChatChunk(response.id, response.model, [], response.created, response.usage)
