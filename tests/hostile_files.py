"""Files that mean harm, made here byte by byte: none is kept, each is handed in as a stranger would.

Each says what it attacks, and the words by which it has to be refused.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

MB: Final = 1 << 20
WORD: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SHEET: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006/relationships"
LAUGHS: Final = "".join(
    f'<!ENTITY l{n} "{"".join(f"&l{n - 1};" for _ in range(10))}">' if n else '<!ENTITY l0 "ha">'
    for n in range(12)
)


@dataclass(frozen=True)
class Hostile:
    """One of them.

    Attributes:
        attacks: What it is after.
        reason: Words of the reason by which it is refused.
        members: Of an archive whose files are refused one by one: how many there are.
    """

    name: str
    attacks: str
    reason: str
    make: Callable[[], bytes]
    members: int = 0


def packed(entries: dict[str, bytes | str]) -> bytes:
    """A zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in entries.items():
            package.writestr(name, content)
    return out.getvalue()


def office(main: str, body: bytes | str, **more: bytes | str) -> bytes:
    """An Office file with one part, and others by path (``/`` as ``__``)."""
    relations = (
        f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="{main}"/>'
        "</Relationships>"
    )
    entries = {name.replace("__", "/"): content for name, content in more.items()}
    return packed({"_rels/.rels": relations, main: body, **entries})


def word(text: str, prolog: str = "") -> str:
    return f'{prolog}<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>'


def bomb_docx() -> bytes:
    return office("word/document.xml", word(" " * (60 * MB)))


def laughs_xlsx() -> bytes:
    strings = f'<!DOCTYPE sst [{LAUGHS}]><sst xmlns="{SHEET}"><si><t>&l11;</t></si></sst>'
    book = f'<workbook xmlns="{SHEET}"><sheets/></workbook>'
    return office("xl/workbook.xml", book, xl__sharedStrings_xml=b"", **{"xl__sharedStrings.xml": strings})


def wide_xlsx() -> bytes:
    """Few bytes, and cells at the far end of each row: a reader that fills the gaps makes 16 billion."""
    rows = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(1, 3_001))
    sheet = f'<worksheet xmlns="{SHEET}"><dimension ref="A1:XFD1048576"/><sheetData>{rows}</sheetData></worksheet>'
    book = f'<workbook xmlns="{SHEET}" xmlns:r="{OFFICE}"><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>'
    relations = (
        f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r1" Type="{OFFICE}/worksheet" Target="worksheets/s.xml"/>'
        "</Relationships>"
    )
    kinds = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.'
        'spreadsheetml.sheet.main+xml"/></Types>'
    )
    parts = {
        "xl__worksheets__s.xml": sheet,
        "xl___rels__workbook.xml.rels": relations,
        "[Content_Types].xml": kinds,
    }
    return office("xl/workbook.xml", book, **parts)


