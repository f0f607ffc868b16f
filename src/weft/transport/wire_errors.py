"""Error bodies of services, read back into the errors that they were made from.

A Weft service writes what it raised as OpenAI's ``{"error": {...}}`` or as RFC 9457 problem details, with a ``code``.
Here the code becomes the same class again. Two do not: ``internal`` is for us a service that failed, and 401 and 403 say
that *we* may not ask, which is nothing that our caller can mend.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from weft.errors import (
    BackendStatusError,
    InternalError,
    OverloadedError,
    RequestError,
    ServiceError,
    UnavailableError,
)
from weft.http.client import wait_of


class _Members(Struct):
    """What both forms can say."""

    message: str = ""
    detail: str = ""
    title: str = ""
    code: str | int | None = None
    param: str | None = None
    node: str | None = None
    service: str | None = None
    component: str | None = None
    endpoint: str | None = None
    elapsed_s: float | None = None
    backend_status: int = 502


class _Body(_Members):
    error: _Members | str | None = None


_decode = msgspec.json.Decoder(_Body).decode


def _classes() -> dict[str, type[RequestError]]:
    found: dict[str, type[RequestError]] = {}
    todo: list[type[RequestError]] = [RequestError]
    while todo:
        cls = todo.pop()
        found.setdefault(cls.code, cls)
        todo += cls.__subclasses__()
    return found


def read_error(status: int, body: bytes, *, retry_after: str | None = None) -> RequestError | None:
    """The error that a service raised, or None where the body says nothing that we know.

    Args:
        status: The HTTP status; 0 for an error within a stream.
        body: The whole body, or the data of the event.
        retry_after: The header.
    """
    try:
        outer = _decode(body)
    except (ValueError, RecursionError):
        return None
    members = outer.error if isinstance(outer.error, _Members) else outer
    code = members.code if isinstance(members.code, str) else ""
    text = (
        members.message
        or members.detail
        or (outer.error if isinstance(outer.error, str) else "")
        or members.title
    )
    if status in (401, 403):
        return None
    cls = _classes().get(code)
    if status == 429 or (cls is not None and issubclass(cls, OverloadedError)):
        return OverloadedError(text or "the service is busy", retry_after_s=wait_of(retry_after))
    if cls is None or cls is RequestError:
        return UnavailableError(text) if status == 503 and text else None
    return _made(ServiceError if cls is InternalError else cls, text, members)


def _made(cls: type[RequestError], text: str, members: _Members) -> RequestError:
    if not issubclass(cls, ServiceError):
        return cls(text, param=members.param)
    error: ServiceError
    error = (
        cls(text, backend_status=members.backend_status) if issubclass(cls, BackendStatusError) else cls(text)
    )
    error.at(
        node=members.node,
        service=members.service,
        component=members.component,
        endpoint=members.endpoint,
        elapsed_s=members.elapsed_s,
    )
    # The text was written with its places behind it: they are members now, and would be there twice.
    places = str(error)[len(text) :]
    if places and text.endswith(places):
        error.message = text[: -len(places)]
        error.args = (error.message,)
    return error


def is_error_event(data: bytes) -> bool:
    """Whether an event says that the stream failed."""
    return data.startswith((b'{"error":', b'{"error" :', b'{ "error"'))


def event_error(data: bytes) -> RequestError:
    """The error in an event of a stream."""
    error = read_error(0, data)
    if error is not None:
        return error
    try:
        text: Any = msgspec.json.decode(data)["error"]
        text = text.get("message", text) if isinstance(text, dict) else text
    except (ValueError, RecursionError, KeyError, TypeError):
        text = data[:200].decode("utf-8", "replace")
    return ServiceError(f"the service failed in mid-stream: {text}")
