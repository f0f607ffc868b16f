"""Words as the stores index them that have no full text of their own to our liking: the same for text and question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from weft.components.store.conditions import MAX_QUERY_TERMS
from weft.text import STOP_WORDS, stem, words

HEADING_WEIGHT: Final = 0.5
"""How much a word of the heading counts against one of the text."""

MAX_TERM: Final = 200
"""Characters of a word that are kept: what is longer is no word."""


def terms_of(text: str) -> list[str]:
    """The stems of all words of a text, in order."""
    return [stem(word)[:MAX_TERM] for word in words(text)]


def asked_terms(query: str) -> list[str]:
    """The different stems that a question looks for; words like 'the' only when it has no others."""
    asked = words(query)
    telling = [word for word in asked if word not in STOP_WORDS] or asked
    return list(dict.fromkeys(stem(word)[:MAX_TERM] for word in telling))[:MAX_QUERY_TERMS]


def weights(text: Iterable[str], heading: Iterable[str]) -> dict[str, float]:
    """How often each term stands in a passage; in its heading it counts less."""
    counts: dict[str, float] = {term: float(n) for term, n in Counter(text).items()}
    for term in heading:
        counts[term] = counts.get(term, 0.0) + HEADING_WEIGHT
    return counts
