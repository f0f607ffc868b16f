"""PowerPoint files to blocks: one page for each slide, its title a heading, its tables tables, its notes at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from weft.components.dataprep.blocks import Block, Parsed, RefusedError
from weft.components.dataprep.office import Package, attribute, child, local, open_office, part, relations

TITLES: Final = frozenset({"title", "ctrTitle"})
FURNITURE: Final = frozenset({"dt", "ftr", "sldNum", "hdr", "sldImg"})
"""Placeholders that say the same on each slide."""

MAX_SLIDES: Final = 3_000
MAX_GROUPS: Final = 20
"""Groups in groups that are followed."""


def parse_pptx(content: bytes) -> Parsed:
    """The text of each slide, hidden ones too, with its charts' numbers and the speaker's notes.

    Raises:
        RefusedError: Protected, broken or hostile.
    """
    package, main, parsed = open_office(content, "pptx")
    listed = child(part(package, main), "sldIdLst")
    slides = relations(package, main)
    number = 0
    if listed is not None and len(listed) > MAX_SLIDES:
        raise RefusedError(f"it has {len(listed):,} slides; at most {MAX_SLIDES:,} are read")
    for entry in listed if listed is not None else []:
        keys = [value for key, value in entry.attrib.items() if key.startswith("{") and key.endswith("}id")]
        kind, path = slides.get(str(keys[0]) if keys else "", ("", ""))
        if kind != "slide" or path not in package:
            continue
        number += 1
        blocks = list(_slide(package, path))
        if all(block.kind == "heading" for block in blocks):
            blocks = [Block(block.text) for block in blocks]  # a slide that is nothing but its title
        if blocks and all(block.kind != "heading" for block in blocks):
            # Without a heading of its own it would stand under the slide's before it.
            blocks.insert(0, Block(f"Slide {number}", "heading", 1))
        for block in blocks:
            block.page = number
        parsed.blocks += blocks
        if not blocks and _has_picture(package, path):
            parsed.empty_pages.append(number)
    parsed.pages = number
    if parsed.title is None or parsed.title == "PowerPoint Presentation":
        parsed.title = next((block.text for block in parsed.blocks if block.kind == "heading"), None)
    return parsed


def _slide(package: Package, path: str) -> Iterator[Block]:
    tree = child(part(package, path), "cSld", "spTree")
    found = relations(package, path)
    shapes = list(_shapes(tree, 0)) if tree is not None else []
    # The title comes first wherever it was drawn; the rest from top to bottom, as far as the file says.
    shapes.sort(key=lambda shape: (not _is_title(shape), _top(shape)))
    for shape in shapes:
        if (role := _role(shape)) in FURNITURE:
            continue
        if local(shape) == "graphicFrame":
            yield from _frame(package, shape, found)
        elif (body := child(shape, "txBody")) is not None:
            lines = list(_lines(body))
            if role in TITLES and lines:
                yield Block(" ".join(lines), "heading", 1)
            elif len(lines) == 1:
                yield Block(lines[0])
            else:
                yield from (Block(f"- {line}") for line in lines)
    for kind, target in found.values():
        if kind == "notesSlide" and target in package:
            said = " ".join(_notes(part(package, target)))
            if said:
                yield Block(f"Notes: {said}")


def _shapes(tree: Any, depth: int) -> Iterator[Any]:
    for element in tree:
        name = local(element)
        if name in ("sp", "graphicFrame", "cxnSp"):
            yield element
        elif name in ("grpSp", "AlternateContent", "Choice") and depth < MAX_GROUPS:
            yield from _shapes(element, depth + 1)


def _role(shape: Any) -> str:
    """What a placeholder is for; empty: the shape is none."""
    for element in shape:
        if local(element).startswith("nv"):
            place = child(element, "nvPr", "ph")
            return "" if place is None else attribute(place, "type") or "body"
    return ""


def _is_title(shape: Any) -> bool:
    return _role(shape) in TITLES


def _top(shape: Any) -> tuple[int, int]:
    place = child(shape, "spPr", "xfrm", "off")
    place = place if place is not None else child(shape, "xfrm", "off")
    try:
        return (
            (int(attribute(place, "y") or 0), int(attribute(place, "x") or 0))
            if place is not None
            else (0, 0)
        )
    except ValueError:
        return 0, 0


def _lines(body: Any) -> Iterator[str]:
    for paragraph in body:
        if local(paragraph) == "p":
            words = "".join(
                (element.text or "")
                if local(element) == "t"
                else " "
                if local(element) in ("br", "tab")
                else ""
                for element in paragraph.iter()
            )
            if text := " ".join(words.split()):
                yield text


def _frame(package: Package, frame: Any, found: dict[str, tuple[str, str]]) -> Iterator[Block]:
    """The table, chart or diagram of a frame."""
    for element in frame.iter():
        if (name := local(element)) == "tbl":
            rows = [
                " | ".join(
                    " ".join(_lines(body)) if (body := child(cell, "txBody")) is not None else ""
                    for cell in row
                    if local(cell) == "tc"
                )
                for row in element
                if local(row) == "tr"
            ]
            if rows := [row for row in rows if row.strip(" |")]:
                yield Block("\n".join(rows), "table", header_rows=1)
            return
        if name in ("chart", "relIds"):
            keys = [str(value) for key, value in element.attrib.items() if key.startswith("{")]
            for kind, target in (found.get(key, ("", "")) for key in keys):
                if target in package and kind == "chart":
                    yield from _chart(part(package, target))
                elif target in package and kind == "diagramData":
                    yield from (Block(f"- {line}") for line in _diagram(part(package, target)))


def _chart(root: Any) -> Iterator[Block]:
    """A chart's numbers, as a table of its series."""
    series = [element for element in root.iter() if local(element) == "ser"][:50]
    names, columns = [], []
    categories: list[str] = []
    for one in series:
        names.append(" ".join(_cached(child(one, "tx"))) or "value")
        categories = categories or _cached(child(one, "cat")) or _cached(child(one, "xVal"))
        columns.append(_cached(child(one, "val")) or _cached(child(one, "yVal")))
    length = max(map(len, columns), default=0)
    if not length:
        return
    rows = [" | ".join(["", *names])]
    for place in range(min(length, 1_000)):
        cells = [column[place] if place < len(column) else "" for column in columns]
        rows.append(" | ".join([categories[place] if place < len(categories) else "", *cells]))
    yield Block("\n".join(rows), "table", header_rows=1)


def _cached(element: Any) -> list[str]:
    if element is None:
        return []
    return [(found.text or "").strip() for found in element.iter() if local(found) == "v"]


def _diagram(root: Any) -> Iterator[str]:
    for paragraph in root.iter():
        if local(paragraph) == "p":
            words = "".join(t.text or "" for t in paragraph.iter() if local(t) == "t")
            if said := " ".join(words.split()):
                yield said


def _notes(root: Any) -> Iterator[str]:
    tree = child(root, "cSld", "spTree")
    for shape in _shapes(tree, 0) if tree is not None else []:
        body = child(shape, "txBody")
        if body is not None and _role(shape) not in FURNITURE:
            yield from _lines(body)


def _has_picture(package: Package, path: str) -> bool:
    return any(kind in ("image", "media", "video") for kind, _ in relations(package, path).values())
