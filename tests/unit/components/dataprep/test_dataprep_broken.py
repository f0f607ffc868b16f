"""Files that are broken at random: read as far as they go, or refused; never anything else."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage

import docx
import openpyxl
import pptx
import pytest
from pdfs import pdf

from hostile_files import epub, packed
from weft.components.dataprep import parse as parsing
from weft.components.dataprep.blocks import Reading, RefusedError
from weft.components.dataprep.parse import parse, prepare
from weft.types import Upload

TIMES = 40


def word() -> bytes:
    document = docx.Document()
    document.add_heading("Heading", 1)
    document.add_paragraph("Text.", style="List Bullet")
    document.add_table(2, 2).cell(0, 0).text = "cell"
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def slides() -> bytes:
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[1]).shapes.title.text = "Title"
    out = io.BytesIO()
    deck.save(out)
    return out.getvalue()


def workbook() -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["a", 1, 2.5])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def mail() -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@b.example", "Größe"
    message.set_content("Text.")
    message.add_attachment(b"a,b\n1,2", maintype="text", subtype="csv", filename="t.csv")
    return message.as_bytes()


FILES: dict[str, Callable[[], bytes]] = {
    "a.docx": word,
    "a.pptx": slides,
    "a.xlsx": workbook,
    "a.eml": mail,
    "a.pdf": lambda: pdf("One.", "Two.", title="T"),
    "a.epub": lambda: epub("<html><h1>One</h1><p>Text.</p></html>"),
    "a.rtf": lambda: (
        rb"{\rtf1\ansi{\fonttbl{\f0\fcharset204 A;}}{\info{\title T}}\pard\intbl a\cell \'e9\u8364?\row\par}"
    ),
    "a.json": lambda: b'{"a": [{"b": 1, "c": "d"}, {"b": 2}], "e": "f"}',
    "a.csv": lambda: b'a,"b c",d\n1,2,3\n',
    "a.html": lambda: b"<title>t</title><table><tr><td>a<td>b</table><pre>c</pre><p>d",
}


def broken(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice([1, 3, 10])):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 40)]
            case 2:
                data[at:at] = chance.randbytes(chance.randrange(1, 20))
            case _:
                other = chance.randrange(len(data))
                data[at:at] = data[other : other + chance.randrange(1, 200)]
        data = data or bytearray(b"x")
    return bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_broken_is_read_or_refused(name: str) -> None:
    """Whichever of its bytes are wrong, nothing but a refusal comes out of the reader."""
    chance, content = random.Random(name), FILES[name]()
    assert parse(name, None, content).blocks
    for _ in range(TIMES):
        with suppress(RefusedError):
            parse(name, None, broken(content, chance))


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.epub"])
def test_a_packed_file_whose_parts_are_broken_is_read_or_refused(name: str) -> None:
    """The packing is right, and what is packed is not."""
    import zipfile

    chance = random.Random(name)
    with zipfile.ZipFile(io.BytesIO(FILES[name]())) as package:
        parts = {part: package.read(part) for part in package.namelist()}
    for _ in range(TIMES // 4):
        part = chance.choice(list(parts))
        with suppress(RefusedError):
            parse(name, None, packed({**parts, part: broken(parts[part] or b"x", chance)}))


def test_a_reader_that_fails_refuses_its_file_and_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody thought of is that file's outcome, not the whole upload's."""

    def fail(text: str) -> None:
        raise KeyError(text)

    monkeypatch.setattr(parsing, "parse_text", fail)
    assert (
        prepare(Upload("a.txt", b"x"), Reading(1000, 100)).refused
        == "it is broken, or its reader is (KeyError: 'x')"
    )
