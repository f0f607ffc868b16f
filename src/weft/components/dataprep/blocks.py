"""A parsed document: its blocks in order, whatever format it came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["heading", "text", "table", "code"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are to be read.

    Attributes:
        size: Characters of a passage, at most.
        overlap: Characters that a passage may repeat of the one before.
        max_tokens: What the embedder looks at of a text; None: any length.
        languages: ISO 639-1 codes of those that the embedder covers; None: any.
        embedder: Its name, for messages.
        seconds: After this long no further page is recognised (OCR): what has been read is kept.
    """

    size: int
    overlap: int
    max_tokens: int | None = None
    languages: tuple[str, ...] | None = None
    embedder: str = ""
    seconds: float = 90.0


@dataclass(slots=True)
class Block:
    """A paragraph, heading, table or listing.

    Attributes:
        level: Of a heading: 1 is the highest.
        page: From 1, where the format has pages.
        label: What this block is called, where no heading in the text says so: a function's name, a record's.
        header_rows: Of a table: how many of its lines name its columns, so that each piece repeats them.
    """

    text: str
    kind: Kind = "text"
    level: int = 0
    page: int | None = None
    label: str = ""
    header_rows: int = 0


@dataclass(slots=True)
class Parsed:
    """What was read of a file.

    Attributes:
        title: What the document calls itself.
        pages: How many it has, where the format has pages.
        empty_pages: Those of which no text could be read.
        left_out: What else could not be read, each in words: the file is in only partly.
        notes: What its owner should know although all of the text is in.
    """

    blocks: list[Block]
    title: str | None = None
    pages: int | None = None
    empty_pages: list[int] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class RefusedError(Exception):
    """The file cannot be taken in; the message is the reason that its owner is told."""
