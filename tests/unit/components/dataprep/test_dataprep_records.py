"""What is read of CSV, JSON, RTF, EPUB, mails and source code."""

from __future__ import annotations

import json
from email.message import EmailMessage

import pytest
from pdfs import pdf

from hostile_files import epub, packed
from weft.components.dataprep.blocks import Block, RefusedError
from weft.components.dataprep.code import language_of, parse_code
from weft.components.dataprep.epub import parse_epub
from weft.components.dataprep.parse import parse
from weft.components.dataprep.records import parse_json, parse_json_lines
from weft.components.dataprep.rtf import parse_rtf
from weft.components.dataprep.tables import parse_csv


def texts(blocks: list[Block]) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in blocks]


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("a,b\n1,2\n", "a | b\n1 | 2"),
        ("a;b\n1,5;2\n", "a | b\n1,5 | 2"),
        ("a\tb\n1\t2", "a | b\n1 | 2"),
        ('a,b\n"x, y","line\nbreak"\n', "a | b\nx, y | line break"),
        ("a,,b\n1,,2\n", "a | b\n1 | 2"),
    ],
)
def test_a_csv_file_is_a_table(text: str, table: str) -> None:
    """Whatever parts its columns; the first row names them."""
    (block,) = parse_csv(text).blocks
    assert (block.kind, block.text, block.header_rows) == ("table", table, 1)


def test_json_values_have_their_names() -> None:
    """Short values by name, lists of like records as tables, long texts as texts under their path."""
    long = "A sentence that goes on. " * 20
    parsed = parse_json(
        json.dumps(
            {
                "title": "Ferries", "open": True, "tags": ["a", "b"],
                "times": [{"from": "Oslo", "at": 9}, {"from": "Moss", "at": 10}],
                "about": {"text": long, "by": None},
            }
        ).encode()
    )  # fmt: skip
    assert parsed.title == "Ferries"
    assert [(b.kind, b.label, b.text) for b in parsed.blocks] == [
        ("table", "", "title: Ferries\nopen: true\ntags: a, b"),
        ("table", "times", "from | at\nOslo | 9\nMoss | 10"),
        ("text", "about > text", long),
    ]


def test_json_lines_are_records_and_a_broken_one_is_named() -> None:
    """Under either suffix."""
    lines = b'{"a": 1, "b": 2}\n\n{"a": 3, "b": 4}\n'
    assert texts(parse_json_lines(lines).blocks) == [("table", "a | b\n1 | 2\n3 | 4")]
    assert parse_json(lines).blocks == parse_json_lines(lines).blocks
    with pytest.raises(RefusedError, match="line 2 is not JSON"):
        parse_json_lines(b'{"a": 1}\n{"a": \n')


RTF = rb"""{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset204 Cyr;}}{\stylesheet{\s0 Normal;}{\s1 heading 1;}}
{\info{\title Report \'96 2024 \u8211? A}}\pard\s1 Introduction\par
\pard\s0 This is {\b bold}, caf\'e9 and \u8364?, {\field{\*\fldinst{HYPERLINK "http://x"}}{\fldrslt a link}}.\par
\f1 \'cf\'f0\'e8\f0\par \trowd\pard\intbl A\cell B\cell\row \trowd\pard\intbl 1\cell 2\cell\row
\pard After{\*\generator no;}{\object{\*\objdata 0123}{\result  this}} table.{\pict\bin4 }}}}}\par}"""


def test_rtf_keeps_headings_tables_and_letters_of_any_script() -> None:
    """Fields show their result, objects and pictures nothing of their bytes."""
    parsed = parse_rtf(RTF)
    assert parsed.title == "Report \u2013 2024 \u2013 A"
    assert texts(parsed.blocks) == [
        ("heading", "Introduction"), ("text", "This is bold, caf\u00e9 and \u20ac, a link."), ("text", "\u041f\u0440\u0438"),
        ("table", "A | B\n1 | 2"), ("text", "After this table."),
    ]  # fmt: skip


def test_a_book_is_its_chapters_in_reading_order() -> None:
    """With its title; a chapter that is missing is named."""
    container = '<container><rootfiles><rootfile full-path="OEBPS/b.opf"/></rootfiles></container>'
    book = (
        '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>Bees</dc:title></metadata><manifest>'
        '<item id="two" href="text/2.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="one" href="text/a%201.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="gone" href="gone.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="one"/><itemref idref="two"/><itemref idref="gone"/></spine></package>'
    )
    parsed = parse_epub(
        packed(
            {
                "META-INF/container.xml": container, "OEBPS/b.opf": book,
                "OEBPS/text/2.xhtml": "<html><h1>Second</h1><p>Honey.</p></html>",
                "OEBPS/text/a 1.xhtml": "<!DOCTYPE html><html><h1>First</h1><p>Hives &amp; more.</p></html>",
            }
        )
    )  # fmt: skip
    assert parsed.title == "Bees"
    assert [text for _, text in texts(parsed.blocks)] == ["First", "Hives & more.", "Second", "Honey."]
    assert parsed.left_out == ["the chapter 'OEBPS/gone.xhtml' is not in the file"]
    assert parse_epub(epub("<html><p>One.</p></html>")).blocks[0].text == "One."


