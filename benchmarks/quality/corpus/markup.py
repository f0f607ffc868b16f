"""The marks in which the texts of made-up documents are written down, and the blocks that they become.

``# heading`` (one to three marks), ``- item``, ``| cell | cell |`` for the rows of a table (the first one is its head),
``--- page`` for a new page, ``--- photo`` for a picture without words, ``Notes: ...`` for what is said to a slide; every
other line is a paragraph. Before the first empty line stand ``name: value`` pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Block:
    """A heading, paragraph, item, table, notes, page or photo."""

    kind: str
    text: str = ""
    level: int = 0
    rows: list[list[str]] = field(default_factory=list)


@dataclass
class Text:
    """A document before it has a format."""

    head: dict[str, str]
    blocks: list[Block]
    body: str

    @property
    def title(self) -> str:
        """What the file says it is."""
        return self.head.get("title", "")

    def sections(self) -> list[tuple[str, list[Block]]]:
        """The blocks under each heading of the first level: slides, sheets, chapters."""
        found: list[tuple[str, list[Block]]] = []
        for block in self.blocks:
            if block.kind == "heading" and block.level == 1:
                found.append((block.text, []))
            elif found:
                found[-1][1].append(block)
        return found


def read(path: Path) -> Text:
    """A text from its file."""
    lines = path.read_text(encoding="utf-8").split("\n")
    head: dict[str, str] = {}
    while lines and not lines[0].startswith("#") and ": " in lines[0]:
        name, _, value = lines.pop(0).partition(": ")
        head[name.lower()] = value
    blocks: list[Block] = []
    for line in lines:
        if line.startswith("| "):
            if not blocks or blocks[-1].kind != "table":
                blocks.append(Block("table"))
            blocks[-1].rows.append(
                [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
            )
        elif line.startswith("#"):
            marks, _, words = line.partition(" ")
            blocks.append(Block("heading", words, len(marks)))
        elif line.startswith("--- "):
            blocks.append(Block(line[4:]))
        elif line.startswith("- "):
            blocks.append(Block("item", line[2:]))
        elif line.startswith("Notes: "):
            blocks.append(Block("notes", line[7:]))
        elif line.strip():
            blocks.append(Block("text", line))
    return Text(head, blocks, "\n".join(lines).strip("\n"))
