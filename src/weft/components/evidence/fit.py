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
        kind: What is taken off where a number or a time is asked for and the sentence has none.
        passage: The fit of the passage as a whole, beside the sentence's, when it is decided whether there is an answer.
    """

    meaning: float = 0.5
    carried: float = 0.25
    rank: float = 0.4
    kind: float = 0.2
    passage: float = 0.3


class Measures(NamedTuple):
    """What is measured of a sentence; all but ``lacks_answer`` are 0 to 1.

    Attributes:
        near: Its cosine to the question.
        shared: How much of the question's words it has, by how rare they are.
        around: The same with the words of the sentence before, the headings above and a table's header.
        rank: The passage's score against the best passage's.
        lacks_answer: Whether it has no number or time where one is asked for.
        passage_near, passage_shared: Of its whole passage.
    """

    near: float
    shared: float
    around: float
    rank: float
    lacks_answer: bool
    passage_near: float
    passage_shared: float


@dataclass(slots=True)
class Candidate:
    """A sentence of a passage.

    Attributes:
        is_heading: Whether it is one of the headings that the passage stands under, or names the columns of a table.
        header: Of a table's row: the row that names the columns; empty for what is no row, and for that one itself.
    """

    passage: int
    position: int
    span: Span
    is_heading: bool = False
    header: str = ""

    def text(self, documents: Sequence[Document]) -> str:
        """Its words, of the passages that were read."""
        return documents[self.passage].text[self.span.start : self.span.end]


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


def measures(
    query: str,
    question: Sequence[float],
    documents: Sequence[Document],
    passages: Sequence[Sequence[float]],
    candidates: Sequence[Candidate],
    vectors: Sequence[Sequence[float]],
) -> list[Measures]:
    """What is measured of each sentence.

    Args:
        query: The question.
        question: Its vector.
        documents: The passages, best first.
        passages: Their vectors.
        candidates: Their sentences, in the order of the text.
        vectors: Of the sentences.
    """
    wanted, said = asked(query), {*words(query)}
    found = [terms(candidate.text(documents)) for candidate in candidates]
    rare = rarity(found)
    above = [_heading(document) for document in documents]
    best = max((document.score or 0.0 for document in documents), default=0.0)
    whole = []
    for index, (document, vector) in enumerate(zip(documents, passages, strict=True)):
        inside = (
            term for c, part in zip(candidates, found, strict=True) if c.passage == index for term in part
        )
        rank = max(document.score or 0.0, 0.0) / best if best > 0 else 0.0
        whole.append(
            (rank, max(cosine(question, vector), 0.0), overlap(wanted, [*above[index], *inside], rare))
        )
    measured = []
    last: Candidate | None = None
    before: Sequence[str] = ()
    for candidate, own, vector in zip(candidates, found, vectors, strict=True):
        if candidate.header:
            before = terms(candidate.header)
        elif last is None or (last.passage, last.position + 1) != (candidate.passage, candidate.position):
            before = ()
        rank, passage_near, passage_shared = whole[candidate.passage]
        measured.append(
            Measures(
                near=max(cosine(question, vector), 0.0),
                shared=overlap(wanted, own, rare),
                around=overlap(wanted, [*own, *before, *above[candidate.passage]], rare),
                rank=rank,
                lacks_answer=lacks_answer(query, said, candidate.text(documents)),
                passage_near=passage_near,
                passage_shared=passage_shared,
            )
        )
        last, before = candidate, own
    return measured


def score(measured: Measures, weights: Weights, *, is_heading: bool = False) -> float:
    """How well a sentence fits against the others, 0 to 1."""
    total = (_fit(measured, weights) + weights.rank * measured.rank) / (1 + weights.rank)
    total -= weights.kind * measured.lacks_answer
    return max(total * (HEADING_SHARE if is_heading else 1.0), 0.0)


def support(measured: Measures, weights: Weights) -> float:
    """How sure it is that a sentence answers at all, 0 to 1."""
    passage = weights.meaning * measured.passage_near + (1 - weights.meaning) * measured.passage_shared
    return (_fit(measured, weights) + weights.passage * passage) / (1 + weights.passage)


def _fit(measured: Measures, weights: Weights) -> float:
    shared = measured.shared + weights.carried * (measured.around - measured.shared)
    return weights.meaning * measured.near + (1 - weights.meaning) * shared


def _heading(document: Document) -> list[str]:
    heading = document.metadata.get("heading")
    return terms(" ".join(part for part in (document.title, heading) if isinstance(part, str)))
