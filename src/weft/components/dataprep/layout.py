"""Where words stand on a page to the order in which they are read: columns one after another, tables as rows.

The input is segments: runs of letters on one line without a wide gap. They are put into rows; rows that leave the same
gap free make a region of several columns, which is either text that is set in columns or a table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final

MIN_GAP: Final = 0.7
"""Of the height of the letters: narrower gaps part words, not columns."""

COLUMN_LINES: Final = 4
"""Text in columns has at least so many lines in each; fewer are a table, or lines with something at their end."""

COLUMN_FILL: Final = 0.6
"""Of its column's width, what the middle line of a text takes; cells of tables are mostly shorter."""

COLUMN_LETTERS: Final = 18
"""The middle line of a column of text has at least so many."""

MAX_DEPTH: Final = 4
"""Columns in columns that are followed."""

_MARK = re.compile(r"(?:[-*•‣▪–◦●■✓]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)]|\[\d{1,3}\]|§)$")  # noqa: RUF001 - as lists have it
"""What stands before an item of a list: it belongs to the words after it, whatever the gap."""

_LEADERS = re.compile(r"(?: ?\.){5,} ?")
"""The dots from an entry of a table of contents to its page."""


@dataclass(slots=True)
class Segment:
    """Letters on one line; the origin is the page's lower left corner, in points."""

    text: str
    left: float
    right: float
    bottom: float
    top: float
    bold: bool = False

    @property
    def height(self) -> float:
        """Of its letters, as the font has them."""
        return self.top - self.bottom


@dataclass(slots=True)
class Line:
    """A line of text, or a table (``rows``).

    Attributes:
        gap: Empty space above it, in heights of its letters; None at the top of a column.
    """

    text: str
    left: float
    right: float
    bottom: float
    top: float
    size: float
    bold: bool = False
    gap: float | None = None
    rows: list[list[str]] = field(default_factory=list)


def read_page(segments: Sequence[Segment], rules: Sequence[tuple[float, float, float]]) -> list[Line]:
    """The lines and tables of a page in reading order.

    Args:
        segments: In any order.
        rules: Horizontal lines that are drawn: left, right, height on the page.
    """
    return _read(_rows(segments), rules, 0)


