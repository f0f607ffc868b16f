"""Which passages and sentences of a document stand for the whole of it: near its middle, and unlike each other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from operator import mul
from typing import Final

from msgspec.structs import replace

from weft.text import Span, sentences
from weft.types import Document, Quote

WEIGHT: Final = 0.7
"""What being typical counts against being new."""

MAX_COMPARED: Final = 60
"""Of more passages those nearest to the middle are weighed against each other: that work grows with the square."""

OPENING: Final = 0.08
"""What the first passage of a document has ahead: it says there what it is about."""

LEAD: Final = 0.3
"""... and its first sentence: enough to be taken in any summary, for that is where summaries begin."""

_LETTERS: Final = re.compile(r"[^\W\d_]")
_BOILERPLATE: Final = re.compile(
    r"copyright|all rights reserved|table of contents|isbn|click here|cookie|https?://\S+$|^page \d+|^figure \d+|^table \d+",
    re.IGNORECASE,
)

Vector = Sequence[float]


def unit(vector: Vector) -> list[float]:
    """The vector with length 1."""
    norm = math.sqrt(sum(map(mul, vector, vector))) or 1.0
    return [value / norm for value in vector]


def middle(vectors: Sequence[Vector]) -> list[float]:
    """The direction of the mean of unit vectors."""
    return unit([sum(column) for column in zip(*vectors, strict=True)])


def typical(
    vectors: Sequence[Vector], count: int, *, ahead: Sequence[float] = (), towards: Vector | None = None
) -> list[int]:
    """Which ``count`` of the unit vectors stand for all of them, in the order in which they were given.

    Maximal marginal relevance to their middle. Source: Carbonell and Goldstein, SIGIR 1998.

    Args:
        vectors: Unit vectors.
        count: How many.
        ahead: What each has ahead of its likeness; none: nothing.
        towards: Stands in the place of their middle.
    """
    if not vectors:
        return []
    centre = middle(vectors) if towards is None else towards
    fit = [sum(map(mul, vector, centre)) for vector in vectors]
    for index, more in enumerate(ahead):
        fit[index] += more
    left = sorted(range(len(vectors)), key=lambda i: -fit[i])[:MAX_COMPARED]
    like = dict.fromkeys(left, 0.0)
    chosen: list[int] = []
    while left and len(chosen) < count:
        best = max(left, key=lambda i: WEIGHT * fit[i] - (1 - WEIGHT) * like[i])
        left.remove(best)
        chosen.append(best)
        for index in left:
            like[index] = max(like[index], sum(map(mul, vectors[index], vectors[best])))
    return sorted(chosen)


def telling(document: Document) -> list[Span]:
    """The sentences of a passage that say something by themselves: no headings, rows, code or boilerplate."""
    headings = str(document.metadata.get("heading") or "").split(" > ")
    found = []
    for span in sentences(document.text):
        text = document.text[span.start : span.end]
        words = text.split()
        letters = len(_LETTERS.findall(text))
        if (
            len(words) >= 5
            and len(text) <= 400
            and letters >= 0.6 * len(text)
            and text not in headings
            and not text.startswith(("#", "|"))
            and not _BOILERPLATE.search(text)
            and text.rstrip("\"'\u201d)]").endswith((".", "!", ":", ";", "\u3002", "\u2026"))
        ):
            found.append(span)
    return found


def without_headings(quotes: Sequence[Quote], count: int) -> list[Quote]:
    """The first ``count`` quotes that say more than the heading they stand under, without that heading; all, if none does."""
    kept = []
    for quote in quotes:
        heads = [*str(quote.document.metadata.get("heading") or "").split(" > "), quote.document.title or ""]
        text, start = quote.text, quote.start
        for head in filter(None, heads):
            while (cut := text.lstrip("# \t\n")).startswith(head):
                rest = cut[len(head) :]
                if rest and not rest[0].isspace():
                    break  # the sentence begins with the heading's words
                start += len(text) - len(rest.lstrip())
                text = rest.lstrip()
        # A first paragraph without a stop is a heading that the passage does not know of.
        above, gap, rest = text.partition("\n\n")
        if (
            gap
            and rest.strip()
            and len(above) <= 80
            and not above.rstrip().endswith((".", "!", "?", ":", ";"))
        ):
            start += len(text) - len(rest.lstrip())
            text = rest.lstrip()
        if text and len(text.split()) > 2:
            kept.append(replace(quote, text=text, start=start) if text != quote.text else quote)
    return (kept or list(quotes))[:count]


def anything(documents: Iterable[Document]) -> list[tuple[Document, Span]]:
    """The pieces of passages that have no sentences (tables, listings), each once."""
    return [(document, span) for document in documents for span in sentences(document.text)[:8]]
