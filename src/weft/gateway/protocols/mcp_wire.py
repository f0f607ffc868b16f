"""MCP's messages: JSON-RPC 2.0, its revisions, and what each asks of a request.

Two eras answer at one address. Revisions up to 2025-11-25 begin with ``initialize``; from 2026-07-28 on every request
says its revision in ``_meta`` and repeats what it is about in headers, which are compared with the body, so that nobody on
the way can be shown another request than the one that is answered.

Source: Model Context Protocol, revisions 2025-03-26 to 2026-07-28: "Base Protocol", "Streamable HTTP", "Versioning".
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, ClassVar, Final, TypeGuard

import msgspec
from msgspec import UNSET, Struct, UnsetType

from weft.gateway.protocols.asking import shown
from weft.http.message import Headers, Response

MODERN: Final = ("2026-07-28",)
"""Revisions in which every request stands for itself."""

LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Revisions that begin with ``initialize``."""

VERSIONS: Final = (*MODERN, *LEGACY)
WITHOUT_HEADER: Final = "2025-03-26"
"""The revision of a request that does not say one: no later one allows that."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

META: Final = "io.modelcontextprotocol/"

MAX_BATCH: Final = 32
"""Messages of a batch; they are answered at the same time."""

_encode = msgspec.json.Encoder().encode

Id = str | int


class Message(Struct):
    """A request (with an id) or a notification (without)."""

    method: str
    id: Id | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET
    jsonrpc: str = ""

    schema: ClassVar[dict[str, Any]] = {
        "jsonrpc": {"const": "2.0"},
        "": {"required": ["jsonrpc", "method"]},
    }
    """What JSON Schema can say of the fields beyond their types."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The parameters, if any."""
        return self.params if self.params is not UNSET else {}

    @property
    def meta(self) -> dict[str, Any]:
        """What is said of the request beside its parameters."""
        meta = self.arguments.get("_meta")
        return meta if isinstance(meta, dict) else {}


class Refusal(Exception):  # noqa: N818 - it is one of JSON-RPC's, not of Weft's
    """A request is answered with an error of the protocol.

    Args:
        code: JSON-RPC's or MCP's number, or a status of HTTP.
        message: What is wrong.
        status: Of the reply.
        data: More of it, for programs.
        headers: Of the reply.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: int = 400,
        data: Any = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.data, self.headers = code, message, status, data, headers


def reply_of(id_: Id, result: Any) -> dict[str, Any]:
    """The message that answers a request."""
    return {"jsonrpc": "2.0", "id": id_, "result": result}


def error_of(id_: Id | None, refusal: Refusal) -> dict[str, Any]:
    """The message that refuses one; without an id where none could be read."""
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.data is not None:
        error["data"] = refusal.data
    return {"jsonrpc": "2.0", "id": id_, "error": error}


def refused(id_: Id | None, refusal: Refusal) -> Response:
    """The refusal as a reply."""
    return Response(refusal.status, refusal.headers, _encode(error_of(id_, refusal)))


def decode(body: bytes) -> Any:
    """The JSON of a body.

    Raises:
        Refusal: It is none.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refusal(PARSE_ERROR, f"the body is no JSON: {error}") from error


def is_response(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether it is an answer to a request of ours: we send none, so nobody waits for it."""
    return isinstance(value, dict) and "method" not in value and ("result" in value or "error" in value)


def message_of(value: Any) -> Message:
    """One message.

    Raises:
        Refusal: It is none.
    """
    try:
        message = msgspec.convert(value, Message)
    except msgspec.ValidationError as error:
        raise Refusal(INVALID_REQUEST, f"the body is no JSON-RPC message: {error}") from error
    if message.jsonrpc != "2.0":
        raise Refusal(INVALID_REQUEST, "a JSON-RPC message says jsonrpc: 2.0")
    return message


def id_of(value: Any) -> Id | None:
    """The id of what may be no whole message."""
    id_ = value.get("id") if isinstance(value, dict) else None
    return id_ if isinstance(id_, (str, int)) and not isinstance(id_, bool) else None


def version_of(message: Message, headers: Headers) -> str:
    """The revision that a request is written in.

    Raises:
        Refusal: It is not one of those that are spoken here, or the headers say something else than the body.
    """
    header = headers.get("mcp-protocol-version")
    said = message.meta.get(META + "protocolVersion")
    if header is None and said is None:
        return WITHOUT_HEADER
    if header in LEGACY and said is None:
        return header
    if message.method == "initialize" and said is None:
        return LEGACY[0]
    if header is None or (said is not None and header != said):
        raise Refusal(
            HEADER_MISMATCH,
            f"the header MCP-Protocol-Version says '{header or ''}', the body '{shown(said)}'",
        )
    if header not in VERSIONS:
        raise Refusal(
            UNSUPPORTED_VERSION,
            f"the revision '{header}' of the protocol is not spoken here",
            data={"supported": list(VERSIONS), "requested": header},
        )
    if header in LEGACY:
        return header
    _check_modern(message, headers, said)
    return header


def _check_modern(message: Message, headers: Headers, said: Any) -> None:
    """What the newest revision asks of every request."""
    if message.id is UNSET:
        return
    if not isinstance(said, str):
        raise Refusal(INVALID_PARAMS, f"the request has no _meta with {META}protocolVersion")
    if not isinstance(message.meta.get(META + "clientCapabilities"), dict):
        raise Refusal(INVALID_PARAMS, f"the request has no _meta with {META}clientCapabilities")
    if (method := headers.get("mcp-method")) != message.method:
        raise Refusal(
            HEADER_MISMATCH, f"the header Mcp-Method says '{method or ''}', the body '{message.method}'"
        )
    if message.method == "tools/call":
        name, called = _plain(headers.get("mcp-name")), message.arguments.get("name")
        if name != called:
            raise Refusal(
                HEADER_MISMATCH, f"the header Mcp-Name says '{name or ''}', the body '{shown(called)}'"
            )


def _plain(value: str | None) -> str | None:
    """A header's value; what cannot stand in a header comes in base64."""
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refusal(HEADER_MISMATCH, "the header Mcp-Name is not what it says it is: base64") from error
