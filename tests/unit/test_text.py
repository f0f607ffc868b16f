"""Words and sentences: what components count and cut by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.text import MAX_SENTENCE, asked, bm25, cosine, overlap, rarity, sentences, stem, terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            "Dr. Smith met Mr. Jones at 3 p.m. on Monday. He left.",
            ["Dr. Smith met Mr. Jones at 3 p.m. on Monday.", "He left."],
        ),
        ("J. R. R. Tolkien wrote it. Yes.", ["J. R. R. Tolkien wrote it.", "Yes."]),
        ('He said "Go." Then he went.', ['He said "Go."', "Then he went."]),
        ("Pi is 3.14 and e.g. 2.7 is not. No.", ["Pi is 3.14 and e.g. 2.7 is not.", "No."]),
        ("A line\nthat goes on. Next.", ["A line\nthat goes on.", "Next."]),
        ("Title\n\nText without a stop", ["Title", "Text without a stop"]),
        ("Items:\n- one\n- two\n1. three", ["Items:", "- one", "- two", "1. three"]),
        (
            "1. Heat it. Wait.\n2. Stir. It was 12. Done.",
            ["1. Heat it.", "Wait.", "2. Stir.", "It was 12.", "Done."],
        ),
        ("一つ目。二つ目！", ["一つ目。", "二つ目！"]),  # noqa: RUF001 - full-width marks are what is tested
        ("Yahoo! bought it. OK.", ["Yahoo! bought it.", "OK."]),
        ("Paid by the U.S. government. Then.", ["Paid by the U.S. government.", "Then."]),
        ("It works... Sometimes.", ["It works...", "Sometimes."]),
        ("City | Ships\nPorto | 7\n| Faro | 3", ["City | Ships", "Porto | 7", "| Faro | 3"]),
        ("---\n\n* * *", []),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    """A text is cut where a reader would pause, and nowhere else."""
    assert [text[start:end] for start, end in sentences(text)] == expected


@given(st.text(st.sampled_from("ab .!?\n-|1é。\"'"), max_size=2000))
def test_sentences_of_any_text(text: str) -> None:
    """They are in order, apart, trimmed, bounded, and leave out no letter."""
    spans, position = sentences(text), 0
    for start, end in spans:
        assert position <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert end - start <= MAX_SENTENCE
        assert not any(c.isalnum() for c in text[position:start])
        position = end
    assert not any(c.isalnum() for c in text[position:])


def test_words_are_folded() -> None:
    """Case, accents and compatibility forms do not part words; an apostrophe does not either."""
    assert words("Café ﬁve It\N{RIGHT SINGLE QUOTATION MARK}s snake_case") == [
        "cafe",
        "five",
        "it's",
        "snake",
        "case",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [("city", "cities"), ("name", "named"), ("running", "runs"), ("planned", "planning"), ("harbours", "harbour"), ("close", "closing"), ("newton's", "newton")],
)  # fmt: skip
def test_forms_of_a_word_meet(one: str, other: str) -> None:
    """Inflection is taken off."""
    assert stem(one) == stem(other)


@pytest.mark.parametrize(
    ("one", "other"), [("bus", "bu"), ("class", "clas"), ("sing", "s"), ("new", "news2")]
)
def test_other_words_stay_apart(one: str, other: str) -> None:
    """What only looks like an ending stays."""
    assert stem(one) != stem(other)


def test_terms_carry_meaning() -> None:
    """Stop words are left out."""
    assert terms("What is the capital of the cities?") == ["capital", "citi"]


def test_overlap_counts_rare_words_more() -> None:
    """Sharing a word that all texts have says less than sharing one that few have."""
    weights = rarity([["a", "x"], ["a", "y"], ["a", "z"]])
    assert overlap(["a", "x"], ["a"], weights) < 0.3 < overlap(["a", "x"], ["x"], weights)
    assert overlap(["a", "x"], ["a", "x"], weights) == pytest.approx(1.0)
    assert overlap([], ["a"], weights) == 0
    assert overlap(["q"], ["a"], {}) == 0


def test_bm25_ranks_by_rarity_and_length() -> None:
    """A rare word in a short text is worth the most."""
    scores = bm25(["x", "a"], [["x"], ["x"] + ["b"] * 9, ["a"], ["b"]])
    assert scores[0] > scores[1] > 0
    assert scores[3] == 0
    assert bm25(["x"], []) == []
    assert bm25(["x"], [[]]) == [0]


def test_cosine() -> None:
    """Parallel is 1, at right angles is 0, nothing is 0, unequal lengths are an error."""
    assert cosine([1, 2], [2, 4]) == pytest.approx(1)
    assert cosine([1, 0], [0, 1]) == 0
    assert cosine([0, 0], [1, 1]) == 0
    with pytest.raises(ValueError, match="zip"):
        cosine([1], [1, 2])


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What year did the harbour open?", "harbour open"),
        ("How many harbours are there in Lisbon?", "harbours Lisbon"),
        ("What is the name of the harbour?", "harbour"),
        ("What is another term for rotors?", "rotors"),
        ("What was the old harbour called?", "old harbour"),
        ("What is the term of the lease?", "lease"),
        ("When does the school year begin?", "school year begin"),
        ("In what century?", "century"),
    ],
)
def test_an_answer_need_not_repeat_what_kind_of_answer_is_asked_for(question: str, expected: str) -> None:
    """``year`` in ``what year`` names the answer; what is left is what the answer is about, and never nothing."""
    assert asked(question) == terms(expected)
