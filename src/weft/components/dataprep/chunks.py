"""A parsed document to passages: pieces of its text of a bounded length, cut where a reader would pause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from weft.components.dataprep.blocks import Block
from weft.text import sentences

SMALLEST_SHARE: Final = 4
"""A heading begins a new passage when the one before has at least this part of its allowed length:
shorter ones are joined, for a passage of one line is found by chance and says little."""


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


@dataclass(slots=True)
class _Unit:
    """A sentence, table row or line: what is never cut, unless it is longer than a passage may be."""

    start: int
    end: int
    page: int | None
    heading: str
    opens: bool
    is_heading: bool = False


def split(blocks: Iterable[Block], *, size: int, overlap: int) -> list[Chunk]:
    """Cut a document into passages of at most ``size`` characters.

    A page begins a passage, for a citation names one page; so does a heading where that leaves no passage too short.
    Passages end at sentences, and repeat whole sentences of up to ``overlap`` characters from the one before, but never
    across a heading.
    """
    text, units = _units(blocks, size)
    chunks: list[Chunk] = []
    current: list[_Unit] = []

    def close() -> None:
        if any(not unit.is_heading for unit in current):
            first, last = current[0], current[-1]
            # The headings above are those of the first sentence: a passage that begins with its heading has that.
            named = next(unit for unit in current if not unit.is_heading)
            chunks.append(
                Chunk(text[first.start : last.end], first.start, last.end, named.page, named.heading)
            )

    for unit in units:
        if current and (unit.page != current[-1].page or _begins(unit, current, size)):
            close()
            current = []
        elif current and unit.end - current[0].start > size:
            close()
            current = [] if current[-1].is_heading else _repeated(current, unit, size, overlap)
        current.append(unit)
    close()
    return chunks


def _begins(unit: _Unit, current: list[_Unit], size: int) -> bool:
    """Whether a heading begins the next passage, or goes on with this one because it is short."""
    length = current[-1].end - current[0].start
    return unit.opens and length >= size / SMALLEST_SHARE and not current[-1].is_heading


def _repeated(before: list[_Unit], unit: _Unit, size: int, overlap: int) -> list[_Unit]:
    """The last whole sentences that the next passage repeats."""
    kept: list[_Unit] = []
    for earlier in reversed(before):
        if (
            earlier.is_heading
            or before[-1].end - earlier.start > overlap
            or unit.end - earlier.start > size
            or earlier.heading != unit.heading
        ):
            break
        kept.insert(0, earlier)
    return kept


def _units(blocks: Iterable[Block], size: int) -> tuple[str, list[_Unit]]:
    """The whole text, and where its sentences are."""
    texts: list[str] = []
    units: list[_Unit] = []
    headings: list[tuple[int, str]] = []
    position = 0
    for block in blocks:
        opens = False
        if block.kind == "heading":
            headings = [*((level, words) for level, words in headings if level < block.level)]
            headings.append((block.level, block.text))
            opens = True
        heading = " > ".join(words for _, words in headings)
        for start, end in _pieces(block, size):
            is_heading = block.kind == "heading"
            units.append(_Unit(position + start, position + end, block.page, heading, opens, is_heading))
            opens = False
        texts.append(block.text)
        position += len(block.text) + 2
    return "\n\n".join(texts), units


def _pieces(block: Block, size: int) -> list[tuple[int, int]]:
    if block.kind == "text":
        spans = [(span.start, span.end) for span in sentences(block.text)]
    elif block.kind == "heading":
        spans = [(0, len(block.text))]
    else:
        spans, position = [], 0
        for line in block.text.split("\n"):
            if line.strip():
                spans.append((position, position + len(line)))
            position += len(line) + 1
    pieces: list[tuple[int, int]] = []
    for start, end in spans:
        begin = start
        while end - begin > size:
            space = block.text.rfind(" ", begin + size // 2, begin + size)
            cut = space if space > 0 else begin + size
            pieces.append((begin, cut))
            begin = cut + 1 if space > 0 else cut
        pieces.append((begin, end))
    return pieces
