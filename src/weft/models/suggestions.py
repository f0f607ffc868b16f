"""Well-known chat models of the hub, by size, and what running one takes: for whoever asks what fits a machine."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

import msgspec
from msgspec import Struct

TOKENS: Final = 2 * 4096
"""Tokens that are kept: two requests at a time with the usual window."""

OVERHEAD_BYTES: Final = 350_000_000
"""The engine's own buffers and its cache of prompts, measured with models of up to 7 billion parameters."""

UNKNOWN_CACHE: Final = 0.2
"""What the context takes where it is not known, as a part of the file: the most among those in the list below 8 GB."""


class Suggestion(Struct, frozen=True, forbid_unknown_fields=True):
    """A model that may be worth trying.

    Attributes:
        name: For people.
        model: What to ask for.
        parameters: Its weights.
        size: Bytes of its file.
        cache: Bytes that a token of the context takes.
        licence: The name of it.
    """

    name: str
    model: str
    parameters: int
    size: int
    cache: int
    licence: str

    @property
    def memory_bytes(self) -> int:
        """What running it takes."""
        return self.size + self.cache * TOKENS + OVERHEAD_BYTES

    @property
    def page(self) -> str:
        """Where its licence and description are."""
        return f"https://huggingface.co/{'/'.join(self.model.removeprefix('hf:').split('/')[:2])}"


class _List(Struct):
    model: list[Suggestion]


@cache
def suggestions() -> tuple[Suggestion, ...]:
    """All of them, the smallest first."""
    text = resources.files("weft.models").joinpath("suggestions.toml").read_bytes()
    return tuple(sorted(msgspec.toml.decode(text, type=_List).model, key=lambda found: found.parameters))


def memory_for(size: int) -> int:
    """What running a GGUF file of this size takes, about, where nothing else is known of it."""
    return int(size * (1 + UNKNOWN_CACHE)) + OVERHEAD_BYTES
