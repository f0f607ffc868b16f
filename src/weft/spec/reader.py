"""A tree of YAML nodes + the table of keys -> objects of the model, and every fault on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from weft.errors import did_you_mean
from weft.expressions import ExpressionError, check_syntax
from weft.spec import keys
from weft.spec.model import (
    Condition,
    Faulty,
    First,
    Flow,
    FlowStep,
    Input,
    ListOf,
    Marks,
    Path,
    Ref,
    SecretRef,
    Value,
)
from weft.spec.problems import Mark, Problems
from weft.spec.syntax import (
    LOCATION_FORM,
    REFERENCE_FORM,
    NotationError,
    parse_chain,
    parse_location,
    parse_reference,
    shorten,
)
from weft.spec.tree import Mapping, Node, Scalar, Sequence, scalar_value


class _Fault(Enum):
    """Stands for a value that is wrong and has been reported."""

    FAULT = "fault"


FAULT: Final = _Fault.FAULT

Check = Callable[[Any, Problems], None]
"""Checks an object as a whole: what no single key shows."""


@dataclass(slots=True)
class _Record:
    """The marks of the object that is being read."""

    here: Mark
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)

    def finish(self) -> Marks:
        return Marks(self.here, keys=self.keys, values=self.values, faulty=frozenset(self.faulty))


class Reader:
    """Reads objects of the model; faults go into ``problems``, and what is wrong is left at its default."""

    def __init__(self, problems: Problems, checks: dict[type[Any], Check]) -> None:
        self._problems, self._checks = problems, checks

    def block(
        self,
        node: Node,
        block: keys.Block,
        here: Mark,
        *,
        name: str | None = None,
        also: frozenset[str] = frozenset(),
    ) -> Any:
        """An object from a mapping.

        Args:
            node: The mapping; anything else is a problem, and then the object has only its defaults.
            block: What it stands for.
            here: Where it is named.
            name: Its name, where that is its key in the mapping around it.
            also: Keys that the caller reads.
        """
        record = _Record(here)
        known = keys.keys_of(block.type)
        read: dict[str, Any] = {} if name is None else {"name": name}
        if not isinstance(node, Mapping):
            self._wrong_type(node, f"{block.what} is a mapping of keys")
            record.faulty.update(known)
        else:
            for key, value in node.entries:
                record.keys[key.text,] = key.mark
                record.values[key.text,] = value.mark
                if key.text in known:
                    read[key.text] = self._value(known[key.text].shape, value, record, (key.text,))
                elif key.text not in also:
                    hint = did_you_mean(key.text, [*sorted(also), *known], what="keys")
                    self._add(
                        "unknown-key", f"'{key.text}' is not a key of {block.what}", key.mark, help=hint
                    )
        for key_ in known.values():
            if read.get(key_.name, FAULT) is not FAULT:
                continue
            if key_.name in read:
                record.faulty.add(key_.name)
                del read[key_.name]
            elif key_.required and key_.name not in record.faulty:
                record.faulty.add(key_.name)
                self._add("missing-key", f"{block.what} needs the key '{key_.name}'", here, help=key_.doc)
            if key_.required:
                read[key_.name] = _placeholder(key_.shape, here)
        given = {known[key].attribute if key in known else key: value for key, value in read.items()}
        made = block.type(**given, marks=record.finish())
        if (check := self._checks.get(block.type)) is not None:
            check(made, self._problems)
        return made

    def _add(self, code: str, message: str, mark: Mark, *, help: str | None = None) -> _Fault:
        self._problems.add(code, message, mark, help=help)
        return FAULT

    def _wrong_type(self, node: Node, wanted: str, *, help: str | None = None) -> _Fault:
        if isinstance(node, Scalar) and node.is_quoted and ("number" in wanted or "true" in wanted):
            help = "write it without quotes"  # noqa: A001 - the parameter is called as the key of a problem
        return self._add("wrong-type", f"{wanted}, and this is {kind(node)}", node.mark, help=help)

    def _plain(self, node: Scalar) -> Any:
        """What a scalar stands for, or FAULT."""
        try:
            return scalar_value(node)
        except ValueError as error:
            return self._add("bad-value", str(error), node.mark)

    def _value(self, shape: keys.Shape, node: Node, record: _Record, path: Path) -> Any:
        match shape:
            case keys.Items(item, what):
                return self._items(item, what, node, record, path)
            case keys.Table():
                return self._table(shape, node, record, path)
            case keys.Block():
                return self.block(node, shape, record.keys.get(path, node.mark))
            case keys.Json(secrets):
                return self._json(node, record, path, secrets=secrets)
            case keys.Binding():
                return self._binding(node, record, path)
            case keys.Chain():
                return self._chain(node)
        label = f"'{_label(path)}'"
        if not isinstance(node, Scalar):
            return self._wrong_type(node, f"{label} is {_wanted(shape)}")
        value = self._plain(node)
        if value is FAULT:
            return FAULT
        match shape:
            case keys.Number(_, maximum):
                if isinstance(value, bool) or not isinstance(value, int | float):
                    return self._wrong_type(node, f"{label} is {_wanted(shape)}")
                if not 0 < value <= maximum:
                    return self._add("bad-value", f"{label} is above 0 and at most {maximum:,}", node.mark)
                return value
            case keys.Whole(_, minimum, maximum):
                if isinstance(value, bool) or not isinstance(value, int):
                    return self._wrong_type(node, f"{label} is {_wanted(shape)}")
                if not minimum <= value <= maximum:
                    return self._add("bad-value", f"{label} is from {minimum:,} to {maximum:,}", node.mark)
                return value
            case keys.Limit():
                if isinstance(value, bool) or not isinstance(value, int | float):
                    return self._wrong_type(node, f"{label} is {_wanted(shape)}")
                return value
            case keys.Flag():
                return (
                    value
                    if isinstance(value, bool)
                    else self._wrong_type(node, f"{label} is {_wanted(shape)}")
                )
            case keys.Version(pattern):
                return self._version(node, pattern)
        if not isinstance(value, str):
            quotes = "put it in quotes" if value is not None else None
            return self._wrong_type(node, f"{label} is {_wanted(shape)}", help=quotes)
        match shape:
            case keys.Text(what, pattern, form, code):
                if pattern and not re.fullmatch(pattern, value):
                    return self._add(
                        code, f"'{shorten(value)}' is not {what}", node.mark, help=f"{what} is {form}"
                    )
                return value
            case keys.Choice(words):
                if value not in words:
                    hint = did_you_mean(value, words, what="choices")
                    return self._add(
                        "bad-value", f"'{shorten(value)}' is not a choice of {label}", node.mark, help=hint
                    )
                return value
            case keys.Expression():
                return self._condition(node)
            case keys.Reference():
                return self._reference(node)
            case keys.Location():
                return self._notation("bad-value", node, parse_location, LOCATION_FORM)
        raise AssertionError(shape)  # every shape is in one of the matches above

    def _version(self, node: Scalar, pattern: str) -> Any:
        if not node.is_quoted:
            shown = node.text or "1.0.0"
            return self._add(
                "bad-version", "a version is a quoted string", node.mark, help=f'write "{shown}"'
            )
        if not re.fullmatch(pattern, node.text):
            message = f"'{shorten(node.text)}' is not a version"
            return self._add(
                "bad-version", message, node.mark, help='a version is "1", "1.2", "1.2.3" or "1.2.3-rc.1"'
            )
        return node.text

    def _items(self, item: keys.Shape, what: str, node: Node, record: _Record, path: Path) -> Any:
        if not isinstance(node, Sequence):
            return self._wrong_type(node, f"'{_label(path)}' is {what}")
        found = []
        for index, child in enumerate(node.items):
            record.values[*path, index] = child.mark
            value = self._value(item, child, record, (*path, index))
            if value is FAULT:
                record.faulty.add(str(path[0]))
            else:
                found.append(value)
        return tuple(found)

    def _table(self, shape: keys.Table, node: Node, record: _Record, path: Path) -> Any:
        if not isinstance(node, Mapping):
            return self._wrong_type(node, f"'{_label(path)}' is {shape.what}")
        found: dict[str, Any] = {}
        for key, child in node.entries:
            inner = (*path, key.text)
            record.keys[inner], record.values[inner] = key.mark, child.mark
            if not re.fullmatch(shape.key.pattern, key.text):
                message = f"'{shorten(key.text)}' is not {shape.key.what}"
                self._add(shape.key.code, message, key.mark, help=f"{shape.key.what} is {shape.key.form}")
            if isinstance(shape.value, keys.Block):
                value = self.block(child, shape.value, key.mark, name=key.text)
            else:
                value = self._value(shape.value, child, record, inner)
            if value is FAULT:
                record.faulty.add(str(path[0]))
            else:
                found[key.text] = value
        return found

    def _json(self, node: Node, record: _Record, path: Path, *, secrets: bool) -> Any:
        match node:
            case Scalar():
                return self._plain(node)
            case Sequence():
                items = []
                for index, child in enumerate(node.items):
                    record.values[*path, index] = child.mark
                    items.append(self._json(child, record, (*path, index), secrets=secrets))
                return FAULT if FAULT in items else items
        if secrets and len(node.entries) == 1 and node.entries[0][0].text == "secret":
            return self._secret(node.entries[0][1])
        found: dict[str, Any] = {}
        for key, child in node.entries:
            inner = (*path, key.text)
            record.keys[inner], record.values[inner] = key.mark, child.mark
            found[key.text] = self._json(child, record, inner, secrets=secrets)
        return FAULT if any(value is FAULT for value in found.values()) else found

    def _secret(self, node: Node) -> Any:
        if not isinstance(node, Scalar) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", node.text):
            message = "a secret is named by letters, digits, '_', '-' and '.'"
            return self._add(
                "bad-name", message, node.mark, help="{secret: NAME}: the value itself never stands here"
            )
        return SecretRef(node.text)

    def _binding(self, node: Node, record: _Record, path: Path) -> Input:
        match node:
            case Scalar() if not node.is_quoted and not isinstance(value := self._plain(node), str):
                if value is None:
                    self._wrong_type(
                        node, "an input is a reference", help="a literal is written {value: ...}"
                    )
                elif value is not FAULT:
                    hint = f"a literal is written {{value: {node.text}}}"
                    self._wrong_type(node, "an input is a reference", help=hint)
                return Faulty(node.mark)
            case Scalar():
                found = self._reference(node, help=f"{REFERENCE_FORM}; a literal is written {{value: ...}}")
                return Faulty(node.mark) if found is FAULT else found
            case Sequence():
                return ListOf(tuple(self._inner(node, record, path)), node.mark)
        keys_ = [key.text for key, _ in node.entries]
        if keys_ == ["value"]:
            literal = self._json(node.entries[0][1], record, (*path, "value"), secrets=False)
            return Faulty(node.mark) if literal is FAULT else Value(literal, node.mark)
        if keys_ == ["first"]:
            choices = node.entries[0][1]
            if isinstance(choices, Sequence) and choices.items:
                return First(tuple(self._inner(choices, record, path)), node.mark)
            self._wrong_type(choices, "'first' is a list of inputs")
            return Faulty(node.mark)
        message = "an input that is a mapping has one key, 'value' or 'first'"
        mark = node.entries[0][0].mark if node.entries else node.mark
        self._add("wrong-type", message, mark, help="a literal mapping is written {value: {...}}")
        return Faulty(node.mark)

    def _inner(self, node: Sequence, record: _Record, path: Path) -> list[Input]:
        return [self._binding(child, record, (*path, index)) for index, child in enumerate(node.items)]

    def _reference(self, node: Scalar, *, help: str = REFERENCE_FORM) -> Any:
        parsed = self._notation("bad-ref", node, parse_reference, help)
        if parsed is FAULT:
            return FAULT
        head, path = parsed
        return Ref(head, path, node.mark)

    def _notation(self, code: str, node: Scalar, parse: Callable[[str], Any], help: str) -> Any:
        """What a parser makes of a scalar's text; its error as a problem."""
        try:
            return parse(node.text)
        except NotationError as error:
            mark = condition_of(node).mark_at(error.column, error.end_column)
            return self._add(code, error.message, mark, help=error.help or help)

    def _condition(self, node: Scalar) -> Any:
        condition = condition_of(node)
        try:
            check_syntax(node.text)
        except ExpressionError as error:
            mark = condition.mark_at(error.column, error.end_column)
            return self._add("bad-condition", error.message, mark, help=error.hint)
        return condition

    def _chain(self, node: Node) -> Any:
        lines = node.items if isinstance(node, Sequence) else [node]
        chains: list[tuple[FlowStep, ...]] = []
        is_faulty = not lines
        if not lines:
            self._add("bad-flow", "a flow has at least one line", node.mark, help="flow: a >> b >> c")
        for line in lines:
            if not isinstance(line, Scalar) or not isinstance(self._plain(line), str):
                self._wrong_type(line, "a flow line is text", help="flow: a >> b >> c")
                is_faulty = True
                continue
            steps = self._notation("bad-flow", line, parse_chain, "node names joined by >>: a >> b >> c")
            if steps is FAULT:
                is_faulty = True
                continue
            at = condition_of(line).mark_at
            chain = tuple(FlowStep(name, at(column, column + len(name))) for name, column in steps)
            seen: dict[str, FlowStep] = {}
            for step in chain:
                if step.name in seen:
                    self._add("bad-flow", f"'{step.name}' is in this line twice", step.mark)
                    is_faulty = True
                seen[step.name] = step
            chains.append(chain)
        return FAULT if is_faulty else Flow(tuple(chains))


