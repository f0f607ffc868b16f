"""Which of a small model's words are kept: not the sentences with a number or a name that nothing which was found has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from weft.text import stem, words

_END: Final = re.compile(r"[.!?]+[\"'\u201d\u2019)\]]*(?=\s)|\n")
_NUMBER_OF_ITEM: Final = re.compile(r"\s*\d{1,2}[.)]\s*")
_ITEM: Final = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*\u2022])\s+")
_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_CLOSED: Final = re.compile(r"[.!?:]$|^$")

CAPITALISED_ANYWAY: Final = frozenset({"i", "a", "yes", "no", "the"})


class Grounded:
    """What a reply may speak of: the question, and the passages that are quoted with their titles."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._known = frozenset(stem(word) for text in texts for word in words(text))

    def is_made_up(self, sentence: str) -> bool:
        """Whether a sentence has a number or a name that nothing of it has."""
        sentence = _ITEM.sub("", sentence)
        for match in _WORD.finditer(sentence):
            text = match.group()
            is_name = text[0].isupper() and not _CLOSED.search(sentence[: match.start()].rstrip("\"'\u201c "))
            if not (is_name or any(character.isdigit() for character in text)):
                continue
            if any(stem(word) not in self._known and word not in CAPITALISED_ANYWAY for word in words(text)):
                return True
        return False


class Sieve:
    """The words of one answer as they come: whole sentences go through, and what is made up does not.

    Args:
        grounded: What may be spoken of.
    """

    def __init__(self, grounded: Grounded) -> None:
        self._grounded = grounded
        self._held = ""

    def put(self, words_: str, *, last: bool = False) -> str:
        """Take some words, and give those that are kept; with ``last`` what is held back is decided on, too."""
        self._held += words_
        kept, at = "", 0
        for match in _END.finditer(self._held):
            if _NUMBER_OF_ITEM.fullmatch(self._held, at, match.end()):
                continue
            kept += self._kept(self._held[at : match.end()])
            at = match.end()
        self._held = self._held[at:]
        if last:
            kept, self._held = kept + self._kept(self._held), ""
        return kept

    def _kept(self, sentence: str) -> str:
        return "" if self._grounded.is_made_up(sentence) else sentence
