"""Which format a file is in, and which are read: by name, type and first bytes. Nothing that reads them is loaded here."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, Literal

from weft.components.dataprep.archive import is_archive
from weft.components.dataprep.blocks import RefusedError
from weft.components.dataprep.code import language_of

Format = Literal[
    "text",
    "markdown",
    "html",
    "pdf",
    "docx",
    "pptx",
    "xlsx",
    "csv",
    "rtf",
    "epub",
    "mail",
    "json",
    "json lines",
    "code",
]

SUFFIXES: Final[dict[str, Format]] = {
    ".txt": "text", ".text": "text", ".log": "text", ".rst": "text",
    ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".pdf": "pdf", ".rtf": "rtf", ".epub": "epub", ".eml": "mail",
    ".docx": "docx", ".docm": "docx", ".pptx": "pptx", ".pptm": "pptx", ".ppsx": "pptx", ".xlsx": "xlsx", ".xlsm": "xlsx",
    ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json lines", ".ndjson": "json lines",
}  # fmt: skip
_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
TYPES: Final[dict[str, Format]] = {
    "text/plain": "text", "text/csv": "csv", "text/tab-separated-values": "csv", "text/markdown": "markdown",
    "text/x-markdown": "markdown", "text/html": "html", "application/xhtml+xml": "html", "application/pdf": "pdf",
    "application/rtf": "rtf", "text/rtf": "rtf", "application/epub+zip": "epub", "message/rfc822": "mail",
    "application/json": "json", "application/x-ndjson": "json lines", "application/jsonl": "json lines",
    f"{_OFFICE}.wordprocessingml.document": "docx", f"{_OFFICE}.presentationml.presentation": "pptx",
    f"{_OFFICE}.spreadsheetml.sheet": "xlsx",
}  # fmt: skip
SUPPORTED: Final = "pdf, docx, pptx, xlsx, csv, html, md, txt, rtf, epub, eml, json, jsonl, source code, and zip archives of these"
INSTEAD: Final = {
    ".doc": "docx", ".dot": "docx", ".odt": "docx", ".pages": "docx", ".wps": "docx", ".ppt": "pptx", ".odp": "pptx",
    ".key": "pptx", ".xls": "xlsx", ".xlsb": "xlsx", ".ods": "xlsx", ".numbers": "xlsx", ".msg": "eml",
    ".mobi": "epub", ".azw3": "epub", ".tex": "pdf", ".ps": "pdf", ".djvu": "pdf", ".xps": "pdf",
    ".png": "pdf", ".jpg": "pdf", ".jpeg": "pdf", ".tif": "pdf", ".tiff": "pdf",
    ".7z": "zip", ".rar": "zip", ".tar": "zip", ".gz": "zip", ".tgz": "zip", ".bz2": "zip", ".xz": "zip",
}  # fmt: skip
"""What to save a file as that is not read."""

OLD: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How files of Office before 2007 begin, and those of today's that are protected with a password."""


def is_read(name: str) -> bool:
    """Whether a file of this name is worth handing in: it is of a format that is read, or an archive."""
    suffix = PurePosixPath(name.lower()).suffix
    return suffix in SUFFIXES or is_archive(name, None) or language_of(name) is not None


def format_of(name: str, content_type: str | None, data: bytes) -> Format:
    """Which format a file is in: by its first bytes, its suffix, its content type; a link's by its type first.

    Raises:
        RefusedError: None that is read here.
    """
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    suffix = PurePosixPath(name.lower()).suffix
    kind = (content_type or "").partition(";")[0].strip().lower()
    # A web address says little by its suffix: what ends in .md may be a page that shows it.
    if suffix in SUFFIXES and not (name.startswith(("http://", "https://")) and kind in TYPES):
        found = SUFFIXES[suffix]
    elif language_of(name) is not None and not (name.startswith(("http://", "https://")) and kind in TYPES):
        return "code"
    elif kind in TYPES and (not suffix or suffix not in INSTEAD):
        found = TYPES[kind]
    elif not suffix and data[:512].lstrip()[:9].lower() in (b"<!doctype", b"<html"):
        return "html"
    else:
        raise RefusedError(_unsupported(name, suffix, content_type, data))
    if found == "pdf":
        raise RefusedError("it is called a PDF but does not begin like one")
    return found


def _unsupported(name: str, suffix: str, content_type: str | None, data: bytes) -> str:
    if is_archive(name, content_type):
        return "it is an archive inside another file; upload it by itself"
    what = f"'{suffix[:20]}' files" if suffix else "files of this kind"
    if instead := INSTEAD.get(suffix):
        return f"{what} are not read; save it as .{instead} and upload that"
    if data.startswith(OLD):
        return (
            f"{what} are not read, and it looks like one of an old Office; save it as .docx, .pptx or .xlsx"
        )
    return f"{what} are not read; supported are {SUPPORTED}"
