"""Requests without a body: their fields are in the address, in its path and its query."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from weft.contracts.base import invalid
from weft.errors import InvalidRequestError
from weft.http.message import Request
from weft.serve.application import named

BODILESS: Final = frozenset({"GET", "DELETE"})
"""Methods whose requests are read from the address."""

MAX_FIELDS: Final = 100
"""Of a query: more than any request has."""


def from_address(request: Request, type_: type[Any]) -> Any:
    """The request Struct that an address stands for; what is in the path wins over the query.

    Raises:
        InvalidRequestError: A field is missing or not what it must be, or there are too many.
    """
    try:
        fields = dict(parse_qsl(request.query, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise InvalidRequestError(f"the query has more than {MAX_FIELDS} fields") from error
    try:
        # Not strict: everything in an address is text, and "20" is the number.
        return msgspec.convert(fields | named(request), type_, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error, what="the request's address") from error


def parameters(type_: type[Struct], path: str, example: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a request that is in an address: the path's names, and a parameter for each field of the query.

    Args:
        type_: The request Struct.
        path: With ``{name}`` segments.
        example: Fields of a request that works.
    """
    fields = msgspec.json.schema(type_)["$defs"][type_.__name__]["properties"]
    for name, said in getattr(type_, "schema", {}).items():
        if name in fields:
            fields[name] = fields[name] | said
    in_path = [name for name in fields if f"{{{name}}}" in path]
    required = {field.encode_name for field in msgspec.structs.fields(type_) if field.required}
    in_query = tuple(
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        | ({"example": example[name]} if name in example else {})
        for name, schema in fields.items()
        if name not in in_path
    )
    return {"parameters": in_query, "named": {name: str(example.get(name, name)) for name in in_path}}
