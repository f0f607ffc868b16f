"""How well each sentence of some passages fits a question: what is measured, and what each measure counts.

The weights were set by cross-validation over the articles of a question set (``benchmarks/quality``); between neighbouring
values the differences are within the noise, so that round ones were taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from weft.components.evidence.answers import lacks_answer
from weft.text import Span, asked, cosine, overlap, rarity, sentences, terms, words
from weft.types import Document

HEADING_SHARE: Final = 0.7
"""What a heading or a table's header counts against a sentence: it repeats the question's words and seldom answers."""


_ROW: Final = re.compile(r"\S\s\|\s|^\|")


class Weights(NamedTuple):
    """What each measure counts.

    Attributes:
        meaning: The cosine of question and sentence, 0 to 1; the question's words in it count the rest.
        carried: What a word counts that only the sentence before, the headings above or a table's header have: ``It opened
            in 1887`` speaks of what was named there.
        rank: The passage's own score, beside the sentence's fit.
        kind: What is taken off where a number, time or name is asked for and the sentence has none.
        passage: The fit of the passage as a whole, beside the sentence's, when it is decided whether there is an answer.
    """

    meaning: float = 0.6
    carried: float = 0.5
    rank: float = 0.2
    kind: float = 0.1
    passage: float = 0.3


@dataclass(slots=True)
class Candidate:
    """A sentence of a passage.

    Attributes:
        is_heading: Whether it is one of the headings that the passage stands under, or names the columns of a table.
        header: Of a table's row: the row that names the columns; empty for what is no row, and for that one itself.
        score: How well it fits against the others, 0 to 1.
        support: How sure it is that it answers at all, 0 to 1.
    """

    passage: int
    position: int
    span: Span
    is_heading: bool = False
    header: str = ""
    score: float = 0.0
    support: float = 0.0


class Passage(NamedTuple):
    """A passage to read.

    Attributes:
        vector: Of the whole passage.
        rank: Its score against the best passage's, 0 to 1.
    """

    document: Document
    vector: Sequence[float]
    rank: float


def weigh(
    query: str,
    question: Sequence[float],
    passages: Sequence[Passage],
    candidates: Sequence[Candidate],
    vectors: Sequence[Sequence[float]],
    weights: Weights,
) -> None:
    """Set the scores of the candidates, which are in the order of the text.

    Args:
        query: The question.
        question: Its vector.
        passages: What is read.
        candidates: Their sentences.
        vectors: Of the sentences.
        weights: What each measure counts.
    """
    wanted, said = asked(query), {*words(query)}
    found = [terms(_text(passages, candidate)) for candidate in candidates]
    rare = rarity(found)
    above = [_heading(passage.document) for passage in passages]
    whole = []
    for index, passage in enumerate(passages):
        everything = (
            term for c, part in zip(candidates, found, strict=True) if c.passage == index for term in part
        )
        shared = overlap(wanted, [*above[index], *everything], rare)
        whole.append(_fit(cosine(question, passage.vector), shared, weights))
    last: Candidate | None = None
    before: Sequence[str] = ()
    for candidate, own, vector in zip(candidates, found, vectors, strict=True):
        if candidate.header:
            before = terms(candidate.header)
        elif last is None or (last.passage, last.position + 1) != (candidate.passage, candidate.position):
            before = ()
        shared = overlap(wanted, own, rare)
        around = overlap(wanted, [*own, *before, *above[candidate.passage]], rare)
        fit = _fit(cosine(question, vector), shared + weights.carried * (around - shared), weights)
        passage = passages[candidate.passage]
        score = (fit + weights.rank * passage.rank) / (1 + weights.rank)
        if lacks_answer(query, said, _text(passages, candidate)):
            score -= weights.kind
        if candidate.is_heading:
            score *= HEADING_SHARE
        candidate.score = max(score, 0.0)
        candidate.support = (fit + weights.passage * whole[candidate.passage]) / (1 + weights.passage)
        last, before = candidate, own


def _fit(nearness: float, shared: float, weights: Weights) -> float:
    return weights.meaning * max(nearness, 0.0) + (1 - weights.meaning) * shared


def _text(passages: Sequence[Passage], candidate: Candidate) -> str:
    return passages[candidate.passage].document.text[candidate.span.start : candidate.span.end]


def candidates_of(index: int, document: Document, most: int) -> list[Candidate]:
    """The sentences of a passage, in order; a table's rows know the row above them that names the columns."""
    found: list[Candidate] = []
    header = ""
    heading = document.metadata.get("heading")
    above = heading.split(" > ") if isinstance(heading, str) else []
    for position, span in enumerate(sentences(document.text)[:most]):
        text = document.text[span.start : span.end]
        is_heading = text.startswith("#") or text in above  # headings carry no stop
        if not _ROW.search(text):
            found.append(Candidate(index, position, span, is_heading))
            header = ""
        else:
            found.append(Candidate(index, position, span, is_heading or not header, header))
            header = header or text
    return found


def _heading(document: Document) -> list[str]:
    heading = document.metadata.get("heading")
    return terms(" ".join(part for part in (document.title, heading) if isinstance(part, str)))
