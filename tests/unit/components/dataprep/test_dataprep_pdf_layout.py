"""PDF pages as they are read: columns, tables, headings, running titles, scans."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    Image,
    PageTemplate,
    Paragraph,
    SimpleDocTemplate,
    Table,
    TableStyle,
)

from weft.components.dataprep import ocr
from weft.components.dataprep.blocks import Reading, RefusedError
from weft.components.dataprep.parse import parse, prepare
from weft.components.dataprep.pdf import parse_pdf
from weft.types import Upload

STYLES = getSampleStyleSheet()
LEFT = "The harbour of the old town was built in three stages, of which the last one ended in the year 1887. "
RIGHT = (
    "Grain and timber were its trade until the railway came; today the ferries to the islands leave from it. "
)


def in_columns() -> bytes:
    out = io.BytesIO()
    width, height = A4
    frames = [
        Frame(50, 50, width / 2 - 70, height - 150, id="left"),
        Frame(width / 2 + 20, 50, width / 2 - 70, height - 150, id="right"),
    ]

    def head(canvas: Canvas, _: object) -> None:
        canvas.setFont("Helvetica-Bold", 20)
        canvas.drawString(56, height - 70, "A history of the harbour, told by those who worked in it")

    template = PageTemplate("p", frames, onPage=head)
    flow = [Paragraph(LEFT * 20, STYLES["BodyText"]), Paragraph("Trade", STYLES["Heading2"])]
    BaseDocTemplate(out, pagesize=A4, pageTemplates=[template]).build(
        [*flow, Paragraph(RIGHT * 20, STYLES["BodyText"])]
    )
    return out.getvalue()


def with_table(*, ruled: bool) -> bytes:
    rows = [
        ["Part", "What it does", "Price"],
        ["A-1", "Holds the pump and its motor", "12.50"],
        ["A-2", "Seal", "3.00"],
    ]
    rows.append(["B-7", "Filter", "8.25"])
    style = [("GRID", (0, 0), (-1, -1), 0.5, colors.black)] if ruled else []
    out = io.BytesIO()
    parts = [Paragraph("Spare parts", STYLES["Heading1"]), Paragraph(LEFT * 2, STYLES["BodyText"])]
    SimpleDocTemplate(out).build([*parts, Table(rows, colWidths=[60, 200, 60], style=TableStyle(style))])
    return out.getvalue()


def pages_with(draw: Callable[[Canvas, int], None], count: int) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4)
    for number in range(1, count + 1):
        draw(canvas, number)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def test_columns_are_read_one_after_the_other() -> None:
    """The title across both, then the left one to its end, then the right one; a heading stays in its column."""
    parsed = parse_pdf(in_columns())
    blocks = parsed.blocks
    assert parsed.title == blocks[0].text  # the file has no other
    assert [block.kind for block in blocks][:2] == ["heading", "text"]
    text = " ".join(block.text for block in blocks if block.kind == "text")
    assert text == f"{LEFT * 20}{RIGHT * 20}".strip()
    assert [b.text for b in blocks if b.kind == "heading"] == [
        "A history of the harbour, told by those who worked in it",
        "Trade",
    ]


@pytest.mark.parametrize("ruled", [True, False])
def test_a_table_stays_rows(*, ruled: bool) -> None:
    """With lines around its cells or without; its first row names the columns."""
    table = parse_pdf(with_table(ruled=ruled)).blocks[-1]
    assert (table.kind, table.header_rows) == ("table", 1)
    assert table.text.split("\n") == [
        "Part | What it does | Price", "A-1 | Holds the pump and its motor | 12.50", "A-2 | Seal | 3.00",
        "B-7 | Filter | 8.25",
    ]  # fmt: skip


def test_what_stands_on_every_page_is_no_text() -> None:
    """Running titles and page numbers go; what is different on each page stays."""

    def draw(canvas: Canvas, number: int) -> None:
        canvas.drawString(50, 820, f"Annual report, page {number} of 4")
        canvas.drawString(50, 500, f"Chapter text number {number} is in the middle.")
        canvas.drawString(290, 20, str(number))

    assert [b.text for b in parse_pdf(pages_with(draw, 4)).blocks] == [
        f"Chapter text number {n} is in the middle." for n in range(1, 5)
    ]


def scan(words: str) -> bytes:
    """A page that is a picture of words."""
    from PIL import Image as Pictures
    from PIL import ImageDraw, ImageFont

    picture = Pictures.new("L", (1200, 400), 255)
    ImageDraw.Draw(picture).text((60, 150), words, fill=0, font=ImageFont.load_default(48))
    raw = io.BytesIO()
    picture.save(raw, "PNG")
    out = io.BytesIO()
    SimpleDocTemplate(out).build([Image(io.BytesIO(raw.getvalue()), 450, 150)])
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.system("tesseract")
def test_a_scanned_page_is_recognised() -> None:
    """Where tesseract is installed; its owner is told."""
    prepared = prepare(Upload("scan.pdf", scan("The ferry leaves at noon")), Reading(1000, 100))
    assert [chunk.text for chunk in prepared.chunks] == ["The ferry leaves at noon"]
    assert (prepared.chunks[0].page, prepared.note) == (1, "1 scanned page was read by OCR")


def test_without_tesseract_the_scanned_pages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document with text on other pages is in partly; one of scans alone is refused; both say what is missing."""
    monkeypatch.setattr(ocr, "PROGRAM", "no-such-program")

    def draw(canvas: Canvas, number: int) -> None:
        if number == 2:
            canvas.rect(100, 100, 300, 300, fill=1)
        else:
            canvas.drawString(50, 500, f"Text of page {number}.")

    prepared = prepare(Upload("a.pdf", pages_with(draw, 3)), Reading(1000, 100))
    assert prepared.partly == (
        "no text could be read of page 2; scanned pages need text recognition (OCR), and there is no 'tesseract'"
        " program on the server"
    )
    with pytest.raises(RefusedError, match=r"no page has text; scanned pages need .* no 'tesseract' program"):
        parse("b.pdf", None, pages_with(lambda canvas, _: canvas.rect(1, 1, 9, 9), 1))


def test_recognition_ends_with_its_time() -> None:
    """When its time is up the pages are named, and what has been read is kept."""
    with pytest.raises(RefusedError, match=r"ran out of time|no 'tesseract' program"):
        parse_pdf(pages_with(lambda canvas, _: canvas.rect(1, 1, 9, 9), 1), Reading(1000, 100, seconds=-1.0))


def test_words_at_a_lines_end_and_ligatures_are_whole() -> None:
    """A hyphen that only breaks a word goes, letters that are one sign are letters."""

    def draw(canvas: Canvas, _: int) -> None:
        for line, words in enumerate(
            ["A line that goes on until its very end is hyphen-", "ated in the middle of a word."]
        ):
            canvas.drawString(50, 500 - 14 * line, words)

    (block,) = parse_pdf(pages_with(draw, 1)).blocks
    assert block.text == "A line that goes on until its very end is hyphenated in the middle of a word."
