"""OpenAI's Responses API as types, and a request of it as a chat request.

Source: OpenAI API, "Create a model response", "The response object".
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from weft.contracts.base import fields_of, invalid
from weft.errors import InvalidRequestError, UnsupportedParameterError, did_you_mean
from weft.gateway.protocols.asking import shown

S = TypeVar("S", bound=Struct)


class TextConfig(Struct, omit_defaults=True):
    """The form of the answer.

    Attributes:
        format: ``{type: text}``, ``{type: json_object}`` or ``{type: json_schema, name, schema, strict}``.
        verbosity: ``low``, ``medium`` or ``high``.
    """

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class Reasoning(Struct, omit_defaults=True):
    """How much the model thinks; what it says of that is told as it says it, whatever ``summary`` asks for."""

    effort: str | None = None
    summary: str | None = None


class ResponsesRequest(Struct):
    """What ``POST /v1/responses`` reads; a megaservice's own parameters may stand beside it.

    Attributes:
        input: A question, or items: messages, ``function_call``, ``function_call_output``, ``reasoning``.
        instructions: Said first, as the system's; not taken over by the next turn.
        previous_response_id: A stored response of the same caller, whose conversation goes on.
        store: Whether the response can be asked for and gone on with later.
    """

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    service_tier: str | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None

    schema: ClassVar[dict[str, Any]] = {
        "background": {"const": False},
        "conversation": {"type": "null"},
        "prompt": {"type": "null"},
    }
    """What JSON Schema can say of the fields beyond their types."""


class Message(Struct):
    """A turn."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[dict[str, Any]]


class FunctionCall(Struct):
    """A call that the model made."""

    call_id: str
    name: str
    arguments: str


class FunctionOutput(Struct):
    """What it gave."""

    call_id: str
    output: str | list[dict[str, Any]]


_IGNORED: Final = frozenset(
    {
        # Hints, at what to keep or whom to suspect; bounds on what only OpenAI's own tools do; padding of events.
        "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier", "max_tool_calls",
        "stream_options",
    }
)  # fmt: skip

_TRANSLATED: Final = frozenset(ResponsesRequest.__struct_fields__) | _IGNORED

NAMES: Final = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text",
    "verbosity": "text",
    "reasoning_effort": "reasoning",
    "logprobs": "include",
}
"""Chat's names of fields that are written otherwise here, for errors."""

LOGPROBS: Final = "message.output_text.logprobs"

_INCLUDABLE: Final = (LOGPROBS, "reasoning.encrypted_content")
"""What ``include`` may ask for. No reasoning is hidden here, so there is nothing encrypted to include."""

_ITEMS: Final = ("message", "function_call", "function_call_output", "reasoning")
_TOOL_CHOICES: Final = ("auto", "none", "required")

_decode = msgspec.json.Decoder(ResponsesRequest).decode


