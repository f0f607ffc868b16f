"""A chat reply in the words of OpenAI's Responses API: a response, or the events of one."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.contracts.chat import ChatResponse, Delta
from weft.errors import BackendReplyError
from weft.gateway.protocols.responses_wire import ResponsesRequest
from weft.gateway.protocols.telling import Said
from weft.types import Annotation, ToolCall
from weft.types import Usage as ChatUsage

_encode = msgspec.json.Encoder().encode

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Chat's reasons for an end that comes too early to those of a response that is incomplete."""


class ResponseObject(Struct, kw_only=True):
    """A response: what was asked, how far it is and what came out.

    Attributes:
        output: Items: ``reasoning``, ``message`` with ``output_text`` and its annotations, ``function_call``.
        status: ``in_progress``, ``completed``, ``incomplete`` or ``failed``.
        store: Whether it can be asked for later.
    """

    id: str
    created_at: int
    model: str
    status: str = "in_progress"
    output: list[dict[str, Any]] = []
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    incomplete_details: dict[str, str] | None = None
    completed_at: int | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: dict[str, Any] | None = None
    store: bool = False
    temperature: float | None = None
    text: dict[str, Any] | None = None
    tool_choice: Any = "auto"
    tools: list[dict[str, Any]] = []
    top_p: float | None = None
    truncation: str = "disabled"
    user: str | None = None
    object: str = "response"


def begun(asked: ResponsesRequest, id_: str, *, stored: bool) -> ResponseObject:
    """The response to a request before anything came out."""
    text = msgspec.to_builtins(asked.text) if asked.text is not None else {}
    return ResponseObject(
        id=id_,
        created_at=int(time.time()),
        model=asked.model,
        instructions=asked.instructions,
        max_output_tokens=asked.max_output_tokens,
        metadata=asked.metadata or {},
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        previous_response_id=asked.previous_response_id,
        reasoning=msgspec.to_builtins(asked.reasoning) if asked.reasoning is not None else None,
        store=stored,
        temperature=asked.temperature,
        text={"format": {"type": "text"}} | text,
        tool_choice=asked.tool_choice if asked.tool_choice is not None else "auto",
        tools=asked.tools or [],
        top_p=asked.top_p,
        user=asked.user,
    )


def completed(response: ResponseObject, reply: ChatResponse) -> ResponseObject:
    """A whole chat reply as a response: its first choice is told."""
    output: list[dict[str, Any]] = []
    finish: str | None = None
    if reply.choices:
        choice = reply.choices[0]
        said, finish = choice.message, choice.finish_reason
        if said.reasoning_content:
            output.append(_reasoning(_id("rs", response, output), said.reasoning_content))
        text = said.text()
        if text or said.refusal or not said.tool_calls:
            parts: list[dict[str, Any]] = []
            if text or not said.refusal:
                logprobs = _logprobs(choice.logprobs)
                annotations = [annotation(known) for known in said.annotations or ()]
                parts.append(_text(text, annotations, logprobs))
            if said.refusal:
                parts.append({"type": "refusal", "refusal": said.refusal})
            output.append(_message(_id("msg", response, output), parts))
        for call in said.tool_calls or ():
            output.append(_call(_id("fc", response, output), call))
    if reply.created:
        response.created_at = reply.created  # the answer's own time, if it is told again
    return ended(response, output, finish, reply.usage, model=reply.model)


def ended(
    response: ResponseObject,
    output: list[dict[str, Any]],
    finish: str | None,
    usage: ChatUsage | None,
    *,
    model: str,
) -> ResponseObject:
    """The response when all has come out."""
    reason = _INCOMPLETE.get(finish or "")
    if reason is not None:
        for item in output[-1:]:
            item["status"] = "incomplete"
    return msgspec.structs.replace(
        response,
        model=model or response.model,
        status="completed" if reason is None else "incomplete",
        incomplete_details=None if reason is None else {"reason": reason},
        completed_at=int(time.time()) if reason is None else None,
        output=output,
        usage=_usage(usage),
    )


