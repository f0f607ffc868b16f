"""Plain text and Markdown to blocks."""

from __future__ import annotations

import re
from typing import Final

from weft.components.dataprep.blocks import Block, Kind, Parsed

LONGEST: Final = 10_000
"""Characters of a line in which marks are looked for: the search takes the square of its length."""

_PARAGRAPHS = re.compile(r"\n[ \t]*\n+")
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_RULE: Final = frozenset(" \t:|-")
"""What the line under a table's header is made of."""

_IMAGE = re.compile(r"!\[([^\[\]]*)\]\([^)]*\)")
_LINK = re.compile(r"\[([^\[\]]+)\]\((?:[^()]|\([^()]*\))*\)|\[([^\[\]]+)\]\[[^\[\]]*\]")
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])")
_CODE = re.compile(r"`([^`\n]+)`")


def parse_text(text: str) -> Parsed:
    """Paragraphs, as empty lines part them; the words stay as they are."""
    return Parsed([Block(part.strip("\n")) for part in _PARAGRAPHS.split(text) if part.strip()])


def parse_markdown(text: str) -> Parsed:
    """Headings, paragraphs, tables and listings, without the marks that only say how they look."""
    reader = _Markdown()
    for line in _without_comments(_without_front_matter(text)).split("\n"):
        reader.line(line)
    reader.end_block()
    titles = [block.text for block in reader.blocks if block.kind == "heading" and block.level == 1]
    return Parsed(reader.blocks, titles[0] if titles else None)


def _without_front_matter(text: str) -> str:
    if not text.startswith("---\n"):
        return text
    end = text.find("\n---\n", 3)
    return text[end + 5 :] if 0 <= end < 10_000 else text


def _without_comments(text: str) -> str:
    kept: list[str] = []
    at = 0
    while (begin := text.find("<!--", at)) >= 0 and (end := text.find("-->", begin)) >= 0:
        kept.append(text[at:begin])
        at = end + 3
    return "".join([*kept, text[at:]])


class _Markdown:
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._lines: list[str] = []
        self._kind: Kind = "text"
        self._fence = ""

    def line(self, line: str) -> None:
        """Take the next line."""
        if self._fence:
            if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
                self._fence = ""
                self.end_block()
            else:
                self._lines.append(line)
            return
        if len(line) > LONGEST:
            self._content(line)
        elif fence := _FENCE.match(line):
            self.end_block()
            self._fence, self._kind = fence.group(1), "code"
        elif heading := _ATX.match(line):
            self.end_block()
            self._heading(heading.group(2), len(heading.group(1)))
        elif (
            self._lines and self._kind == "text" and len(self._lines) == 1 and (under := _SETEXT.match(line))
        ):
            words = self._lines.pop()
            self._heading(words, 1 if under.group(1).startswith("=") else 2)
        elif not line.strip():
            self.end_block()
        else:
            self._content(line)

    def _content(self, line: str) -> None:
        kind: Kind = "table" if line.lstrip().startswith("|") else "text"
        if kind != self._kind:
            self.end_block()
            self._kind = kind
        if kind == "table" and "-" in line and _RULE.issuperset(line):
            return
        if kind == "table":
            cells = [inline(cell).strip() for cell in line.strip().strip("|").split("|")]
            self._lines.append(" | ".join(cells))
        else:
            self._lines.append(inline(line.rstrip()))

    def _heading(self, text: str, level: int) -> None:
        if words := inline(text).strip():
            self.blocks.append(Block(words, "heading", level))

    def end_block(self) -> None:
        """Close the block that is being read, if it has any words."""
        text = "\n".join(self._lines).strip("\n")
        if text.strip(" \t-*_"):
            self.blocks.append(Block(text, self._kind))
        self._lines.clear()
        self._kind = "text"


def inline(text: str) -> str:
    """A line of Markdown as its reader sees it: links and images by their words, emphasis without its marks."""
    if len(text) > LONGEST:
        return text
    text = _IMAGE.sub(r"\1", text)
    text = _LINK.sub(lambda match: match.group(1) or match.group(2), text)
    text = _STRONG.sub(r"\2", text)
    return _CODE.sub(r"\1", _EMPHASIS.sub(r"\1", text))
