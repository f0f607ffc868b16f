"""Multipart uploads of documents, with OPEA's field names, as the dataprep contract's own request."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from weft.contracts.dataprep import JOB_PATH, IngestRequest, IngestResponse, Job
from weft.errors import InvalidRequestError, PayloadTooLargeError, UnavailableError
from weft.http.message import Request, Response
from weft.http.multipart import FormLimits, read_form
from weft.types import Upload

LIMITS: Final = FormLimits(max_parts=1100)
"""1,000 files, as the contract says, and the fields beside them."""

MAX_INLINE_BYTES: Final = 64 * 1024 * 1024
"""Of the files of one upload that is sent on to a service elsewhere: they are all in memory then."""

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
        "again": {"type": "boolean", "description": "Take in what is in already with the same content, too."},
        "readers": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Groups to whom it is shown, one a field or as a JSON array; left out: everybody.",
        },
    },
}
"""What a browser or ``curl -F`` may send."""


@asynccontextmanager
async def received(request: Request, spool: Path | None) -> AsyncIterator[IngestRequest]:
    """The form in the body of ``request``, with its files in a folder of ``spool`` for as long as the block runs.

    Whoever takes a file over moves it away; what is left is deleted. The folder's name cannot be guessed, for a path is
    all that is needed to have a file taken in.

    Args:
        request: Its body has not been read.
        spool: None: the files' bytes are in the request.

    Raises:
        InvalidRequestError: It is malformed, or a field is not what it must be.
        PayloadTooLargeError: It has too many parts, or too large ones.
        UnavailableError: The disk does not take the files.
    """
    folder = None if spool is None else spool / secrets.token_hex(16)
    try:
        try:
            if folder is not None:
                await asyncio.to_thread(folder.mkdir, parents=True)
            asked = await _read(request, folder)
        except OSError as error:
            raise UnavailableError(f"the upload cannot be kept: {error.strerror}") from error
        yield asked
    finally:
        if folder is not None:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def _read(request: Request, folder: Path | None) -> IngestRequest:
    with await read_form(request, limits=LIMITS, folder=folder) as form:
        # A browser sends a file input that was left empty as a file without name and content.
        kept = [file for file in form.files if file.filename or file.size]
        files = [
            Upload(
                file.sent_name or "unnamed",
                b"" if file.path is not None else await asyncio.to_thread(file.file.read),
                file.content_type or None,
                str(file.path) if file.path is not None else None,
            )
            for file in kept
        ]
        fields = dict(reversed(form.fields))  # the first of each name
        links = [link for text in form.get_all("link_list") for link in _links(text)]
        readers = [group for text in form.get_all("readers") for group in _groups(text)]
    asked = ingest_request(files, links, fields)
    asked.readers = readers or None
    return asked


async def inlined(request: IngestRequest) -> IngestRequest:
    """The request for a service on another machine, which has no use for a path here: its files' bytes are in it.

    Raises:
        PayloadTooLargeError: They are too many to be held in memory.
    """
    spooled = [Path(file.path) for file in request.files if file.path is not None]
    if not spooled:
        return request
    if sum(path.stat().st_size for path in spooled) > MAX_INLINE_BYTES:
        raise PayloadTooLargeError(
            f"documents are taken in by a service elsewhere, to which at most {MAX_INLINE_BYTES >> 20} MiB are sent "
            "at once; hand in fewer files at a time"
        )

    def read(file: Upload) -> Upload:
        content = file.content if file.path is None else Path(file.path).read_bytes()
        return Upload(file.name, content, file.content_type)

    files = await asyncio.to_thread(lambda: [read(file) for file in request.files])
    return msgspec.structs.replace(request, files=files)


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
    request.again = _flag(fields, "again")
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


def _groups(text: str) -> list[str]:
    if not text.lstrip().startswith("["):
        # A field that is there and empty is no wish that everybody should read it: it is refused as a group without a name.
        return [text.strip()]
    try:
        return _decode_links(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(
            f"readers must be a group, or a JSON array of groups: {error}", param="readers"
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
