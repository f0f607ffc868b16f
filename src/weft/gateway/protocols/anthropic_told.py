"""A chat reply in Anthropic's words: a message, or the events of one."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from weft.contracts.chat import ChatResponse, Delta
from weft.errors import BackendReplyError
from weft.gateway.protocols.anthropic_types import Message, OutputBlock, SearchResultLocation, Usage
from weft.gateway.protocols.anthropic_wire import stop_reason
from weft.gateway.protocols.telling import Said
from weft.http.sse import sse
from weft.serve.problems import ANTHROPIC_TYPES
from weft.types import Annotation, ToolCall
from weft.types import Usage as ChatUsage

_encode = msgspec.json.Encoder().encode
_decode_arguments = msgspec.json.Decoder(dict[str, Any]).decode

_PING: Final = sse(b'{"type":"ping"}', "ping")
_STOP: Final = sse(b'{"type":"message_stop"}', "message_stop")
_STATUS_OF_TYPE: Final = {
    "authentication_error": 401,
    "permission_error": 403,
    "rate_limit_error": 429,
}


def message_id(id_: str, request_id: str) -> str:
    """A message's id, as Anthropic's begin."""
    return id_ if id_.startswith("msg_") else f"msg_{id_ or request_id}"


def citation(annotation: Annotation) -> SearchResultLocation:
    """Where a piece of the answer comes from."""
    web = annotation.url_citation
    return SearchResultLocation(
        annotation.quote or "",
        (web.url if web is not None else "") or annotation.source or annotation.document_id,
        annotation.title or (web.title if web is not None else None),
        max(0, annotation.marker - 1),
    )


def message(reply: ChatResponse, request_id: str, *, thinks: bool) -> Message:
    """A whole chat reply as a message.

    Args:
        reply: Its first choice is told.
        request_id: For an id, where the reply has none.
        thinks: Whether the caller lets the model think aloud.

    Raises:
        BackendReplyError: The model's arguments for a tool are no JSON object.
    """
    content: list[OutputBlock] = []
    finish: str | None = None
    if reply.choices:
        said, finish = reply.choices[0].message, reply.choices[0].finish_reason
        if thinks and said.reasoning_content:
            content.append(OutputBlock("thinking", thinking=said.reasoning_content, signature=""))
        text = said.text() or said.refusal or ""
        if text:
            cited = [citation(annotation) for annotation in said.annotations or ()]
            content.append(OutputBlock("text", text=text, citations=cited or None))
        content += [_tool_use(call) for call in said.tool_calls or ()]
        if said.refusal and not said.content:
            finish = "content_filter"
    id_ = message_id(reply.id, request_id)
    return Message(id_, reply.model, content, _usage(reply.usage), stop_reason=stop_reason(finish))


def _tool_use(call: ToolCall) -> OutputBlock:
    written = call.function.arguments
    try:
        arguments = _decode_arguments(written) if written.strip() else {}
    except (ValueError, RecursionError) as error:
        raise BackendReplyError(
            f"the model's arguments for the tool '{call.function.name}' are no JSON object"
        ) from error
    return OutputBlock("tool_use", id=call.id or "", name=call.function.name or "", input=arguments)


def _usage(usage: ChatUsage | None) -> Usage:
    return Usage(usage.prompt_tokens, usage.completion_tokens) if usage is not None else Usage()


class MessageTeller:
    """Tells a streamed chat reply as Anthropic's events.

    Args:
        request_id: For an id, where the reply has none.
        thinks: Whether the caller lets the model think aloud.
    """

    def __init__(self, request_id: str, *, thinks: bool) -> None:
        self._request_id, self._thinks = request_id, thinks
        self._has_begun = False
        self._index = -1
        self._open = ""  # the kind of the block that is open; a tool's is "tool" and its number
        self._finish: str | None = None
        self._usage: ChatUsage | None = None
        self._seen_tools: set[int] = set()

    def say(self, said: Said) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        if said.usage is not None:
            self._usage = said.usage
        events = [] if self._has_begun else [self._begin(said)]
        for choice in said.choices:
            if choice.index == 0:
                self._delta(choice.delta, events)
                self._finish = choice.finish_reason or self._finish
        return b"".join(events)

    def end(self) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        events = [] if self._has_begun else [self._begin(Said())]
        self._close(events)
        usage = msgspec.to_builtins(_usage(self._usage))
        delta = {"stop_reason": stop_reason(self._finish), "stop_sequence": None}
        events.append(_event("message_delta", {"delta": delta, "usage": usage}))
        events.append(_STOP)
        return b"".join(events)

    def fail(self, error: dict[str, Any]) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        kind = str(error.get("type"))
        inner = error | {"type": kind if kind in _KINDS else "api_error"}
        return _event("error", {"error": inner, "request_id": self._request_id or None})

    def _begin(self, said: Said) -> bytes:
        self._has_begun = True
        # What the prompt costs is known at the end: it is in message_delta.
        begun = Message(message_id(said.id, self._request_id), said.model, [], Usage())
        return _event("message_start", {"message": msgspec.to_builtins(begun)})

    def _delta(self, delta: Delta, events: list[bytes]) -> None:
        if delta.reasoning_content and self._thinks:
            self._at("thinking", {"thinking": "", "signature": ""}, events)
            self._more({"type": "thinking_delta", "thinking": delta.reasoning_content}, events)
        if text := delta.content or delta.refusal:
            self._at("text", {"text": ""}, events)
            self._more({"type": "text_delta", "text": text}, events)
        if delta.refusal:
            self._finish = "content_filter"
        for annotation in delta.annotations or ():
            self._at("text", {"text": ""}, events)
            cited = msgspec.to_builtins(citation(annotation))
            self._more({"type": "citations_delta", "citation": cited}, events)
        for call in delta.tool_calls or ():
            self._call(call, events)

    def _call(self, call: ToolCall, events: list[bytes]) -> None:
        number = call.index if call.index is not None else max(self._seen_tools, default=-1) + bool(call.id)
        kind = f"tool{number}"
        if self._open != kind:
            if number in self._seen_tools:
                raise BackendReplyError("the model went back to a tool call that it had ended")
            self._seen_tools.add(number)
            start = {"id": call.id or f"toolu_{number}", "name": call.function.name or "", "input": {}}
            self._at(kind, start, events)
        if call.function.arguments:
            self._more({"type": "input_json_delta", "partial_json": call.function.arguments}, events)

    def _at(self, kind: str, start: dict[str, Any], events: list[bytes]) -> None:
        """Have a block of this kind open."""
        if self._open == kind:
            return
        self._close(events)
        self._open = kind
        self._index += 1
        type_ = "tool_use" if kind.startswith("tool") else kind
        block = {"type": type_, **start}
        events.append(_event("content_block_start", {"index": self._index, "content_block": block}))
        if self._index == 0:
            events.append(_PING)

    def _close(self, events: list[bytes]) -> None:
        if self._open:
            self._open = ""
            events.append(_event("content_block_stop", {"index": self._index}))

    def _more(self, delta: dict[str, Any], events: list[bytes]) -> None:
        events.append(_event("content_block_delta", {"index": self._index, "delta": delta}))


_KINDS: Final = {*ANTHROPIC_TYPES.values(), "invalid_request_error", "api_error"}


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **data}))
