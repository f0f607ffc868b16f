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

HEADING_SHARE: Final = 0.4
"""What a heading or a table's header counts against a sentence: it repeats the question's words and seldom answers."""


MAX_HEADING_WORDS: Final = 8

_SAYS: Final = re.compile(r"[.!?:;,…]$|[。！？]$|\d|^[-*•]\s|: ")  # noqa: RUF001 - of every script
"""What a heading seldom has and a line that says something often: a stop, a number, a list's mark, ``name: value``."""

_ROW: Final = re.compile(r"\S\s\|\s|^\|")


class Weights(NamedTuple):
    """What each measure counts.

    Attributes:
        meaning: The cosine of question and sentence, 0 to 1; the question's words in it count the rest.
        carried: What a word counts that only the sentence before has: ``It opened in 1887`` speaks of what was named there.
        above: What a word counts that only the headings above or the names of a table's columns have. The question set has
            neither; half is what a word on what all below is about may fairly count.
        rank: The passage's own score, beside the sentence's fit.
        kind: What is taken off where a number or a time is asked for and the sentence has none.
        passage: The fit of the passage as a whole, beside the sentence's, when it is decided whether there is an answer.
        unknown: What is taken off then where the question names a number or a code that the passage has not.
    """

    meaning: float = 0.5
    carried: float = 0.25
    rank: float = 0.4
    kind: float = 0.2
    passage: float = 0.3
    above: float = 0.5
    unknown: float = 0.15


class Measures(NamedTuple):
    """What is measured of a sentence; all that are no yes or no are 0 to 1.

    Attributes:
        near: Its cosine to the question.
        shared: How much of the question's words it has, by how rare they are.
        carried: The same with the words of the sentence before.
        above: The same with those of the headings above, and of a table's header, too.
        rank: The passage's score against the best passage's.
        lacks_answer: Whether it has no number or time where one is asked for.
        passage_near, passage_shared: Of its whole passage.
        unknown: Whether the question names a number or a code (``E31``, ``2019``) that is not in the passage.
    """

    near: float
    shared: float
    carried: float
    above: float
    rank: float
    lacks_answer: bool
    passage_near: float
    passage_shared: float
    unknown: bool


@dataclass(slots=True)
class Candidate:
    """A sentence of a passage.

    Attributes:
        is_heading: Whether it is a heading, or names the columns of a table.
        above: The heading in the passage that it stands under.
        header: Of a table's row: the row that names the columns; empty for what is no row, and for that one itself.
    """

    passage: int
    position: int
    span: Span
    is_heading: bool = False
    above: str = ""
    header: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """Which sentence of which passage: no two are the same."""
        return self.passage, self.position

    def text(self, documents: Sequence[Document]) -> str:
        """Its words, of the passages that were read."""
        return documents[self.passage].text[self.span.start : self.span.end]


def candidates_of(index: int, document: Document, most: int) -> list[Candidate]:
    """The sentences of a passage, in order; they know the heading above them, and rows what names their columns."""
    found: list[Candidate] = []
    heading = document.metadata.get("heading")
    outer = heading.split(" > ") if isinstance(heading, str) else []
    above = header = ""
    for position, span in enumerate(sentences(document.text)[:most]):
        text = document.text[span.start : span.end]
        if _ROW.search(text):
            found.append(Candidate(index, position, span, not header, above, header))
            header = header or text
            continue
        header = ""
        is_heading = text in outer or _is_heading(document.text, span)
        above = text if is_heading else above
        found.append(Candidate(index, position, span, is_heading, above))
    return found


def _is_heading(text: str, span: Span) -> bool:
    """Whether a piece stands by itself before others, in few words and without a stop, as headings do."""
    piece = text[span.start : span.end]
    if piece.startswith("#"):
        return True
    alone = text[span.end : span.end + 2] == "\n\n" and (
        span.start == 0 or text[: span.start].endswith("\n\n")
    )
    return alone and _SAYS.search(piece) is None and len(piece.split()) <= MAX_HEADING_WORDS


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
    codes = {word for word in said if any(character.isdigit() for character in word)}
    found = [terms(candidate.text(documents)) for candidate in candidates]
    rare = rarity(found)
    above = [terms(headings(document)) for document in documents]
    best = max((document.score or 0.0 for document in documents), default=0.0)
    whole = []
    for index, (document, vector) in enumerate(zip(documents, passages, strict=True)):
        inside = (
            term for c, part in zip(candidates, found, strict=True) if c.passage == index for term in part
        )
        rank = max(document.score or 0.0, 0.0) / best if best > 0 else 0.0
        near = max(cosine(question, vector), 0.0)
        unknown = not codes.issubset(words(f"{headings(document)}\n{document.text}"))
        whole.append((rank, near, overlap(wanted, [*above[index], *inside], rare), unknown))
    measured = []
    last: Candidate | None = None
    before: Sequence[str] = ()
    for candidate, own, vector in zip(candidates, found, vectors, strict=True):
        if last is None or (last.passage, last.position + 1) != (candidate.passage, candidate.position):
            before = ()
        # What stands in the row before is said of something else.
        with_before = own if candidate.header else [*own, *before]
        around = [*with_before, *terms(candidate.header), *terms(candidate.above), *above[candidate.passage]]
        rank, passage_near, passage_shared, unknown = whole[candidate.passage]
        measured.append(
            Measures(
                near=max(cosine(question, vector), 0.0),
                shared=overlap(wanted, own, rare),
                carried=overlap(wanted, with_before, rare),
                above=overlap(wanted, around, rare),
                rank=rank,
                lacks_answer=lacks_answer(query, said, candidate.text(documents)),
                passage_near=passage_near,
                passage_shared=passage_shared,
                unknown=unknown,
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
    sure = (_fit(measured, weights) + weights.passage * passage) / (1 + weights.passage)
    return max(sure - weights.unknown * measured.unknown, 0.0)


def _fit(measured: Measures, weights: Weights) -> float:
    shared = measured.shared + weights.carried * (measured.carried - measured.shared)
    shared += weights.above * (measured.above - measured.carried)
    return weights.meaning * measured.near + (1 - weights.meaning) * shared


def headings(document: Document) -> str:
    """What stands above a passage: its document's title, and the headings in it."""
    heading = document.metadata.get("heading")
    return "\n".join(part for part in (document.title, heading) if isinstance(part, str))
