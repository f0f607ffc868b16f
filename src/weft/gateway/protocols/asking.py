"""What every protocol does to ask: a request of its own for the chat handler, and errors in its own names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec

from weft.context import Context
from weft.errors import InvalidRequestError, UnsupportedParameterError
from weft.http.message import Request
from weft.serve.application import CLIENT_GONE, Exchange

_encode = msgspec.json.Encoder().encode


def asking(request: Request, body: Mapping[str, Any]) -> Request:
    """The request as it came, with another body: it is the same exchange, from the same caller.

    Raises:
        InvalidRequestError: The body is nested too deeply.
    """
    asked = Request(
        "POST",
        request.path,
        request.raw_path,
        request.query,
        request.headers,
        encoded(body),
        request.peer,
        request.scheme,
        certificate=request.certificate,
    )
    asked.scope = request.scope
    return asked


def encoded(value: Any) -> bytes:
    """The JSON of what came from a caller, put into something else.

    Raises:
        InvalidRequestError: It is now nested too deeply.
    """
    try:
        return _encode(value)
    except RecursionError as error:
        raise InvalidRequestError("the body is nested too deeply") from error


def shown(value: Any) -> str:
    """What a caller wrote, in a message: a text as it is, of anything else no more than what it is."""
    return value if isinstance(value, str) else type(value).__name__


def owner_of(context: Context) -> str:
    """Whose what is kept for a caller is: nobody of another tenant, and nobody else of the same, can name it."""
    identity = context.identity
    readers = None if context.readers is None else sorted(context.readers)
    return _encode(
        [context.tenant, context.caller, identity.key if not context.caller else "", readers]
    ).decode()


@dataclass
class Apart:
    """One of several requests that came in one body.

    Attributes:
        status: What it ended with; 499 until it is known.
    """

    request: Request
    context: Context
    status: int = CLIENT_GONE


@contextmanager
def apart(request: Request, context: Context) -> Iterator[Apart]:
    """A request of its own, in what it holds and in what it costs, within the one that came in."""
    outer = exchange_of(request)
    own = Context(context.request_id, deadline=context.deadline, traceparent=context.traceparent())
    own.identify(context.identity)
    own.tenant, own.caller, own.readers = context.scope()[0], context.caller, context.readers
    exchange = Exchange(own, perf_counter(), outer.era, outer.route, outer.asked, outer.path, outer.named)
    inner = asking(request, {})
    inner.scope = exchange
    found = Apart(inner, own)
    try:
        yield found
    finally:
        for ending in exchange.endings or ():
            ending(found.status)


def at_end(request: Request, ending: Callable[[int], None]) -> None:
    """Call ``ending`` with the reply's status when the request has ended, in whatever way."""
    exchange = exchange_of(request)
    exchange.endings = [*(exchange.endings or ()), ending]


def exchange_of(request: Request) -> Exchange:
    """What the application knows of a request."""
    exchange = request.scope
    assert isinstance(exchange, Exchange)
    return exchange


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
