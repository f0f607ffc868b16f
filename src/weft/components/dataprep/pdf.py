"""PDF to blocks, page by page, with PDFium: columns in reading order, tables as rows, scanned pages recognised.

Scripts in a file are not run (there is nothing here that could), files in it are not opened, links not followed.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

from weft.components.dataprep.blocks import Block, Parsed, Reading, RefusedError
from weft.components.dataprep.layout import Line, Segment, read_page
from weft.components.dataprep.ocr import Recogniser

MAX_PAGES: Final = 3_000
"""More is a library, or an attack on the reader's patience."""

MAX_LETTERS: Final = 100_000
"""Of one page; a page of small print has 10,000."""

MAX_OBJECTS: Final = 5_000
"""Drawn objects of a page that are looked at for the lines of tables."""

WRITTEN_GAP: Final = 2.5
"""Heights of its letters that a gap may be wide where the file has a space: lines that are stretched to the margin."""

FEW_LETTERS: Final = 200
"""A page with fewer that is mostly one picture is taken for a scan with a stamp on it."""

NO_TITLES: Final = frozenset({"", "untitled", "untitled document", "(anonymous)", "(unspecified)", "unknown"})
"""What programs write where nobody gave a title."""

EDGE: Final = 0.09
"""Of a page's height, at its top and bottom: where what is on every page stands."""

REPEATED: Final = 3
"""On so many pages a line at the edge is the page's furniture, not its text."""

_BULLET = re.compile(r"\s*(?:[-*•‣▪–◦●■]|\d{1,3}[.)]|[a-z][.)])\s")  # noqa: RUF001 - a dash that lists really use
_HYPHEN = re.compile(r"[^\W\d_]-$")
_END = re.compile(r"[.!?:;][\"'”’)\]]*$")  # noqa: RUF001 - typographic marks are what is looked for
_LIGATURES: Final = {
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
}
_HYPHENS: Final = frozenset({0x02, 0xAD, 0xFFFE})
"""What PDFium gives for a hyphen at a line's end."""


def parse_pdf(content: bytes, reading: Reading | None = None) -> Parsed:
    """The text of each page, its lines put together to paragraphs.

    Pages without text are recognised with ``tesseract`` where it is installed and time is left; else they are named.

    Raises:
        RefusedError: Encrypted, broken, too many pages, or no page has text.
    """
    import pypdfium2
    from pypdfium2 import raw

    begun = time.monotonic()
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD or "password" in str(error).lower():
            raise RefusedError(
                "it is protected with a password; remove the protection and upload it again"
            ) from error
        if getattr(error, "err_code", None) == raw.FPDF_ERR_SECURITY or "security" in str(error).lower():
            raise RefusedError(
                "it is encrypted in a way that is not read; save it without and upload it again"
            ) from error
        raise RefusedError("it is not a PDF that can be read: it is broken or not whole") from error
    try:
        if (count := len(document)) > MAX_PAGES:
            raise RefusedError(f"it has {count:,} pages; at most {MAX_PAGES:,} are read")
        if not count:
            raise RefusedError("it is not a PDF that can be read: it has no page")
        seconds = reading.seconds if reading is not None else 90.0
        languages = reading.languages if reading is not None else None
        return _Document(document, Recogniser(languages, begun + seconds)).read()
    finally:
        document.close()


