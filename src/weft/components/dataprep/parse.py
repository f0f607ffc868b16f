"""From the bytes of a file to passages: what runs in a process of its own, which can be killed.

Everything here is called with plain values and returns plain values, and touches neither network nor disk, except to
read the one file that it is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from weft.components.dataprep.blocks import Parsed, Reading, RefusedError
from weft.components.dataprep.chunks import Chunk, split
from weft.components.dataprep.html import parse_html
from weft.components.dataprep.pdf import parse_pdf
from weft.components.dataprep.plain import parse_markdown, parse_text
from weft.types import Upload

Format = Literal["text", "markdown", "html", "pdf"]

SUFFIXES: Final[dict[str, Format]] = {
    ".txt": "text", ".text": "text", ".log": "text", ".rst": "text", ".csv": "text", ".tsv": "text",
    ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".pdf": "pdf",
}  # fmt: skip
TYPES: Final[dict[str, Format]] = {
    "text/plain": "text", "text/csv": "text", "text/markdown": "markdown", "text/x-markdown": "markdown",
    "text/html": "html", "application/xhtml+xml": "html", "application/pdf": "pdf",
}  # fmt: skip
SUPPORTED: Final = "plain text, Markdown, HTML and PDF"

MAX_TEXT: Final = 20_000_000
"""Characters of one document: about 8,000 pages."""

_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(slots=True)
class Prepared:
    """A file, ready to be embedded.

    Attributes:
        refused: Why it is not, in words for its owner.
        partly: What could not be read of it, in words: its outcome is *partly*.
        note: What its owner should know, though all of its text is in.
    """

    chunks: list[Chunk] = field(default_factory=list)
    title: str | None = None
    pages: int | None = None
    refused: str | None = None
    partly: str | None = None
    note: str | None = None


def prepare(upload: Upload, reading: Reading) -> Prepared:
    """Read a file and split it. A file that cannot be read is a result, not an error.

    Args:
        upload: The file; ``path`` is read when it is given.
        reading: How passages are to be, and what the embedder covers.
    """
    data = upload.content if upload.path is None else Path(upload.path).read_bytes()
    try:
        parsed = parse(upload.name, upload.content_type, data)
    except RefusedError as reason:
        return Prepared(refused=str(reason))
    length = sum(len(block.text) + 2 for block in parsed.blocks)
    if length > MAX_TEXT:
        return Prepared(refused=f"it has {length:,} characters of text; at most {MAX_TEXT:,} are taken")
    chunks = split(parsed.blocks, size=reading.size, overlap=reading.overlap)
    if not chunks:
        return Prepared(refused="there is no text in it")
    left_out = list(parsed.left_out)
    if parsed.empty_pages:
        left_out.insert(0, f"no text could be read of {numbered_pages(parsed.empty_pages)}")
    partly, note = "; ".join(left_out) or None, "; ".join(parsed.notes) or None
    return Prepared(chunks, parsed.title, parsed.pages, partly=partly, note=note)


def numbered_pages(numbers: Sequence[int]) -> str:
    """``page 3`` or ``pages 2, 5-7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    listed = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)
    return f"page{'s' if len(numbers) > 1 else ''} {listed}"


def parse(name: str, content_type: str | None, data: bytes) -> Parsed:
    """The blocks of a file.

    Raises:
        RefusedError: It is of another format, or broken.
    """
    if not data.strip():
        raise RefusedError("it is empty")
    format_ = format_of(name, content_type, data)
    if format_ == "pdf":
        return parse_pdf(data)
    text = decode(data, content_type, html=format_ == "html")
    if format_ == "html":
        return parse_html(text)
    return parse_markdown(text) if format_ == "markdown" else parse_text(text)


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
    elif kind in TYPES:
        found = TYPES[kind]
    elif not suffix and data[:512].lstrip()[:9].lower() in (b"<!doctype", b"<html"):
        return "html"
    else:
        what = f"'{suffix}' files" if suffix else "files of this kind"
        raise RefusedError(f"{what} are not read; supported are {SUPPORTED}")
    if found == "pdf":
        raise RefusedError("it is called a PDF but does not begin like one")
    return found


def decode(data: bytes, content_type: str | None, *, html: bool) -> str:
    """The bytes as text: by byte order mark, declared charset, UTF-8, else Windows-1252.

    Raises:
        RefusedError: It is no text.
    """
    text = None
    for encoding in _encodings(data, content_type, html=html):
        try:
            text = data.decode(encoding)
            break
        except (UnicodeDecodeError, LookupError):
            continue
    if text is None or len(_CONTROL.findall(text[:100_000])) > len(text[:100_000]) / 100:
        raise RefusedError("it is not text")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")
    return _CONTROL.sub("", text)


def _encodings(data: bytes, content_type: str | None, *, html: bool) -> list[str]:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return [encoding]
    declared = []
    if content_type is not None and "charset=" in content_type.lower():
        declared.append(content_type.lower().partition("charset=")[2].partition(";")[0].strip(" \"'"))
    if html and (found := _CHARSET.search(data, 0, 4096)):
        declared.append(found.group(1).decode("ascii", "replace"))
    # Every byte means something in latin-1, so it comes last; Windows-1252 is what such files really are.
    return [*declared, "utf-8", "cp1252", "latin-1"]
