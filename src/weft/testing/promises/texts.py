"""What the checks send: few passages and questions, and text in many scripts."""

from __future__ import annotations

from typing import Final

from weft.types import Document

PASSAGES: Final = (
    "The old bridge of Heidelberg was finished in 1788. It crosses the river Neckar.",
    "New employees have 30 days of leave per year. Leave is asked for two weeks ahead.",
    "A kilogram of apples costs four francs at the market of Lucerne.",
    "The office is open from eight to six. On Fridays it closes at four.",
    "Whales are mammals: they breathe air and feed their young with milk.",
)

QUESTIONS: Final = (
    "When was the old bridge finished?",
    "How many days of leave do new employees have?",
    "What do apples cost?",
    "When does the office close on Fridays?",
)

SCRIPTS: Final = (
    "Grüße aus Köln, naïve café ﬁne print",
    "Η γέφυρα είναι παλιά. Мост старый. הגשר ישן. الجسر قديم.",
    "古い橋は一七八八年に完成した。그 다리는 오래되었다. 桥很旧。",
    "👩‍👩‍👧‍👦 family, 🇨🇭 flag, e\u0301 combining, \u200b zero width, \ufeff mark, \U0001d518 plane 1",
    'quotes " and \\ backslash, tab\t, line\u2028separator, <b>&amp;</b>, {{braces}}, %s, \x01 control',
)
"""Text that gets lost where somebody thinks that a character is a byte, or that text is HTML or a template."""

LONG: Final = "The bridge was rebuilt after the flood of the year before. " * 2_000
"""About 118,000 characters: longer than any embedder reads and most models do."""


def full_document(text: str) -> Document:
    """A document in which every field is set."""
    return Document(
        text,
        id="full-1",
        score=0.25,
        title="Bridges of the Neckar",
        source="bridges/heidelberg.pdf",
        page=7,
        start=120,
        end=120 + len(text),
        readers=["staff", "Ärzte"],
        trusted=True,
        metadata={
            "heading": "Bridges > Heidelberg",
            "year": 1788,
            "tags": ["river", "bridge"],
            "深さ": {"m": 2.5},
        },
    )
