"""Multipart uploads of documents, with OPEA's field names, as the dataprep contract's own request."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from weft.contracts.dataprep import JOB_PATH, IngestRequest, IngestResponse, Job
from weft.errors import InvalidRequestError
from weft.http.message import Request, Response
from weft.http.multipart import FormLimits, read_form
from weft.types import Upload

LIMITS: Final = FormLimits(max_parts=1100)
"""1,000 files, as the contract says, and the fields beside them."""

_MAX_DIGITS: Final = 18
"""Of a number: more than fits anything. Python itself refuses to read thousands of digits."""

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
    """The form in the body of ``request``; its files arrive on disk first, so that a slow sender holds no memory.

    Raises:
        InvalidRequestError: It is malformed, or a field is not what it must be.
        PayloadTooLargeError: It has too many parts, or too large ones.
    """
    with await read_form(request, limits=LIMITS) as form:
        # A browser sends a file input that was left empty as a file without name and content.
        kept = [file for file in form.files if file.filename or file.size]
        contents = await asyncio.to_thread(lambda: [file.file.read() for file in kept])
        fields = dict(reversed(form.fields))  # the first of each name
        links = [link for text in form.get_all("link_list") for link in _links(text)]
    files = [
        Upload(file.filename or "unnamed", content, file.content_type or None)
        for file, content in zip(kept, contents, strict=True)
    ]
    return ingest_request(files, links, fields)


def ingest_request(files: list[Upload], links: list[str], fields: dict[str, str]) -> IngestRequest:
    """The request that a form stands for; fields that OPEA does not have are ignored.

    Raises:
        InvalidRequestError: A field is not what it must be; ``param`` names it.
    """
    request = IngestRequest(files=files, links=links)
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
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(
            f"link_list must be a JSON array of addresses: {error}", param="link_list"
        ) from error


def _number(fields: dict[str, str], name: str) -> int | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        shown = text if len(text) <= _MAX_DIGITS else text[:_MAX_DIGITS] + "..."
        raise InvalidRequestError(f"{name} must be a whole number, not '{shown}'", param=name)
    return int(text)


def _flag(fields: dict[str, str], name: str) -> bool:
    text = fields.get(name, "").strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("", "false", "0", "no", "off"):
        return False
    raise InvalidRequestError(f"{name} must be true or false, not '{text}'", param=name)


def prefers_async(request: Request) -> bool:
    """Whether the caller would rather have the job than wait for its end (RFC 7240: ``Prefer: respond-async``)."""
    preferences = ",".join(request.headers.get_all("prefer")).lower().split(",")
    return any(preference.partition(";")[0].strip() == "respond-async" for preference in preferences)


def accepted(job: Job) -> Response:
    """The job is on disk; where to ask for it is in ``Location``."""
    headers = [("location", JOB_PATH.format(id=job.id)), ("preference-applied", "respond-async")]
    return Response(202, headers, msgspec.json.encode(job))


def refused(response: IngestResponse) -> Response:
    """A refused file is the caller's to mend: 400, with what became of each; those that went in stay in."""
    bad = [file for file in response.files if file.outcome == "refused"]
    first = bad[0]
    problem = {
        "type": "about:blank",
        "title": "Some files were refused" if len(bad) < len(response.files) else "Refused",
        "status": 400,
        "detail": f"{first.name}: {first.reason}" if len(bad) == 1 else f"{len(bad)} files were refused",
        "code": "files_refused",
        "files": response.files,
    }
    return Response(400, (), msgspec.json.encode(problem), "application/problem+json")
