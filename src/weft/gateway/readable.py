"""Requests' schemas as they are read: on OpenAI's routes what nothing reads is refused, OPEA's take a text for the messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft.gateway.targets import Target
from weft.serve.openapi import resolved


def narrowed(targets: Iterable[Target], schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """The schema without the fields that no target reads.

    What nobody reads is allowed where it asks for nothing: null, and the value that the API documents as the default.
    """
    options = schema.get("anyOf")
    if options is not None:
        return {"anyOf": [narrowed(targets, option, components) for option in options]}
    whole = resolved(schema, components)
    if "properties" not in whole:
        return schema
    listed = list(targets)
    readable = frozenset().union(*(target.readable for target in listed))
    defaults: dict[str, Any] = {}
    for target in listed:
        defaults |= getattr(target.operation.request, "defaults", {})
    fields = {name: field for name, field in whole["properties"].items() if name in readable}
    fields |= {name: {"enum": [value, None]} for name, value in defaults.items() if name not in readable}
    narrow = {key: value for key, value in whole.items() if key != "title"}
    return narrow | {"properties": fields, "additionalProperties": {"type": "null"}}


def opea_chat(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """The schema of a chat request on a megaservice's own route.

    See :mod:`weft.gateway.opea`.
    """
    whole = resolved(schema, components)
    fields = dict(whole.get("properties", {}))
    messages = {"anyOf": [{"type": "string"}, fields.get("messages", {}) | {"minItems": 1}]}
    fields["messages"] = messages | {"description": "A question, or a conversation."}
    fields["model"] = {"description": "Ignored."}
    fields["stream"] = {"type": "boolean", "default": True}
    wide = {key: value for key, value in whole.items() if key != "title"}
    return wide | {"properties": fields}
