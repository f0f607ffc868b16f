"""How many tokens a text takes at most, where the model's own tokenizer cannot be asked."""

from __future__ import annotations

import re
from typing import Final

from weft.text import STOP_WORDS

PER_MESSAGE: Final = 8
"""Tokens that a chat template puts around a message."""

PER_PROMPT: Final = 48
"""... and around the whole: its beginning, the opening of the answer, a system message of the template's own."""

_PIECE: Final = re.compile(r" ?[A-Za-z]+|\d|\s+|[^\sA-Za-z\d]+")
_CONSONANTS: Final = re.compile(r"[^aeiouy]{4}", re.IGNORECASE)
"""Four in a row are in few words and in most random letters."""


def tokens(text: str) -> int:
    """A bound that a tokenizer of a usual vocabulary (30,000 pieces or more) keeps below.

    Common words count one, other words one for each two letters, what is no word, digits, marks and other scripts one for
    each byte: byte-level tokenizers need no more for anything. English prose takes about half of it.
    """
    total = 0
    for piece in _PIECE.findall(text):
        word = piece.strip(" ")
        total += _word(word) if word.isascii() and word.isalpha() else len(piece.encode())
    return total + total // 16


def cut(text: str, most: int) -> str:
    """The text, or as much of its beginning as stays below ``most`` tokens, with an ellipsis."""
    if tokens(text) <= most:
        return text
    if most < 6:
        return ""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if tokens(text[:middle]) <= most - 5:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "\N{HORIZONTAL ELLIPSIS}" if low else ""


def _word(word: str) -> int:
    if word.lower() in STOP_WORDS:
        return 1
    is_word = (word.islower() or word.istitle()) and not _CONSONANTS.search(word)
    return (len(word) + 1) // 2 if is_word else len(word)
