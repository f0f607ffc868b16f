"""Megaservices as MCP's tools: what each takes and gives, and a reply of one as a tool's result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from weft.contracts.base import wire_type
from weft.contracts.chat import ChatChunk, ChatResponse, collect
from weft.errors import InvalidRequestError, UnsupportedParameterError, did_you_mean
from weft.gateway.protocols.telling import Said, whole
from weft.gateway.targets import Target
from weft.http.message import Response
from weft.http.sse import sse
from weft.plan.front import ADDRESSING
from weft.spec.gateway import RouteSpec
from weft.types import Annotation, Usage

PROGRESS_S: Final = 0.1
"""Between two notifications: often enough to watch, and not one for each word."""

_encode = msgspec.json.Encoder().encode

_CALLERS: Final = frozenset(
    {
        "messages", "n", "tools", "tool_choice", "parallel_tool_calls", "logit_bias", "logprobs", "top_logprobs",
        "response_format",
    }
)  # fmt: skip
"""Fields of a chat request that are no use to who calls a tool; ``messages`` is described by hand."""

_MESSAGES: Final = {
    "description": "The question; or the conversation so far, which ends with it.",
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "role": {"type": "string", "enum": ["system", "user", "assistant"]},
                    "content": {"type": "string"},
                },
                "required": ["role", "content"],
            },
        },
    ],
}


class Citation(Struct, omit_defaults=True):
    """Where a piece of the answer comes from.

    Attributes:
        marker: The number n of the mark ``[n]`` in the answer.
        quote: The words that it stands on.
        title, source, page, url: Where a person finds them.
        document_id: The passage's id in its collection.
    """

    marker: int = 0
    quote: str | None = None
    title: str | None = None
    source: str | None = None
    page: int | None = None
    url: str | None = None
    document_id: str = ""


class ChatAnswer(Struct, omit_defaults=True):
    """What a chat megaservice gives to who calls it as a tool.

    Attributes:
        answer: Its words.
        citations: What they stand on.
        finish_reason: Why they end: ``stop``, or ``length`` when they are cut off.
        usage: Tokens.
    """

    answer: str = msgspec.field(default_factory=str)
    citations: list[Citation] = []
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True)
class Tool:
    """One megaservice as a tool.

    Attributes:
        target: The megaservice.
        rule: Its route in the Gateway file; None: there is none.
    """

    target: Target
    rule: RouteSpec | None = None

    @property
    def name(self) -> str:
        """What it is called by."""
        return self.target.name

    @property
    def is_chat(self) -> bool:
        """Whether it answers a conversation."""
        return self.target.contract.name == "chat"

    @cached_property
    def described(self) -> dict[str, Any]:
        """Its entry in the list of tools."""
        description = (self.rule.description if self.rule is not None else "") or self.target.description
        tool: dict[str, Any] = {
            "name": self.name,
            "description": description or f"The megaservice {self.name}.",
            "inputSchema": self._input_schema(),
        }
        # A route that changes its replies may give something else than the contract says.
        if self.rule is None or self.rule.response is None:
            tool["outputSchema"] = schema_of(ChatAnswer if self.is_chat else self.target.operation.response)
        return tool

    def _input_schema(self) -> dict[str, Any]:
        if self.rule is not None and self.rule.schema:
            return {"type": "object", **self.rule.schema}
        request: Any = self.target.operation.request
        schema = schema_of(wire_type(request))
        properties: dict[str, Any] = schema.get("properties", {})
        if self.is_chat:
            readable = self.target.readable - ADDRESSING - _CALLERS
            properties = {"messages": _MESSAGES} | {
                name: field for name, field in properties.items() if name in readable
            }
            schema.pop("$defs", None)
        schema |= {"properties": properties, "additionalProperties": False}
        schema.pop("title", None)
        schema.pop("description", None)
        return schema

    def body(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The request that a call's arguments stand for.

        Raises:
            UnsupportedParameterError: It has an argument that the tool does not take.
        """
        if self.rule is None or (self.rule.request is None and not self.rule.schema):
            taken = self.described["inputSchema"]["properties"]
            for name in arguments:
                if name not in taken:
                    raise UnsupportedParameterError(
                        f"the tool '{self.name}' takes no argument '{name}'",
                        param=name,
                        hint=did_you_mean(name, list(taken), what="arguments"),
                    )
        body = dict(arguments)
        if not self.is_chat:
            return body
        if isinstance(body.get("messages"), str):
            body["messages"] = [{"role": "user", "content": body["messages"]}]
        elif not body.get("messages") and (self.rule is None or self.rule.request is None):
            raise InvalidRequestError(
                "'messages' is missing: the question, or the conversation", param="messages"
            )
        return body | {"model": self.name}

    def result(self, reply: Response, version: str) -> dict[str, Any]:
        """A whole reply as the call's result."""
        if self.is_chat:
            return chat_result(whole(reply), version)
        content = [{"type": "text", "text": reply.body.decode()}]
        structured = msgspec.json.decode(reply.body)
        return {"content": content, "structuredContent": structured, "isError": False}


