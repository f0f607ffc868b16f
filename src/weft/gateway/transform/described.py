"""A request's schema as its caller sees it: what a route renames, takes away, sets and bounds."""

from __future__ import annotations

from typing import Any

from weft.gateway.transform.program import SYNONYMS
from weft.plan.rules import compile_rule
from weft.serve.openapi import resolved
from weft.spec.gateway import TransformSpec
from weft.spec.problems import Problems


def described(schema: dict[str, Any], components: dict[str, Any], spec: TransformSpec) -> dict[str, Any]:
    """The schema of a route's request.

    Only fields of the body itself are described anew; of those within others, the words of the route have to do.

    Args:
        schema: Of what the target is asked.
        components: What its references lead to.
        spec: How the route changes requests.
    """
    whole = resolved(schema, components)
    if whole.get("type") != "object":
        return schema
    fields: dict[str, Any] = dict(whole.get("properties", {}))
    required = [*whole.get("required", [])]
    for name in (*spec.set_, *spec.template):
        required = [other for other in required if other != name]
        if name in fields:
            fields[name] = {"description": "Set by this route, whatever is sent."}
    for old, new in spec.rename.items():
        if "." in old or "." in new:
            continue
        # What is sent under the new name counts as well, where nothing is sent under the old one.
        fields[old] = dict(fields.get(new, {})) | {"description": f"Another name for '{new}' on this route."}
        required = [other for other in required if other != new]
    for name in spec.remove:
        if "." not in name:
            fields[name] = {"description": "Taken away by this route, if it is sent."}
        required = [other for other in required if other != name]
    for name in _read(spec):
        if name not in fields or name in spec.remove:
            fields[name] = {"description": "Read by this route."}
    for name, value in spec.defaults.items():
        if name in fields:
            fields[name] = _with_default(fields[name], value)
            required = [other for other in required if other != name]
    for name, bounds in spec.clamp.items():
        low, high = bounds
        said = {"description": f"Brought to between {low} and {high} by this route."}
        other = SYNONYMS.get(name, "")
        if other in fields:
            fields[other] = _unbounded(fields[other]) | said
        if name in fields:
            fields[name] = _with_default(_unbounded(fields[name]), spec.defaults.get(name, high)) | said
        required = [other for other in required if other != name]
    changed = {**whole, "properties": fields, "required": required}
    if not required:
        del changed["required"]
    changed.pop("title", None)
    return changed


def described_reply(
    schema: dict[str, Any], components: dict[str, Any], spec: TransformSpec
) -> dict[str, Any]:
    """The schema of a route's replies, or of one event of them.

    Of a field in which something is changed it is only said that it is.

    Args:
        schema: Of what the target answers.
        components: What its references lead to.
        spec: How the route changes replies.
    """
    if "anyOf" in schema:
        return {"anyOf": [described_reply(option, components, spec) for option in schema["anyOf"]]}
    whole = resolved(schema, components)
    made = (*spec.set_, *spec.template, *spec.rename.values(), *spec.defaults, *spec.clamp)
    gone = (*spec.rename, *spec.remove)
    if not made and not gone:
        return schema
    if whole.get("type") != "object":
        return {"description": "Changed by this route."}
    fields: dict[str, Any] = dict(whole.get("properties", {}))
    for path in (*gone, *made):
        name, _, rest = path.partition(".")
        if rest or path in made:
            if name in fields or path in made:
                fields[name] = {"description": "Changed by this route."}
        else:
            fields.pop(name, None)
    required = [name for name in whole.get("required", ()) if name in fields]
    changed = {**whole, "properties": fields, "required": required}
    changed.pop("title", None)
    return changed


def _unbounded(schema: dict[str, Any]) -> dict[str, Any]:
    """What is out of bounds is brought within them, and not refused."""
    kept = {key: value for key, value in schema.items() if key not in ("minimum", "maximum")}
    if "anyOf" in kept:
        kept["anyOf"] = [_unbounded(option) for option in kept["anyOf"]]
    return kept


def _with_default(schema: dict[str, Any], value: Any) -> dict[str, Any]:
    """Beside a reference stands nothing else in what reads OpenAPI 3.0: it goes into an ``allOf``."""
    if "$ref" in schema:
        return {"allOf": [schema], "default": value}
    return {key: kept for key, kept in schema.items() if key != "default"} | {"default": value}


def _read(spec: TransformSpec) -> list[str]:
    """Fields of the body that expressions read."""
    names: dict[str, None] = {}
    for condition in spec.set_.values():
        expression = compile_rule(condition, Problems(), what="", expect=None)
        for reading in expression.refs if expression is not None else ():
            if reading.path[0] == "body" and len(reading.path) > 1:
                names[reading.path[1]] = None
    return list(names)
