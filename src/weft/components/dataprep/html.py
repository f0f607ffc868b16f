"""HTML to blocks, with the standard library's tolerant parser: nothing is fetched, run or expanded.

Kept: headings, paragraphs, list items, tables as rows with ``|`` between the cells, listings as they stand. Left out:
what is no content (scripts, styles, navigation, forms, hidden elements).
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

from weft.components.dataprep.blocks import Block, Kind, Parsed

SKIPPED: Final = frozenset(
    [
        "script",
        "style",
        "template",
        "noscript",
        "nav",
        "svg",
        "math",
        "canvas",
        "iframe",
        "object",
        "embed",
        "select",
        "button",
        "form",
        "dialog",
        "footer",
        "aside",
        "head",
    ]
)
BREAKING: Final = frozenset(
    [
        "p",
        "div",
        "section",
        "article",
        "main",
        "header",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "li",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "caption",
        "blockquote",
        "figure",
        "figcaption",
        "hr",
        "body",
        "address",
        "details",
        "summary",
        "fieldset",
        "pre",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ]
)
VOID: Final = frozenset("area base br col embed hr img input link meta source track wbr".split())  # noqa: SIM905
UNCLOSED: Final = frozenset({"p", "li", "dt", "dd", "tr", "td", "th", "option"})
"""May end without an end tag, so they cannot be counted on to end what they began."""

MAX_DEPTH: Final = 500
"""Nested skipped elements that are followed; deeper is taken as a broken page."""

_PASSED_OVER: Final = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<![", "]>"))
"""Where each of them ends."""

_SPACE = re.compile(r"\s+")
_HEADING = re.compile(r"h([1-6])$")
_MARKS = re.compile("[¶§\N{LINK SYMBOL}]\\s*$")
"""Links to a heading itself, which documentation tools put behind it."""


def parse_html(text: str) -> Parsed:
    """The blocks of a page, and its title."""
    reader = _Reader()
    reader.feed(tamed(text))
    reader.close()
    reader.end_block()
    title = _SPACE.sub(" ", "".join(reader.title)).strip()
    headings = [block.text for block in reader.blocks if block.kind == "heading" and block.level == 1]
    return Parsed(reader.blocks, title or (headings[0] if headings else None))


def tamed(text: str) -> str:
    """A page without what keeps the parser looking for an end that never comes: it searches the rest each time.

    Comments and marked sections go; of one without an end, its mark. What stands behind the last ``>`` is no tag.
    """
    kept: list[str] = []
    endless: set[str] = set()
    at = 0
    while (begin := text.find("<!", at)) >= 0:
        opened, close = next(
            ((mark, end) for mark, end in _PASSED_OVER if text.startswith(mark, begin)), ("", "")
        )
        if not opened:
            kept.append(text[at : begin + 2])
            at = begin + 2
            continue
        kept.append(text[at:begin])
        # An empty comment may be as short as <!-->.
        behind = begin + len(opened)
        end = -1 if opened in endless else text.find(close, behind - (2 if opened == "<!--" else 0))
        if end < 0:
            endless.add(opened)
        at = behind if end < 0 else end + len(close)
    text = "".join([*kept, text[at:]])
    last = text.rfind(">") + 1
    return text[:last] + text[last:].replace("<", "&lt;")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.title: list[str] = []
        self._text: list[str] = []
        self._kind: Kind = "text"
        self._level = 0
        self._skipped: list[str] = []
        self._in_title = False
        self._cells: list[list[str]] | None = None
        self._rows: list[str] = []
        self._tables = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self.title:
            self._in_title = True
            return
        if tag == "body":  # a page may leave out the end of its head
            self._skipped.clear()
        if self._skipped:
            # Only what can close what is skipped counts; hidden elements are counted by their own name.
            nests = tag in SKIPPED or tag == self._skipped[0] or tag == self._skipped[-1]
            if nests and tag not in VOID and len(self._skipped) < MAX_DEPTH:
                self._skipped.append(tag)
            return
        names = dict(attrs)
        hidden = "hidden" in names or names.get("aria-hidden") == "true" or names.get("role") == "navigation"
        if tag in SKIPPED or (hidden and tag not in VOID and tag not in UNCLOSED):
            self._skipped.append(tag)
        elif tag == "table":
            self.end_block()
            self._tables += 1
        elif tag == "tr" and self._tables:
            self._end_row()
            self._cells = []
        elif tag in ("td", "th") and self._tables:
            self._cells = self._cells if self._cells is not None else []
            self._cells.append([])
        elif tag == "br":
            self.handle_data("\n" if self._kind == "code" else " ")
        elif tag in BREAKING:
            self._begin(tag)

    def _begin(self, tag: str) -> None:
        if self._tables:
            self.handle_data(" ")
            return
        self.end_block()
        if tag == "pre":
            self._kind = "code"
        elif heading := _HEADING.match(tag):
            self._kind, self._level = "heading", int(heading.group(1))
        elif tag == "li":
            self._text.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"title", "head"}:
            self._in_title = False
        if self._skipped:
            if tag in self._skipped:
                while self._skipped.pop() != tag:
                    pass
            return
        if tag == "table" and self._tables:
            self._end_row()
            self._tables -= 1
            if not self._tables:
                self._end_table()
        elif tag == "tr":
            self._end_row()
        elif tag in BREAKING and not self._tables:
            self.end_block()

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif self._skipped:
            return
        elif self._tables and self._cells:
            self._cells[-1].append(data)
        else:
            self._text.append(data)

    def _end_row(self) -> None:
        cells = [_SPACE.sub(" ", "".join(cell)).strip() for cell in self._cells or []]
        if any(cells):
            self._rows.append(" | ".join(cells))
        self._cells = None

    def _end_table(self) -> None:
        # A table of one column, or of one row, lays a page out: what is in it is text.
        if self._rows and not any(" | " in row for row in self._rows):
            self.blocks += [Block(row) for row in self._rows]
        elif self._rows:
            self.blocks.append(Block("\n".join(self._rows), "table"))
        self._rows = []
        self._text.clear()

    def end_block(self) -> None:
        """Close the block that is being read, if it has any words."""
        text = "".join(self._text)
        text = text.strip("\n").rstrip() if self._kind == "code" else _SPACE.sub(" ", text).strip()
        if self._kind == "heading":
            text = _MARKS.sub("", text).strip()
        if text.strip(" -"):
            self.blocks.append(Block(text, self._kind, self._level))
        self._text.clear()
        self._kind, self._level = "text", 0