def schema_of(type_: Any) -> dict[str, Any]:
    """The JSON Schema of a type, whole in itself."""
    (reference,), parts = msgspec.json.schema_components(
        [type_], schema_hook=lambda _: {}, ref_template="#/$defs/{name}"
    )
    name = reference["$ref"].rpartition("/")[2]
    root = dict(parts[name])
    others = {key: part for key, part in parts.items() if key != name}
    return root | ({"$defs": others} if others else {})


def failed(message: str) -> dict[str, Any]:
    """The result of a call that went wrong in a way that the model can mend, or has to live with."""
    return {"content": [{"type": "text", "text": message}], "isError": True}


def chat_result(reply: ChatResponse, version: str) -> dict[str, Any]:
    """A chat reply as a tool's result: the words, what they stand on, and both for programs."""
    message = reply.choices[0].message if reply.choices else None
    text = message.text() if message is not None else ""
    annotations = (message.annotations if message is not None else None) or []
    cited = [_citation(known) for known in annotations]
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if version >= "2025-06-18":  # the first revision that has links
        content += _links(cited)
    finish = reply.choices[0].finish_reason if reply.choices else None
    answer = ChatAnswer(text, cited, finish, reply.usage)
    return {"content": content, "structuredContent": msgspec.to_builtins(answer), "isError": False}


def _citation(known: Annotation) -> Citation:
    url = known.url_citation.url if known.url_citation is not None else None
    return Citation(known.marker, known.quote, known.title, known.source, known.page, url, known.document_id)


def _links(cited: list[Citation]) -> list[dict[str, Any]]:
    """Each place once, as something that a client can open."""
    links: dict[str, dict[str, Any]] = {}
    for known in cited:
        if known.url is None or not urlsplit(known.url).scheme:
            continue
        link = {"type": "resource_link", "uri": known.url, "name": known.title or known.source or known.url}
        if known.quote:
            link["description"] = known.quote
        links.setdefault(known.url, link)
    return list(links.values())


class ProgressTeller:
    """Tells a streamed chat reply as progress, and at its end as the call's result.

    Args:
        id_: Of the request.
        token: What the caller calls its progress.
        version: The revision.
        dress: Makes the result what the revision asks for.
    """

    def __init__(self, id_: str | int, token: str | int, version: str, dress: Any) -> None:
        self._id, self._token, self._version, self._dress = id_, token, version, dress
        self._chunks: list[ChatChunk] = []
        self._said = self._told = 0
        self._words: list[str] = []
        self._last = float("-inf")

    def say(self, said: Said) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        self._chunks.append(ChatChunk(said.id, said.model, said.choices, said.created, said.usage))
        for choice in said.choices:
            if choice.index == 0 and choice.delta.content:
                self._said += len(choice.delta.content)
                self._words.append(choice.delta.content)
        now = monotonic()
        if self._said == self._told or now - self._last < PROGRESS_S:
            return b""
        self._last, self._told = now, self._said
        words, self._words = "".join(self._words), []
        params = {"progressToken": self._token, "progress": self._said, "message": words}
        return event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})

    def end(self) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        result = chat_result(collect(self._chunks), self._version)
        return event({"jsonrpc": "2.0", "id": self._id, "result": self._dress(result)})

    def fail(self, error: dict[str, Any]) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        result = failed(str(error.get("message", "")))
        return event({"jsonrpc": "2.0", "id": self._id, "result": self._dress(result)})


def event(message: dict[str, Any]) -> bytes:
    """A message as an event."""
    return sse(_encode(message), "message")
