"""Forms: ``multipart/form-data`` (RFC 7578) read as it arrives, bounded in every direction."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeAlias

from weft.errors import InvalidRequestError, PayloadTooLargeError, UnsupportedMediaTypeError
from weft.http.message import Request

SPOOL_BYTES = 1024 * 1024
"""A file up to this long stays in memory; a longer one goes to a temporary file. 1 MiB: a typical document."""

_BOUNDARY = re.compile(
    r'multipart/form-data\s*;.*?\bboundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70})(?=[\s;,]|$))', re.IGNORECASE
).match
_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))').finditer
_ESCAPED_QUOTE = re.compile(r'\\(["\\])').sub


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What a form may bring; the whole body is bounded by the server, or by ``max_bytes``."""

    max_parts: int = 1000
    """Fields and files together. Default 1000."""

    max_header_bytes: int = 8192
    """The headers of one part. Default 8 KiB."""

    max_field_bytes: int = 1024 * 1024
    """One field that is not a file. Default 1 MiB."""

    max_file_bytes: int = 100 * 1024 * 1024
    """One file. Default 100 MiB, as the server's bound of a body."""

    max_bytes: int = 1024 * 1024 * 1024
    """The whole body. Default 1 GiB, so that the server's own bound decides."""


@dataclass(slots=True)
class Upload:
    """A file of a form.

    Attributes:
        name: The field's name.
        filename: As the client calls it, without any folders; may be empty.
        content_type: As the client says.
        file: At its start; closed with the form. Where the form has a folder, it is closed already.
        size: Bytes.
        sent_name: The name as it was sent, folders and all: never a path of this machine.
        path: Where it is, where the form has a folder.
    """

    name: str
    filename: str
    content_type: str
    file: IO[bytes]
    size: int = 0
    sent_name: str = ""
    path: Path | None = None


@dataclass(slots=True)
class Form:
    """Fields and files in the order in which they came. Close it, or leave its ``with``, to drop the temporary files."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[Upload] = field(default_factory=list)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first field called ``name``."""
        return next((value for key, value in self.fields if key == name), default)

    def get_all(self, name: str) -> list[str]:
        """Every field called ``name``."""
        return [value for key, value in self.fields if key == name]

    def close(self) -> None:
        """Close every file."""
        for upload in self.files:
            upload.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class PartHead:
    """A part begins."""

    name: str
    filename: str | None
    content_type: str
    sent_name: str = ""


class PartEnd:
    """A part ends."""

    __slots__ = ()


PartEvent: TypeAlias = PartHead | bytes | PartEnd
"""The head of a part, then its content in blocks, then its end."""

_PREAMBLE, _AFTER_BOUNDARY, _HEADERS, _CONTENT, _EPILOGUE = range(5)


class MultipartReader:
    """Turns the bytes of a form into parts, wherever the reads cut it.

    Args:
        boundary: From the content type.
        limits: See :class:`FormLimits`.
    """

    __slots__ = ("_delimiter", "_held", "_limits", "_parts", "_state")

    def __init__(self, boundary: bytes, *, limits: FormLimits | None = None) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._limits = limits or FormLimits()
        # The first boundary may be the very start of the body: it is read as if a line ended before it.
        self._held = b"\r\n"
        self._state = _PREAMBLE
        self._parts = 0

    @property
    def is_complete(self) -> bool:
        """Whether the closing boundary has come."""
        return self._state == _EPILOGUE

    def feed(self, data: bytes) -> list[PartEvent]:
        """What ``data`` completes.

        Raises:
            InvalidRequestError: It is malformed.
            PayloadTooLargeError: Too many parts, or too long headers.
        """
        events: list[PartEvent] = []
        data = self._held + data
        self._held = b""
        while data:
            if self._state in (_PREAMBLE, _CONTENT):
                data = self._read_content(data, events)
            elif self._state == _AFTER_BOUNDARY:
                data = self._read_after_boundary(data)
            elif self._state == _HEADERS:
                data = self._read_headers(data, events)
            else:
                data = b""
            if self._held:
                break
        return events

    def _read_content(self, data: bytes, events: list[PartEvent]) -> bytes:
        found = data.find(self._delimiter)
        if found >= 0:
            content, rest = data[:found], data[found + len(self._delimiter) :]
        else:
            # The end of what is there may be the start of a delimiter.
            keep = len(self._delimiter) - 1
            last = data.rfind(b"\r", max(len(data) - keep, 0))
            if last >= 0 and self._delimiter.startswith(data[last:]):
                content, self._held = data[:last], data[last:]
            else:
                content = data
            rest = b""
        if self._state == _CONTENT and content:
            events.append(content)
        if found >= 0:
            if self._state == _CONTENT:
                events.append(PartEnd())
            self._state = _AFTER_BOUNDARY
        return rest

    def _read_after_boundary(self, data: bytes) -> bytes:
        if len(data) < 2:
            self._held = data
            return b""
        if data[:2] == b"--":
            self._state = _EPILOGUE
            return b""
        line_end = data.find(b"\r\n")
        # The last byte may be the first half of the line's end.
        padding = data.removesuffix(b"\r") if line_end < 0 else data[:line_end]
        if padding.strip(b" \t") or len(padding) > 64:
            raise InvalidRequestError("malformed boundary in the form")
        if line_end < 0:
            self._held = data
            return b""
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise PayloadTooLargeError(f"the form has more than {self._limits.max_parts} parts")
        self._state = _HEADERS
        # The line end stays: a part without headers is then an empty line like any other end of headers.
        return data[line_end:]

    def _read_headers(self, data: bytes, events: list[PartEvent]) -> bytes:
        end = data.find(b"\r\n\r\n")
        # Of an unfinished head, the last three bytes may belong to its end.
        if (len(data) - 3 if end < 0 else end) > self._limits.max_header_bytes:
            raise PayloadTooLargeError(
                f"a part's headers are longer than {self._limits.max_header_bytes} bytes"
            )
        if end < 0:
            self._held = data
            return b""
        events.append(_read_part_head(data[2:end] if end else b""))
        self._state = _CONTENT
        return data[end + 4 :]