class _Document:
    def __init__(self, document: Any, recogniser: Recogniser) -> None:
        self._document, self._recogniser = document, recogniser
        self._heights: list[float] = []
        self._scans: set[int] = set()

    def read(self) -> Parsed:
        pages = [self._page(number) for number in range(len(self._document))]
        furniture = _furniture(pages, self._heights)
        sizes = Counter[float]()
        for lines in pages:
            for line in lines:
                sizes[round(line.size * 2) / 2] += len(line.text)
        body = sizes.most_common(1)[0][0] if sizes else 0.0
        levels = _levels(pages, body)
        blocks: list[Block] = []
        empty: list[int] = []
        recognised: list[int] = []
        for number, lines in enumerate(pages, 1):
            kept = [line for line in lines if id(line) not in furniture]
            found = list(_blocks(kept, body, levels))
            written = _letters(found)
            # A scan may carry a stamp or a running number that is written.
            if not written or (written < FEW_LETTERS and number - 1 in self._scans):
                read = [Block(text) for text in self._recognise(number - 1)]
                if _letters(read) > written:
                    found = read
                    recognised.append(number)
                elif not written:
                    empty.append(number)
                    continue
            for block in found:
                block.page = number
            blocks += found
        if not blocks:
            why = self._recogniser.why_not() or "its pages are empty, or not in the file"
            raise RefusedError(f"no page has text; {why}")
        first = next((block.text for block in blocks if block.kind == "heading" and block.page == 1), None)
        parsed = Parsed(blocks, self._title() or first, len(pages), empty)
        if empty and (why := self._recogniser.why_not()):
            parsed.left_out.append(why)
        if recognised:
            parsed.notes.append(
                f"{len(recognised)} scanned page{'s were' if len(recognised) > 1 else ' was'} read by OCR"
            )
        return parsed

    def _title(self) -> str | None:
        try:
            title = self._document.get_metadata_value("Title")
        except Exception:  # noqa: BLE001 - a broken dictionary of a title: then it has none
            return None
        words = (
            " ".join(title.split())[:500]
            .removeprefix("Microsoft Word - ")
            .removeprefix("Microsoft PowerPoint - ")
        )
        return None if words.lower() in NO_TITLES else words

    def _recognise(self, index: int) -> list[str]:
        from pypdfium2 import raw

        page = self._load(index)
        if page is None:
            return []
        try:
            if not raw.FPDFPage_CountObjects(page):
                return []  # blank: there is nothing to recognise
            return unwrap(self._recogniser.read(page))
        finally:
            page.close()

    def _load(self, index: int) -> Any:
        from pypdfium2 import PdfiumError

        try:
            return self._document[index]
        except PdfiumError:  # a page that is not in the file, whatever its list of pages says
            return None

    def _page(self, index: int) -> list[Line]:
        page = self._load(index)
        if page is None:
            self._heights.append(0.0)
            return []
        try:
            self._heights.append(page.get_height())
            text = page.get_textpage()
            try:
                segments = list(_segments(text))
            finally:
                text.close()
            if sum(len(segment.text) for segment in segments) < FEW_LETTERS and _is_scan(page):
                self._scans.add(index)
            return read_page(segments, list(_rules(page)) if len(segments) > 3 else [])
        finally:
            page.close()


def _segments(text: Any) -> Iterator[Segment]:
    """The letters of a page in the order of the file, put together while they go on on one line."""
    from pypdfium2 import raw

    box = raw.FS_RECTF()
    count = min(text.count_chars(), MAX_LETTERS)
    get_code, get_box, is_generated = (
        raw.FPDFText_GetUnicode,
        raw.FPDFText_GetLooseCharBox,
        raw.FPDFText_IsGenerated,
    )
    letters: list[str] = []
    left = right = bottom = top = 0.0
    first = 0
    has_space = is_written = False
    for index in range(count):
        code = get_code(text, index)
        if code in (0x20, 0xA0, 0x09, 0x0D, 0x0A, 0):
            if code == 0x20 and not is_generated(text, index):
                is_written = True
            has_space = has_space or code != 0
            continue
        if not get_box(text, index, box) or box.top <= box.bottom:
            continue
        if letters:
            height = top - bottom
            gap = box.left - right
            level = abs((box.top + box.bottom) - (top + bottom)) / 2
            if (
                level > 0.6 * height
                or gap > height * (WRITTEN_GAP if is_written else 0.9 if has_space else 1.5)
                or gap < -0.8 * height
            ):
                yield Segment("".join(letters), left, right, bottom, top, _is_bold(text, first))
                letters = []
        letter = (
            "-"
            if code in _HYPHENS
            else _LIGATURES.get(code) or (chr(code) if code < 0xD800 or 0xE000 <= code < 0x110000 else "")
        )
        if letters:
            if has_space:
                letters.append(" ")
            right = max(right, box.right)
            if box.top - box.bottom > top - bottom:
                bottom, top = box.bottom, box.top
        else:
            left, right, bottom, top, first = box.left, box.right, box.bottom, box.top, index
        letters.append(letter)
        has_space = is_written = False
    if letters:
        yield Segment("".join(letters), left, right, bottom, top, _is_bold(text, first))


def _is_bold(text: Any, index: int) -> bool:
    from pypdfium2 import raw

    name = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    if not raw.FPDFText_GetFontInfo(text, index, name, 128, flags):
        return False
    called = name.value.lower()
    return b"bold" in called or b"black" in called or b"heavy" in called


def _rules(page: Any) -> Iterator[tuple[float, float, float]]:
    """The horizontal lines that are drawn on a page, and the upper and lower sides of boxes."""
    from pypdfium2 import raw

    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    for index in range(min(raw.FPDFPage_CountObjects(page), MAX_OBJECTS)):
        drawn = raw.FPDFPage_GetObject(page, index)
        if raw.FPDFPageObj_GetType(drawn) != raw.FPDF_PAGEOBJ_PATH:
            continue
        if not raw.FPDFPageObj_GetBounds(drawn, left, bottom, right, top):
            continue
        if right.value - left.value > 20:  # shorter ones belong to letters or pictures
            yield left.value, right.value, top.value
            if top.value - bottom.value > 4:
                yield left.value, right.value, bottom.value


