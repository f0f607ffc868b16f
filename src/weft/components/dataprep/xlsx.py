"""Excel files to blocks: a heading for each sheet, its rows as tables, its values as a person sees them."""

from __future__ import annotations

import datetime as dt
import io
import warnings
from collections.abc import Iterator
from typing import Any, Final

from weft.components.dataprep.blocks import Block, Parsed, RefusedError
from weft.components.dataprep.office import open_office
from weft.components.dataprep.tables import MAX_CELLS, MAX_ROWS, table_blocks

MAX_SHEETS: Final = 500


def parse_xlsx(content: bytes) -> Parsed:
    """The values of each sheet, hidden ones too. A formula is its last result, as the program saved it.

    Raises:
        RefusedError: Protected, broken, hostile, or of too many cells.
    """
    _, _, parsed = open_office(content, "xlsx")
    from openpyxl import load_workbook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it does not know of (styles, extensions) has no text
        try:
            book = load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
            _sheets(book, parsed)
        except (RefusedError, MemoryError):
            raise
        # A broken file makes the parser fail in ways that it has no class for; each is the file's fault.
        except Exception as error:
            raise RefusedError(f"it is broken: {type(error).__name__}: {str(error)[:200]}") from error
    return parsed


def _sheets(book: Any, parsed: Parsed) -> None:
    if len(book.sheetnames) > MAX_SHEETS:
        raise RefusedError(f"it has {len(book.sheetnames):,} sheets; at most {MAX_SHEETS} are read")
    left = MAX_CELLS
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what a sheet says of its size may be a lie
        rows = []
        for cells in _rows(sheet):
            left -= max(len(cells), 1)
            if left < 0:
                raise RefusedError(
                    f"it has more than {MAX_CELLS:,} cells, empty ones between others included"
                )
            rows.append(cells)
        if blocks := table_blocks(rows):
            parsed.blocks.append(Block(sheet.title, "heading", 1))
            parsed.blocks += blocks


def _rows(sheet: Any) -> Iterator[list[str]]:
    for number, row in enumerate(sheet.iter_rows()):
        if number >= MAX_ROWS:
            raise RefusedError(f"sheet '{sheet.title}' has more than {MAX_ROWS:,} rows")
        yield [_shown(cell) for cell in row]


def _shown(cell: Any) -> str:
    value = cell.value
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        format_ = cell.number_format or ""
        if "%" in format_:
            return f"{round(value * 100, 4):g} %"
        return str(value) if isinstance(value, int) else f"{value:.15g}"
    if isinstance(value, dt.datetime):
        is_day = value.time() == dt.time()
        return value.date().isoformat() if is_day else value.isoformat(" ", "minutes")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)
