"""Rows to blocks: what sheets and CSV files have in common."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

from weft.components.dataprep.blocks import Block, Parsed, RefusedError

MAX_FIELD: Final = 1_000_000
"""Characters of one cell of a CSV file. Longer is a quote that was never closed, or a file that is no table."""

MAX_ROWS: Final = 1_048_576
MAX_CELLS: Final = 5_000_000
"""Cells of all tables of a file together, empty ones too: what a reader can be kept busy with."""

DELIMITERS: Final = ",;\t|"


def parse_csv(text: str) -> Parsed:
    """The rows of a CSV file as one table; the first one names the columns.

    Raises:
        RefusedError: A cell is too long, or there are too many.
    """
    csv.field_size_limit(MAX_FIELD)
    delimiter = _delimiter(text)
    rows: list[list[str]] = []
    cells = 0
    try:
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            cells += max(len(row), 1)
            if cells > MAX_CELLS or len(rows) > MAX_ROWS:
                raise RefusedError(f"it has more than {MAX_CELLS:,} cells, or {MAX_ROWS:,} rows")
            rows.append(row)
    except csv.Error as error:
        raise RefusedError(f"it is not a table that can be read: {error}") from error
    return Parsed(table_blocks(rows))


def _delimiter(text: str) -> str:
    """What most of the first lines agree on."""
    lines = [line for line in text[:20_000].split("\n")[:20] if line.strip()]
    best, most = ",", 0.0
    for mark in DELIMITERS:
        counts = [line.count(mark) for line in lines]
        usual = max(set(counts), key=counts.count, default=0)
        agreed = counts.count(usual) / len(counts) * usual if counts else 0.0
        if agreed > most:
            best, most = mark, agreed
    return best


def table_blocks(rows: Iterable[Sequence[str]]) -> list[Block]:
    """A sheet's rows as tables: an empty row parts two, columns that are empty in all of one's rows are left out."""
    blocks: list[Block] = []
    table: list[list[str]] = []
    for row in (*rows, ()):
        cells = [" ".join(cell.split()) for cell in row]
        if any(cells):
            table.append(cells)
        elif table:
            blocks += _table(table)
            table = []
    return blocks


def _table(rows: list[list[str]]) -> list[Block]:
    width = max(map(len, rows))
    if width > 1:
        used = [False] * width
        for row in rows:
            for place, cell in enumerate(row):
                used[place] = used[place] or bool(cell)
        if not all(used):
            rows = [[cell for place, cell in enumerate(row) if used[place]] for row in rows]
    lines = [" | ".join(row).rstrip(" |") for row in rows]
    if max(map(len, rows)) < 2:  # one column of words is a list, not a table
        return [Block(line) for line in lines] if len(lines) == 1 else [Block("\n".join(lines), "table")]
    # A line over a table, in its first cell alone, is its title.
    titles = 0
    while titles < len(rows) - 1 and sum(map(bool, rows[titles])) == 1 < sum(map(bool, rows[titles + 1])):
        titles += 1
    blocks = [Block(next(filter(None, row))) for row in rows[:titles]]
    lines = lines[titles:]
    return [*blocks, Block("\n".join(lines), "table", header_rows=1 if len(lines) > 1 else 0)]
