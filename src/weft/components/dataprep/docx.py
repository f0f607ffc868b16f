"""Word documents to blocks: headings, paragraphs, lists, tables and notes, in the order of the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from weft.components.dataprep.blocks import Block, Kind, Parsed
from weft.components.dataprep.office import (
    Package,
    attribute,
    child,
    is_on,
    local,
    open_office,
    part,
    relations,
)

_LEFT_OUT: Final = frozenset({"del", "moveFrom", "Fallback", "instrText", "delText", "pPr", "rPr", "object"})
"""What is deleted, an alternative to what is read already, or says how something looks."""

_HEADING = re.compile(r"heading (\d)$", re.IGNORECASE)
_CODE = re.compile(r"code|source|preformatted|listing|html pre", re.IGNORECASE)
MAX_LISTING: Final = 20_000
"""Characters up to which lines of code are put together to one listing."""

MAX_NESTED: Final = 20
"""Tables in tables that are followed."""


def parse_docx(content: bytes) -> Parsed:
    """The text of a document. Headers, footers and comments are left out, as are changes that were rejected.

    Raises:
        RefusedError: Protected, broken or hostile.
    """
    package, main, parsed = open_office(content, "docx")
    reader = _Reader(package, main)
    body = child(part(package, main), "body")
    reader.walk(body if body is not None else [], 0)
    parsed.blocks = reader.blocks
    if reader.page > 1:
        parsed.pages = reader.page
    else:  # nobody has laid it out yet: page 1 would say nothing
        for block in parsed.blocks:
            block.page = None
    if parsed.title is None:
        parsed.title = next((block.text for block in parsed.blocks if block.kind == "heading"), None)
    return parsed


class _Reader:
    def __init__(self, package: Package, main: str) -> None:
        self.blocks: list[Block] = []
        self.page = 1
        self._boxes: list[Any] = []
        self._cited: list[tuple[str, str]] = []
        found = dict(relations(package, main).values())
        self._styles = _styles(package, found.get("styles"))
        self._notes = {kind: _notes(package, found.get(f"{kind}s")) for kind in ("footnote", "endnote")}

    def walk(self, parent: Any, depth: int) -> None:
        """Read the blocks of a body, a cell, a box."""
        for element in parent:
            name = local(element)
            if name == "p":
                self._paragraph(element, depth)
            elif name == "tbl":
                self._table(element, depth)
            elif name in (
                "sdt",
                "sdtContent",
                "customXml",
                "ins",
                "moveTo",
                "smartTag",
                "AlternateContent",
                "Choice",
            ):
                self.walk(element, depth)

    def _paragraph(self, element: Any, depth: int) -> None:
        begun = self.page
        words = "".join(self._words(element))
        kind, level, is_item = self._looks(element)
        boxes, self._boxes = self._boxes, []
        cited, self._cited = self._cited, []
        text = words.strip("\n").rstrip() if kind == "code" else " ".join(words.split())
        if text:
            # A page's end that Word noted before the first word belongs to what comes after it.
            page = self.page if words[:1] == "\f" else begun
            text = text.replace("\f", "").strip() if kind != "code" else text.replace("\f", "")
            before = self.blocks[-1] if self.blocks else None
            if (
                kind == "code"
                and before is not None
                and before.kind == "code"
                and before.page == page
                and len(before.text) < MAX_LISTING
            ):
                before.text += f"\n{text}"
            elif text:
                self.blocks.append(Block(f"- {text}" if is_item else text, kind, level, page))
        if depth < MAX_NESTED:
            for box in boxes:
                self.walk(box, depth + 1)
        for family, number in cited:
            if note := self._notes[family].get(number):
                self.blocks.append(Block(note, page=self.page))

    def _words(self, element: Any) -> Iterator[str]:
        for found in element:
            name = local(found)
            if name == "t":
                yield found.text or ""
            elif name == "tab":
                yield "\t"
            elif name in ("br", "cr"):
                yield "\n"
            elif name == "noBreakHyphen":
                yield "-"
            elif name == "lastRenderedPageBreak":
                self.page += 1
                yield "\f"
            elif name in ("footnoteReference", "endnoteReference"):
                self._cited.append((name.removesuffix("Reference"), attribute(found, "id") or ""))
            elif name == "txbxContent":
                self._boxes.append(found)
            elif name not in _LEFT_OUT:
                yield from self._words(found)

    def _looks(self, element: Any) -> tuple[Kind, int, bool]:
        """Kind, level of a heading, and whether it is an item of a list."""
        style = child(element, "pPr", "pStyle")
        name, level, is_item = self._styles.get(
            (attribute(style, "val") or "") if style is not None else "", ("", 0, False)
        )
        own = child(element, "pPr", "outlineLvl")
        if own is not None:
            level = _level(own)
        if level:
            return "heading", level, False
        if _CODE.search(name):
            return "code", 0, False
        return "text", 0, is_item or child(element, "pPr", "numPr") is not None

    def _table(self, element: Any, depth: int) -> None:
        rows: list[list[Any]] = []
        headers = 0
        for row in _rows(element):
            if (
                child(row, "trPr") is not None
                and is_on(child(row, "trPr"), "tblHeader")
                and headers == len(rows)
            ):
                headers += 1
            rows.append([cell for cell in row.iterchildren() if local(cell) in ("tc", "sdt")])
        # A table of one column, or of one row, lays a page out: what is in it is text.
        if max(map(len, rows), default=0) < 2 or len(rows) < 2:
            if depth < MAX_NESTED:
                for row in rows:
                    for cell in row:
                        self.walk(cell, depth + 1)
            return
        begun = self.page
        lines = [" | ".join(" ".join("".join(self._cell(cell)).split()) for cell in row) for row in rows]
        lines = [line for line in lines if line.strip(" |")]
        self._boxes, self._cited = [], []
        if lines:
            self.blocks.append(Block("\n".join(lines), "table", page=begun, header_rows=headers or 1))

    def _cell(self, cell: Any) -> Iterator[str]:
        for found in cell:
            if local(found) == "p":
                yield from self._words(found)
                yield " "
            elif local(found) not in _LEFT_OUT:
                yield from self._cell(found)


def _rows(table: Any) -> Iterator[Any]:
    for element in table:
        if local(element) == "tr":
            yield element
        elif local(element) in ("sdt", "sdtContent", "ins", "customXml"):
            yield from _rows(element)


def _level(element: Any) -> int:
    value = attribute(element, "val") or ""
    return int(value) + 1 if value.isdecimal() and int(value) < 9 else 0


def _styles(package: Package, name: str | None) -> dict[str, tuple[str, int, bool]]:
    """Name, heading level and whether it numbers, of each style; those that it is based on count."""
    if name is None or name not in package:
        return {}
    found: dict[str, tuple[str, int, bool, str]] = {}
    for style in part(package, name):
        if local(style) != "style":
            continue
        called = child(style, "name")
        words = (attribute(called, "val") or "") if called is not None else ""
        outline = child(style, "pPr", "outlineLvl")
        level = _level(outline) if outline is not None else 0
        if match := _HEADING.match(words):
            level = int(match.group(1))
        elif words.lower() == "title":
            level = 1
        based = child(style, "basedOn")
        parent = (attribute(based, "val") or "") if based is not None else ""
        is_item = child(style, "pPr", "numPr") is not None or words.lower().startswith("list ")
        found[attribute(style, "styleId") or ""] = (words, level, is_item, parent)
    resolved: dict[str, tuple[str, int, bool]] = {}
    for key, (words, level, numbers, parent) in found.items():
        known, is_item, above = level, numbers, parent
        for _ in range(MAX_NESTED):  # a style may, by mistake, be based on itself
            if known or above not in found:
                break
            _, known, inherited, above = found[above]
            is_item = is_item or inherited
        resolved[key] = (words, known, is_item)
    return resolved


def _notes(package: Package, name: str | None) -> dict[str, str]:
    """The text of each footnote, by id."""
    if name is None or name not in package:
        return {}
    found: dict[str, str] = {}
    for note in part(package, name):
        if attribute(note, "type") in (None, "normal"):
            text = " ".join("".join(t.text or "" for t in note.iter() if local(t) == "t").split())
            if text:
                found[attribute(note, "id") or ""] = text
    return found
