"""PDF: pages with footers, two columns, tables, a password, pages that are pictures of text."""

from __future__ import annotations

import io
import random
import textwrap
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from markup import Block, Text
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    ListFlowable,
    ListItem,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus import (
    Image as Picture,
)

STYLES = getSampleStyleSheet()
BODY = ParagraphStyle("body", parent=STYLES["BodyText"], fontSize=10, leading=13.5, alignment=4)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=8.5, leading=10.5, alignment=0)
WIDTH, HEIGHT = A4
SCAN_DPI = 200


def write(text: Text, target: Path) -> None:
    """Write ``text`` as a PDF."""
    layout = text.head.get("layout", "")
    if layout == "scanned":
        _scan(text, target)
        return
    columns = 2 if layout == "columns" else 1
    gap = 8 * mm
    width = (WIDTH - 40 * mm - gap * (columns - 1)) / columns
    frames = [
        Frame(20 * mm + i * (width + gap), 20 * mm, width, HEIGHT - 40 * mm, 0, 0, 0, 0)
        for i in range(columns)
    ]
    encryption = None
    if "password" in text.head:
        encryption = StandardEncryption(text.head["password"], ownerPassword="owner-" + text.head["password"])
    document = BaseDocTemplate(
        str(target),
        pagesize=A4,
        title=text.title,
        author=text.head.get("author", ""),
        encrypt=encryption,
        invariant=1,
    )

    def footer(canvas: Any, template: Any) -> None:
        canvas.setFont("Helvetica", 7.5)
        canvas.drawString(20 * mm, 10 * mm, text.head.get("footer", text.title))
        canvas.drawRightString(WIDTH - 20 * mm, 10 * mm, f"Page {template.page}")

    document.addPageTemplates([PageTemplate("page", frames, onPage=footer)])
    document.build(_story(text.blocks, width))


def _story(blocks: list[Block], width: float) -> list[Flowable]:
    story: list[Flowable] = []
    items: list[ListItem] = []

    def end_list() -> None:
        if items:
            story.append(ListFlowable(list(items), bulletType="bullet"))
            items.clear()

    for block in blocks:
        if block.kind == "item":
            items.append(ListItem(Paragraph(escape(block.text), BODY)))
            continue
        end_list()
        if block.kind == "heading":
            story.append(Paragraph(escape(block.text), STYLES[f"Heading{block.level}"]))
        elif block.kind == "table":
            story += [_table(block.rows, width), Spacer(1, 8)]
        elif block.kind == "page":
            story.append(PageBreak())
        elif block.kind == "photo":
            story += [PageBreak(), Picture(_photo(), width, width * 1.2)]
        else:
            story += [Paragraph(escape(block.text), BODY), Spacer(1, 4)]
    end_list()
    return story


def _table(rows: list[list[str]], width: float) -> Table:
    longest = [max(len(row[i]) if i < len(row) else 0 for row in rows) + 3 for i in range(len(rows[0]))]
    widths = [width * length / sum(longest) for length in longest]
    cells = [[Paragraph(escape(cell), CELL) for cell in row] for row in rows]
    table = Table(cells, colWidths=widths, repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("GRID", (0, 0), (-1, -1), 0.4, colors.grey),
                ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]
        )
    )
    return table


def _photo() -> io.BytesIO:
    """A picture without a word in it: a brick wall, more or less."""
    dice = random.Random(7)
    image = Image.new("RGB", (500, 600), (190, 180, 170))
    draw = ImageDraw.Draw(image)
    for row in range(20):
        for column in range(-1, 8):
            left, top = column * 70 + (row % 2) * 35, row * 30
            shade = dice.randint(90, 150)
            draw.rectangle(
                (left + 2, top + 2, left + 67, top + 27), fill=(shade + 40, shade - 20, shade - 40)
            )
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    data.seek(0)
    return data


def _scan(text: Text, target: Path) -> None:
    """Pages that are pictures of typed text, slightly askew and with dust, as a scanner makes them."""
    canvas = Canvas(str(target), pagesize=A4, invariant=1)
    canvas.setTitle(text.title)
    pages: list[list[Block]] = [[]]
    for block in text.blocks:
        if block.kind == "page":
            pages.append([])
        else:
            pages[-1].append(block)
    for number, blocks in enumerate(pages):
        canvas.drawImage(ImageReader(_sheet(blocks, number)), 0, 0, WIDTH, HEIGHT)
        canvas.showPage()
    canvas.save()


def _sheet(blocks: list[Block], number: int) -> Image.Image:
    dice = random.Random(number)
    width, height = int(WIDTH / 72 * SCAN_DPI), int(HEIGHT / 72 * SCAN_DPI)
    image = Image.new("L", (width, height), 246)
    draw = ImageDraw.Draw(image)
    top = 200
    for block in blocks:
        size = 48 - 6 * block.level if block.kind == "heading" else 32
        font = ImageFont.load_default(size)
        for line in textwrap.wrap(block.text, 46 if block.kind == "heading" else 76):
            draw.text((190, top), line, fill=40, font=font)
            top += int(size * 1.45)
        top += 22
    for _ in range(400):
        x, y = dice.randrange(width), dice.randrange(height)
        draw.point((x, y), fill=dice.randint(90, 200))
    return image.rotate(0.4 - 0.7 * (number % 2), fillcolor=246, resample=Image.Resampling.BICUBIC)
