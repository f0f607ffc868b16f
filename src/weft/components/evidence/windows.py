"""Which pieces of the passages a judge reads, and what its verdicts change: which sentences lead, and how sure it is.

A piece is one of the sentences that fit best, with what stands around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from weft.components.evidence.fit import Candidate, candidates_of, headings
from weft.components.evidence.judge import Judge, Verdict, Window
from weft.types import Document

MAX_WORDS: Final = 60
"""Of one piece: about what a judge was trained on, and a few milliseconds."""

MAX_SENTENCES: Final = 200


PIECES: Final = 2
"""How many are judged: with the second one nineteen in twenty have the answer."""

LEAD: Final = 0.3
"""What a sentence gains that has the answer that a judge marked, when the judge is sure: more than others differ by."""

MARKED, FITS, MIDDLE = 0.1, 8.0, 1.5
"""How the verdict's second number and the fit count beside its first, and the total that says neither yes nor no.

Set on the first set of questions of ``benchmarks/quality`` and on xquad's.
"""

UNDECIDED: Final = 0.4
"""The evidence's score where the total is :data:`MIDDLE`: the threshold is the same with a judge as without."""


class Piece(NamedTuple):
    """A piece of a passage.

    Attributes:
        passage: Which one.
        start: Where the piece begins in the passage's text.
        before: Characters that stand before it in the window: a table's header.
        sentences: Its sentences, in order.
        window: What is judged.
    """

    passage: int
    start: int
    before: int
    sentences: list[Candidate]
    window: Window

    def sentence_at(self, place: int) -> Candidate | None:
        """The sentence at a place in the window's text; None before the piece begins."""
        inside = place - self.before + self.start
        found = [sentence for sentence in self.sentences if sentence.span.start <= inside]
        return found[-1] if found and place >= self.before else None


def pieces(documents: Sequence[Document], best: Sequence[Candidate], count: int) -> list[Piece]:
    """Pieces around the best sentences, none of them twice.

    Args:
        documents: The passages.
        best: Their sentences, best first.
        count: How many pieces.
    """
    found: list[Piece] = []
    texts: set[str] = set()
    inside: dict[int, list[Candidate]] = {}
    for sentence in best:
        if len(found) == count:
            break
        if (sentence.is_heading and found) or any(
            piece.passage == sentence.passage and sentence.span in [s.span for s in piece.sentences]
            for piece in found
        ):
            continue
        document = documents[sentence.passage]
        if sentence.passage not in inside:
            inside[sentence.passage] = candidates_of(sentence.passage, document, MAX_SENTENCES)
        piece = _around(document, inside[sentence.passage], sentence)
        if piece.window.text not in texts:  # passages overlap
            texts.add(piece.window.text)
            found.append(piece)
    return found


def _around(document: Document, inside: Sequence[Candidate], sentence: Candidate) -> Piece:
    """As many sentences around one as there is room for, the next one first, then the one before, in turns."""

    def length(index: int) -> int:
        return len(document.text[inside[index].span.start : inside[index].span.end].split())

    first = last = sentence.position
    words, after = length(first), True
    while True:
        rooms = [
            index
            for index in ((last + 1, first - 1) if after else (first - 1, last + 1))
            if 0 <= index < len(inside) and words + length(index) <= MAX_WORDS
        ]
        if not rooms:
            break
        words += length(rooms[0])
        first, last, after = min(first, rooms[0]), max(last, rooms[0]), not after
    chosen = list(inside[first : last + 1])
    text = document.text[chosen[0].span.start : chosen[-1].span.end]
    header = sentence.header
    lead = f"{header}\n" if header and not text.startswith(header) else ""
    above = " > ".join(part for part in headings(document).split("\n") if part)
    return Piece(sentence.passage, chosen[0].span.start, len(lead), chosen, Window(above, lead + text))


def judged(
    judge: Judge,
    query: str,
    documents: Sequence[Document],
    ranked: Sequence[tuple[float, Candidate]],
    fit: float,
) -> tuple[list[tuple[float, Candidate]], float]:
    """The sentences in the order that the judge's verdicts leave them in, and how sure it is that there is an answer.

    Args:
        judge: The judge.
        query: The question.
        documents: The passages.
        ranked: Their sentences with their scores, best first.
        fit: How sure it is without a judge.
    """
    read = pieces(documents, [candidate for _, candidate in ranked], PIECES)
    verdicts = judge.read(query, [piece.window for piece in read])
    gains: dict[tuple[int, int], tuple[float, Candidate]] = {}
    for piece, verdict in zip(read, verdicts, strict=True):
        sentence = piece.sentence_at(verdict.start) if verdict.end > verdict.start else None
        if sentence is not None:
            gains[sentence.place] = (LEAD * _share(_total(verdict)), sentence)
    scored = [(score + gains.pop(c.place, (0.0, c))[0], c) for score, c in ranked]
    scored += gains.values()  # what was not compared may be marked all the same
    scored.sort(key=lambda entry: (-entry[0], *entry[1].place))
    total = max(map(_total, verdicts)) + FITS * fit
    return scored, _share((total - MIDDLE) / 4 + math.log(UNDECIDED / (1 - UNDECIDED)))


def _total(verdict: Verdict) -> float:
    return verdict.answers + MARKED * verdict.marked


def _share(odds: float) -> float:
    """A log-odds as a share, 0 to 1."""
    return 1 / (1 + math.exp(-max(min(odds, 30.0), -30.0)))
