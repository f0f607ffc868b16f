"""A parsed document to passages: pieces of its text of a bounded length, cut where a reader would pause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from weft.components.dataprep.blocks import Block
from weft.components.dataprep.tokens import ADDED, estimate
from weft.text import sentences

SMALLEST_SHARE: Final = 4
"""A heading begins a new passage when the one before has at least this part of its allowed length:
shorter ones are joined, for a passage of one line is found by chance and says little."""

HEADER_SHARE: Final = 3
"""A table's header row is repeated in each piece when it takes at most this part of the allowed length."""

MAX_HEADING: Final = 200
"""Characters of the headings above a passage: they are embedded with it and must leave it room."""

FEWEST_TOKENS: Final = 32
"""What a passage may have even where its headings fill the embedder's window."""

_ANY: Final = 1 << 60
"""The window of an embedder that does not say."""


@dataclass(slots=True)
class Chunk:
    """``text[repeated:]`` is ``[start:end]`` of the document's whole text: its blocks with an empty line between them.

    Attributes:
        heading: The headings above it, from the outside in, with ``>`` between them.
        page: Where it begins.
        repeated: How many characters at its beginning are the table's header row, which stands further up.
    """

    text: str
    start: int
    end: int
    page: int | None = None
    heading: str = ""
    repeated: int = 0

    def metadata(self) -> dict[str, str | int]:
        """What the passage's document carries of it beside its place."""
        said: dict[str, str | int] = {"heading": self.heading} if self.heading else {}
        return said | {"repeated": self.repeated} if self.repeated else said


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the units of one block share.

    Attributes:
        header: Of a table: its header row and a line's end, to be put before a piece that begins further down.
        length, tokens: Of a table or listing: all of it, to be kept whole where it can.
    """

    page: int | None
    heading: str
    label: str = ""
    is_heading: bool = False
    header: str = ""
    header_tokens: int = 0
    length: int = 0
    tokens: int = 0


@dataclass(slots=True)
class _Unit:
    """A sentence, table row or line: what is never cut, unless it is longer than a passage may be."""

    start: int
    end: int
    tokens: int
    of: _Origin
    opens: bool = False
    begins_block: bool = False
    is_header: bool = False


def split(blocks: Iterable[Block], *, size: int, overlap: int, max_tokens: int | None = None) -> list[Chunk]:
    """Cut a document into passages of at most ``size`` characters, and of about ``max_tokens`` tokens.

    A page begins a passage, for a citation names one page; so does a heading where that leaves no passage too short.
    Passages end at sentences, table rows and lines, and repeat whole sentences of up to ``overlap`` characters from the
    one before, but never across a heading. Each piece of a table begins with its header row. A table or listing that
    fits into one passage is not cut where the passage before it is long enough to stand alone.
    """
    cutter = _Cutter(size, overlap, _ANY if max_tokens is None else max(max_tokens - ADDED, FEWEST_TOKENS))
    return cutter.cut(blocks)


class _Cutter:
    def __init__(self, size: int, overlap: int, window: int) -> None:
        self._size, self._overlap, self._window = size, overlap, window
        self._current: list[_Unit] = []
        self._length = self._tokens = 0

    def cut(self, blocks: Iterable[Block]) -> list[Chunk]:
        text, units = self._units(blocks)
        chunks: list[Chunk] = []
        for unit in units:
            before = self._current[-1] if self._current else None
            if before is not None:
                if unit.of.page != before.of.page or self._is_better_begun(unit, before):
                    self._close(text, chunks)
                    self._begin([])
                elif not self._has_room(unit):
                    repeated = [] if before.of.is_heading else self._repeated(unit)
                    self._close(text, chunks)
                    self._begin(repeated)
            self._add(unit)
        self._close(text, chunks)
        return chunks

    def _begin(self, units: list[_Unit]) -> None:
        self._current = []
        self._length = self._tokens = 0
        for unit in units:
            self._add(unit)

    def _add(self, unit: _Unit) -> None:
        if not self._current:
            self._length = self._tokens = 0
            if not unit.is_header:
                self._length, self._tokens = len(unit.of.header), unit.of.header_tokens
        else:
            self._length += unit.start - self._current[-1].end
        self._length += unit.end - unit.start
        self._tokens += unit.tokens
        self._current.append(unit)

    def _has_room(self, unit: _Unit) -> bool:
        """Whether the passage that is being made can take the unit, too."""
        length = self._length + unit.end - self._current[-1].end
        return length <= self._size and self._tokens + unit.tokens <= self._room(self._current[0].of)

    def _room(self, of: _Origin) -> int:
        """Tokens of a passage under these headings."""
        if self._window == _ANY:
            return _ANY
        return max(self._window - estimate(_path(of.heading, of.label)), FEWEST_TOKENS)

    def _is_better_begun(self, unit: _Unit, before: _Unit) -> bool:
        """Whether the next passage begins here although this one has room: at a heading, before what fits whole."""
        stands_alone = self._length >= self._size / SMALLEST_SHARE and not before.of.is_heading
        if not stands_alone:
            return False
        whole, of = unit.begins_block and unit.of.length > 0, unit.of
        fits = of.length <= self._size and of.tokens <= self._room(of)
        would = self._length + 2 + of.length <= self._size and self._tokens + of.tokens <= self._room(of)
        return unit.opens or (whole and fits and not would)

    def _repeated(self, unit: _Unit) -> list[_Unit]:
        """The last whole sentences that the next passage repeats."""
        kept: list[_Unit] = []
        if unit.of.header:
            return kept
        last, tokens = self._current[-1], unit.tokens
        for earlier in reversed(self._current):
            tokens += earlier.tokens
            if (
                earlier.of.is_heading
                or last.end - earlier.start > self._overlap
                or unit.end - earlier.start > self._size
                or tokens > self._room(unit.of)
                or (earlier.of.heading, earlier.of.label) != (unit.of.heading, unit.of.label)
                or earlier.of.header
            ):
                break
            kept.insert(0, earlier)
        return kept

    def _close(self, text: str, chunks: list[Chunk]) -> None:
        units = self._current
        words = [unit for unit in units if not unit.of.is_heading]
        if not words:
            return
        first, last = units[0], units[-1]
        # The headings above are those of the first sentence: a passage that begins with its heading has that.
        named = words[0].of
        label = named.label if all(unit.of.label == named.label for unit in words) else ""
        header = "" if first.is_header else first.of.header
        chunks.append(
            Chunk(
                header + text[first.start : last.end],
                first.start,
                last.end,
                named.page,
                _path(named.heading, label),
                len(header),
            )
        )

    def _units(self, blocks: Iterable[Block]) -> tuple[str, list[_Unit]]:
        """The whole text, and where its sentences are."""
        texts: list[str] = []
        units: list[_Unit] = []
        headings: list[tuple[int, str]] = []
        position = 0
        heading = ""
        for block in blocks:
            opens = bool(block.label)
            if block.kind == "heading":
                headings = [(level, words) for level, words in headings if level < block.level]
                headings.append((block.level, block.text))
                heading = " > ".join(words for _, words in headings)[-MAX_HEADING:]
                opens = True
            begins = True
            for unit in self._of_block(block, position, heading):
                unit.opens, unit.begins_block = opens, begins
                opens = begins = False
                units.append(unit)
            texts.append(block.text)
            position += len(block.text) + 2
        return "\n\n".join(texts), units

    def _of_block(self, block: Block, position: int, heading: str) -> list[_Unit]:
        is_heading = block.kind == "heading"
        label = block.label[:MAX_HEADING]
        origin = _Origin(block.page, heading, label, is_heading)
        if block.kind in ("text", "heading"):
            spans = (
                [(0, len(block.text))]
                if is_heading
                else [(span.start, span.end) for span in sentences(block.text)]
            )
            return [
                self._unit(block, span, position, origin) for span in self._pieces(block.text, spans, origin)
            ]
        lines = _lines(block.text)
        tokens = estimate(block.text)
        plain = _Origin(block.page, heading, label, length=len(block.text), tokens=tokens)
        header_lines = lines[: block.header_rows] if len(lines) > block.header_rows else []
        header = block.text[header_lines[0][0] : header_lines[-1][1]] + "\n" if header_lines else ""
        header_tokens = estimate(header) if header else 0
        if len(header) > self._size / HEADER_SHARE or header_tokens > self._room(plain) / HEADER_SHARE:
            header, header_tokens, header_lines = "", 0, []
        origin = _Origin(block.page, heading, label, False, header, header_tokens, len(block.text), tokens)
        found = []
        for number, line in enumerate(lines):
            for span in self._pieces(block.text, [line], origin):
                unit = self._unit(block, span, position, origin)
                unit.is_header = number < len(header_lines)
                found.append(unit)
        return found

    def _unit(self, block: Block, span: tuple[int, int], position: int, origin: _Origin) -> _Unit:
        start, end = span
        return _Unit(position + start, position + end, estimate(block.text[start:end]), origin)

    def _pieces(self, text: str, spans: list[tuple[int, int]], of: _Origin) -> list[tuple[int, int]]:
        """The spans, those cut at spaces that are longer than a passage may be."""
        size, room = self._size - len(of.header), self._room(of) - of.header_tokens
        pieces: list[tuple[int, int]] = []
        for start, end in spans:
            # No text has more tokens than characters: what is short enough need not be counted.
            limit = size
            if end - start > room and (tokens := estimate(text[start:end])) > room:
                limit = max(min(size, (end - start) * room // (tokens + tokens // 8)), 1)
            begin = start
            while end - begin > limit:
                space = text.rfind(" ", begin + limit // 2, begin + limit)
                cut = space if space > 0 else begin + limit
                pieces.append((begin, cut))
                begin = cut + 1 if space > 0 else cut
            pieces.append((begin, end))
        return pieces


def _lines(text: str) -> list[tuple[int, int]]:
    spans, position = [], 0
    for line in text.split("\n"):
        if line.strip():
            spans.append((position, position + len(line)))
        position += len(line) + 1
    return spans


def _path(heading: str, label: str) -> str:
    return f"{heading} > {label}" if heading and label else heading or label
