"""YAML text to a tree of marked nodes, within limits.

Only the scanner and parser of ruamel.yaml are used, and the tree is built from their events here: so depth, size and
aliases are bounded before anything recurses, every duplicate key is seen, and each node knows its place exactly.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from weft.spec.problems import Mark, Problems, split_lines

MAX_CHARACTERS: Final = 1_000_000
"""Longest file. A spec of a hundred nodes has some 20,000 characters; a megabyte is read in about six seconds."""

MAX_DEPTH: Final = 32
"""Deepest nesting. The language itself needs 6; the rest is for the config of components."""

MAX_VALUES: Final = 100_000
"""Most values once aliases are followed, so that nested aliases cannot stand for more than a machine can hold."""


@dataclass(slots=True)
class Scalar:
    """A single value: its text, and whether quotes or a block make it text whatever it looks like."""

    text: str
    style: str | None
    mark: Mark
    exact: bool = False
    """Whether the characters under the mark (inside the quotes) are the text itself, one to one."""

    @property
    def is_quoted(self) -> bool:
        """Whether it was written in quotes or as a block of text."""
        return self.style is not None


@dataclass(slots=True)
class Sequence:
    """A list."""

    mark: Mark
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Keys, all of them text and each there once, with their values."""

    mark: Mark
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)

    def get(self, key: str) -> Node | None:
        """The value of ``key``; None when it is not there."""
        return next((value for name, value in self.entries if name.text == key), None)


Node = Scalar | Sequence | Mapping

_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def compose(text: str, file: str, problems: Problems) -> list[Node]:
    """The documents in ``text``; what is wrong with it goes into ``problems``.

    After a syntax error the documents before it are returned, those after it are not read.
    """
    lines = split_lines(text)
    if len(text) > MAX_CHARACTERS:
        message = f"the file has {len(text):,} characters; a spec may have {MAX_CHARACTERS:,}"
        problems.add("too-large", message, Mark(file))
        return []
    if found := _UNPRINTABLE.search(text):
        before = split_lines(text[: found.start()])
        mark = Mark(file, len(before), len(before[-1]) + 1, len(before[-1]) + 2)
        problems.add("yaml-syntax", f"the character U+{ord(found[0]):04X} is not allowed in YAML", mark)
        return []
    return _Composer(file, lines, problems).documents(text)


class _TooLargeError(Exception):
    """The text goes past a limit, which is already among the problems."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read yet."""

    node: Sequence | Mapping
    anchor: str | None
    key: Scalar | None = None
    """The key whose value comes next."""
    awaits_value: bool = False
    """Also true after a key that was refused: its value is read and dropped."""