def decode(body: bytes) -> ResponsesRequest:
    """A request of ``/v1/responses``.

    Raises:
        InvalidRequestError: It is none.
        UnsupportedParameterError: It asks for what only OpenAI's own servers do.
    """
    try:
        asked = _decode(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise invalid(error) from error
    for name, value, hint in (
        ("background", asked.background or None, "ask for a stream, or wait"),
        ("conversation", asked.conversation, "go on with previous_response_id, or send the items"),
        ("prompt", asked.prompt, "send instructions and input"),
    ):
        if value is not None:
            raise UnsupportedParameterError(f"'{name}' is not supported", param=name, hint=hint)
    if asked.truncation == "auto":
        raise UnsupportedParameterError(
            "'truncation' is not supported: nothing is left out of a conversation without a word",
            param="truncation",
            hint="leave it out; a conversation that is too long is refused with context_length_exceeded",
        )
    if asked.service_tier not in (None, "auto", "default"):
        raise UnsupportedParameterError(
            f"'service_tier' is not supported: there is no tier '{asked.service_tier}' here",
            param="service_tier",
            hint="leave it out",
        )
    for wanted in asked.include or ():
        if wanted not in _INCLUDABLE:
            raise UnsupportedParameterError(
                f"'include' cannot ask for '{wanted}' here",
                param="include",
                hint=did_you_mean(wanted, _INCLUDABLE, what="includable"),
            )
    return asked


def chat_body(asked: ResponsesRequest, body: bytes, before: list[dict[str, Any]]) -> dict[str, Any]:
    """The chat request that a decoded request stands for.

    Args:
        asked: The request.
        body: As it came: fields that OpenAI does not have (a megaservice's parameters) are handed on.
        before: The messages of the conversation that goes on.

    Raises:
        InvalidRequestError: An item or a tool is none.
        UnsupportedParameterError: It asks for what the chat contract has no words for.
    """
    chat: dict[str, Any] = {
        name: value
        for name, value in fields_of(body).items()
        if name not in _TRANSLATED and bytes(value) != b"null"
    }
    chat["model"] = asked.model
    system = [{"role": "system", "content": asked.instructions}] if asked.instructions else []
    chat["messages"] = [*system, *before, *messages(asked.input)]
    if asked.stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    if asked.tools:
        chat["tools"] = [_tool(tool, index) for index, tool in enumerate(asked.tools)]
    if asked.tool_choice is not None:
        chat["tool_choice"] = _tool_choice(asked.tool_choice)
    chat |= _text(asked.text)
    if asked.top_logprobs is not None or LOGPROBS in (asked.include or ()):
        chat["logprobs"] = True
    named = {
        "max_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "parallel_tool_calls": asked.parallel_tool_calls,
        "reasoning_effort": asked.reasoning.effort if asked.reasoning is not None else None,
        "top_logprobs": asked.top_logprobs,
        "user": asked.user,
        "metadata": asked.metadata,
    }
    return chat | {name: value for name, value in named.items() if value is not None}


def items_of(input_: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The input as items."""
    if isinstance(input_, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": input_}]}]
    return input_


def messages(input_: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The input as chat messages; calls that follow each other are one message's.

    Raises:
        InvalidRequestError: An item is none that is known.
    """
    if isinstance(input_, str):
        return [{"role": "user", "content": input_}]
    found: list[dict[str, Any]] = []
    for index, item in enumerate(input_):
        where = f"input[{index}]"
        kind = item.get("type", "message")
        if kind == "message":
            found.append(_message(_as(Message, item, where), where))
        elif kind == "function_call":
            call = _as(FunctionCall, item, where)
            if not found or found[-1]["role"] != "assistant":
                found.append({"role": "assistant", "content": None})
            function = {"name": call.name, "arguments": call.arguments}
            found[-1].setdefault("tool_calls", []).append(
                {"id": call.call_id, "type": "function", "function": function}
            )
        elif kind == "function_call_output":
            found += _output(_as(FunctionOutput, item, where), where)
        elif kind != "reasoning":  # what the model thought in an earlier turn is not read again
            raise UnsupportedParameterError(
                f"an item of the type '{shown(kind)}' is not supported",
                param=f"{where}.type",
                hint=did_you_mean(shown(kind), _ITEMS, what="items that can be read"),
            )
    return found


def _as(type_: type[S], item: dict[str, Any], where: str) -> S:
    try:
        return msgspec.convert(item, type_)
    except msgspec.ValidationError as error:
        wrong = invalid(error, what=where)
        raise InvalidRequestError(
            wrong.message, param=f"{where}.{wrong.param}" if wrong.param else where
        ) from error


def _message(message: Message, where: str) -> dict[str, Any]:
    # A chat template need not know of developers: what they say has the system's weight.
    role = "system" if message.role == "developer" else message.role
    if isinstance(message.content, str):
        return {"role": role, "content": message.content}
    parts = [_part(part, f"{where}.content[{index}]") for index, part in enumerate(message.content)]
    if all(part["type"] == "text" for part in parts) and (len(parts) == 1 or role != "user"):
        return {"role": role, "content": "".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text") and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "text", "text": part["refusal"]}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]}
        if part.get("detail") not in (None, "auto"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        named = {name: part[name] for name in ("file_data", "filename") if name in part}
        return {"type": "file", "file": named}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    raise UnsupportedParameterError(
        f"content of the type '{shown(kind)}' is not supported as it is",
        param=where,
        hint="content that can be read: input_text, input_image (image_url), input_file (file_data), input_audio, "
        "output_text, refusal; there are no stored files",
    )


def _output(output: FunctionOutput, where: str) -> list[dict[str, Any]]:
    """What a tool gave; its pictures and files follow as the user's, for a tool's message has only words."""
    if isinstance(output.output, str):
        return [{"role": "tool", "tool_call_id": output.call_id, "content": output.output}]
    parts = [_part(part, f"{where}.output[{index}]") for index, part in enumerate(output.output)]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    found: list[dict[str, Any]] = [{"role": "tool", "tool_call_id": output.call_id, "content": text}]
    if rest := [part for part in parts if part["type"] != "text"]:
        found.append({"role": "user", "content": rest})
    return found


def _tool(tool: dict[str, Any], index: int) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise UnsupportedParameterError(
            f"tools of the type '{shown(tool.get('type'))}' are not supported: OpenAI's servers run them",
            param=f"tools[{index}].type",
            hint="tools that can be had: {type: function, name, parameters}, which the caller runs",
        )
    if not isinstance(tool.get("name"), str):
        raise InvalidRequestError(f"tools[{index}] has no name", param=f"tools[{index}].name")
    names = ("name", "description", "parameters", "strict")
    return {
        "type": "function",
        "function": {name: tool[name] for name in names if tool.get(name) is not None},
    }


def _tool_choice(choice: Any) -> Any:
    if choice in _TOOL_CHOICES:
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    raise UnsupportedParameterError(
        "'tool_choice' is not supported as it is",
        param="tool_choice",
        hint=f"{', '.join(_TOOL_CHOICES)} or {{type: function, name: NAME}}",
    )


def _text(text: TextConfig | None) -> dict[str, Any]:
    if text is None:
        return {}
    found: dict[str, Any] = {}
    if text.verbosity not in (None, "medium"):
        found["verbosity"] = text.verbosity
    form = text.format
    if form is None or form.get("type") == "text":
        return found
    if form.get("type") == "json_object":
        return found | {"response_format": {"type": "json_object"}}
    if form.get("type") == "json_schema" and "schema" in form:
        names = ("name", "schema", "strict", "description")
        schema = {name: form[name] for name in names if form.get(name) is not None}
        return found | {"response_format": {"type": "json_schema", "json_schema": schema}}
    raise UnsupportedParameterError(
        f"'text.format' of the type '{shown(form.get('type'))}' is not supported",
        param="text.format",
        hint="{type: text}, {type: json_object} or {type: json_schema, name: ..., schema: ...}",
    )
