"""Anthropic's Messages API as types.

Source: Anthropic API, "Create a Message", "Count tokens in a Message".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType


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