def _is_scan(page: Any) -> bool:
    """Whether one picture takes most of a page."""
    from pypdfium2 import raw

    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    area = page.get_width() * page.get_height()
    for index in range(min(raw.FPDFPage_CountObjects(page), 50)):
        drawn = raw.FPDFPage_GetObject(page, index)
        if (
            raw.FPDFPageObj_GetType(drawn) == raw.FPDF_PAGEOBJ_IMAGE
            and raw.FPDFPageObj_GetBounds(drawn, left, bottom, right, top)
            and (right.value - left.value) * (top.value - bottom.value) > 0.5 * area
        ):
            return True
    return False


def _letters(blocks: Sequence[Block]) -> int:
    return sum(character.isalnum() for block in blocks for character in block.text)


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _furniture(pages: Sequence[Sequence[Line]], heights: Sequence[float]) -> set[int]:
    """Lines at the edges that many pages have: running titles, page numbers. Numbers in them count as equal."""
    if len(pages) < REPEATED:
        return set()
    seen: dict[tuple[bool, str], list[Line]] = {}
    for lines, height in zip(pages, heights, strict=True):
        for line in lines:
            is_high = line.bottom > height * (1 - EDGE)
            if not line.rows and (is_high or line.top < height * EDGE):
                seen.setdefault((is_high, re.sub(r"\d+|\b[ivxl]+\b", "#", line.text)[:120]), []).append(line)
    enough = max(REPEATED, len(pages) / 4)
    return {
        id(line)
        for (_, text), lines in seen.items()
        if len(lines) >= (2 if text == "#" else enough)
        for line in lines
    }


def _levels(pages: Sequence[Sequence[Line]], body: float) -> dict[float, int]:
    """The level of a heading by the size of its letters: the larger, the higher."""
    sizes = sorted(
        {
            _size(line)
            for lines in pages
            for line in lines
            if not line.rows and line.size > 1.12 * body and len(line.text) < 200
        },
        reverse=True,
    )
    return {size: min(level, 4) for level, size in enumerate(sizes, 1)}


def _size(line: Line) -> float:
    return round(line.size * 2) / 2


def _blocks(lines: Sequence[Line], body: float, levels: dict[float, int]) -> Iterator[Block]:
    """Lines of one page to headings, paragraphs and tables."""
    lengths = sorted(len(line.text) for line in lines if line.text)
    gaps = [line.gap for line in lines if line.gap is not None and not line.rows]
    usual = median(gaps) if gaps else 0.0
    run: list[str] = []
    heading: tuple[int, Line, str] | None = None

    def paragraphs() -> Iterator[Block]:
        yield from (
            Block(text)
            for text in unwrap("\n".join(run), full=lengths[len(lengths) * 3 // 4] if lengths else 0)
        )
        run.clear()

    for line in lines:
        level = _level(line, body, levels)
        if heading is not None and level != heading[0]:
            yield Block(heading[2], "heading", heading[0])
            heading = None
        if line.rows:
            yield from paragraphs()
            rows = [" | ".join(row) for row in line.rows]
            yield Block("\n".join(rows), "table", header_rows=1 if len(rows) > 1 else 0)
        elif level:
            yield from paragraphs()
            goes_on = heading is not None and line.gap is not None and line.gap < 1
            heading = (level, line, f"{heading[2]} {line.text}" if goes_on and heading else line.text)
        else:
            # More space than between most lines parts paragraphs.
            if run and (line.gap is None or line.gap > usual + 0.35):
                run.append("")
            run.append(line.text)
    if heading is not None:
        yield Block(heading[2], "heading", heading[0])
    yield from paragraphs()


def _level(line: Line, body: float, levels: dict[float, int]) -> int:
    """The level of the heading that a line is; 0: it is none."""
    if line.rows or len(line.text) > 150 or not _has_words(line.text):
        return 0
    if line.size > 1.12 * body:
        return levels.get(_size(line), 4)
    stands_apart = line.gap is None or line.gap > 0.4
    if line.bold and stands_apart and len(line.text) < 90 and not line.text.endswith((".", ",", ";")):
        return min(max(levels.values(), default=0) + 1, 5)
    return 0


def unwrap(text: str, *, full: int | None = None) -> list[str]:
    """Lines as they were set to paragraphs as they were written.

    A paragraph ends at an empty line, before a list item, and after a line that ends a sentence well short of the
    others. A word that was hyphenated at a line's end is one word again.

    Args:
        text: The lines.
        full: Length of a full line; None: as long as three quarters of the lines are at most.
    """
    lines = [line.strip() for line in text.replace("\r", "").replace("\u00ad\n", "").split("\n")]
    if full is None:
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
        elif _HYPHEN.search(current[-2:]) and line[:1].islower():
            current = current[:-1] + line
        else:
            current = f"{current} {line}"
        if _END.search(line) and len(line) < 0.7 * full:
            paragraphs.append(current)
            current = ""
    paragraphs.append(current)
    return [paragraph for paragraph in paragraphs if paragraph]
