"""Multipart uploads of documents, with OPEA's field names, as the dataprep contract's own request."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from weft.contracts.dataprep import IngestRequest
from weft.errors import InvalidRequestError, UnsupportedMediaTypeError
from weft.http.message import Request
from weft.types import Upload

_decode_links = msgspec.json.Decoder(list[str]).decode

FORM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "One or many.",
        },
        "link_list": {"type": "string", "description": "A JSON array of http(s) addresses of public pages."},
        "chunk_size": {"type": "integer", "description": "In characters."},
        "chunk_overlap": {"type": "integer", "description": "In characters."},
        "process_table": {"type": "boolean"},
        "table_strategy": {"type": "string"},
        "index_name": {"type": "string", "description": "The collection; empty is the default one."},
        "replace": {"type": "boolean", "description": "Replace a file of the same name and other content."},
    },
}
"""What a browser or ``curl -F`` may send."""


async def read_ingest(request: Request) -> IngestRequest:
    """The form in the body of ``request``."""
    raise UnsupportedMediaTypeError("forms are not read yet")


def ingest_request(files: list[Upload], fields: dict[str, str]) -> IngestRequest:
    """The request that a form stands for; fields that OPEA does not have are ignored.

    Raises:
        InvalidRequestError: A field is not what it must be; ``param`` names it.
    """
    request = IngestRequest(files=files, links=_links(fields.get("link_list", "")))
    request.chunk_size = _number(fields, "chunk_size")
    request.chunk_overlap = _number(fields, "chunk_overlap")
    request.process_table = _flag(fields, "process_table")
    request.replace = _flag(fields, "replace")
    request.table_strategy = fields.get("table_strategy") or "fast"
    request.collection = fields.get("index_name") or fields.get("collection", "")
    if not request.files and not request.links:
        raise InvalidRequestError("the form has no file and no link", param="files")
    return request


def _links(text: str) -> list[str]:
    if not text.strip():
        return []
    try:
        return _decode_links(text)
    except msgspec.DecodeError as error:
        raise InvalidRequestError(
            f"link_list must be a JSON array of addresses: {error}", param="link_list"
        ) from error


def _number(fields: dict[str, str], name: str) -> int | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise InvalidRequestError(f"{name} must be a whole number, not '{text}'", param=name)
    return int(text)


def _flag(fields: dict[str, str], name: str) -> bool:
    text = fields.get(name, "").strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("", "false", "0", "no", "off"):
        return False
    raise InvalidRequestError(f"{name} must be true or false, not '{text}'", param=name)
