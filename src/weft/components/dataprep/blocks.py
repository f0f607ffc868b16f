"""A parsed document: its blocks in order, whatever format it came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["heading", "text", "table", "code"]


@dataclass(slots=True)
class Block:
    """A paragraph, heading, table or listing.

    Attributes:
        level: Of a heading: 1 is the highest.
        page: From 1, where the format has pages.
    """

    text: str
    kind: Kind = "text"
    level: int = 0
    page: int | None = None


@dataclass(slots=True)
class Parsed:
    """What was read of a file.

    Attributes:
        title: What the document calls itself.
        pages: How many it has, where the format has pages.
        empty_pages: Those of which no text could be read.
    """

    blocks: list[Block]
    title: str | None = None
    pages: int | None = None
    empty_pages: list[int] = field(default_factory=list)


class RefusedError(Exception):
    """The file cannot be taken in; the message is the reason that its owner is told."""
