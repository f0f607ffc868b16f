"""The chat contract: messages in, a message out, whole or streamed. The Structs are OpenAI's own.

Source: OpenAI API, "Create chat completion", "The chat completion object", "The chat completion chunk object".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, ClassVar, Protocol

import msgspec
from msgspec import Meta, Struct

from weft.contracts.base import Contract, Operation, Route
from weft.types import Annotation, Empty, FunctionCall, Message, ToolCall, Usage


class StreamOptions(Struct, omit_defaults=True):
    """Options of a streamed reply."""

    include_usage: bool = False


class ChatRequest(Struct, omit_defaults=True):
    """What a chat model is asked. None means: the model's or the component's own default.

    ``model``, ``stream`` and ``stream_options`` address the gateway: a node never forwards them.
    """

    messages: list[Message]
    model: str = ""
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None

    defaults: ClassVar[dict[str, Any]] = {
        "temperature": 1, "top_p": 1, "n": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False,
        "tool_choice": "auto", "parallel_tool_calls": True, "logit_bias": {}, "tools": [], "stop": [],
        "response_format": {"type": "text"}, "service_tier": "auto", "store": False, "modalities": ["text"],
    }  # fmt: skip
    """The API's documented defaults: a field with this value asks for nothing, so nobody need consume it."""

    def max_output_tokens(self) -> int | None:
        """The bound on the answer's length, under either of its names."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def stops(self) -> list[str]:
        """The stop texts as a list."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])


class Choice(Struct):
    """One of the ``n`` answers."""

    index: int
    message: Message
    finish_reason: str | None = None
    logprobs: Any = None


class ChatResponse(Struct):
    """A whole answer."""

    id: str
    model: str
    choices: list[Choice]
    usage: Usage | None = None
    created: int = 0
    object: str = "chat.completion"

    def text(self) -> str:
        """The words of the first choice."""
        return self.choices[0].message.text() if self.choices else ""


class Delta(Struct, omit_defaults=True):
    """What a chunk adds to the message."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    annotations: list[Annotation] | None = None


class ChunkChoice(Struct):
    """What a chunk adds to one of the ``n`` answers."""

    index: int
    delta: Delta
    finish_reason: str | None = None
    logprobs: Any = None


class ChatChunk(Struct, omit_defaults=True):
    """One event of a streamed answer."""

    id: str
    model: str
    choices: list[ChunkChoice]
    created: int = 0
    usage: Usage | None = None
    object: str = msgspec.field(default_factory=lambda: "chat.completion.chunk")  # a factory: always written


class ChatDescription(Struct, omit_defaults=True):
    """What a chat service can say about its model; None where it does not know.

    Attributes:
        model: The model's name.
        parameters: Number of weights.
        context_window: Tokens of prompt and answer together, for one request.
        local: Whether it runs in this installation (a 135M model) or somewhere else (assumed to be large).
    """

    model: str = ""
    parameters: int | None = None
    context_window: int | None = None
    local: bool = False


class Chat(Protocol):
    """What ``uses: {chat: ...}`` binds."""

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        """The whole answer."""
        ...

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """The answer in chunks; closing the iterator stops the model."""
        ...

    async def describe(self, request: Empty) -> ChatDescription:
        """What is known about the model."""
        ...


def collect(chunks: list[ChatChunk]) -> ChatResponse:
    """Fold the chunks of one stream into the response that ``invoke`` would have given."""
    choices: dict[int, Choice] = {}
    texts: dict[int, list[str]] = {}
    usage: Usage | None = None
    for chunk in chunks:
        usage = chunk.usage or usage
        for part in chunk.choices:
            choice = choices.setdefault(part.index, Choice(part.index, Message("assistant", "")))
            _fold(choice.message, part.delta, texts.setdefault(part.index, []))
            choice.finish_reason = part.finish_reason or choice.finish_reason
            choice.logprobs = _joined(choice.logprobs, part.logprobs)
    for index, pieces in texts.items():
        choices[index].message.content = "".join(pieces)
    first = chunks[0] if chunks else ChatChunk("", "", [])
    ordered = [choices[index] for index in sorted(choices)]
    return ChatResponse(first.id, first.model, ordered, usage=usage, created=first.created)


def _joined(known: Any, more: Any) -> Any:
    """The log probabilities of an answer: each list of them (``content``, ``refusal``) goes on."""
    if not known or not more:
        return more or known
    return {name: (known.get(name) or []) + (more.get(name) or []) or None for name in {**known, **more}}


def _fold(message: Message, delta: Delta, texts: list[str]) -> None:
    message.role = delta.role or message.role
    if delta.content:
        texts.append(delta.content)
    if delta.reasoning_content:
        message.reasoning_content = (message.reasoning_content or "") + delta.reasoning_content
    if delta.refusal:
        message.refusal = (message.refusal or "") + delta.refusal
    if delta.annotations:
        message.annotations = (message.annotations or []) + delta.annotations
    for call in delta.tool_calls or []:
        message.tool_calls = message.tool_calls or []
        index = call.index if call.index is not None else len(message.tool_calls)
        while len(message.tool_calls) <= index:
            message.tool_calls.append(ToolCall())
        known = message.tool_calls[index]
        known.id = call.id or known.id
        known.function = FunctionCall(
            name=call.function.name or known.function.name,
            arguments=known.function.arguments + call.function.arguments,
        )


CONTRACT = Contract(
    name="chat",
    description="Answers a conversation with a language model.",
    operations={
        "invoke": Operation(
            "invoke",
            ChatRequest,
            ChatResponse,
            chunk=ChatChunk,
            # A sampled answer differs from call to call: asking again is not the same as asking once.
            idempotent=False,
            routes=(Route("/v1/chat/completions"),),
            collect=collect,
            openai=True,
        ),
        "describe": Operation(
            "describe", Empty, ChatDescription, routes=(Route("/v1/chat/describe"),), default=ChatDescription
        ),
    },
    protocol=Chat,
)