def mail() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "Ann <ann@x.example>",
        "bob@x.example",
        "Ça va? The boat",
    )
    message.set_content("The boat is ready.\n\nSee you on Monday.")
    message.add_alternative("<p>The boat is <b>ready</b>.</p>", subtype="html")
    return message


def test_a_mail_is_its_text_once_with_who_wrote_it() -> None:
    """Of two forms of the text the plain one is taken."""
    parsed = parse("a.eml", None, mail().as_bytes())
    assert parsed.title == "Ça va? The boat"
    assert [text for _, text in texts(parsed.blocks)] == [
        "Ça va? The boat",
        "From: Ann <ann@x.example>\nTo: bob@x.example\nSubject: Ça va? The boat",
        "The boat is ready.",
        "See you on Monday.",
    ]


def test_attachments_are_read_under_their_names() -> None:
    """Those that are read; one that is not is said, and so are pages without text."""
    message = mail()
    message.add_attachment(
        pdf("Costs are 40 pounds.", ""), maintype="application", subtype="pdf", filename="bill.pdf"
    )
    message.add_attachment(b"MZ", maintype="application", subtype="x-msdownload", filename="../../run.exe")
    message.add_attachment(b"GIF", maintype="image", subtype="gif", filename="logo.gif")
    inner = EmailMessage()
    inner["Subject"] = "Forwarded"
    inner.set_content("Words inside.")
    message.add_attachment(inner)
    parsed = parse("a.eml", None, message.as_bytes())
    found = texts(parsed.blocks)
    assert ("heading", "bill.pdf") in found
    assert ("text", "Costs are 40 pounds.") in found
    assert ("text", "Words inside.") in found
    assert all(block.page is None for block in parsed.blocks)
    pages, program = parsed.left_out
    assert pages == "pages of its attachment 'bill.pdf' have no text that could be read"
    assert program.startswith("its attachment 'run.exe' was left out: '.exe' files are not read")


PYTHON = '''"""What it does."""

import os


@cached
def first(a: int) -> int:
    """Doc."""
    return a


# About the class.
class Boat(Thing):
    size = 3

    def sail(self) -> None:
        go()

    async def stop(self) -> None:
        halt()
'''

C = """#include <stdio.h>

/* Adds. */
static int add(int a, int b)
{
    if (a) return a + b;
    return b;
}

int main(void) { return add(1, 2); }
"""


@pytest.mark.parametrize(
    ("name", "source", "labels"),
    [
        (
            "a.py",
            PYTHON,
            ["", "", "def first", "class Boat", "class Boat > def sail", "class Boat > def stop"],
        ),
        ("a.c", C, ["", "function add", "function main"]),
        (
            "a.ts",
            "export async function go<T>(x: T) {\n  f()\n}\nconst f = (a) => {\n  1\n}\n",
            ["function go", "function f"],
        ),
        ("a.sql", "-- All.\nCREATE TABLE IF NOT EXISTS boats (id int);\n", ["create table boats"]),
        (
            "a.rs",
            "pub(crate) fn x() {}\nimpl Foo {\n    fn y() {}\n}\n",
            ["fn x", "impl Foo", "impl Foo > fn y"],
        ),
    ],
)
def test_code_is_its_functions_and_classes(name: str, source: str, labels: list[str]) -> None:
    """Each with its comments and decorators, under its name; not a line is lost."""
    blocks = parse_code(source, name).blocks
    assert [block.label for block in blocks] == labels
    assert "".join("".join(block.text for block in blocks).split()) == "".join(source.split())
    assert all(block.kind == "code" for block in blocks)


def test_comments_and_decorators_belong_to_what_follows() -> None:
    """So that what says what a function does is found with it."""
    blocks = {block.label: block.text for block in parse_code(PYTHON, "a.py").blocks}
    assert blocks["def first"].startswith("@cached\ndef first")
    assert blocks["class Boat"].startswith("# About the class.\nclass Boat")


@pytest.mark.parametrize(
    ("name", "language"), [("a.GO", "Go"), ("src/Dockerfile", "Dockerfile"), ("a.txt", None)]
)
def test_a_language_is_known_by_the_name(name: str, language: str | None) -> None:
    """By suffix, or by the whole name of files that have none."""
    assert language_of(name) == language