class _Composer:
    def __init__(self, file: str, lines: list[str], problems: Problems) -> None:
        self._file, self._lines, self._problems = file, lines, problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._extent: dict[int, tuple[int, int]] = {}
        """Node id to how many values it stands for with aliases followed, and how deep they go."""

    def documents(self, text: str) -> list[Node]:
        found: list[Node] = []
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                root = self._take(event)
                if root is not None:
                    found.append(root)
        except MarkedYAMLError as error:
            self._syntax(error)
        except _TooLargeError:
            return []
        except (YAMLError, ValueError, OverflowError, IndexError) as error:
            # ruamel.yaml lets some broken escapes through as plain Python errors.
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._problems.add("yaml-syntax", f"the text is not YAML: {message}", Mark(self._file))
        return found

    def _take(self, event: Any) -> Node | None:
        """Take one event in; the root of a document when this was its last."""
        node: Node
        match event:
            case ev.DocumentStartEvent():
                self._anchors.clear()
                self._directives(event)
                return None
            case ev.MappingStartEvent() | ev.SequenceStartEvent():
                self._open(event)
                return None
            case ev.MappingEndEvent() | ev.SequenceEndEvent():
                closed = self._stack.pop()
                node = closed.node
                self._measure(node)
                if closed.anchor:
                    self._anchors[closed.anchor] = node
            case ev.ScalarEvent():
                node = self._scalar(event)
                self._extent[id(node)] = (1, 0)
            case ev.AliasEvent():
                node = self._alias(event)
            case _:
                return None
        if not self._stack:
            return node
        self._attach(self._stack[-1], node)
        return None

    def _open(self, event: Any) -> None:
        mark = self._mark(event)
        self._tag(event, mark)
        if event.anchor:
            self._anchors[event.anchor] = None  # known from here on, but not to be used inside itself
        node = Mapping(mark) if isinstance(event, ev.MappingStartEvent) else Sequence(mark)
        self._stack.append(_Open(node, event.anchor))
        self._bound(len(self._stack), 1, mark)

    def _attach(self, parent: _Open, node: Node) -> None:
        """Add a finished node to the collection that is open."""
        match parent.node:
            case Sequence() as sequence:
                sequence.items.append(node)
            case Mapping() as mapping if parent.awaits_value:
                if parent.key is not None:
                    if isinstance(node, Scalar) and node.style is None and not node.text:
                        node = Scalar("", None, parent.key.mark)  # an empty value stands nowhere itself
                        self._extent[id(node)] = (1, 0)
                    mapping.entries.append((parent.key, node))
                parent.key, parent.awaits_value = None, False
            case Mapping() as mapping:
                parent.key, parent.awaits_value = self._key(mapping, node), True

    def _key(self, mapping: Mapping, node: Node) -> Scalar | None:
        """The node as a key of ``mapping``, if it may be one."""
        if not isinstance(node, Scalar):
            self._problems.add("yaml-feature", "a key must be text, not a list or a mapping", node.mark)
            return None
        if node.text == "<<" and not node.is_quoted:
            message = "merge keys are not supported"
            self._problems.add(
                "yaml-feature", message, node.mark, help="repeat the keys, or use an alias as a value"
            )
            return None
        for other, _ in mapping.entries:
            if other.text == node.text:
                self._problems.add(
                    "duplicate-key",
                    f"the key '{node.text}' is there twice",
                    node.mark,
                    notes=[f"first at {other.mark}"],
                )
                return None
        return node

    def _scalar(self, event: Any) -> Scalar:
        mark = self._mark(event)
        self._tag(event, mark)
        text, style = str(event.value), event.style
        line = self._lines[mark.line - 1]
        quote = 1 if style in ("'", '"') else 0
        exact = line[mark.column - 1 + quote : mark.end_column - 1 - quote] == text
        node = Scalar(text, style, mark, exact=exact)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        mark = self._mark(event)
        node = self._anchors.get(event.anchor)
        if node is None:
            known = event.anchor in self._anchors
            message = f"the alias *{event.anchor} " + (
                "stands inside its own anchor" if known else "has no anchor before it"
            )
            self._problems.add("yaml-syntax", message, mark)
            return Scalar("", None, mark)
        self._bound(len(self._stack), self._extent[id(node)][0], mark, height=self._extent[id(node)][1])
        return node

    def _measure(self, node: Sequence | Mapping) -> None:
        children = node.items if isinstance(node, Sequence) else [value for _, value in node.entries]
        extents = [self._extent.get(id(child), (1, 0)) for child in children]
        size = 1 + sum(size for size, _ in extents)
        height = 1 + max((height for _, height in extents), default=0)
        self._extent[id(node)] = (size, height)
        self._bound(0, size, node.mark)

    def _bound(self, depth: int, size: int, mark: Mark, *, height: int = 0) -> None:
        if depth + height > MAX_DEPTH:
            self._problems.add("too-large", f"values are nested more than {MAX_DEPTH} deep", mark)
        elif size > MAX_VALUES:
            message = f"there are more than {MAX_VALUES:,} values here, counting what aliases stand for"
            self._problems.add("too-large", message, mark)
        else:
            return
        raise _TooLargeError

    def _mark(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        line = self._lines[start.line] if start.line < len(self._lines) else ""
        same_line = end.line == start.line
        return Mark(
            self._file,
            start.line + 1,
            start.column + 1,
            (end.column if same_line else max(len(line.rstrip()), start.column + 1)) + 1,
        )

    def _tag(self, event: Any, mark: Mark) -> None:
        if event.tag is not None:
            message = f"the tag {event.tag} is not supported"
            self._problems.add("yaml-feature", message, mark, help="leave it out; put text in quotes")

    def _directives(self, event: Any) -> None:
        if event.version not in (None, (1, 2)) or event.tags:
            mark = Mark(self._file, event.start_mark.line + 1, 1, 2)
            message = "YAML directives are not supported (specs are YAML 1.2)"
            self._problems.add("yaml-feature", message, mark)

    def _syntax(self, error: MarkedYAMLError) -> None:
        where = error.problem_mark or error.context_mark
        mark = Mark(self._file)
        if where is not None:
            line = min(where.line, len(self._lines) - 1)
            column = min(where.column, len(self._lines[line])) + 1
            mark = Mark(self._file, line + 1, column, column + 1)
        began = error.context_mark
        notes = []
        if (
            began is not None
            and where is not None
            and (began.line, began.column) != (where.line, where.column)
        ):
            notes.append(f"it began at {Mark(self._file, began.line + 1, began.column + 1)}")
        message = ", ".join(str(part) for part in (error.context, error.problem) if part).replace("\n", " ")
        self._problems.add("yaml-syntax", message or "the text is not YAML", mark, notes=notes)


_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


def scalar_value(node: Scalar) -> str | int | float | bool | None:
    """What a scalar stands for by the core schema of YAML 1.2 (dates are text).

    Raises:
        ValueError: A number that JSON cannot carry: not finite, or an integer of more than 64 bits.
    """
    text = node.text
    if node.is_quoted:
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        if len(text) > 40:  # more digits than 64 bits have, also with zeros in front
            raise ValueError("an integer must fit into 64 bits")
        number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if not -(2**63) <= number < 2**64:
            raise ValueError("an integer must fit into 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        real = math.inf if text[-1] in "fFnN" else float(text)
        if not math.isfinite(real):
            raise ValueError("a number must be finite")
        return real
    return text
