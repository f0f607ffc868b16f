"""Anthropic's Messages API as types, and a request of it as a chat request.

Source: Anthropic API, "Create a Message", "Count tokens in a Message".
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from weft.contracts.base import fields_of, invalid
from weft.errors import InvalidRequestError, UnsupportedParameterError


class Text(Struct, tag_field="type", tag="text"):
    """Words."""

    text: str


class Base64Source(Struct, tag_field="type", tag="base64"):
    """Data inline."""

    media_type: str
    data: str


class UrlSource(Struct, tag_field="type", tag="url"):
    """Data at an address."""

    url: str


class Image(Struct, tag_field="type", tag="image"):
    """A picture."""

    source: Base64Source | UrlSource


class TextSource(Struct, tag_field="type", tag="text"):
    """A document's text inline."""

    data: str
    media_type: str = "text/plain"


class Document(Struct, tag_field="type", tag="document"):
    """A document whose text is read as part of the message."""

    source: TextSource
    title: str | None = None
    context: str | None = None
    citations: dict[str, Any] | None = None


class ToolUse(Struct, tag_field="type", tag="tool_use"):
    """A call that the model made."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResult(Struct, tag_field="type", tag="tool_result"):
    """What a call gave."""

    tool_use_id: str
    content: str | list[Text | Image | Document] = ""
    is_error: bool = False


class Thinking(Struct, tag_field="type", tag="thinking"):
    """What the model thought in an earlier turn; not read."""

    thinking: str = ""
    signature: str = ""


class RedactedThinking(Struct, tag_field="type", tag="redacted_thinking"):
    """The same, encrypted; not read."""

    data: str = ""


Block = Text | Image | Document | ToolUse | ToolResult | Thinking | RedactedThinking


class InputMessage(Struct):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(Struct):
    """A function that the model may call; tools that Anthropic's servers run are not here."""

    name: str
    input_schema: dict[str, Any] = {}
    description: str | None = None
    type: str | None = None
    strict: bool | None = None


class ToolChoice(Struct):
    """Whether and what it must call."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Metadata(Struct):
    """Who it is for."""

    user_id: str | None = None


class ThinkingConfig(Struct):
    """Whether the model thinks aloud: ``disabled``, or ``adaptive`` for as it likes."""

    type: Literal["disabled", "adaptive", "enabled", "between_tools"]
    budget_tokens: int | None = None
    display: str | None = None


class OutputConfig(Struct):
    """How much the model exerts itself, and the form of its answer."""

    effort: str | None = None
    format: dict[str, Any] | None = None


class CountRequest(Struct):
    """What ``/v1/messages/count_tokens`` reads."""

    model: str
    messages: list[InputMessage]
    system: str | list[Text] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(CountRequest, kw_only=True):
    """What ``/v1/messages`` reads; a megaservice's own parameters may stand beside it."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stop_sequences: list[str] | None = None
    stream: bool = False
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None


class Usage(Struct, omit_defaults=True):
    """Tokens read and written."""

    input_tokens: int = msgspec.field(default_factory=lambda: 0)
    output_tokens: int = msgspec.field(default_factory=lambda: 0)


class TokenCount(Struct):
    """The reply of ``/v1/messages/count_tokens``."""

    input_tokens: int


class SearchResultLocation(Struct):
    """Where a piece of the answer comes from.

    Attributes:
        cited_text: The quoted words.
        source: Where the document was taken from, or its passage's address here.
        title: What people call it.
        search_result_index: The number n of the mark ``[n]``, counted from 0.
        start_block_index: 0: a passage is one block.
        end_block_index: 1.
    """

    cited_text: str
    source: str
    title: str | None
    search_result_index: int
    start_block_index: int = 0
    end_block_index: int = 1
    type: Literal["search_result_location"] = "search_result_location"


class OutputBlock(Struct, omit_defaults=True):
    """A part of an answer: ``text``, ``thinking`` or ``tool_use``."""

    type: str
    text: str | UnsetType = UNSET
    citations: list[SearchResultLocation] | UnsetType | None = UNSET
    thinking: str | UnsetType = UNSET
    signature: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    input: dict[str, Any] | UnsetType = UNSET


