"""Questions with pieces of text that answer them, and pieces that nearly do: what the evidence reader's judge learns from.

Each question of a public set gives a piece with its answer and one or two without: sentences of its own paragraph without those
that answer, or of the paragraph of the same article that shares most of its words. Of some, one word that the piece has is
replaced by another question's: then the piece speaks of something else. Which questions are yes or no is evened out a little,
for people ask more of them than the sets do.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from weft.text import STOP_WORDS, Span, sentences, terms, words

SQUAD_LIKE = ("new_wiki_v1.0.json", "amazon_reviews_v1.0.json", "reddit_v1.0.json")
NATURAL = "nq-open-oracle.jsonl"
"""Files of modestyachts/squadshifts-website (CC BY 4.0) and nelson-liu/lost-in-the-middle (Natural Questions, CC BY-SA 3.0)."""

TABLE_MARKS = 4
"""Bars in a text that make it a table."""

LENGTHS = (12, 25, 40, 50, 60, 60)
"""Words of a piece; the reader's own are up to 60."""

MAX_BESIDE = 35
"""Words of what stands next to a piece."""

NO_WORD_LESS = 3
_WORD = re.compile(r"[\w'-]+")
_YES_OR_NO = re.compile(r"(is|are|was|were|do|does|did|can|could|will|has|have|may|should)\b", re.IGNORECASE)


class Question(NamedTuple):
    """A question, where its answers stand in a paragraph, and which paragraphs are on the same thing."""

    source: str
    group: str
    title: str
    paragraph: str
    text: str
    answers: Sequence[tuple[int, str]]


class Example(NamedTuple):
    """What is learned from: ``answer`` is where it stands in ``text``, None: nowhere."""

    kind: str
    group: str
    question: str
    above: str
    text: str
    answer: tuple[int, int] | None


def load(folder: Path, rng: random.Random) -> Iterator[Question]:
    """The questions of the files that are there."""
    for name in SQUAD_LIKE:
        source = name.partition("_v")[0]
        for article in json.loads((folder / name).read_text(encoding="utf-8"))["data"]:
            for number, paragraph in enumerate(article["paragraphs"]):
                # All of Reddit is one article there.
                group = f"reddit {number // 40}" if source == "reddit" else article["title"]
                title = article["title"].replace("_", " ") if source == "new_wiki" else ""
                for asked in paragraph["qas"]:
                    answers = [(a["answer_start"], a["text"]) for a in asked["answers"] if a["text"].strip()]
                    if answers and len(asked["question"].split()) >= NO_WORD_LESS:
                        text = asked["question"].strip()
                        yield Question(source, group, title, paragraph["context"], text, answers)
    for line in (folder / NATURAL).read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        gold = found["nq_annotated_gold"]
        text, asked = gold["long_answer"], found["question"] + ("?" if rng.random() < 0.7 else "")
        if text.count("|") <= TABLE_MARKS and (
            answers := [(text.find(a), a) for a in gold["short_answers"] if a in text]
        ):
            yield Question("nq", gold["title"], gold["title"], text, asked, answers)


@dataclass
class Paragraphs:
    """The paragraphs of all questions, cut into sentences, with the words of each and how rare words are."""

    groups: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    cut: dict[str, list[Span]] = field(default_factory=dict)
    said: dict[str, list[set[str]]] = field(default_factory=dict)
    rare: dict[str, float] = field(default_factory=dict)

    def add(self, group: str, text: str) -> None:
        """One more."""
        self.groups[group][text] = None
        if text not in self.cut:
            self.cut[text] = sentences(text)
            self.said[text] = [{*terms(text[span.start : span.end])} for span in self.cut[text]]

    def count(self) -> None:
        """How rare each word is, when all are in."""
        seen = Counter(term for said in self.said.values() for term in set().union(*said))
        self.rare = {term: math.log(len(self.said) / (1 + count)) for term, count in seen.items()}

    def shared(self, wanted: set[str], said: set[str]) -> float:
        """How much of the question is in there."""
        return sum(self.rare[term] for term in wanted & said)


