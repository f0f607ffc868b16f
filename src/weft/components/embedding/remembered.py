"""The vectors of short texts that were embedded lately."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Raw

from weft.context import scope

MAX_CHARACTERS: Final = 600
"""Questions and sentences come again: one answer embeds its question in three places, and popular passages are read for many.
Longer texts are passages on their way in, and do not."""


class Remembered:
    """A bounded memory, for each tenant its own: how fast an answer is tells nobody what another tenant's documents say.

    The text that was not asked for the longest is forgotten first.

    Args:
        size: How many texts, at about 5 KB each; 0 remembers nothing.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, str], tuple[Raw, int]] = OrderedDict()

    def get(self, text: str) -> tuple[Raw, int] | None:
        """A text's vector, and how many tokens it has; None: it is to be embedded."""
        key = (scope()[0], text)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, text: str, embedding: Raw, tokens: int) -> None:
        """Remember a text, if it is short."""
        if self._size < 1 or len(text) > MAX_CHARACTERS:
            return
        key = (scope()[0], text)
        self._kept[key] = embedding, tokens
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
