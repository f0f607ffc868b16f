"""PDF to blocks, page by page, with pypdf."""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING, Final

from weft.components.dataprep.blocks import Block, Parsed, RefusedError

if TYPE_CHECKING:
    from pypdf import PdfReader

MAX_PAGES: Final = 3_000
"""More is a library, or an attack on the reader's patience."""

_BULLET = re.compile(r"\s*(?:[-*•‣▪–]|\d{1,3}[.)]|[a-z][.)])\s")  # noqa: RUF001 - a dash that lists really use
_HYPHEN = re.compile(r"[^\W\d_]-$")
_END = re.compile(r"[.!?:;][\"'”’)\]]*$")  # noqa: RUF001 - typographic marks are what is looked for


def parse_pdf(content: bytes) -> Parsed:
    """The text of each page, its lines put together to paragraphs.

    Raises:
        RefusedError: Encrypted, broken, too many pages, or no page has text.
    """
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what is wrong with a file is said in its outcome
    try:
        return _read(_opened(PdfReader(io.BytesIO(content))))
    except (RefusedError, MemoryError):
        raise
    except DependencyError as error:  # AES, which pypdf leaves to a package that we do not ship
        raise RefusedError("it is encrypted; remove the protection and upload it again") from error
    except PyPdfError as error:
        raise RefusedError(f"it is not a PDF that can be read: {error}") from error
    # A broken file makes the parser fail in ways that it has no class for; each is the file's fault.
    except Exception as error:
        raise RefusedError(f"it is not a PDF that can be read ({type(error).__name__})") from error


def _opened(reader: PdfReader) -> PdfReader:
    # An owner's password alone restricts what a reader program may do; the text opens without one.
    if reader.is_encrypted and not reader.decrypt(""):
        raise RefusedError("it is protected with a password; remove the protection and upload it again")
    if (count := len(reader.pages)) > MAX_PAGES:
        raise RefusedError(f"it has {count:,} pages; at most {MAX_PAGES:,} are read")
    return reader


def _read(reader: PdfReader) -> Parsed:
    blocks: list[Block] = []
    empty: list[int] = []
    for number, page in enumerate(reader.pages, 1):
        paragraphs = unwrap(page.extract_text() or "")
        if not any(character.isalnum() for paragraph in paragraphs for character in paragraph):
            empty.append(number)
            continue
        blocks += [Block(paragraph, page=number) for paragraph in paragraphs]
    if not blocks:
        raise RefusedError("no page has text; scanned pages need text recognition (OCR) first")
    title = reader.metadata.title if reader.metadata else None
    return Parsed(blocks, title.strip() or None if isinstance(title, str) else None, len(reader.pages), empty)


def unwrap(text: str) -> list[str]:
    """Lines as they were set to paragraphs as they were written.

    A paragraph ends at an empty line, before a list item, and after a line that ends a sentence well short of the
    others. A word that was hyphenated at a line's end is one word again.
    """
    lines = [line.strip() for line in text.replace("\r", "").replace("\u00ad\n", "").split("\n")]
    lengths = sorted(len(line) for line in lines if line)
    full = lengths[len(lengths) * 3 // 4] if lengths else 0
    paragraphs: list[str] = []
    current = ""
    for line in lines:
        if not line or (current and _BULLET.match(line)):
            paragraphs.append(current)
            current = ""
        if not current:
            current = line
        elif _HYPHEN.search(current) and line[:1].islower():
            current = current[:-1] + line
        else:
            current = f"{current} {line}"
        if _END.search(line) and len(line) < 0.7 * full:
            paragraphs.append(current)
            current = ""
    paragraphs.append(current)
    return [paragraph for paragraph in paragraphs if paragraph]
