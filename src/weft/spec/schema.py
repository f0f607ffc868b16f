"""The JSON Schema of the spec files, for editors: made from the table of keys that loading checks with.

It says less than loading does: that a name is one of the nodes, say, or that a condition makes sense.
"""

from __future__ import annotations

from typing import Any, Final

from weft.spec import keys
from weft.spec.gateway import KINDS
from weft.spec.model import API_VERSION, NodeSpec

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_REFERENCE: Final = r"^[a-z][a-z0-9-]*(\.[A-Za-z_][A-Za-z0-9_]*|\[[0-9]+\])*$"
_LINE: Final = {"type": "string", "pattern": r"^\s*[a-z][a-z0-9-]*(\s*>>\s*[a-z][a-z0-9-]*)*\s*$"}
_ONE_OF_TWO: Final = [{"required": ["service"]}, {"required": ["component"]}]


def json_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) that every document of a spec file satisfies."""
    builder = _Builder()
    kinds = [builder.document(kind, type_) for kind, type_ in KINDS.items()]
    return {
        "$schema": DIALECT,
        "title": "Weft spec",
        "description": "One document of a spec file: services, a megaservice, a placement or a gateway.",
        "oneOf": kinds,
        "$defs": dict(sorted(builder.definitions.items())),
    }


class _Builder:
    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {
            "Input": {
                "description": "A reference (request.field, node, node.field, node.list[0]), {value: x} for a literal, "
                "{first: [a, b]} for the first that was produced, or a list of inputs.",
                "oneOf": [
                    {"type": "string", "pattern": _REFERENCE},
                    {"type": "array", "items": {"$ref": "#/$defs/Input"}},
                    _object({"value": {}}, ["value"]),
                    _object(
                        {"first": {"type": "array", "items": {"$ref": "#/$defs/Input"}, "minItems": 1}},
                        ["first"],
                    ),
                ],
            }
        }

    def document(self, kind: str, type_: type[Any]) -> dict[str, Any]:
        """The schema of one kind of document."""
        self.definitions[kind] = self._object(
            type_, {"apiVersion": {"const": API_VERSION}, "kind": {"const": kind}}
        )
        return {"$ref": f"#/$defs/{kind}"}

    def _object(self, type_: type[Any], header: dict[str, Any]) -> dict[str, Any]:
        properties: dict[str, Any] = dict(header)
        for key in keys.keys_of(type_).values():
            schema = {"description": key.doc} | self._shape(key.shape)
            if isinstance(key.default, str | int | float | bool) and key.default != "":
                schema["default"] = key.default
            properties[key.name] = schema
        required = [*header, *(key.name for key in keys.keys_of(type_).values() if key.required)]
        made = _object(properties, required)
        made["description"] = (type_.__doc__ or "").partition("\n")[0].replace("``", "")
        return made | ({"oneOf": _ONE_OF_TWO} if type_ is NodeSpec else {})

    def _shape(self, shape: keys.Shape) -> dict[str, Any]:
        match shape:
            case keys.Text(pattern=pattern) | keys.Version(pattern):
                return {"type": "string", "pattern": f"^(?:{pattern})$"} if pattern else {"type": "string"}
            case keys.Number(_, maximum):
                return {"type": "number", "exclusiveMinimum": 0, "maximum": maximum}
            case keys.Whole(_, minimum, maximum):
                return {"type": "integer", "minimum": minimum, "maximum": maximum}
            case keys.Flag():
                return {"type": "boolean"}
            case keys.Choice(words):
                return {"enum": list(words)}
            case keys.Limit():
                return {"type": "number"}
            case keys.Binding():
                return {"$ref": "#/$defs/Input"}
            case keys.Reference():
                return {"type": "string", "pattern": _REFERENCE}
            case keys.Chain():
                return {"oneOf": [_LINE, {"type": "array", "items": _LINE, "minItems": 1}]}
            case keys.Location():
                return {
                    "type": "string",
                    "pattern": r"^(local|process|https?://.+|registry:[a-z][a-z0-9-]*)$",
                }
            case keys.Expression():
                return {"type": "string", "minLength": 1}
            case keys.Items(item):
                return {"type": "array", "items": self._shape(item)}
            case keys.Table(key, value):
                names = {"pattern": f"^(?:{key.pattern})$"}
                return {"type": "object", "propertyNames": names, "additionalProperties": self._shape(value)}
            case keys.Block(type_):
                name = type_.__name__.removesuffix("Spec")
                if name not in self.definitions:
                    self.definitions[name] = self._object(type_, {})
                return {"$ref": f"#/$defs/{name}"}
        return {}  # any JSON


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": required} if required else {})
