"""Which documents are refused for their language."""

from __future__ import annotations

import pytest

from weft.components.dataprep.blocks import Block, Reading
from weft.components.dataprep.language import uncovered
from weft.components.dataprep.parse import prepare
from weft.types import Upload

GERMAN = (
    "Die Fähre legt jeden Morgen um acht Uhr ab und kehrt erst am Abend zurück. Wer Fahrräder mitnehmen möchte, muss"
    " sie am Vortag anmelden, denn der Platz auf dem Deck ist begrenzt und die Saison ist kurz."
)
ENGLISH = (
    "The ferry leaves each morning at eight and comes back in the evening. Whoever wants to take a bicycle along has"
    " to say so the day before, for there is little room on deck and the season is short."
)
CHINESE = "渡轮每天早上八点出发，晚上才回来。想带自行车的人必须提前一天登记，因为甲板上的空间有限。"  # noqa: RUF001 - as Chinese is written


@pytest.mark.parametrize(
    ("texts", "covered", "found"),
    [
        ([GERMAN], ["en"], "German"),
        ([CHINESE], ["en"], "Chinese"),
        ([GERMAN], ["de", "en"], None),
        ([CHINESE], ["zh"], None),
        ([ENGLISH], ["en"], None),
        ([ENGLISH], ["de"], "English"),
        ([GERMAN, ENGLISH] * 3, ["en"], None),
        ([ENGLISH, *[GERMAN] * 20], ["en"], "German"),
    ],
)
def test_a_document_in_another_language_is_named(
    texts: list[str], covered: list[str], found: str | None
) -> None:
    """When nearly all of it is; one in two languages goes in."""
    assert uncovered([Block(text) for text in texts], covered) == found


@pytest.mark.parametrize(
    "text",
    [
        "Das ist kurz.", "SKU 12345 QTY 5 EUR 12.00", "Jürgen Müller, Kaiserstraße 5, Berlin", "a = b(c) + d[e]", "12.5 | 7",
        "ls -la /usr/share | sort -u", "x" * 400, "Привет", "Γειά",
    ],
)  # fmt: skip
def test_nothing_is_refused_on_a_guess(text: str) -> None:
    """Short texts, names, numbers and code say nothing for sure."""
    assert uncovered([Block(text)], ["en"]) is None


@pytest.mark.parametrize("kind", ["table", "code", "heading"])
def test_only_running_text_counts(kind: str) -> None:
    """A table of German words is a table."""
    assert uncovered([Block(GERMAN, kind)], ["en"]) is None


def test_the_refusal_says_what_is_covered_and_what_to_do() -> None:
    """Language, embedder and the way out; an embedder of unknown languages takes any."""
    upload = Upload("a.txt", GERMAN.encode())
    assert prepare(upload, Reading(1000, 100, languages=("en",), embedder="all-minilm-l6-v2")).refused == (
        "it is in German, and the embedder 'all-minilm-l6-v2' covers English: nothing in it would be found; choose an"
        " embedder for several languages and ingest it again"
    )
    assert prepare(upload, Reading(1000, 100)).refused is None
