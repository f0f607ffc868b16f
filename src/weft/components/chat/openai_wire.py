"""What servers of OpenAI's chat completions really send, read into the contract's own Structs.

Each chunk is decoded once. Choices and deltas are subclasses of the contract's Structs with the fields that some servers
write besides; what those mean is then put where the contract has it, and nothing is copied. The differences, and who makes them:

- ``usage: null`` in every chunk but the last: vLLM, SGLang, OpenAI. No usage at all: Ollama before 0.5.2.
- ``finish_reason: ""`` where null is meant: SGLang 0.4; ``eos_token`` and ``stop_sequence`` for ``stop``: TGI before 2.2.
- ``reasoning`` for ``reasoning_content``: vLLM from 0.16 on, Ollama.
- An error in mid-stream as ``{"error": {...}}``, as ``{"error": "...", "error_type": ...}`` (TGI before 2.4) or as
  ``{"object": "error", "message": ...}`` (vLLM before 0.10); ``[DONE]`` may follow it.
- One tool call instead of a list of them: TGI before 2.4. Its arguments as an object: TGI.
- Chunks with neither choices nor usage: Azure's first, with the results of its filters. A choice without ``delta``:
  Azure's asynchronous filter.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from weft.contracts.chat import ChatChunk, ChatResponse, Choice, ChunkChoice, Delta
from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    ContextWindowError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
    ServiceError,
)
from weft.types import FunctionCall, Message, ToolCall, Usage

_QUOTED: Final = 500

_REFUSED: Final = (400, 413, 422)
"""Statuses that say that the request itself is wrong."""

_TOO_LONG: Final = (
    "context_length_exceeded",  # OpenAI's code
    "exceed_context_size_error",  # llama-server's type
    "maximum context length",  # vLLM's and OpenAI's words
    "longer than the model's context length",  # SGLang's
    "`inputs` tokens + `max_new_tokens` must be",  # TGI's
)

_FINISH: Final = {"": None, "eos_token": "stop", "stop_sequence": "stop"}
"""Finish reasons that are no OpenAI's, and what they mean."""


class _Function(Struct):
    name: str | None = None
    arguments: Any = ""


class _ToolCall(Struct):
    id: str | int | None = None
    type: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)
    index: int | None = None


class _Delta(Delta, kw_only=True):
    tool_calls: Any = None
    reasoning: str | None = None


class _ChunkChoice(ChunkChoice, kw_only=True):
    index: int = 0
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Chunk(Struct):
    id: str | None = ""
    model: str | None = ""
    choices: list[_ChunkChoice] | None = None
    created: int | float | None = 0
    usage: Usage | None = None
    object: str | None = ""
    error: Any = None
    message: Any = None


class _Message(Message, kw_only=True):
    role: str = "assistant"
    tool_calls: Any = None
    reasoning: str | None = None


class _Choice(Choice, kw_only=True):
    index: int = 0
    message: _Message


class Answer(Struct):
    """A whole reply, as :func:`read_answer` takes it."""

    id: str | None = ""
    model: str | None = ""
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    created: int | float | None = 0
    object: str | None = ""
    error: Any = None
    message: Any = None


DONE: Final = b"[DONE]"

_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_encode = msgspec.json.Encoder().encode


def read_chunk(data: bytes, endpoint: str) -> ChatChunk | None:
    """One event's data as a chunk; None for one that says nothing.

    Raises:
        RequestError: It says that the server failed.
        BackendReplyError: It is no chunk.
    """
    try:
        chunk = _decode_chunk(data)
    except msgspec.MsgspecError as error:
        raise _no_chunk(data, endpoint, str(error)) from error
    choices = chunk.choices
    if not choices:
        if chunk.error is not None or chunk.object == "error":
            raise failure(chunk.error if chunk.error is not None else chunk.message, endpoint)
        if choices is None and chunk.usage is None:
            raise _no_chunk(data, endpoint, "it has no choices")
        if chunk.usage is None:
            return None
    for choice in choices or ():
        reason = choice.finish_reason
        if reason is not None and reason in _FINISH:
            choice.finish_reason = _FINISH[reason]
        delta = choice.delta
        if delta.reasoning is not None:
            delta.reasoning_content = delta.reasoning_content or delta.reasoning
            delta.reasoning = None
        if delta.tool_calls is not None:
            delta.tool_calls = _tool_calls(delta.tool_calls, endpoint, is_delta=True)
    return ChatChunk(
        chunk.id or "",
        chunk.model or "",
        cast("list[ChunkChoice]", choices or []),
        int(chunk.created or 0),
        chunk.usage,
    )