def _read_part_head(block: bytes) -> PartHead:
    disposition, content_type = None, ""
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or not name.strip() or name != name.strip() or b"\n" in line or b"\0" in line:
            raise InvalidRequestError("malformed header in a part of the form")
        text = value.strip().decode("utf-8", "replace")
        if name.lower() == b"content-disposition":
            disposition = text
        elif name.lower() == b"content-type":
            content_type = text
        elif name.lower() == b"content-transfer-encoding" and text.lower() not in ("7bit", "8bit", "binary"):
            raise InvalidRequestError("a part of the form has a transfer encoding")
    if disposition is None or not disposition.lower().startswith("form-data"):
        raise InvalidRequestError("a part of the form has no name")
    parameters: dict[str, str] = {}
    for match in _PARAMETER(disposition):
        value_text = _ESCAPED_QUOTE(r"\1", match[2]) if match[2] is not None else match[3]
        parameters.setdefault(match[1].lower(), value_text)
    if "name" not in parameters:
        raise InvalidRequestError("a part of the form has no name")
    filename = parameters.get("filename")
    sent_name = filename or ""
    if filename is not None:
        # Never a path: some clients send the whole one, others mean harm.
        filename = filename.replace("\\", "/").rpartition("/")[2].replace("\0", "")
    return PartHead(parameters["name"], filename, content_type, sent_name)


async def read_form(
    request: Request, *, limits: FormLimits | None = None, folder: Path | None = None
) -> Form:
    """Read the form in a request's body.

    Files beyond 1 MiB are spooled to disk by a thread. Cancelling it, or an error, leaves no file behind.

    Args:
        request: Its body has not been read.
        limits: See :class:`FormLimits`.
        folder: Exists and is empty: every file is written there, whatever its length, under a number, and is its owner's
            to delete. Then a thousand files take neither memory nor descriptors.

    Raises:
        UnsupportedMediaTypeError: The body is not ``multipart/form-data``.
        InvalidRequestError: It is malformed, or ends early.
        PayloadTooLargeError: It is beyond a limit.
    """
    limits = limits or FormLimits()
    found = _BOUNDARY(request.headers.get("content-type", ""))
    if found is None:
        raise UnsupportedMediaTypeError("the body must be multipart/form-data with a boundary")
    reader = MultipartReader((found[1] or found[2]).encode("latin-1"), limits=limits)
    form = Form()
    try:
        await _fill(form, reader, request.chunks(), limits, folder)
    except BaseException:
        form.close()
        raise
    if folder is None:
        for upload in form.files:
            upload.file.seek(0)
    return form


async def _fill(
    form: Form,
    reader: MultipartReader,
    blocks: AsyncIterator[bytes],
    limits: FormLimits,
    folder: Path | None,
) -> None:
    size, head, value = 0, None, bytearray()
    upload: Upload | None = None
    async for block in blocks:
        size += len(block)
        if size > limits.max_bytes:
            raise PayloadTooLargeError(f"the form is larger than {limits.max_bytes} bytes")
        for event in reader.feed(block):
            if isinstance(event, PartHead):
                head, value, upload = event, bytearray(), None
                if event.filename is not None:
                    upload = _opened(event, len(form.files), folder)
                    form.files.append(upload)
            elif isinstance(event, PartEnd):
                if upload is None and head is not None:
                    form.fields.append((head.name, _text(value)))
                elif upload is not None and folder is not None:
                    upload.file.close()
            elif upload is not None:
                await _store(upload, event, limits)
            else:
                value += event
                if len(value) > limits.max_field_bytes:
                    raise PayloadTooLargeError(f"a field is larger than {limits.max_field_bytes} bytes")
    if not reader.is_complete:
        raise InvalidRequestError("the form ends before its closing boundary")


def _opened(head: PartHead, number: int, folder: Path | None) -> Upload:
    path = None if folder is None else folder / str(number)
    file: IO[bytes] = (
        tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - the form's to close
        if path is None
        else path.open("xb")
    )
    return Upload(
        head.name, head.filename or "", head.content_type, file, sent_name=head.sent_name, path=path
    )


async def _store(upload: Upload, block: bytes, limits: FormLimits) -> None:
    upload.size += len(block)
    if upload.size > limits.max_file_bytes:
        raise PayloadTooLargeError(f"a file is larger than {limits.max_file_bytes} bytes")
    if upload.size > SPOOL_BYTES:
        await asyncio.to_thread(upload.file.write, block)
    else:
        upload.file.write(block)


def _text(value: bytearray) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError("a field of the form is not UTF-8") from error
