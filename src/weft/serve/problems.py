"""Errors as replies: in the form of a foreign protocol on its routes, RFC 9457 problem+json on all others, events in a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from weft.errors import (
    BackendStatusError,
    InternalError,
    OverloadedError,
    RequestError,
    ServiceError,
    UnauthorizedError,
    UnavailableError,
    WeftError,
)
from weft.http.message import REASONS, Response
from weft.http.sse import sse

ErrorForm = Literal["openai", "anthropic", "jsonrpc", "problem"]
"""How a route writes its errors."""

ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Status to what Anthropic calls it; other 4xx are ``invalid_request_error``, other 5xx ``api_error``."""


_encode = msgspec.json.Encoder().encode

STARTING_RETRY_S = 1
"""``Retry-After`` of a service that is starting, draining or crashed: the shortest that the header can say."""


@dataclass(frozen=True, slots=True)
class Place:
    """The service that a route answers for, for errors that do not know theirs."""

    service: str
    component: str = ""

    def name(self, error: BaseException | None) -> None:
        """Put it into an error that can carry it."""
        if isinstance(error, ServiceError):
            error.at(service=self.service, component=self.component or None)


def as_request_error(error: BaseException) -> RequestError:
    """``error`` as the caller may see it: what was not raised on purpose says nothing about itself."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, WeftError):
        return InternalError(error.message, hint=error.hint)
    return InternalError("an unexpected error; its cause is in the log, under the request id")


def members(error: RequestError, request_id: str) -> dict[str, Any]:
    """What is known beyond the message: where it happened, which parameter, which request."""
    found: dict[str, Any] = {}
    if isinstance(error, BackendStatusError):
        found["backend_status"] = error.backend_status
    if isinstance(error, ServiceError):
        if error.node:
            found["node"] = error.node
        if error.service:
            found["service"] = error.service
        if error.component:
            found["component"] = error.component
        if error.endpoint:
            found["endpoint"] = error.endpoint
        if error.elapsed_s is not None:
            found["elapsed_s"] = round(error.elapsed_s, 6)
    if request_id:
        found["request_id"] = request_id
    return found


def openai_error(error: RequestError, request_id: str) -> dict[str, Any]:
    """OpenAI's object, with our members beside its four."""
    inner = {"message": str(error), "type": error.type, "param": error.param, "code": error.code}
    return {"error": inner | members(error, request_id)}


def anthropic_error(error: RequestError, request_id: str) -> dict[str, Any]:
    """Anthropic's object, with our members inside."""
    kind = ANTHROPIC_TYPES.get(error.status) or (
        "invalid_request_error" if error.status < 500 else "api_error"
    )
    inner = {"type": kind, "message": str(error), "code": error.code, "param": error.param}
    return {"type": "error", "error": inner | members(error, ""), "request_id": request_id or None}


def jsonrpc_error(error: RequestError, request_id: str) -> dict[str, Any]:
    """JSON-RPC's object, for what failed before a message's id was known."""
    data = {"code": error.code, "status": error.status} | members(error, request_id)
    # Numbers outside of JSON-RPC's own range are the application's: the status says most.
    inner = {"code": error.status, "message": str(error), "data": data}
    return {"jsonrpc": "2.0", "id": None, "error": inner}


def problem(error: RequestError, request_id: str) -> dict[str, Any]:
    """RFC 9457's object."""
    found = {
        "type": f"urn:weft:error:{error.code}",
        "title": REASONS.get(error.status, "Error"),
        "status": error.status,
        "detail": str(error),
        "code": error.code,
    }
    if error.param is not None:
        found["param"] = error.param
    return found | members(error, request_id)


def error_response(
    error: RequestError, *, form: ErrorForm, request_id: str, headers: Sequence[tuple[str, str]] = ()
) -> Response:
    """The whole reply to a request that failed before its reply began."""
    extra = list(headers)
    if isinstance(error, OverloadedError):
        extra.append(("retry-after", str(max(1, round(error.retry_after_s)))))
    elif isinstance(error, UnavailableError):
        extra.append(("retry-after", str(STARTING_RETRY_S)))
    elif isinstance(error, UnauthorizedError):
        extra.append(("www-authenticate", 'Bearer realm="weft"'))
    if form == "openai":
        return Response(error.status, extra, _encode(openai_error(error, request_id)))
    if form == "anthropic":
        extra.append(("request-id", request_id))
        return Response(error.status, extra, _encode(anthropic_error(error, request_id)))
    if form == "jsonrpc":
        return Response(error.status, extra, _encode(jsonrpc_error(error, request_id)))
    body = _encode(problem(error, request_id))
    return Response(error.status, extra, body, "application/problem+json")


def error_event(error: RequestError, request_id: str) -> bytes:
    """The last event of a stream that failed after its first byte; no ``[DONE]`` follows."""
    return sse(_encode(openai_error(error, request_id)))
