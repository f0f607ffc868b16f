"""RTF, EPUB, e-mail and zip files, by hand."""

from __future__ import annotations

import zipfile
from email.message import EmailMessage
from html import escape
from pathlib import Path

from markup import Block, Text

STAMP = (2025, 6, 1, 12, 0, 0)


def rtf(text: Text, target: Path) -> None:
    """As WordPad and its kin write it: a font table, styles by size, tables by cells, escapes beyond ASCII."""
    parts = [
        r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss\fcharset0 Helvetica;}}",
        rf"{{\info{{\title {_escaped(text.title)}}}{{\author {_escaped(text.head.get('author', ''))}}}}}",
        r"\paperw11906\paperh16838\margl1440\margr1440",
    ]
    for block in text.blocks:
        if block.kind == "heading":
            parts.append(rf"\pard\sb240\sa120\b\fs{40 - 6 * block.level} {_escaped(block.text)}\b0\fs22\par")
        elif block.kind == "table":
            parts += [_row(row) for row in block.rows]
        elif block.kind == "item":
            parts.append(rf"\pard\fi-200\li400\bullet\tab {_escaped(block.text)}\par")
        else:
            parts.append(rf"\pard\sa120 {_escaped(block.text)}\par")
    target.write_bytes("\r\n".join([*parts, "}"]).encode("ascii"))


def _row(cells: list[str]) -> str:
    edges = "".join(rf"\cellx{(place + 1) * 2400}" for place in range(len(cells)))
    words = "".join(rf"\pard\intbl {_escaped(cell)}\cell" for cell in cells)
    return rf"\trowd\trgaph100{edges}{words}\row"


def _escaped(words: str) -> str:
    made = []
    for letter in words:
        if letter in "\\{}":
            made.append("\\" + letter)
        elif ord(letter) < 128:
            made.append(letter)
        else:
            try:
                made.append(rf"\'{letter.encode('cp1252').hex()}")
            except UnicodeEncodeError:
                made.append(rf"\u{ord(letter)}?")
    return "".join(made)


def epub(text: Text, target: Path) -> None:
    """A file of XHTML for each section, in the order of the spine, with navigation and a style sheet."""
    chapters = [(f"chapter{number:02}.xhtml", *section) for number, section in enumerate(text.sections(), 1)]
    manifest = "".join(
        f'<item id="c{n}" href="text/{name}" media-type="application/xhtml+xml"/>'
        for n, (name, _, _) in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    links = "".join(f'<li><a href="text/{name}">{escape(title)}</a></li>' for name, title, _ in chapters)
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<?xml version="1.0"?><container version="1.0" '
        'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/book.opf" '
        'media-type="application/oebps-package+xml"/></rootfiles></container>',
        "OEBPS/book.opf": '<?xml version="1.0" encoding="utf-8"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" '
        'unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:identifier id="id">urn:weft:{target.stem}</dc:identifier><dc:title>{escape(text.title)}</dc:title>'
        f"<dc:creator>{escape(text.head.get('author', ''))}</dc:creator><dc:language>en</dc:language></metadata>"
        '<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f'<item id="css" href="book.css" media-type="text/css"/>{manifest}</manifest><spine>{spine}</spine></package>',
        "OEBPS/nav.xhtml": _xhtml("Contents", f'<nav epub:type="toc"><ol>{links}</ol></nav>'),
        "OEBPS/book.css": "p { text-indent: 1em; }",
    }
    for name, title, blocks in chapters:
        body = f"<h1>{escape(title)}</h1>" + "".join(_html(block) for block in blocks)
        files[f"OEBPS/text/{name}"] = _xhtml(title, body)
    zipped({name: content.encode() for name, content in files.items()}, target, stored=("mimetype",))


def _xhtml(title: str, body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>{escape(title)}</title></head><body>{body}</body></html>'
    )


def _html(block: Block) -> str:
    if block.kind == "table":
        rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in block.rows)
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
    tag = {"heading": f"h{block.level}", "item": "li"}.get(block.kind, "p")
    return f"<{tag}>{escape(block.text)}</{tag}>"


def eml(text: Text, target: Path) -> None:
    """A message as it lies in a mailbox: encoded, some with HTML only, one with a file attached."""
    body, _, attached = text.body.partition("\n--- ")
    message = EmailMessage()
    for name in ("from", "to", "cc", "date", "subject", "message-id"):
        if name in text.head:
            message[name.title()] = text.head[name]
    message["X-Mailer"] = "Kestrel Mail 4.1"
    message["MIME-Version"] = "1.0"
    html = text.head.get("html")
    encoding = text.head["encoding"]
    page = (
        "<html><body>"
        + "".join(f"<p>{escape(line)}</p>" for line in body.split("\n") if line)
        + "</body></html>"
    )
    if html == "only":
        message.set_content(page, subtype="html", cte=encoding)
    else:
        message.set_content(body + "\n", cte=encoding)
        if html:
            message.add_alternative(page, subtype="html", cte=encoding)
    if "attachment" in text.head:
        _, _, content = attached.partition("\n")
        message.add_attachment(content.encode(), "text", "csv", filename=text.head["attachment"])
    for part in message.walk():  # boundaries are random, unless they are set
        if part.is_multipart():
            part.set_boundary(f"=_{target.stem}")
    target.write_bytes(message.as_bytes())


def zipped(files: dict[str, bytes], target: Path, *, stored: tuple[str, ...] = ()) -> None:
    """A zip file of always the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, STAMP)
            entry.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