def condition_of(node: Scalar) -> Condition:
    """A scalar's text with what it takes to find columns of it in the file."""
    start = node.mark.column + (1 if node.is_quoted else 0)
    return Condition(node.text, node.mark, node.exact, start)


def kind(node: Node) -> str:
    """What a node is, as a message names it."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
    try:
        value = scalar_value(node)
    except ValueError:
        return "a number"
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case str():
            return "text"
    return "a number"


def _wanted(shape: keys.Shape) -> str:
    match shape:
        case keys.Text(what) | keys.Number(what) | keys.Whole(what):
            return what if isinstance(shape, keys.Text | keys.Number) else f"{what}, a whole one"
        case keys.Flag():
            return "true or false"
        case keys.Choice(words):
            return " or ".join(words) if len(words) < 4 else f"one of {', '.join(words)}"
        case keys.Limit():
            return "a number"
        case keys.Expression():
            return "an expression"
        case keys.Reference():
            return "a reference"
        case keys.Location():
            return "a place"
    return "a quoted string"


def _label(path: Path) -> str:
    """The end of a path, as short as it still says which key is meant."""
    last = max(index for index, part in enumerate(path) if isinstance(part, str))
    return str(path[last]) + "".join(f"[{part}]" for part in path[last + 1 :])


def _placeholder(shape: keys.Shape, mark: Mark) -> Any:
    """What a required field holds when its value is missing or wrong."""
    match shape:
        case keys.Table():
            return {}
        case keys.Binding():
            return Faulty(mark)
        case keys.Expression():
            return Condition("true", mark)
        case keys.Whole(_, minimum):
            return minimum
        case keys.Choice(words):
            return words[0]
    return ""
