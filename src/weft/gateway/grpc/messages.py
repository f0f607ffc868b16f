"""The messages of the interface, made from its descriptor set, and what they are in the JSON of the HTTP routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2

PACKAGE: Final = "weft.v1"

# Where a Struct is a field, its file must be in the pool before ours.
_STRUCT: Final = struct_pb2.DESCRIPTOR

OPTIONS: Final = ("temperature", "top_p", "max_tokens", "seed", "n")
"""Fields of a chat request that may be unset."""


def _load() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.Default()
    found = descriptor_pb2.FileDescriptorSet.FromString(
        (files("weft.gateway.grpc") / "weft_v1.binpb").read_bytes()
    )
    for file in found.file:
        pool.Add(file)
    return pool


POOL: Final = _load()


def kind(name: str) -> type[Any]:
    """The class of a message of the interface."""
    found: type[Any] = message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    return found


ChatRequest, ChatResponse, ChatChunk = kind("ChatRequest"), kind("ChatResponse"), kind("ChatChunk")
InvokeRequest, InvokeResponse = kind("InvokeRequest"), kind("InvokeResponse")


def chat_body(request: Any, *, stream: bool) -> dict[str, Any]:
    """The body of ``/v1/chat/completions`` that a ``ChatRequest`` stands for.

    What is not set is left out, so that a route's defaults hold; a field of its own goes before ``parameters``.
    """
    body: dict[str, Any] = plain(request.parameters)
    body |= {"model": request.model, "messages": [_message(message) for message in request.messages]}
    body |= {name: getattr(request, name) for name in OPTIONS if request.HasField(name)}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.user:
        body["user"] = request.user
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def plain(struct: Any) -> dict[str, Any]:
    """A ``google.protobuf.Struct`` as JSON; whole numbers, which it has as floating ones, are whole again."""
    found: dict[str, Any] = _whole(json_format.MessageToDict(struct))
    return found


def _whole(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list():
            return [_whole(item) for item in value]
    return value


def _message(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        found["name"] = message.name
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        found["content"] = message.content or None
    return found


def _tool(tool: Any) -> dict[str, Any]:
    function = {"name": tool.name, "parameters": plain(tool.parameters)}
    return {
        "type": "function",
        "function": function | ({"description": tool.description} if tool.description else {}),
    }


def chat_response(body: Mapping[str, Any]) -> Any:
    """The ``ChatResponse`` of a whole reply; fields that a route's transformation took away stay unset."""
    choices = [
        {
            "index": choice.get("index", 0),
            "message": _said(choice.get("message") or {}),
            "finish_reason": choice.get("finish_reason") or "",
            "citations": _citations((choice.get("message") or {}).get("annotations")),
        }
        for choice in body.get("choices", ())
    ]
    return json_format.ParseDict(
        _heading(body) | {"choices": choices}, ChatResponse(), ignore_unknown_fields=True
    )


def chat_chunk(body: Mapping[str, Any]) -> Any:
    """The ``ChatChunk`` of one event of a streamed reply."""
    deltas = []
    for choice in body.get("choices", ()):
        delta = choice.get("delta") or {}
        deltas.append(
            {
                "index": choice.get("index", 0),
                "content": delta.get("content") or "",
                "tool_calls": _calls(delta.get("tool_calls")),
                "finish_reason": choice.get("finish_reason") or "",
                "citations": _citations(delta.get("annotations")),
            }
        )
    return json_format.ParseDict(_heading(body) | {"deltas": deltas}, ChatChunk(), ignore_unknown_fields=True)


def _heading(body: Mapping[str, Any]) -> dict[str, Any]:
    usage = body.get("usage")
    counted = {name: value for name, value in (usage or {}).items() if isinstance(value, int)}
    found = {name: body[name] for name in ("id", "model", "created") if body.get(name)}
    return found | ({"usage": counted} if usage else {})


def _said(message: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: message[name] for name in ("role", "content", "name") if message.get(name)}
    return found | {"tool_calls": _calls(message.get("tool_calls"))}


def _calls(calls: Iterable[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    return [
        {
            "id": call.get("id") or "",
            "name": (call.get("function") or {}).get("name") or "",
            "arguments": (call.get("function") or {}).get("arguments") or "",
            "index": call.get("index") or 0,
        }
        for call in calls or ()
    ]


def _citations(annotations: Iterable[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    names = ("marker", "document_id", "title", "source", "page", "quote", "score")
    return [
        {name: annotation[name] for name in names if annotation.get(name) is not None}
        for annotation in annotations or ()
    ]
