"""Objects of the model -> the mappings, lists and scalars that a file has for them. Defaults are left out."""

from __future__ import annotations

import math
from typing import Any

from weft.errors import UsageError
from weft.spec import keys
from weft.spec.gateway import KINDS, Document
from weft.spec.model import (
    API_VERSION,
    DefaultPlace,
    First,
    Flow,
    Input,
    ListOf,
    PlacementSpec,
    Ref,
    SecretRef,
    ServicesSpec,
    Spec,
    Value,
)


class Quoted(str):
    """Text that is written in quotes even where it need not be."""

    __slots__ = ()


def documents(spec: Spec) -> list[Document]:
    """The documents that declare a spec: services, each megaservice, the placement, the gateway; none that would say nothing.

    A spec that says nothing at all is a Services document without services: a file cannot be empty.
    """
    found: list[Document] = []
    if spec.services or spec.expose:
        found.append(ServicesSpec(spec.services, spec.expose))
    found += spec.megaservices.values()
    if spec.placement != PlacementSpec():
        found.append(spec.placement)
    if spec.gateway is not None:
        found.append(spec.gateway)
    return found or [ServicesSpec({})]


def plain_document(document: Document) -> dict[str, Any]:
    """A whole document, with its header.

    Raises:
        UsageError: It holds something that cannot be written: a faulty input, a number that is not finite.
    """
    kind = next(kind for kind, type_ in KINDS.items() if isinstance(document, type_))
    return {"apiVersion": API_VERSION, "kind": kind} | plain_block(document)


def plain_block(thing: Any) -> dict[str, Any]:
    """The keys of an object that are not at their default."""
    found: dict[str, Any] = {}
    for key in keys.keys_of(type(thing)).values():
        value = getattr(thing, key.attribute)
        if key.required or value != key.default or type(value) is not type(key.default):
            found[key.name] = _plain(key.shape, value)
    return found


def _plain(shape: keys.Shape, value: Any) -> Any:
    match shape:
        case keys.Items(item):
            return [_plain(item, one) for one in value]
        case keys.Table(_, inner):
            return {name: _plain(inner, one) for name, one in value.items()}
        case keys.Block(type_):
            made = plain_block(value)
            # All defaults: still written where the object itself is not the default.
            return made or ({"at": str(value.at)} if type_ is DefaultPlace else {})
        case keys.Json():
            return plain_json(value)
        case keys.Version():
            return Quoted(value)
        case keys.Binding():
            return plain_input(value)
        case keys.Expression():
            return value.text
        case keys.Chain():
            return _chain(value)
        case keys.Reference() | keys.Location():
            return str(value)
    return value


def plain_input(expression: Input) -> Any:
    """An input expression as it is written.

    Raises:
        UsageError: It is a faulty one.
    """
    match expression:
        case Ref():
            return str(expression)
        case Value(value):
            return {"value": plain_json(value)}
        case First(choices):
            return {"first": [plain_input(choice) for choice in choices]}
        case ListOf(items):
            return [plain_input(item) for item in items]
    raise UsageError(f"a faulty input cannot be written: {expression.mark}")


def plain_json(value: Any) -> Any:
    """A JSON value as it is written, secrets as ``{secret: NAME}``.

    Raises:
        UsageError: It is no JSON, or has a mapping that would be read as a secret.
    """
    match value:
        case SecretRef(name):
            return {"secret": name}
        case dict():
            if list(value) == ["secret"] and isinstance(value["secret"], str):
                raise UsageError("a mapping with the one key 'secret' is a secret: write SecretRef(name)")
            return {str(key): plain_json(item) for key, item in value.items()}
        case list() | tuple():
            return [plain_json(item) for item in value]
        case float() if not math.isfinite(value):
            raise UsageError(f"{value} cannot be written: a number must be finite")
        case None | bool() | int() | float() | str():
            return value
    raise UsageError(f"a value of type {type(value).__name__} cannot be written")


def _chain(flow: Flow) -> str | list[str]:
    lines = [" >> ".join(step.name for step in chain) for chain in flow.chains]
    return lines[0] if len(lines) == 1 else lines