def overlapping_zip() -> bytes:
    """One packed file that the list of contents names a hundred times."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("a000.txt", random.Random(1).randbytes(10_000))
        first = package.filelist[0]
        for number in range(1, 100):
            copy = zipfile.ZipInfo(f"a{number:03}.txt")
            copy.compress_type, copy.CRC = first.compress_type, first.CRC
            copy.compress_size, copy.file_size = first.compress_size, first.file_size
            copy.header_offset, copy.create_system = first.header_offset, first.create_system
            package.filelist.append(copy)
    return out.getvalue()


def lying_zip() -> bytes:
    """It says ten bytes and unpacks to forty million."""
    content = packed({"a.txt": b"0" * (40 * MB)})
    size, said = struct.pack("<L", 40 * MB), struct.pack("<L", 10)
    return content.replace(size, said)


def traversing_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        for name in ("../../../etc/cron.d/x.txt", "/etc/passwd.txt", "C:\\Windows\\x.txt", "a/../../x.txt"):
            package.writestr(zipfile.ZipInfo(name), "x")
        link = zipfile.ZipInfo("link.txt")
        link.external_attr, link.create_system = 0o120777 << 16, 3
        package.writestr(link, "/etc/passwd")
    return out.getvalue()


def pdf_of(objects: dict[int, bytes], root: int = 1) -> bytes:
    """A PDF of these objects."""
    body, offsets = b"%PDF-1.7\n", {}
    for number, content in objects.items():
        offsets[number] = len(body)
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%d 1\n%010d 00000 n \n" % (number, offset) for number, offset in offsets.items())
    start = len(body)
    size = max(objects) + 1
    return body + b"xref\n%btrailer\n<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        table,
        size,
        root,
        start,
    )


def pages_pdf() -> bytes:
    kids = b"3 0 R " * 50_000
    return pdf_of(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [%b] /Count 50000 >>" % kids,
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
        }
    )


def looping_pdf() -> bytes:
    return pdf_of(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [2 0 R 2 0 R 3 0 R] /Count 3 /Parent 2 0 R >>",
            3: b"<< /Type /Pages /Kids [2 0 R] /Count 1 /Parent 3 0 R >>",
        }
    )


def scripted_pdf() -> bytes:
    return pdf_of(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R /OpenAction 4 0 R /Names << /EmbeddedFiles << /Names [(a.exe) 5 0 R] >> >> >>",
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /AA << /O 4 0 R >> >>",
            4: b"<< /S /JavaScript /JS (while (true) { app.launchURL('http://169.254.169.254/'); }) >>",
            5: b"<< /Type /Filespec /F (a.exe) /EF << /F 6 0 R >> >>",
            6: b"<< /Length 2 >>\nstream\nMZ\nendstream",
        }
    )


def image_pdf() -> bytes:
    """A picture of 30,000 by 30,000 dots in a hundred kilobytes, to be drawn for text recognition."""
    width = height = 30_000
    squeeze = zlib.compressobj(6)
    line = bytes(width // 8)
    data = b"".join(squeeze.compress(line) for _ in range(height)) + squeeze.flush()
    head = (
        b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent 1 /ColorSpace /DeviceGray"
        % (
            width,
            height,
        )
    )
    return pdf_of(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 1000000 1000000] /Contents 5 0 R"
            b" /Resources << /XObject << /I 4 0 R >> >> >>",
            4: head + b" /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream" % (len(data), data),
            5: b"<< /Length 30 >>\nstream\nq 999999 0 0 999999 0 0 cm /I Do Q\nendstream",
        }
    )


def flate_pdf() -> bytes:
    """A page whose instructions expand to two hundred megabytes."""
    squeeze = zlib.compressobj(6)
    data = b"".join(squeeze.compress(b" " * MB) for _ in range(200)) + squeeze.flush()
    return pdf_of(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R >>",
            4: b"<< /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream" % (len(data), data),
        }
    )


def locked_pdf() -> bytes:
    from pypdf import PdfWriter

    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def deep_mail() -> bytes:
    lines = ["From: a@b.example", "Subject: deep"]
    for number in range(150):
        lines += [f"Content-Type: multipart/mixed; boundary=b{number}", "", f"--b{number}"]
    return "\n".join([*lines, "", "text"]).encode()


def crowded_mail() -> bytes:
    head = "From: a@b.example\nSubject: many\nContent-Type: multipart/mixed; boundary=b\n\n"
    return (head + "--b\nContent-Type: text/plain\n\nx\n" * 5_000).encode()


def epub(chapter: str, **more: str) -> bytes:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="b.opf"/></rootfiles></container>'
    )
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="c" href="c.xhtml"'
        ' media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c"/></spine></package>'
    )
    parts = {name.replace("__", "/"): content for name, content in more.items()}
    return packed({"META-INF/container.xml": container, "b.opf": book, "c.xhtml": chapter, **parts})


def locked_epub() -> bytes:
    said = (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData'
        ' xmlns="http://www.w3.org/2001/04/xmlenc#"><EncryptionMethod'
        ' Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></EncryptedData></encryption>'
    )
    return epub("\x00", **{"META-INF__encryption.xml": said})


XXE: Final = (
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd"><!ENTITY n SYSTEM "http://169.254.169.254/">]>'
)

HOSTILE: Final = [
    Hostile("bomb.zip", "disk: 60 MB from 60 kB", "zip bomb", lambda: packed({"a.txt": b"0" * (60 * MB)})),
    Hostile("overlapping.zip", "disk: entries that share bytes", "its entries overlap", overlapping_zip),
    Hostile("lying.zip", "disk: sizes that are untrue", "it is broken", lying_zip, members=1),
    Hostile("many.zip", "count: 5,000 files", "at most 1,000", lambda: packed({f"{n}.txt": "x" for n in range(5_000)})),
    Hostile("traversing.zip", "paths out of the folder, a link", "leads out of the archive|it is a link", traversing_zip, members=5),
    Hostile("nested.zip", "a zip in a zip", "inside an archive", lambda: packed({"b.zip": packed({"c.zip": "x"})}), members=1),
    Hostile("bomb.docx", "memory: 60 MB of XML from 60 kB", "zip bomb", bomb_docx),
    Hostile("xxe.docx", "files and addresses by entities", "declares entities", lambda: office("word/document.xml", word("&e;&n;", XXE))),
    Hostile("laughs.xlsx", "memory: a trillion laughs", "declares entities", laughs_xlsx),
    Hostile("wide.xlsx", "time: cells at the far end of each row", "more than 5,000,000 cells", wide_xlsx),
    Hostile("macros.docx", "a workbook with macros under another name", r"but is a \.xlsx", lambda: office("xl/workbook.xml", f'<workbook xmlns="{SHEET}"/>', xl__vbaProject_bin=b"x")),
    Hostile("deep.docx", "stack: 20,000 levels of XML", "nested more than 256", lambda: office("word/document.xml", "<a>" * 20_000 + "</a>" * 20_000)),
    Hostile("laughs.epub", "memory: a trillion laughs", "declares entities", lambda: epub(f"<!DOCTYPE html [{LAUGHS}]><html><p>&l11;</p></html>")),
    Hostile("locked.epub", "nothing: protected by its seller", "DRM", locked_epub),
    Hostile("xxe.svg", "files by entities", "'.svg' files are not read; supported are", f"{XXE}<svg>&e;</svg>".encode),
    Hostile("locked.pdf", "nothing: protected with a password", "protected with a password", locked_pdf),
    Hostile("pages.pdf", "time: 50,000 pages", "at most 3,000", pages_pdf),
    Hostile("looping.pdf", "time: a list of pages that holds itself", "no page has text", looping_pdf),
    Hostile("scripted.pdf", "JavaScript, an embedded program, an address", "no page has text", scripted_pdf),
    Hostile("picture.pdf", "memory: 0.9 billion dots on a page of 14 km", "no page has text|it could not be read", image_pdf),
    Hostile("flate.pdf", "memory: a page of 200 MB", "no page has text|it could not be read", flate_pdf),
    Hostile("deep.json", "stack: 100,000 levels", "nested", lambda: b"[" * 100_000 + b"]" * 100_000),
    Hostile("number.json", "time: a number of five million digits", "is not JSON", lambda: b'{"a": ' + b"9" * 5_000_000 + b"}"),
    Hostile("deep.html", "stack: 300,000 levels without a word", "there is no text in it", lambda: b"<div>" * 300_000),
    Hostile("endless.html", "time: comments that do not end", "there is no text in it", lambda: b"<!-- >" * 300_000 + b"<!--" * 300_000),
    Hostile("marks.txt", "time: two million dots", "there is no text in it", lambda: b"." * 2_000_000),
    Hostile("deep.eml", "stack: 150 levels of parts", "nested more than", deep_mail),
    Hostile("crowded.eml", "count: 5,000 parts", "more than 1,000 parts", crowded_mail),
    Hostile("header.eml", "time: a header of 300,000 letters", "a header of it", lambda: b"From: " + b'";' * 150_000 + b"\nSubject: x\n\nx"),
    Hostile("line.csv", "memory: a quote that is never closed", "not a table that can be read", lambda: b'a,b\n1,"' + b"x\n" * 5_000_000),
    Hostile("deep.rtf", "stack: 200,000 groups", "nested more than", lambda: b"{\\rtf1 " + b"{" * 200_000),
    Hostile("object.rtf", "memory: an object of 20 MB and no text", "there is no text in it", lambda: b"{\\rtf1 {\\object{\\*\\objdata " + b"0f" * (10 * MB) + b"}}}"),
    Hostile("binary.txt", "no text at all", "it is not text", lambda: random.Random(2).randbytes(100_000)),
    Hostile("page.pdf", "a page under another name", "does not begin like one", lambda: b"<html><script>x</script>"),
]  # fmt: skip


def names() -> Iterator[str]:
    """What they are called."""
    return (hostile.name for hostile in HOSTILE)
