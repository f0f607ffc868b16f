"""How a document is cut into passages."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.components.dataprep.blocks import Block
from weft.components.dataprep.chunks import split
from weft.components.dataprep.tokens import estimate

SENTENCE = "This sentence has exactly fifty characters in it.."


def paragraph(n: int) -> Block:
    return Block(" ".join(f"S{i:02d} {SENTENCE[:43]}." for i in range(n)))


def whole(blocks: list[Block]) -> str:
    return "\n\n".join(block.text for block in blocks)


def test_passages_end_at_sentences_and_overlap_by_sentences() -> None:
    """Each passage is whole sentences within the size; the next repeats the last that fit the overlap."""
    chunks = split([paragraph(10)], size=200, overlap=60)  # four sentences each
    assert len(chunks) == 3
    assert all(len(chunk.text) <= 200 and chunk.text.endswith(".") for chunk in chunks)
    for before, after in itertools.pairwise(chunks):
        assert before.start < after.start < before.end < after.end


def test_no_overlap_when_none_is_asked_for() -> None:
    """Every sentence is in exactly one passage."""
    chunks = split([paragraph(10)], size=200, overlap=0)
    assert "".join(chunk.text for chunk in chunks).count("S0") == 10


def test_headings_begin_passages_and_name_them() -> None:
    """A passage knows the headings above it, from the outside in."""
    blocks = [
        Block("Guide", "heading", 1), paragraph(3), Block("Setup", "heading", 2), paragraph(3),
        Block("Linux", "heading", 3), paragraph(3), Block("Use", "heading", 2), paragraph(3),
    ]  # fmt: skip
    chunks = split(blocks, size=400, overlap=100)
    assert [chunk.heading for chunk in chunks] == [
        "Guide",
        "Guide > Setup",
        "Guide > Setup > Linux",
        "Guide > Use",
    ]
    assert chunks[1].text.startswith("Setup\n\nS00")


def test_short_sections_are_joined() -> None:
    """Sections of one line do not become passages of one line."""
    blocks = [block for n in range(6) for block in (Block(f"H{n}", "heading", 2), Block("A line."))]
    assert len(split(blocks, size=1000, overlap=100)) == 1


def test_a_heading_stays_with_what_follows() -> None:
    """No passage ends with a heading, and a document of headings alone has none."""
    blocks = [paragraph(3), Block("Next", "heading", 2), paragraph(3)]
    first, second = split(blocks, size=180, overlap=0)
    assert not first.text.endswith("Next")
    assert second.text.startswith("Next")
    assert split([Block("Alone", "heading", 1)], size=100, overlap=0) == []


def test_pages_begin_passages() -> None:
    """No passage is of two pages: a citation names the page that its words are on."""
    blocks = [Block(paragraph(3).text, page=1), Block(paragraph(3).text, page=2), Block("End.", page=3)]
    assert [chunk.page for chunk in split(blocks, size=300, overlap=50)] == [1, 2, 3]


def test_tables_and_listings_are_cut_at_lines() -> None:
    """No row is cut in two."""
    table = Block("\n".join(f"row {n} | value {n}" for n in range(100)), "table")
    assert all(
        line in table.text.split("\n")
        for chunk in split([table], size=200, overlap=0)
        for line in chunk.text.split("\n")
    )


words = st.text(st.sampled_from("ab .\n!?|-#é漢"), max_size=300)
blocks = st.builds(
    Block, words.filter(str.strip), st.sampled_from(["text", "heading", "table", "code"]), st.integers(1, 6),
    st.none() | st.integers(1, 3),
)  # fmt: skip


@given(st.lists(blocks, max_size=6), st.integers(100, 500), st.integers(0, 50))
def test_any_document_is_covered_exactly(document: list[Block], size: int, overlap: int) -> None:
    """Passages are slices of the whole text, within the size, in order, and no word of the text is left out."""
    text = whole(document)
    chunks = split(document, size=size, overlap=overlap)
    covered = set()
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end]
        assert len(chunk.text) <= size
        covered |= set(range(chunk.start, chunk.end))
    assert [chunk.start for chunk in chunks] == sorted(chunk.start for chunk in chunks)
    if all(block.kind != "heading" for block in document):
        assert all(index in covered or not text[index].isalnum() for index in range(len(text)))


def test_no_passage_is_longer_than_the_embedder_looks() -> None:
    """By an estimate of its tokens, the headings that are embedded with it included."""
    words = Block(" ".join(f"Antidisestablishmentarianism {n} is long." for n in range(200)))
    heading = Block("Of long words", "heading", 1)
    chunks = split([heading, words], size=5_000, overlap=0, max_tokens=64)
    assert all(estimate(f"{chunk.heading}\n{chunk.text}") <= 64 for chunk in chunks)
    assert sum(chunk.text.count("is long") for chunk in chunks) == 200
    assert len(split([words], size=5_000, overlap=0)) == 2


def test_a_sentence_longer_than_the_window_is_cut_at_spaces() -> None:
    """Every word is in a passage."""
    listed = [f"w{n}," for n in range(500)]
    chunks = split([Block(" ".join(listed))], size=5_000, overlap=0, max_tokens=64)
    assert " ".join(chunk.text for chunk in chunks).split() == listed
    assert all(estimate(chunk.text) <= 64 for chunk in chunks)


def test_each_piece_of_a_table_begins_with_its_header_row() -> None:
    """The place that a piece names is that of its own rows."""
    rows = [f"Town {n} | Mayor {n}" for n in range(60)]
    table = Block("\n".join(["Town | Mayor", *rows]), "table", header_rows=1)
    text = whole([Block("Before."), table])
    chunks = split([Block("Before."), table], size=200, overlap=50)
    assert chunks[0].repeated == 0
    assert len(chunks) > 5
    for chunk in chunks[1:]:
        assert chunk.text.startswith("Town | Mayor\nTown ")
        assert chunk.text[chunk.repeated :] == text[chunk.start : chunk.end]
        assert len(chunk.text) <= 200
        assert chunk.metadata()["repeated"] == len("Town | Mayor\n")
    assert "\n".join(chunk.text[chunk.repeated :] for chunk in chunks).split("\n")[-60:] == rows


def test_a_header_row_that_is_too_long_is_not_repeated() -> None:
    """It would leave no room for rows."""
    table = Block("\n".join(["x" * 150, *(f"row {n}" for n in range(60))]), "table", header_rows=1)
    assert all(chunk.repeated == 0 for chunk in split([table], size=200, overlap=0))


def test_a_listing_that_fits_is_not_cut() -> None:
    """When the passage before it can stand alone, the next one begins with it."""
    code = Block("\n".join(f"line_{n:02}()" for n in range(20)), "code")  # 219 characters
    first, second = split([Block(SENTENCE * 2), code], size=250, overlap=0)
    assert (first.text, second.text) == (SENTENCE * 2, code.text)


def test_functions_are_named_and_short_ones_joined() -> None:
    """A passage of one function is called by it; of several, by none."""
    named = [Block(f"def f{n}():\n    return {n}", "code", label=f"def f{n}") for n in range(4)]
    assert [chunk.heading for chunk in split(named, size=1_000, overlap=0)] == [""]
    long = Block("def g():\n" + "    step()\n" * 20, "code", label="def g")
    assert {chunk.heading for chunk in split([long], size=100, overlap=0)} == {"def g"}


@pytest.mark.parametrize(
    "text", ["", "word", "a b c", "12345 6.7", "漢字", "x" * 100, "snake_case.attribute(call)"]
)
def test_an_estimate_is_positive_and_grows(text: str) -> None:
    """No text has less than one token, and a longer one never fewer."""
    assert 1 <= estimate(text) <= estimate(f"{text} {text}")