def _rows(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Segments by line, from the top; within one, from the left."""
    rows: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda s: (-(s.top + s.bottom), s.left)):
        middle = (segment.top + segment.bottom) / 2
        for row in reversed(rows[-3:]):
            first = row[0]
            low, high = max(first.bottom, segment.bottom), min(first.top, segment.top)
            if high - low > 0.5 * min(first.height, segment.height) and first.bottom <= middle <= first.top:
                row.append(segment)
                break
        else:
            rows.append([segment])
    for row in rows:
        row.sort(key=lambda s: s.left)
        _join_marks(row)
    return rows


def _join_marks(row: list[Segment]) -> None:
    at = 0
    while at < len(row) - 1:
        if _MARK.match(row[at].text) and row[at + 1].left - row[at].right < 5 * row[at].height:
            after = row.pop(at + 1)
            row[at] = Segment(
                f"{row[at].text} {after.text}", row[at].left, after.right,
                min(row[at].bottom, after.bottom), max(row[at].top, after.top), after.bold,
            )  # fmt: skip
        else:
            at += 1


def _read(rows: list[list[Segment]], rules: Sequence[tuple[float, float, float]], depth: int) -> list[Line]:
    lines: list[Line] = []
    at = 0
    while at < len(rows):
        end, gaps = _run(rows, at)
        region = rows[at:end]
        if gaps and depth < MAX_DEPTH:
            columns = _columns(region, gaps)
            if _is_text(region, columns, rules):
                for column in columns:
                    below = _read(_rows(column), rules, depth + 1)
                    if below:
                        below[0].gap = None
                    lines += below
                at = end
                continue
            for part in _parts_of(region):
                begin, stop = _table_span(part)
                if stop - begin >= 2 and (edges := _edges(part[begin:stop])):
                    lines += [_line(row) for row in part[:begin]]
                    lines.append(_table(part[begin:stop], edges, rules))
                    lines += [_line(row) for row in part[stop:]]
                else:
                    lines += [_line(row) for row in part]
            at = end
            continue
        lines += [_line(row) for row in region]
        at = end
    for before, line in pairwise(lines):
        if before.bottom >= line.bottom:
            line.gap = max(before.bottom - line.top, 0.0) / max(line.size, 1.0)
    return lines


def _run(rows: list[list[Segment]], at: int) -> tuple[int, list[tuple[float, float]]]:
    """How far the rows go on that leave the same gaps free, and these gaps; at least one row."""
    gaps = _gaps(rows[at])
    has_both = len(rows[at]) > 1
    end = at + 1
    while end < len(rows):
        kept = _meet(gaps, _gaps(rows[end]), MIN_GAP * rows[end][0].height)
        # Only gaps with something on both sides part columns.
        parts = any(_parts(rows[at : end + 1], gap) for gap in kept)
        if not parts and (has_both or len(rows[end]) > 1):
            break
        gaps, has_both = kept, has_both or parts
        end += 1
    return end, [gap for gap in gaps if _parts(rows[at:end], gap)]


def _gaps(row: list[Segment]) -> list[tuple[float, float]]:
    """What a row leaves free, the margins included."""
    found = [(-1e9, row[0].left)]
    right = row[0].right
    for segment in row[1:]:
        if segment.left > right:
            found.append((right, segment.left))
        right = max(right, segment.right)
    return [*found, (right, 1e9)]


def _meet(
    a: list[tuple[float, float]], b: list[tuple[float, float]], wide: float
) -> list[tuple[float, float]]:
    found = []
    for left, right in a:
        for low, high in b:
            start, end = max(left, low), min(right, high)
            if end - start >= wide:
                found.append((start, end))
    return found


def _parts(rows: list[list[Segment]], gap: tuple[float, float]) -> bool:
    left = any(segment.right <= gap[0] + 0.01 for row in rows for segment in row)
    return left and any(segment.left >= gap[1] - 0.01 for row in rows for segment in row)


def _columns(rows: list[list[Segment]], gaps: list[tuple[float, float]]) -> list[list[Segment]]:
    edges = sorted((start + end) / 2 for start, end in gaps)
    columns: list[list[Segment]] = [[] for _ in range(len(edges) + 1)]
    for row in rows:
        for segment in row:
            middle = (segment.left + segment.right) / 2
            columns[sum(edge < middle for edge in edges)].append(segment)
    return [column for column in columns if column]


def _is_text(
    rows: list[list[Segment]], columns: list[list[Segment]], rules: Sequence[tuple[float, float, float]]
) -> bool:
    """Whether columns are of running text: mostly single long lines that fill them, not ruled into cells."""
    if not 2 <= len(columns) <= 4:
        return False
    for column in columns:
        width = max(s.right for s in column) - min(s.left for s in column)
        lines = _rows(column)
        single = [line[0] for line in lines if len(line) == 1]
        # A table may stand in a column of text; then most of the lines are still of text.
        if len(lines) < COLUMN_LINES or len(single) < 0.5 * len(lines):
            return False
        if median(len(s.text) for s in single) < COLUMN_LETTERS:
            return False
        if median(s.right - s.left for s in single) < COLUMN_FILL * width:
            return False
    return len(_rules_in(rows, rules)) < max(3, len(rows) / 4)


def _rules_in(rows: list[list[Segment]], rules: Sequence[tuple[float, float, float]]) -> list[float]:
    """Heights of the drawn lines that cross most of a region, from the top."""
    left = min(s.left for row in rows for s in row)
    right = max(s.right for row in rows for s in row)
    top = max(s.top for row in rows for s in row)
    bottom = min(s.bottom for row in rows for s in row)
    size = rows[0][0].height
    heights = sorted(
        (
            y
            for low, high, y in rules
            if bottom - size <= y <= top + size and min(high, right) - max(low, left) > 0.5 * (right - left)
        ),
        reverse=True,
    )
    return [y for at, y in enumerate(heights) if at == 0 or heights[at - 1] - y > 0.3 * size]


def _parts_of(rows: list[list[Segment]]) -> list[list[list[Segment]]]:
    """A region cut before lines in larger letters, as the next table's heading is, and at wide empty spaces."""
    usual, space = median(row[0].height for row in rows), _space(rows)
    parts: list[list[list[Segment]]] = [[rows[0]]]
    for above, row in pairwise(rows):
        is_heading = len(row) == 1 and row[0].height > 1.15 * usual
        if is_heading or above[0].bottom - row[0].top > max(2.5 * row[0].height, 3 * space):
            parts.append([])
        parts[-1].append(row)
    return parts


def _space(rows: list[list[Segment]]) -> float:
    """The usual empty space above a row of several cells."""
    found = [above[0].bottom - row[0].top for above, row in pairwise(rows) if len(row) > 1]
    return median(found) if found else 0.0


def _goes_on(above: list[Segment], row: list[Segment], usual: float) -> bool:
    """Whether a row with one cell is the rest of the row above: it stands closer to it than rows do."""
    return len(row) == 1 and above[0].bottom - row[0].top < min(0.6 * usual, 0.5 * row[0].height)


def _table_span(rows: list[list[Segment]]) -> tuple[int, int]:
    """From the first to behind the last row of several cells."""
    several = [at for at, row in enumerate(rows) if len(row) > 1]
    if len(several) < 2:
        return 0, 0
    end, usual = several[-1] + 1, _space(rows)
    while end < len(rows) and _goes_on(rows[end - 1], rows[end], usual):
        end += 1
    return several[0], end


def _edges(rows: list[list[Segment]]) -> list[float]:
    """Where a table's columns part."""
    gaps = _gaps(rows[0])
    for row in rows[1:]:
        gaps = _meet(gaps, _gaps(row), MIN_GAP * row[0].height / 2)
    return sorted((start + end) / 2 for start, end in gaps if _parts(rows, (start, end)))


def _table(
    rows: list[list[Segment]], edges: list[float], rules: Sequence[tuple[float, float, float]]
) -> Line:
    heights = _rules_in(rows, rules)
    grouped = _by_rules(rows, heights) if heights else []
    begun = sum(1 for row in rows if sum(edge < row[0].left for edge in edges) == 0)
    ruled = len(grouped) >= max(2, 0.8 * begun) if grouped else False
    if not ruled:
        grouped, usual = [], _space(rows)
        for row in rows:
            starts = sum(edge < row[0].left for edge in edges) == 0
            near = bool(grouped) and grouped[-1][-1][0].bottom - row[0].top < 0.8 * row[0].height
            if (near and not starts) or (grouped and _goes_on(grouped[-1][-1], row, usual)):
                grouped[-1].append(row)  # a cell's words that did not fit on one line
            else:
                grouped.append([row])
    cells = []
    for group in grouped:
        found = [""] * (len(edges) + 1)
        for row in group:
            for segment in row:
                place = sum(edge < (segment.left + segment.right) / 2 for edge in edges)
                found[place] = f"{found[place]} {_LEADERS.sub(' … ', segment.text)}".strip()
        cells.append(found)
    everything = [segment for row in rows for segment in row]
    return Line(
        "", min(s.left for s in everything), max(s.right for s in everything), min(s.bottom for s in everything),
        max(s.top for s in everything), median(s.height for s in everything), rows=cells,
    )  # fmt: skip


def _by_rules(rows: list[list[Segment]], heights: list[float]) -> list[list[list[Segment]]]:
    groups: dict[int, list[list[Segment]]] = {}
    for row in rows:
        middle = (row[0].top + row[0].bottom) / 2
        groups.setdefault(sum(height > middle for height in heights), []).append(row)
    return [groups[place] for place in sorted(groups)]


def _line(row: list[Segment]) -> Line:
    return Line(
        _LEADERS.sub(" … ", " ".join(segment.text for segment in row)), row[0].left, row[-1].right, min(s.bottom for s in row),
        max(s.top for s in row), max(row, key=lambda s: len(s.text)).height, all(s.bold for s in row),
    )  # fmt: skip
