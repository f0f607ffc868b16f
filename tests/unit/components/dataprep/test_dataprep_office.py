"""What is read of Office files, as the usual libraries write them."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from hostile_files import office, word
from weft.components.dataprep.blocks import Block, RefusedError
from weft.components.dataprep.docx import parse_docx
from weft.components.dataprep.pptx import parse_pptx
from weft.components.dataprep.xlsx import parse_xlsx


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def texts(blocks: list[Block]) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in blocks]


def test_a_word_document_keeps_headings_lists_and_tables() -> None:
    """In the order of the text; the first row of a table names its columns."""
    document = docx.Document()
    document.core_properties.title = "Leave policy"
    document.add_heading("Leave", 1)
    document.add_paragraph("Everybody has 30 days.")
    document.add_paragraph("in summer", style="List Bullet")
    document.add_heading("Table", 2)
    table = document.add_table(2, 2)
    for cell, words in zip(
        [cell for row in table.rows for cell in row.cells], ["Grade", "Days", "A", "30"], strict=True
    ):
        cell.text = words
    parsed = parse_docx(saved(document))
    assert parsed.title == "Leave policy"
    assert texts(parsed.blocks) == [
        ("heading", "Leave"), ("text", "Everybody has 30 days."), ("text", "- in summer"), ("heading", "Table"),
        ("table", "Grade | Days\nA | 30"),
    ]  # fmt: skip
    assert [b.level for b in parsed.blocks if b.kind == "heading"] == [1, 2]
    assert (parsed.blocks[-1].header_rows, parsed.pages) == (1, None)


def test_a_word_document_as_it_reads_with_its_changes_accepted() -> None:
    """What was inserted is in, what was deleted is not; links by their words, notes after their paragraph."""
    document = docx.Document()
    paragraph = document.add_paragraph("Old ")
    for tag, inner in (("ins", "new"), ("del", "gone")):
        kind = "delText" if tag == "del" else "t"
        xml = f"<w:{tag} {nsdecls('w')}><w:r><w:{kind}>{inner}</w:{kind}></w:r></w:{tag}>"
        paragraph._p.append(parse_xml(xml))
    link = parse_xml(
        f"<w:hyperlink {nsdecls('w')}><w:r><w:t xml:space='preserve'> link</w:t></w:r></w:hyperlink>"
    )
    paragraph._p.append(link)
    assert texts(parse_docx(saved(document)).blocks) == [("text", "Old new link")]


def test_pages_of_a_word_document_are_those_that_word_noted() -> None:
    """Where Word has laid it out, each paragraph knows its page."""
    document = docx.Document()
    document.add_paragraph("First.")
    second = document.add_paragraph()
    run = second.add_run()
    run._r.append(OxmlElement("w:lastRenderedPageBreak"))
    second.add_run("Second.")
    parsed = parse_docx(saved(document))
    assert [(b.text, b.page) for b in parsed.blocks] == [("First.", 1), ("Second.", 2)]
    assert parsed.pages == 2


def test_slides_are_pages() -> None:
    """The title first wherever it was drawn; tables, charts' numbers and notes with their slide."""
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text, first.placeholders[1].text = "Results", "One point\nAnother"
    first.notes_slide.notes_text_frame.text = "Smile."
    second = deck.slides.add_slide(deck.slide_layouts[6])
    table = second.shapes.add_table(2, 2, Inches(1), Inches(1), Inches(4), Inches(1)).table
    for n in range(4):
        table.cell(n // 2, n % 2).text = f"c{n}"
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("Q1", (19.5, 21))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(4), Inches(4), Inches(3), data)
    parsed = parse_pptx(saved(deck))
    assert [(b.page, b.kind, b.text) for b in parsed.blocks] == [
        (1, "heading", "Results"), (1, "text", "- One point"), (1, "text", "- Another"), (1, "text", "Notes: Smile."),
        (2, "heading", "Slide 2"), (2, "table", "c0 | c1\nc2 | c3"), (2, "table", " | Q1\nEast | 19.5\nWest | 21"),
    ]  # fmt: skip
    assert (parsed.title, parsed.pages, parsed.empty_pages) == ("Results", 2, [])


def test_a_slide_that_is_only_a_title_is_text() -> None:
    """Its words would be in no passage otherwise."""
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "Thank you, Heidelberg"
    assert [(b.page, b.kind) for b in parse_pptx(saved(deck)).blocks] == [(1, "heading"), (1, "text")]


def test_a_workbook_shows_its_values_as_a_person_sees_them() -> None:
    """Sheets are headings; dates, per cent and whole numbers are written out; empty columns and rows are gone."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Sales"
    sheet["B2"] = "Sales of 2024"
    for row in [[], [None, "Name", "Day", "Share", "Paid"], [None, "Ann", dt.date(2024, 3, 1), 0.256, True]]:
        sheet.append(row)
    sheet["D5"].number_format = "0.0%"
    book.create_sheet("Empty")
    assert texts(parse_xlsx(saved(book)).blocks) == [
        ("heading", "Sales"),
        ("text", "Sales of 2024"),
        ("table", "Name | Day | Share | Paid\nAnn | 2024-03-01 | 25.6 % | TRUE"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), r"protected with a password, or of an Office before 2007"),
        (b"PK\x03\x04 nothing", "not a zip file that can be read"),
        (office("word/document.xml", word("x"))[:-40], "not a zip file that can be read"),
        (office("word/document.xml", "<w"), "it is broken"),
        (office("xl/workbook.xml", "<x/>"), r"it is called \.docx but is a \.xlsx; rename it"),
    ],
)  # fmt: skip
def test_what_is_no_word_document_says_why(content: bytes, reason: str) -> None:
    """Protected, broken and misnamed files are told apart."""
    with pytest.raises(RefusedError, match=reason):
        parse_docx(content)
