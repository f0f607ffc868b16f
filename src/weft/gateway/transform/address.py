"""Requests without a body, whose fields are in the address: changed as if they were one."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from weft.errors import InternalError
from weft.gateway.passage import Passage
from weft.gateway.transform.program import Seen, Transform
from weft.serve.addresses import BODILESS, MAX_FIELDS, from_address
from weft.serve.application import Exchange, named


def is_in_address(passage: Passage) -> bool:
    """Whether the request's fields are in its path and query."""
    return passage.wire is not None and passage.operation is not None and passage.wire.method in BODILESS


def change_address(transform: Transform, passage: Passage) -> None:
    """Let the request have its changed fields, each where it was: in the path, else in the query.

    Raises:
        InvalidRequestError: The address is no request of the operation's, or does not fit.
        InternalError: A field becomes something that no address can have.
    """
    request, operation = passage.request, passage.operation
    assert operation is not None  # see is_in_address
    asked = msgspec.to_builtins(from_address(request, operation.request))
    in_path = named(request)
    sent = {name for name, _ in parse_qsl(request.query, keep_blank_values=True, max_num_fields=MAX_FIELDS)}
    body = {name: value for name, value in asked.items() if name in sent or name in in_path}
    after = transform(Seen(body, request.headers, passage.identity, passage.model), size=len(request.query))
    exchange = request.scope
    assert isinstance(exchange, Exchange)  # every request in a route has one
    texts = {name: _text(name, value) for name, value in after.items() if value is not None}
    exchange.named = {name: texts.get(name, value) for name, value in in_path.items()}
    request.query = urlencode({name: text for name, text in texts.items() if name not in in_path})


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        raise InternalError(f"this route makes of '{name}' something that no address can have")
    return msgspec.json.encode(value).decode()
