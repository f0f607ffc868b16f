"""Word, PowerPoint and Excel files."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from docx import Document
from markup import Block, Text
from openpyxl import Workbook
from openpyxl.styles import Font
from pptx import Presentation
from pptx.util import Inches

WRITTEN = dt.datetime(2025, 6, 1, 12)  # noqa: DTZ001 - office files have no time zones
_NUMBER = re.compile(r"\d{1,3}(,\d{3})+|\d+(\.\d+)?")


def docx(text: Text, target: Path) -> None:
    """Headings, paragraphs, lists and tables in Word's own styles, with a footer."""
    document = Document()
    properties = document.core_properties
    properties.title, properties.author = text.title, text.head.get("author", "")
    properties.created = properties.modified = WRITTEN
    document.sections[0].footer.paragraphs[0].text = text.head.get("footer", "")
    document.sections[0].header.paragraphs[0].text = text.head.get("author", "")
    for block in text.blocks:
        if block.kind == "heading":
            document.add_heading(block.text, block.level)
        elif block.kind == "item":
            document.add_paragraph(block.text, style="List Bullet")
        elif block.kind == "table":
            table = document.add_table(len(block.rows), len(block.rows[0]), style="Table Grid")
            for row, cells in zip(table.rows, block.rows, strict=True):
                for cell, words in zip(row.cells, cells, strict=True):
                    cell.text = words
        elif block.kind == "page":
            document.add_page_break()
        else:
            document.add_paragraph(block.text)
    document.save(str(target))


def pptx(text: Text, target: Path) -> None:
    """A slide for each section: title, bullets, table, and notes to the speaker."""
    deck = Presentation()
    deck.core_properties.title, deck.core_properties.author = text.title, text.head.get("author", "")
    deck.core_properties.created = deck.core_properties.modified = WRITTEN
    for title, blocks in text.sections():
        items = [block.text for block in blocks if block.kind in ("item", "text")]
        slide = deck.slides.add_slide(deck.slide_layouts[1 if items else 5])
        slide.shapes.title.text = title
        if items:
            frame = slide.placeholders[1].text_frame
            frame.text = items[0]
            for item in items[1:]:
                frame.add_paragraph().text = item
        for block in blocks:
            if block.kind == "table":
                rows, columns = len(block.rows), len(block.rows[0])
                place = Inches(1), Inches(2), Inches(8), Inches(0.4 * rows)
                table = slide.shapes.add_table(rows, columns, *place).table
                for row, cells in enumerate(block.rows):
                    for column, words in enumerate(cells):
                        table.cell(row, column).text = words
            elif block.kind == "notes":
                slide.notes_slide.notes_text_frame.text = block.text
    deck.save(str(target))


def xlsx(text: Text, target: Path) -> None:
    """A sheet for each section, its head in bold; numbers and dates are numbers and dates, as people type them."""
    book = Workbook()
    book.remove(book.active)
    book.properties.title = text.title
    book.properties.created = book.properties.modified = WRITTEN
    for name, blocks in text.sections():
        sheet = book.create_sheet(name)
        for block in blocks:
            for row in block.rows:
                sheet.append([_value(cell) for cell in row])
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        sheet.freeze_panes = "A2"
    book.save(str(target))


def _value(cell: str) -> str | int | float | dt.date | None:
    if not cell:
        return None
    if re.fullmatch(r"\d{4}-\d\d-\d\d", cell):
        return dt.date.fromisoformat(cell)
    if _NUMBER.fullmatch(cell) and not cell.startswith("0"):
        number = float(cell.replace(",", ""))
        return int(number) if number.is_integer() else number
    return cell


__all__ = ["Block", "docx", "pptx", "xlsx"]
