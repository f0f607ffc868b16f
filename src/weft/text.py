"""Plain text algorithms that several components share: words, sentences, how much of a question a text repeats.

No I/O, no state, nothing to configure: the same text always gives the same result. All offsets are in characters
of the text that was given, so that ``text[start:end]`` is what was found.
"""
# ruff: noqa: RUF001, SIM905 - typographic marks are what is looked for; a list of words reads as words

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_BREAK = re.compile(
    r"""
      (?P<stop>(?<![.!?…])[.!?…]++["'”’»)\]]*+)(?=\s)  # Latin: a stop, closing marks, then space
    | (?P<cjk>(?<![。！？])[。！？]++["”’」』）]*)  # Chinese and Japanese put no space after it
    | (?P<gap>\n[ \t]*+(?:\n|(?=[-*•|\#>]\s|\d{1,3}[.)]\s|\||[^\n|]*\S\s\|\s)))  # an empty line, or a list item, table row, heading
    """,
    re.VERBOSE,
)
_OPENING = re.compile(r"[\s\"'“‘«(\[]*")
_NUMBERED = re.compile(r"(?:^|\n)[ \t]*\d{1,3}$")
_INITIAL = re.compile(r"(?:^|[\s(.])[^\W\d_]$")
_ANSWERS_KIND = re.compile(
    r"""\b(?:
      (?:what|which)\s+(?:(?:is|are|was|were)\s+)?(?:the\s+|another\s+)?(?:exact\s+|other\s+)?
        (?:names?|terms?|words?|years?|dates?|days?|months?|century|centuries|decade|times?|numbers?|amount|kinds?|types?|sorts?)
    | how\s+(?:many|much|long|old|far|often|big|large|tall|high|deep)
    )\b
    | \b(?:called|named|known\s+as)\s*[?.!]*\s*$""",
    re.VERBOSE | re.IGNORECASE,
)
_MARKUP = re.compile(r"[\s\-*•|#>]*")

ABBREVIATIONS: Final = frozenset(
    "mr mrs ms dr prof rev hon st sr jr gen col capt lt sgt gov sen rep pres no nos vol vols fig figs eq eqs sec "
    "ch pp p ed eds etc vs cf al e.g i.e eg ie approx dept est inc ltd co corp jan feb mar apr jun jul aug sep "
    "sept oct nov dec mt ft u.s u.k d.c a.m p.m b.c a.d".split()
)
"""Words after which a full stop does not end a sentence when the next word could go on with it."""

STOP_WORDS: Final = frozenset(
    "a about above after again all also am an and any are as at be because been before being below between both "
    "but by can could did do does doing down during each few for from further had has have having he her here "
    "hers him his how i if in into is it its itself just me more most my no nor not now of off on once only or "
    "other our out over own same she should so some such than that the their them then there these they this "
    "those through to too under until up us very was we were what when where which while who whom whose why will "
    "with would you your please tell".split()
)
"""Words that say nothing about what a question asks for."""

MAX_SENTENCE: Final = 600
"""Characters after which text without a stop (a table, a listing) is cut at a line or a space."""


class Span(NamedTuple):
    """A piece of a text: ``text[start:end]``."""

    start: int
    end: int


def words(text: str) -> list[str]:
    """The words in order: lower case, without accents; ``it's`` stays one word."""
    return [match.group() for match in _WORD.finditer(fold(text).replace("’", "'"))]