class AnswerReader:
    """Implements :class:`weft.host.EventReader` for one answer of such a server.

    Args:
        endpoint: Whose, for errors.
        is_single: Whether there is one choice only: with several, each event is read, to know which of them have ended.
    """

    __slots__ = ("_begun", "_endpoint", "_finished", "_is_single", "usage")

    def __init__(self, endpoint: str, *, is_single: bool) -> None:
        self._endpoint, self._is_single = endpoint, is_single
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self.usage: Usage | None = None

    def is_plain(self, block: bytes) -> bool:
        """Whether each event in it is a piece of the answer's text in OpenAI's own words."""
        count = block.count
        return (
            self._is_single
            and count(b'"delta"') == count(b"\n\n")
            and count(b'"finish_reason"') == count(b'"finish_reason":null')
            and count(b'"usage"') == count(b'"usage":null')
            and not (
                b'"tool_calls"' in block
                or b'"reasoning"' in block
                or b'"error"' in block
                or DONE in block
                or b"\r" in block
            )
        )

    def read(self, data: bytes) -> ChatChunk | None:
        """See :class:`weft.host.EventReader`."""
        chunk = read_chunk(data, self._endpoint) if data else None
        if chunk is None:
            return None
        if chunk.usage is not None:
            self.usage = chunk.usage
        for choice in chunk.choices:
            self._begun.add(choice.index)
            if choice.finish_reason is not None:
                self._finished.add(choice.index)
        return chunk

    def relay(self, data: bytes) -> bytes | None:
        """See :class:`weft.host.EventReader`."""
        chunk = self.read(data)
        return None if chunk is None else _encode(chunk)

    def end(self, *, is_done: bool) -> None:
        """See :class:`weft.host.EventReader`.

        Some servers never send ``[DONE]``, or without the empty line that ends it: a finish reason says as much.
        """
        if not self._begun:
            raise BackendReplyError("the stream ended without an answer in it", endpoint=self._endpoint)
        if not is_done and self._begun != self._finished:
            raise BackendReplyError(
                "the answer was cut short: the stream ended without its end", endpoint=self._endpoint
            )


def read_answer(answer: Answer, endpoint: str) -> ChatResponse:
    """A whole reply as the contract has it.

    Raises:
        RequestError: It says that the server failed, in spite of its status.
        BackendReplyError: There is no answer in it.
    """
    if answer.error is not None or answer.object == "error":
        raise failure(answer.error if answer.error is not None else answer.message, endpoint)
    if not answer.choices:
        raise BackendReplyError("the reply has no answer in it", endpoint=endpoint)
    return ChatResponse(
        answer.id or "",
        answer.model or "",
        [_choice(choice, endpoint) for choice in answer.choices],
        answer.usage,
        int(answer.created or 0),
    )


def _choice(choice: _Choice, endpoint: str) -> Choice:
    message = choice.message
    calls = _tool_calls(message.tool_calls, endpoint, is_delta=False) if message.tool_calls else None
    plain = Message(
        message.role,
        message.content,
        tool_calls=calls,
        refusal=message.refusal,
        reasoning_content=message.reasoning_content or message.reasoning,
        annotations=message.annotations,
    )
    reason = choice.finish_reason
    reason = _FINISH.get(reason, reason) if reason is not None else None
    return Choice(choice.index, plain, reason, choice.logprobs)


def _tool_calls(found: Any, endpoint: str, *, is_delta: bool) -> list[ToolCall]:
    listed = found if isinstance(found, list) else [found]
    try:
        calls = msgspec.convert(listed, list[_ToolCall])
    except msgspec.ValidationError as error:
        raise BackendReplyError(f"a tool call is of no known form: {error}", endpoint=endpoint) from error
    return [
        ToolCall(
            str(call.id) if call.id is not None else None,
            "function",
            FunctionCall(call.function.name, _arguments(call.function.arguments)),
            (call.index if call.index is not None else place) if is_delta else None,
        )
        for place, call in enumerate(calls)
    ]


def _arguments(found: Any) -> str:
    """JSON text, as the model wrote it or (where the server has read it) as we do."""
    if isinstance(found, str):
        return found
    return "" if found is None else msgspec.json.encode(found).decode()


def failure(error: Any, endpoint: str) -> RequestError:
    """What a server says in the place of an answer."""
    members = error if isinstance(error, dict) else {}
    text = str(members.get("message") or error or "it did not say why")[:_QUOTED]
    if any(mark in text or mark in str(members.get("code")) for mark in _TOO_LONG):
        return ContextWindowError(f"the prompt does not fit the model: {text} (at {endpoint})")
    if members.get("code") == 429 or members.get("type") == "rate_limit_exceeded":
        return OverloadedError(f"the server is busy: {text} (at {endpoint})")
    return ServiceError(f"the server failed in mid-answer: {text}", endpoint=endpoint)


def refusal(error: BackendStatusError) -> RequestError:
    """A status as an error: one that says that the request is wrong is the caller's to mend, not the service's."""
    if error.backend_status not in _REFUSED:
        return error
    kind = ContextWindowError if any(mark in error.message for mark in _TOO_LONG) else InvalidRequestError
    return kind(f"the model server refused the request: {error.message} (at {error.endpoint})")


def _no_chunk(data: bytes, endpoint: str, why: str) -> BackendReplyError:
    return BackendReplyError(
        f"a chunk of the answer is no chat chunk: {why}: {_quote(data)}", endpoint=endpoint
    )


def _quote(data: bytes) -> str:
    return data[:_QUOTED].decode(errors="replace")
