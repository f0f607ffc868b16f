"""What is wrong with a spec: collected, sorted, and shown with the line it stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple
from unicodedata import combining, east_asian_width

from weft.errors import SpecError, did_you_mean

__all__ = ["CODES", "NOWHERE", "Mark", "Problem", "Problems", "did_you_mean", "render"]

CODES: Final[dict[str, str]] = {
    "bad-condition": "a condition is not in the subset of the Common Expression Language that conditions are written in",
    "bad-flow": "a flow line is not node names joined by >>",
    "bad-name": "a name is not lower-case letters, digits and hyphens",
    "bad-ref": "a reference is not written request.field, node, node.field or node.list[0]",
    "bad-value": "a value is of the right type and still not allowed",
    "bad-version": "a version is not a quoted string of numbers and dots",
    "conflicting-keys": "two keys contradict each other, or one is of no use without another",
    "duplicate-key": "a key is written twice in one mapping",
    "duplicate-name": "two things have one name",
    "empty-file": "there is no document in a file",
    "missing-key": "a required key is not there",
    "reserved-name": "a name is taken by the language",
    "too-large": "a file is larger, deeper or has more values than any spec needs",
    "unknown-key": "a key is not one of those that may stand here",
    "unknown-kind": "a document is of a kind that this version does not know",
    "unknown-node": "a flow or a tap names a node that is not there",
    "unknown-role": "a route asks for a role that the gateway's access does not declare",
    "unknown-route": "a route falls back to what no other route leads to",
    "unreadable-file": "a file cannot be read, or is not UTF-8 text",
    "wrong-type": "a value is of another type than its key takes",
    "yaml-feature": "a feature of YAML is used that specs do without: tags, directives, merge keys, keys that are not text",
    "yaml-syntax": "the text is not YAML",
}
"""What each code means. Codes are part of the interface: they do not change between releases."""


class Mark(NamedTuple):
    """Where something stands: 1-based line and columns, counted in characters; ``end_column`` is exclusive.

    ``line`` 0 means that only the file is known. What goes over several lines has the end of its first line.
    """

    file: str
    line: int = 0
    column: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


NOWHERE: Final = Mark("<spec>")
"""The mark of what was built by a program and not read from a file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault.

    Attributes:
        code: A key of :data:`CODES`.
        message: What is wrong, in one sentence.
        mark: The value or key at fault.
        help: What to write instead, or the choices.
        notes: What else to know: the other place of a duplicate, say.
        severity: Only an error keeps a spec from loading.
    """

    code: str
    message: str
    mark: Mark
    help: str | None = None
    notes: tuple[str, ...] = ()
    severity: Literal["error", "warning"] = "error"


@dataclass(slots=True)
class Problems:
    """Collects problems while a spec is read and checked.

    Iterating gives them in file order, each once.

    Attributes:
        sources: File name to text, in the order in which the files were given.
    """

    sources: dict[str, str] = field(default_factory=dict)
    _found: dict[Problem, None] = field(default_factory=dict)

    def add(
        self,
        code: str,
        message: str,
        mark: Mark,
        *,
        help: str | None = None,
        notes: Sequence[str] = (),
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Note one fault; the same fault at the same place is kept once."""
        self._found[Problem(code, message, mark, help, tuple(notes), severity)] = None

    def __iter__(self) -> Iterator[Problem]:
        order = {file: index for index, file in enumerate(self.sources)}
        last = len(order)
        return iter(
            sorted(
                self._found,
                key=lambda p: (order.get(p.mark.file, last), p.mark.line, p.mark.column, p.mark.end_column),
            )
        )

    def __len__(self) -> int:
        return len(self._found)

    @property
    def has_errors(self) -> bool:
        """Whether any of them keeps the spec from loading."""
        return any(problem.severity == "error" for problem in self._found)

    def render(self) -> str:
        """All of them as a person reads them."""
        return render(list(self), self.sources)

    def raise_if_any(self) -> None:
        """Raise all of them at once if one of them is an error.

        Raises:
            SpecError: With the problems and their rendering.
        """
        if self.has_errors:
            raise SpecError(list(self), rendered=self.render())


def render(problems: Sequence[Problem], sources: Mapping[str, str]) -> str:
    """The problems in the order given, each with its source line and carets, separated by empty lines."""
    lines = {file: split_lines(text) for file, text in sources.items()}
    return "\n\n".join(_render_one(problem, lines.get(problem.mark.file, [])) for problem in problems)


def split_lines(text: str) -> list[str]:
    """The lines of ``text`` as YAML 1.2 counts them (``str.splitlines`` breaks at more characters)."""
    return _LINE_BREAK.split(text)


_LINE_BREAK = re.compile(r"\r\n|\n|\r")

_WIDTH = 160
"""Longest source line that is shown whole, in terminal columns: a wide terminal, and all that a person scans."""

_TAB = 4
"""A tab is shown as so many spaces, so that carets stand right whatever the terminal does with tabs."""


def _render_one(problem: Problem, lines: Sequence[str]) -> str:
    mark = problem.mark
    out = [f"{mark}: {problem.severity}[{problem.code}]: {problem.message}"]
    indent = ""
    if 1 <= mark.line <= len(lines):
        gutter = " " * len(str(mark.line))
        shown, carets = _underline(lines[mark.line - 1], mark.column - 1, mark.end_column - 1)
        out += [f"{gutter} |", f"{mark.line} | {shown}".rstrip(), f"{gutter} | {carets}"]
        indent = f"{gutter} "
    out += [f"{indent}= help: {problem.help}"] if problem.help else []
    out += [f"{indent}= note: {note}" for note in problem.notes]
    return "\n".join(out)


def _underline(line: str, start: int, end: int) -> tuple[str, str]:
    """The line as a terminal shows it, and the carets under characters ``start`` to ``end``, never past its end."""
    start = max(0, min(start, len(line)))
    end = max(start, min(end, len(line)))
    cells = [_cell(character) for character in line]
    if sum(width for _, width in cells) > _WIDTH:
        first = max(0, min(start - _WIDTH // 4, len(line) - _WIDTH))
        last = min(len(line), first + _WIDTH)
        ahead, behind = "…" if first else "", "…" if last < len(line) else ""
        cells = cells[first:last]
        start, end = start - first, min(end, last) - first
    else:
        ahead = behind = ""
    before = len(ahead) + sum(width for _, width in cells[:start])
    under = sum(width for _, width in cells[start:end])
    return ahead + "".join(text for text, _ in cells) + behind, " " * before + "^" * max(1, under)


def _cell(character: str) -> tuple[str, int]:
    """How a character is printed and how many terminal columns it takes; what could steer a terminal is not."""
    if character == "\t":
        return " " * _TAB, _TAB
    if not character.isprintable():
        return "\N{REPLACEMENT CHARACTER}", 1
    if combining(character):
        return character, 0
    return character, 2 if east_asian_width(character) in "WF" else 1