class Message(Struct):
    """A whole answer."""

    id: str
    model: str
    content: list[OutputBlock]
    usage: Usage
    stop_reason: str | None = None
    stop_sequence: str | None = None
    role: Literal["assistant"] = "assistant"
    type: Literal["message"] = "message"


_TRANSLATED: Final = frozenset(
    {
        *MessagesRequest.__struct_fields__,
        # A hint at what to keep; the answer is the same.
        "cache_control",
    }
)

NAMES: Final = {
    "stop": "stop_sequences",
    "user": "metadata",
    "parallel_tool_calls": "tool_choice",
    "response_format": "output_config",
    "reasoning_effort": "output_config",
    "messages": "messages",
}
"""Chat's names of fields that are written otherwise here, for errors."""

_FINISH: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""Chat's reasons for an end to Anthropic's. Which of the stop sequences it was is not known: it is an ``end_turn``."""

_decode = msgspec.json.Decoder(MessagesRequest).decode
_decode_count = msgspec.json.Decoder(CountRequest).decode


def stop_reason(finish_reason: str | None) -> str:
    """Why an answer ended, as Anthropic says it."""
    return _FINISH.get(finish_reason or "stop", "end_turn")


def decode(body: bytes) -> MessagesRequest:
    """A request of ``/v1/messages``.

    Raises:
        InvalidRequestError: It is none.
    """
    return _decoded(_decode, body)  # type: ignore[no-any-return]


def decode_count(body: bytes) -> CountRequest:
    """A request of ``/v1/messages/count_tokens``.

    Raises:
        InvalidRequestError: It is none.
    """
    return _decoded(_decode_count, body)  # type: ignore[no-any-return]


def _decoded(decode: Any, body: bytes) -> Any:
    try:
        return decode(body or b"{}")
    except (msgspec.DecodeError, RecursionError) as error:
        wrong = invalid(error)
        if wrong.param is not None and wrong.param.endswith(".type"):
            raise InvalidRequestError(
                wrong.message,
                param=wrong.param,
                hint="content that can be read: text, image (base64, url), document (text), tool_use, tool_result, thinking",
            ) from error
        raise wrong from error


def chat_body(asked: CountRequest, body: bytes) -> dict[str, Any]:
    """The chat request that a decoded request stands for.

    Args:
        asked: The request.
        body: As it came: fields that Anthropic does not have (a megaservice's parameters) are handed on.

    Raises:
        UnsupportedParameterError: It asks for what the chat contract has no words for.
    """
    chat: dict[str, Any] = {
        name: value
        for name, value in fields_of(body).items()
        if name not in _TRANSLATED and bytes(value) != b"null"
    }
    chat["model"] = asked.model
    chat["messages"] = _messages(asked)
    if asked.thinking is not None and asked.thinking.type in ("enabled", "between_tools"):
        raise UnsupportedParameterError(
            f"'thinking' of type '{asked.thinking.type}' is not supported: no model here can be given a budget to think",
            param="thinking",
            hint="leave it out, or let the model decide: {type: adaptive}",
        )
    if asked.tools:
        chat["tools"] = [_tool(tool, index) for index, tool in enumerate(asked.tools)]
    if asked.tool_choice is not None:
        chat |= _tool_choice(asked.tool_choice)
    if (config := asked.output_config) is not None:
        if config.effort is not None:
            chat["reasoning_effort"] = config.effort
        if config.format is not None:
            chat["response_format"] = _format(config.format)
    if isinstance(asked, MessagesRequest):
        chat["max_tokens"] = asked.max_tokens
        if asked.stream:
            chat |= {"stream": True, "stream_options": {"include_usage": True}}
        named = ("temperature", asked.temperature), ("top_p", asked.top_p), ("stop", asked.stop_sequences)
        chat |= {name: value for name, value in named if value is not None}
        if asked.metadata is not None and asked.metadata.user_id is not None:
            chat["user"] = asked.metadata.user_id
    return chat


def _messages(asked: CountRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if asked.system:
        system = asked.system if isinstance(asked.system, str) else "\n\n".join(b.text for b in asked.system)
        found.append({"role": "system", "content": system})
    for index, message in enumerate(asked.messages):
        where = f"messages[{index}].content"
        if isinstance(message.content, str):
            found.append({"role": message.role, "content": message.content})
        elif message.role == "user":
            found += _user(message.content, where)
        else:
            found.append(_said(message.role, message.content, where))
    if asked.messages and asked.messages[-1].role == "assistant":
        raise InvalidRequestError(
            "the last message is the assistant's: no model here goes on with words that it is given",
            param="messages",
            hint="end with a message of the user",
        )
    return found


def _user(content: list[Block], where: str) -> list[dict[str, Any]]:
    """A turn of the user: what tools gave comes first, as messages of their own."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(content):
        if isinstance(block, ToolResult):
            text, pictures = _result(block)
            results.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": text})
            parts += pictures  # a tool's message has only words: its pictures follow as the user's
        elif isinstance(block, (Text, Image, Document)):
            parts.append(_part(block, f"{where}[{index}]"))
        else:
            raise _misplaced(block, "user", f"{where}[{index}]")
    if parts:
        plain = len(parts) == 1 and parts[0]["type"] == "text"
        results.append({"role": "user", "content": parts[0]["text"] if plain else parts})
    return results


def _said(role: str, content: list[Block], where: str) -> dict[str, Any]:
    """A turn of the assistant, or a system message in the middle."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(content):
        if isinstance(block, Text):
            texts.append(block.text)
        elif isinstance(block, ToolUse) and role == "assistant":
            arguments = msgspec.json.encode(block.input).decode()
            call = {"name": block.name, "arguments": arguments}
            calls.append({"id": block.id, "type": "function", "function": call})
        elif not isinstance(block, (Thinking, RedactedThinking)):
            raise _misplaced(block, role, f"{where}[{index}]")
    message: dict[str, Any] = {"role": role, "content": "".join(texts)}
    if calls:
        message["tool_calls"] = calls
    return message


def _misplaced(block: Block, role: str, where: str) -> InvalidRequestError:
    kind = block.__struct_config__.tag
    return InvalidRequestError(f"a message of the role '{role}' cannot have '{kind}'", param=where)


def _part(block: Text | Image | Document, where: str) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Image):
        source = block.source
        url = (
            source.url if isinstance(source, UrlSource) else f"data:{source.media_type};base64,{source.data}"
        )
        return {"type": "image_url", "image_url": {"url": url}}
    if block.citations and block.citations.get("enabled"):
        raise UnsupportedParameterError(
            "a document in a message cannot be cited from",
            param=f"{where}.citations",
            hint="leave citations out, or ingest the document and ask a megaservice that cites",
        )
    return {"type": "text", "text": _document(block)}


def _document(block: Document) -> str:
    return "\n\n".join(text for text in (block.title, block.context, block.source.data) if text)


def _result(block: ToolResult) -> tuple[str, list[dict[str, Any]]]:
    """What a tool gave: its words, and its pictures as parts of a message."""
    if isinstance(block.content, str):
        texts, pictures = [block.content], []
    else:
        texts = [
            part.text if isinstance(part, Text) else _document(part)
            for part in block.content
            if not isinstance(part, Image)
        ]
        pictures = [_part(part, "") for part in block.content if isinstance(part, Image)]
    text = "\n".join(texts)
    return f"error: {text}" if block.is_error else text, pictures


def _tool(tool: Tool, index: int) -> dict[str, Any]:
    if tool.type not in (None, "custom"):
        raise UnsupportedParameterError(
            f"the tool '{tool.name}' of type '{tool.type}' is not supported: it is run by Anthropic's servers",
            param=f"tools[{index}].type",
            hint="tools that can be had: those with name, description and input_schema, which the caller runs",
        )
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    if choice.type == "tool":
        if not choice.name:
            raise InvalidRequestError("tool_choice of type 'tool' names no tool", param="tool_choice.name")
        chosen: Any = {"type": "function", "function": {"name": choice.name}}
    else:
        chosen = "required" if choice.type == "any" else choice.type
    found: dict[str, Any] = {"tool_choice": chosen}
    if choice.disable_parallel_tool_use:
        found["parallel_tool_calls"] = False
    return found


def _format(form: dict[str, Any]) -> dict[str, Any]:
    if form.get("type") != "json_schema" or "schema" not in form:
        raise UnsupportedParameterError(
            "'output_config.format' is not supported as it is",
            param="output_config.format",
            hint="{type: json_schema, schema: ...}",
        )
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": form["schema"], "strict": True},
    }
