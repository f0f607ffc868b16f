"""What every protocol does to ask: a request of its own for the chat handler, and errors in its own names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from weft.context import Context
from weft.errors import UnsupportedParameterError
from weft.http.message import Request

_encode = msgspec.json.Encoder().encode


def asking(request: Request, body: Mapping[str, Any]) -> Request:
    """The request as it came, with another body: it is the same exchange, from the same caller."""
    asked = Request(
        "POST",
        request.path,
        request.raw_path,
        request.query,
        request.headers,
        _encode(body),
        request.peer,
        request.scheme,
    )
    asked.scope = request.scope
    return asked


def owner_of(context: Context) -> str:
    """Whose what is kept for a caller is: nobody of another tenant, and nobody else of the same, can name it."""
    identity = context.identity
    readers = None if context.readers is None else sorted(context.readers)
    return _encode(
        [context.tenant, context.caller, identity.key if not context.caller else "", readers]
    ).decode()


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Have a refused field called what it is called in the caller's protocol.

    Args:
        names: The chat contract's name to the protocol's; others are the same in both.
    """
    try:
        yield
    except UnsupportedParameterError as error:
        name = names.get(error.param or "")
        if name is None:
            raise
        message = error.message.replace(f"'{error.param}'", f"'{name}'")
        raise UnsupportedParameterError(message, param=name, hint=error.hint) from error