def annotation(known: Annotation) -> dict[str, Any]:
    """Where a piece of the answer comes from: a link where there is one, else a file; what else is known stands beside it."""
    told = msgspec.to_builtins(known)
    more = {
        name: told[name]
        for name in ("marker", "document_id", "source", "page", "quote", "score")
        if name in told
    }
    web = known.url_citation
    if web is not None:
        return {"type": "url_citation", **msgspec.to_builtins(web), **more}
    return {
        "type": "file_citation",
        "file_id": known.document_id,
        "filename": known.title or known.source or "",
        "index": known.end_index or 0,
        **more,
    }


def _id(kind: str, response: ResponseObject, output: list[dict[str, Any]]) -> str:
    return f"{kind}_{response.id.removeprefix('resp_')}_{len(output)}"


def _usage(usage: ChatUsage | None) -> dict[str, Any]:
    usage = usage or ChatUsage()
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


def _logprobs(logprobs: Any) -> list[Any]:
    return (logprobs.get("content") or []) if isinstance(logprobs, dict) else []


def _reasoning(id_: str, text: str) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}]
    return {"id": id_, "type": "reasoning", "summary": [], "content": content, "status": "completed"}


def _text(text: str, annotations: list[dict[str, Any]], logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}


def _message(id_: str, parts: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {"id": id_, "type": "message", "role": "assistant", "status": status, "content": parts}


def _call(id_: str, call: ToolCall, status: str = "completed") -> dict[str, Any]:
    return {
        "id": id_,
        "type": "function_call",
        "call_id": call.id or id_,
        "name": call.function.name or "",
        "arguments": call.function.arguments,
        "status": status,
    }


class ResponseTeller:
    """Tells a streamed chat reply as a response's events, each with its number.

    Args:
        response: As it is before anything came out.

    Attributes:
        response: As it is now; whole after the end.
    """

    def __init__(self, response: ResponseObject) -> None:
        self.response = response
        self._number = 0
        self._has_begun = False
        self._output: list[dict[str, Any]] = []
        self._item: dict[str, Any] | None = None  # the one that is open
        self._tool: int | None = None  # the model's number of the call that is open
        self._seen_tools: set[int] = set()
        self._texts: list[str] = []  # of the open part
        self._finish: str | None = None
        self._usage: ChatUsage | None = None

    def say(self, said: Said) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        if said.usage is not None:
            self._usage = said.usage
        events = [] if self._has_begun else self._begin(said.model, said.created)
        for choice in said.choices:
            if choice.index == 0:
                self._delta(choice.delta, _logprobs(choice.logprobs), events)
                self._finish = choice.finish_reason or self._finish
        return b"".join(events)

    def end(self) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        events = [] if self._has_begun else self._begin("")
        if all(item["type"] == "reasoning" for item in self._output):
            self._open_part("output_text", events)  # an answer of no words is one all the same
        self._close(events, "incomplete" if self._finish in _INCOMPLETE else "completed")
        self.response = ended(self.response, self._output, self._finish, self._usage, model="")
        events.append(self._event(f"response.{self.response.status}", response=self.response))
        return b"".join(events)

    def fail(self, error: dict[str, Any]) -> bytes:
        """See :class:`weft.gateway.protocols.telling.Teller`."""
        code = "rate_limit_exceeded" if error.get("type") == "rate_limit_error" else "server_error"
        told = {"code": code, "message": str(error.get("message", "")), "reason": error.get("code")}
        events = [] if self._has_begun else self._begin("")
        output = [*self._output]
        self.response = msgspec.structs.replace(
            self.response, status="failed", error=told, output=output, usage=_usage(self._usage)
        )
        events.append(self._event("response.failed", response=self.response))
        return b"".join(events)

    def _event(self, type_: str, **fields: Any) -> bytes:
        data = _encode({"type": type_, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (type_.encode(), data)

    def _begin(self, model: str, created: int = 0) -> list[bytes]:
        self._has_begun = True
        if created:
            self.response.created_at = created  # the answer's own time, if it is told again
        if model:
            self.response.model = model
        names = ("response.created", "response.in_progress")
        return [self._event(name, response=self.response) for name in names]

    def _delta(self, delta: Delta, logprobs: list[Any], events: list[bytes]) -> None:
        if delta.reasoning_content:
            self._open_part("reasoning_text", events)
            self._texts.append(delta.reasoning_content)
            events.append(self._in_part("response.reasoning_text.delta", delta=delta.reasoning_content))
        if delta.content:
            part = self._open_part("output_text", events)
            self._texts.append(delta.content)
            part["logprobs"] += logprobs
            events.append(self._in_part("response.output_text.delta", delta=delta.content, logprobs=logprobs))
        for known in delta.annotations or ():
            part = self._open_part("output_text", events)
            told = annotation(known)
            number = len(part["annotations"])
            part["annotations"].append(told)
            events.append(
                self._in_part(
                    "response.output_text.annotation.added", annotation_index=number, annotation=told
                )
            )
        if delta.refusal:
            self._open_part("refusal", events)
            self._texts.append(delta.refusal)
            events.append(self._in_part("response.refusal.delta", delta=delta.refusal))
        for call in delta.tool_calls or ():
            self._call(call, events)

    # Items and parts: one is open at a time.

    def _open_part(self, kind: str, events: list[bytes]) -> dict[str, Any]:
        """Have a part of this kind open, in an item that may have it."""
        item_type = "reasoning" if kind == "reasoning_text" else "message"
        item = self._item
        if item is None or item["type"] != item_type:
            self._close(events)
            id_ = _id("rs" if item_type == "reasoning" else "msg", self.response, self._output)
            item = _message(id_, [], "in_progress")
            if item_type == "reasoning":
                item = {"id": id_, "type": "reasoning", "summary": [], "content": [], "status": "in_progress"}
            self._open_item(item, events)
        parts: list[dict[str, Any]] = item["content"]
        if not parts or parts[-1]["type"] != kind:
            self._close_part(events)
            part = _text("", [], []) if kind == "output_text" else {"type": kind, _FIELD[kind]: ""}
            parts.append(part)
            events.append(self._in_part("response.content_part.added", part=part))
        return parts[-1]

    def _open_item(self, item: dict[str, Any], events: list[bytes]) -> None:
        self._item = item
        self._output.append(item)
        index = len(self._output) - 1
        events.append(self._event("response.output_item.added", output_index=index, item=item))

    def _in_part(self, type_: str, **fields: Any) -> bytes:
        item = self._item
        assert item is not None  # a part is in an item
        at = {
            "item_id": item["id"],
            "output_index": len(self._output) - 1,
            "content_index": len(item["content"]) - 1,
        }
        return self._event(type_, **at, **fields)

    def _close_part(self, events: list[bytes]) -> None:
        item = self._item
        if item is None or not item.get("content"):
            return
        part = item["content"][-1]
        kind = part["type"]
        text, self._texts = "".join(self._texts), []
        part[_FIELD[kind]] = text
        more = {"logprobs": part["logprobs"]} if kind == "output_text" else {}
        events.append(self._in_part(f"response.{kind}.done", **{_FIELD[kind]: text}, **more))
        events.append(self._in_part("response.content_part.done", part=part))

    def _close(self, events: list[bytes], status: str = "completed") -> None:
        """End the item that is open."""
        item = self._item
        if item is None:
            return
        if item["type"] == "function_call":
            arguments, self._texts = "".join(self._texts), []
            item["arguments"] = arguments
            events.append(
                self._in_item("response.function_call_arguments.done", arguments=arguments, name=item["name"])
            )
        else:
            self._close_part(events)
        item["status"] = status
        self._item = self._tool = None
        index = len(self._output) - 1
        events.append(self._event("response.output_item.done", output_index=index, item=item))

    def _in_item(self, type_: str, **fields: Any) -> bytes:
        index = len(self._output) - 1
        return self._event(type_, item_id=self._output[index]["id"], output_index=index, **fields)

    def _call(self, call: ToolCall, events: list[bytes]) -> None:
        number = call.index if call.index is not None else max(self._seen_tools, default=-1) + bool(call.id)
        if self._tool != number:
            if number in self._seen_tools:
                raise BackendReplyError("the model went back to a tool call that it had ended")
            self._close(events)
            self._seen_tools.add(number)
            self._tool = number
            item = _call(_id("fc", self.response, self._output), call, "in_progress")
            item["arguments"] = ""
            self._open_item(item, events)
        if call.function.arguments:
            self._texts.append(call.function.arguments)
            events.append(
                self._in_item("response.function_call_arguments.delta", delta=call.function.arguments)
            )


_FIELD: Final = {"output_text": "text", "reasoning_text": "text", "refusal": "refusal"}
"""A part's kind to the field that has its words."""
