"""From the bytes of a file to passages: what runs in a process of its own, which can be killed.

Everything here is called with plain values and returns plain values, and touches neither network nor disk, except to
read the one file that it is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from weft.components.dataprep.blocks import Parsed, Reading, RefusedError
from weft.components.dataprep.chunks import Chunk, split
from weft.components.dataprep.code import parse_code
from weft.components.dataprep.html import parse_html
from weft.components.dataprep.kinds import format_of
from weft.components.dataprep.language import named, uncovered
from weft.components.dataprep.mail import parse_mail
from weft.components.dataprep.plain import parse_markdown, parse_text
from weft.components.dataprep.records import parse_json, parse_json_lines
from weft.components.dataprep.rtf import parse_rtf
from weft.components.dataprep.tables import parse_csv
from weft.types import Upload

INSTALL: Final = "pip install 'weft[local]'"

MAX_MAILS: Final = 2
"""Mails attached to mails attached to the mail."""

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
        parsed = parse(upload.name, upload.content_type, data, reading)
    except RefusedError as reason:
        return Prepared(refused=str(reason))
    # A parser that runs into its own limits says so in ways that are its own; both are the file's doing.
    except RecursionError:
        return Prepared(refused="it is nested too deeply to be read")
    except ImportError as error:
        return Prepared(
            refused=f"the server cannot read it: '{error.name}' is not installed there ({INSTALL})"
        )
    except (MemoryError, OSError):
        raise  # of this process, not of the file
    # A broken file can make a parser fail in ways that nobody thought of; it is that file's outcome, and says so.
    except Exception as error:  # noqa: BLE001 - as said
        return Prepared(
            refused=f"it is broken, or its reader is ({type(error).__name__}: {str(error)[:200]})"
        )
    del data
    length = sum(len(block.text) + 2 for block in parsed.blocks)
    if length > MAX_TEXT:
        return Prepared(refused=f"it has {length:,} characters of text; at most {MAX_TEXT:,} are taken")
    if reading.languages is not None and (foreign := uncovered(parsed.blocks, reading.languages)) is not None:
        covered = ", ".join(map(named, reading.languages)) or "none"
        return Prepared(
            refused=f"it is in {foreign}, and the embedder '{reading.embedder}' covers {covered}:"
            " nothing in it would be found; choose an embedder for several languages and ingest it again"
        )
    chunks = split(parsed.blocks, size=reading.size, overlap=reading.overlap, max_tokens=reading.max_tokens)
    if not any(character.isalnum() for chunk in chunks for character in chunk.text):
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


def parse(
    name: str, content_type: str | None, data: bytes, reading: Reading | None = None, *, depth: int = 0
) -> Parsed:
    """The blocks of a file.

    Args:
        name: Its suffix says what it is, where its first bytes do not.
        content_type: Says so where the name does not.
        data: The file.
        reading: For what depends on time and language; None: neither matters.
        depth: How many mails it is attached to.

    Raises:
        RefusedError: It is of another format, broken or hostile.
    """
    if not data.strip():
        raise RefusedError("it is empty")
    format_ = format_of(name, content_type, data)
    match format_:
        # Each of these is imported where it is needed: a process that reads text does not load them all.
        case "pdf":
            from weft.components.dataprep.pdf import parse_pdf

            return parse_pdf(data, reading)
        case "docx":
            from weft.components.dataprep.docx import parse_docx

            return parse_docx(data)
        case "pptx":
            from weft.components.dataprep.pptx import parse_pptx

            return parse_pptx(data)
        case "xlsx":
            from weft.components.dataprep.xlsx import parse_xlsx

            return parse_xlsx(data)
        case "epub":
            from weft.components.dataprep.epub import parse_epub

            return parse_epub(data)
        case "rtf":
            return parse_rtf(data)
        case "mail":
            return _mail(data, reading, depth)
    text = decode(data, content_type, html=format_ == "html")
    match format_:
        case "html":
            return parse_html(text)
        case "markdown":
            return parse_markdown(text)
        case "csv":
            return parse_csv(text)
        case "json":
            return parse_json(text.encode())
        case "json lines":
            return parse_json_lines(text.encode())
        case "code":
            return parse_code(text, name)
    return parse_text(text)


def _mail(data: bytes, reading: Reading | None, depth: int) -> Parsed:
    if depth >= MAX_MAILS:
        raise RefusedError("it is a mail in a mail in a mail")

    def read(name: str, content_type: str | None, attached: bytes) -> Parsed:
        return parse(name, content_type, attached, reading, depth=depth + 1)

    return parse_mail(data, read)


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
