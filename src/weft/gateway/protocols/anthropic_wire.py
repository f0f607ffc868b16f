"""A request of Anthropic's Messages API as a chat request, and what its words for an end are.

Source: Anthropic API, "Create a Message", "Count tokens in a Message".
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from weft.contracts.base import fields_of, invalid
from weft.errors import InvalidRequestError, UnsupportedParameterError
from weft.gateway.protocols.anthropic_types import (
    Block,
    CountRequest,
    Document,
    Image,
    MessagesRequest,
    RedactedThinking,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    UrlSource,
)

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
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
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