class Maker:
    """Makes examples, others with another seed."""

    def __init__(self, questions: Sequence[Question], rng: random.Random) -> None:
        self._questions, self._rng = questions, rng
        self._all = Paragraphs()
        self._words: dict[str, list[str]] = defaultdict(list)
        for question in questions:
            self._all.add(question.group, question.paragraph)
            for match in list(_WORD.finditer(question.text))[1:]:
                word = match.group()
                if word.lower() not in STOP_WORDS and len(word) >= NO_WORD_LESS:
                    self._words[_form(word)].append(word)
        self._all.count()
        self._titles: dict[str, str] = {}

    def __call__(self) -> Iterator[Example]:
        """The examples of every question."""
        for question in self._questions:
            for _ in range(3 if _YES_OR_NO.match(question.text) else 1):
                for example in self._of(question):
                    yield self._beside_others(example, question) if self._rng.random() < 0.4 else example

    def _beside_others(self, example: Example, question: Question) -> Example:
        """The piece as it stands in people's documents: under a heading, and next to what is about something else."""
        rng, text, moved = self._rng, example.text, 0
        if rng.random() < 0.5:
            said = [word for word in _WORD.findall(text) if word.lower() not in STOP_WORDS]
            heading = " ".join(rng.sample(said, min(len(said), rng.randrange(1, 4)))).capitalize()
            text, moved = f"{heading}\n\n{text}", len(heading) + 2
        answers = [" ".join(words(answer)) for _, answer in question.answers]
        for before in (True, False):
            other = rng.choice([*self._all.groups[question.group]])
            spans = self._all.cut[other]
            first = rng.randrange(len(spans))
            piece = other[spans[first].start : spans[min(first + 1, len(spans) - 1)].end].replace("\n", " ")
            plain = " ".join(words(piece))
            if rng.random() < 0.5 or len(plain.split()) > MAX_BESIDE or any(a in plain for a in answers):
                continue
            text = f"{piece}\n\n{text}" if before else f"{text}\n\n{piece}"
            moved += len(piece) + 2 if before else 0
        place = example.answer and (example.answer[0] + moved, example.answer[1] + moved)
        return example._replace(text=text, answer=place)

    def _of(self, question: Question) -> Iterator[Example]:
        rng, text = self._rng, question.paragraph
        start, answer = question.answers[0]
        spans = self._all.cut[text]
        holding = _touched(spans, start, answer)
        if not holding:
            return
        above = self._above(question)
        whole = len(text[spans[holding[0]].start : spans[holding[-1]].end].split())
        ids = self._piece(text, [*range(len(spans))], holding[0], max(rng.choice(LENGTHS), whole))
        if {*holding} <= {*ids}:
            piece, places = self._joined(text, ids)
            at = start + places[holding[0]]
            if piece[at : at + len(answer)] == answer.replace("\n", " "):
                yield Example("answered", question.group, question.text, above, piece, (at, at + len(answer)))
                if rng.random() < 0.35 and (other := self._swapped(question.text, piece)):
                    yield Example("swapped", question.group, other, above, piece, None)
        strings = [said for _, a in question.answers if (said := " ".join(words(a)))]

        def silent(of: str, index: int) -> bool:
            span = self._all.cut[of][index]
            said = f" {' '.join(words(of[span.start : span.end]))} "
            return not any(f" {string} " in said for string in strings)

        near = {index for at, a in question.answers for index in _touched(spans, at, a)}
        kept = [index for index in range(len(spans)) if index not in near and silent(text, index)]
        draw = rng.random()
        if kept and draw < 0.75:
            yield self._without("own", question, above, text, kept)
        if not kept or draw > 0.55:
            other = self._beside(question)
            if rest := [index for index in range(len(self._all.cut[other])) if silent(other, index)]:
                yield self._without("other", question, above, other, rest)

    def _above(self, question: Question) -> str:
        """The title; where there is none, words of the paragraph stand in, as a file's name would."""
        if self._rng.random() < 0.3:
            return ""
        if question.title:
            return question.title
        said = set().union(*self._all.said[question.paragraph])
        best = sorted(said, key=lambda term: -self._all.rare[term])[:12]
        return " ".join(self._rng.sample(best, min(2, len(best))))

    def _without(self, kind: str, question: Question, above: str, text: str, kept: list[int]) -> Example:
        """A piece around the sentence that shares most with the question, of sentences that do not answer it."""
        wanted, said = {*terms(question.text)}, self._all.said[text]
        focus = max(kept, key=lambda i: self._all.shared(wanted, said[i]) + self._rng.random() * 0.5)
        piece, _ = self._joined(text, self._piece(text, kept, focus, self._rng.choice(LENGTHS)))
        return Example(kind, question.group, question.text, above, piece, None)

    def _beside(self, question: Question) -> str:
        """Another paragraph on the same thing, one of those that share most with the question."""
        rng, wanted = self._rng, {*terms(question.text)}
        others = [text for text in self._all.groups[question.group] if text != question.paragraph]
        others = others or rng.sample([*self._all.cut], 20)
        others = rng.sample(others, min(40, len(others)))
        others.sort(key=lambda text: -self._all.shared(wanted, set().union(*self._all.said[text])))
        return others[min(int(rng.expovariate(1.2)), len(others) - 1)]

    def _piece(self, text: str, order: list[int], focus: int, most: int) -> list[int]:
        """Sentences around one, of those in ``order``, up to so many words."""
        spans = self._all.cut[text]
        length: Callable[[int], int] = lambda i: len(text[spans[i].start : spans[i].end].split())  # noqa: E731 - of this text
        first = last = order.index(focus)
        total = length(focus)
        while True:
            rooms = [
                i for i in (first - 1, last + 1) if 0 <= i < len(order) and total + length(order[i]) <= most
            ]
            if not rooms:
                return order[first : last + 1]
            chosen = self._rng.choice(rooms)
            total += length(order[chosen])
            first, last = min(first, chosen), max(last, chosen)

    def _joined(self, text: str, ids: list[int]) -> tuple[str, dict[int, int]]:
        """The sentences as one text, and how far each has moved; sometimes as a list."""
        between = "\n- " if self._rng.random() < 0.1 else " "
        piece, moved = "", {}
        for index in ids:
            span = self._all.cut[text][index]
            piece += between if piece else ""
            moved[index] = len(piece) - span.start
            piece += text[span.start : span.end].replace("\n", " ")
        return piece, moved

    def _swapped(self, asked: str, piece: str) -> str | None:
        """The question with a word that the piece has replaced by one that it has not."""
        have = {*terms(piece)}
        spots = [
            match
            for match in list(_WORD.finditer(asked))[1:]
            if match.group().lower() not in STOP_WORDS and have.intersection(terms(match.group()))
        ]
        if not spots:
            return None
        spot = self._rng.choice(spots)
        for _ in range(20):
            word = self._rng.choice(self._words.get(_form(spot.group())) or ["other"])
            if terms(word) and not have.intersection(terms(word)):
                return f"{asked[: spot.start()]}{word}{asked[spot.end() :]}"
        return None


def _touched(spans: Sequence[Span], start: int, text: str) -> list[int]:
    """Which sentences a piece of text stands in."""
    return [i for i, span in enumerate(spans) if span.start < start + len(text) and span.end > start]


def _form(word: str) -> str:
    """What a word looks like: it is replaced by one alike."""
    if word[0].isdigit():
        return "number"
    if word[0].isupper():
        return "name"
    return next((end for end in ("ing", "ed", "ly", "tion", "er", "s") if word.endswith(end)), "")


def as_json(example: Example) -> dict[str, Any]:
    """One line of a file."""
    return example._asdict()