def fold(text: str) -> str:
    """Lower case, compatibility forms resolved, accents off."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def stem(word: str) -> str:
    """A word without its English inflection, roughly: ``cities`` → ``citi``, ``city`` → ``citi``, ``named`` → ``nam``.

    Not a dictionary form: two forms of one word should meet, and two words should rarely.
    """
    word = word.removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    if len(word) > 2 and word.endswith("y"):
        word = word[:-1] + "i"
    return word


def terms(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order, with repetitions."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


def asked(question: str) -> list[str]:
    """The terms of a question that its answer should repeat: not those that say what kind of answer it wants.

    ``What year did the harbour open?`` asks for ``harbour`` and ``open``; an answer says 1887, and seldom ``year``.
    """
    return terms(_ANSWERS_KIND.sub(" ", question)) or terms(question)


def sentences(text: str) -> list[Span]:
    """The sentences, list items, headings and table rows of a text, in order, without the space around them.

    Abbreviations and initials do not end one; an empty line always does; what has no stop is cut at
    :data:`MAX_SENTENCE` characters.
    """
    spans: list[Span] = []
    start = 0
    for match in _BREAK.finditer(text):
        if match.lastgroup == "stop" and not _ends_sentence(text, match.start(), match.end()):
            continue
        end = match.start() if match.lastgroup == "gap" else match.end()
        spans += _trimmed(text, start, end)
        start = end
    spans += _trimmed(text, start, len(text))
    return spans


def _ends_sentence(text: str, stop: int, end: int) -> bool:
    """Whether the stop at ``text[stop:end]`` ends a sentence: by what stands before it and what follows."""
    opening = _OPENING.match(text, end)
    after = text[opening.end() : opening.end() + 1] if opening else ""
    if "\n\n" in text[end : end + 3]:
        return True
    if text[stop] != ".":
        return not after.islower()
    if after.islower():
        return False
    before = text[max(0, stop - 12) : stop]
    if _NUMBERED.search(before):
        return False  # the number of a list's item
    if _INITIAL.search(before) and not before.endswith(" I"):
        return False
    last = before.split()[-1].lower().strip("(\"'“‘") if before.split() else ""
    return last not in ABBREVIATIONS


def _trimmed(text: str, start: int, end: int) -> list[Span]:
    """The piece without the space around it, cut where it is too long; nothing when it has only marks."""
    spans: list[Span] = []
    while True:
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if end - start <= MAX_SENTENCE:
            marks = _MARKUP.match(text, start, end)
            return [*spans, Span(start, end)] if marks and marks.end() < end else spans
        cut = max(text.rfind(mark, start, start + MAX_SENTENCE) for mark in ("\n", "; ", " "))
        cut = cut + 1 if cut > start else start + MAX_SENTENCE
        spans += _trimmed(text, start, cut)
        start = cut


def rarity(texts: Iterable[Iterable[str]]) -> dict[str, float]:
    """How much each term tells the texts apart: BM25's inverse document frequency, always above zero.

    Args:
        texts: The terms of each text.
    """
    counts: dict[str, int] = {}
    total = 0
    for found in texts:
        total += 1
        for term in set(found):
            counts[term] = counts.get(term, 0) + 1
    return {term: math.log(1 + (total - n + 0.5) / (n + 0.5)) for term, n in counts.items()}


def overlap(question: Sequence[str], found: Iterable[str], weights: Mapping[str, float]) -> float:
    """The weighted share of the question's terms that ``found`` has: 0 to 1; 0 for a question without terms.

    Args:
        question: Terms of the question.
        found: Terms of the text.
        weights: What each term counts (:func:`rarity`); one that is not in it counts as the rarest that is.
    """
    asked = set(question)
    if not asked:
        return 0.0
    rarest = max(weights.values(), default=1.0)
    have = asked & set(found)
    total = sum(weights.get(term, rarest) for term in asked)
    return sum(weights.get(term, rarest) for term in have) / total if total else 0.0


def bm25(
    question: Sequence[str], texts: Sequence[Sequence[str]], *, k1: float = 1.2, b: float = 0.75
) -> list[float]:
    """The BM25 score of each text for the question, with rarity taken from the texts themselves.

    Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009).
    """
    weights = rarity(texts)
    mean = sum(map(len, texts)) / len(texts) if texts else 0.0
    asked = set(question)
    scores = []
    for found in texts:
        length = k1 * (1 - b + b * len(found) / mean) if mean else k1
        counts = {term: found.count(term) for term in asked}
        scores.append(sum(weights[t] * n * (k1 + 1) / (n + length) for t, n in counts.items() if n))
    return scores


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """The cosine of the angle between two vectors; 0 when one has no length.

    Raises:
        ValueError: They differ in length.
    """
    product = sum(x * y for x, y in zip(a, b, strict=True))
    norm = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return product / norm if norm else 0.0
