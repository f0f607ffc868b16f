"""What a failed request is in gRPC: its status, its words, and its stable code beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import grpc

CODES: Final[Mapping[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    409: grpc.StatusCode.ABORTED,
    410: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP status to gRPC's, as its documentation and Google's API design guide have them; any other is INTERNAL."""

STREAM_CODES: Final[Mapping[str, int]] = {
    "deadline_exceeded": 504,
    "backend_status": 502,
    "backend_reply": 502,
    "unreachable": 502,
    "service_failed": 502,
    "overloaded": 429,
    "unavailable": 503,
}
"""An error in mid-stream has only its stable code: the status that it would have had before the first event."""


def status(http_status: int) -> grpc.StatusCode:
    """The gRPC status of an HTTP status that is an error."""
    return CODES.get(http_status, grpc.StatusCode.INTERNAL)


def told(body: Mapping[str, Any]) -> tuple[str, str]:
    """Message and stable code of an error reply, in OpenAI's form or as a problem; the hint is in the message."""
    error = body.get("error")
    found: Mapping[str, Any] = error if isinstance(error, dict) else body
    message = found.get("message") or found.get("detail") or found.get("title") or "the request failed"
    return str(message), str(found.get("code") or "")
