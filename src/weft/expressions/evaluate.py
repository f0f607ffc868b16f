"""The tree of a checked expression -> nested Python closures; and what each operation does with its values.

An evaluation is bounded: what is compared, searched and joined is counted (:class:`Budget`), for the values may be what a
stranger has sent. Nothing in the language repeats, so that the count is at most the length of the text times the size of
the values; the bound is far above what a request needs, and far below what would hold up a process.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from msgspec import UNSET, Struct

from weft.expressions.syntax import (
    Call,
    ExpressionError,
    Has,
    Index,
    ListLiteral,
    Literal,
    Logic,
    MapLiteral,
    Name,
    Node,
    Select,
    Span,
    Ternary,
)
from weft.expressions.types import kind

MAX_WORK: Final = 250_000
"""Of one evaluation: elements compared and joined, and blocks of text searched. Some 0.2 s on a slow machine."""

MAX_JOINED: Final = 32 * 1024 * 1024
"""Characters of a text that is joined: as much as a request's body may have."""

_BLOCK: Final = 1024
"""Characters that are searched while an element is compared."""

Closure = Callable[[Any], Any]
Read = Callable[[str], Closure]


class _TooMuchError(Exception):
    """An evaluation has used up its budget. Not an error of the language: ``||`` does not go on after it."""


class Budget:
    """What is left of the work that one evaluation may be."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_WORK

    def spend(self, work: int) -> None:
        """Take ``work`` off.

        Raises: what ends the evaluation, when nothing is left.
        """
        self.left -= work
        if self.left < 0:
            raise _TooMuchError


class Emitter:
    """Compiles one tree. ``read`` gives the reader of each root."""

    def __init__(self, text: str, read: Read) -> None:
        self._text, self._read = text, read
        self._budget = (
            Budget()
        )  # one for all evaluations: none of them waits for anything, so none meets another

    def whole(self, node: Node, *, is_condition: bool) -> Closure:
        """The closure of the whole tree."""
        inner, span, budget = self.emit(node), node.span, self._budget

        def run(values: Any) -> Any:
            budget.left = MAX_WORK
            try:
                result = inner(values)
            except RecursionError as error:
                raise _error("the values are nested too deeply to be compared", span) from error
            except _TooMuchError as error:
                raise _error("the values are too large for this", span) from error
            return _bool(result, span) if is_condition else result

        return run

    def emit(self, node: Node) -> Closure:
        """The closure of one node."""
        match node:
            case Literal(value):
                return lambda _: value
            case Name(name):
                return self._read(name)
            case Select():
                return self._select(node)
            case Has(field):
                return self._has(field)
            case Index():
                return self._index(node)
            case Logic(is_and, parts):
                return _logic([(self.emit(part), part.span) for part in parts], decisive=not is_and)
            case Ternary():
                return self._ternary(node)
            case ListLiteral(items):
                emitted = [self.emit(item) for item in items]
                return lambda values: [item(values) for item in emitted]
            case MapLiteral():
                return self._map(node)
            case Call():
                return self._call(node)

    def _shown(self, node: Node) -> str:
        return self._text[node.span[0] - 1 : node.span[1] - 1]

    def _select(self, node: Select) -> Closure:
        inner, field, span, shown = self.emit(node.target), node.field, node.span, self._shown(node.target)

        def select(values: Any) -> Any:
            value = inner(values)
            if isinstance(value, Struct):
                if field in value.__struct_fields__:
                    found = getattr(value, field)
                    return None if found is UNSET else found
            elif isinstance(value, dict) and field in value:
                return value[field]
            what = "has" if isinstance(value, Struct | dict) else f"is {kind(value)} and has"
            raise _error(f"'{shown}' {what} no field '{field}'", span)

        return select

    def _has(self, node: Select) -> Closure:
        inner, field, span, shown = self.emit(node.target), node.field, node.span, self._shown(node.target)

        def has(values: Any) -> bool:
            value = inner(values)
            if isinstance(value, Struct):
                found = getattr(value, field) if field in value.__struct_fields__ else None
                return found is not None and found is not UNSET
            if isinstance(value, dict):
                return value.get(field) is not None
            if isinstance(value, Enum):
                return False  # the mark of a node that was skipped
            raise _error(f"'{shown}' is {kind(value)} and has no field '{field}'", span)

        return has

    def _index(self, node: Index) -> Closure:
        target, index, span, shown = (
            self.emit(node.target),
            self.emit(node.index),
            node.span,
            self._shown(node.target),
        )

        def subscript(values: Any) -> Any:
            value, at = target(values), index(values)
            if isinstance(value, list | tuple) and isinstance(at, int) and not isinstance(at, bool):
                if 0 <= at < len(value):
                    return value[at]
                raise _error(f"'{shown}' has {len(value)} elements, and no [{at}]", span)
            if isinstance(value, dict) and isinstance(at, str):
                if at in value:
                    return value[at]
                raise _error(f"'{shown}' has no key '{at}'", span)
            raise _error(f"'{shown}' is {kind(value)} and cannot be indexed with {kind(at)}", span)

        return subscript

    def _ternary(self, node: Ternary) -> Closure:
        test, yes, no = self.emit(node.test), self.emit(node.yes), self.emit(node.no)
        span = node.test.span
        return lambda values: (yes if _bool(test(values), span) else no)(values)

    def _map(self, node: MapLiteral) -> Closure:
        entries = [(self.emit(key), key.span, self.emit(value)) for key, value in node.entries]

        def build(values: Any) -> dict[str, Any]:
            made: dict[str, Any] = {}
            for key, span, value in entries:
                name = key(values)
                if not isinstance(name, str):
                    raise _error(f"the keys of a map are strings, and this is {kind(name)}", span)
                if name in made:
                    raise _error(f"the map has the key '{name}' twice", span)
                made[name] = value(values)
            return made

        return build

    def _call(self, node: Call) -> Closure:
        arguments, span = [self.emit(argument) for argument in node.arguments], node.span
        first, budget = arguments[0], self._budget
        if node.function == "!":
            inner_span = node.arguments[0].span
            return lambda values: not _bool(first(values), inner_span)
        if node.function == "size":
            return lambda values: _size(first(values), span)
        if node.function == "+":
            return lambda values: _joined([argument(values) for argument in arguments], span, budget)
        second = arguments[1]
        match node.function:
            case "==":
                return lambda values: equal(first(values), second(values), budget)
            case "!=":
                return lambda values: not equal(first(values), second(values), budget)
            case "in":
                return lambda values: _contains(second(values), first(values), span, budget)
            case "startsWith":
                return lambda values: _text(first(values), span).startswith(_text(second(values), span))
            case "endsWith":
                return lambda values: _text(first(values), span).endswith(_text(second(values), span))
            case "contains":
                return lambda values: _has_part(
                    _text(first(values), span), _text(second(values), span), budget
                )
            case "<":
                return lambda values: _less(first(values), second(values), span)
            case ">":
                return lambda values: _less(second(values), first(values), span)
            case "<=":
                return lambda values: _less_or_equal(first(values), second(values), span)
            case _:
                return lambda values: _less_or_equal(second(values), first(values), span)


def _logic(parts: list[tuple[Closure, Span]], *, decisive: bool) -> Closure:
    """``&&`` (decided by false) or ``||`` (decided by true): an error counts only if no part decides."""

    def run(values: Any) -> bool:
        failed: ExpressionError | None = None
        for part, span in parts:
            try:
                if _bool(part(values), span) is decisive:
                    return decisive
            except ExpressionError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return not decisive

    return run


def equal(left: Any, right: Any, budget: Budget) -> bool:
    """Equality of the language: numbers by value, nothing else across types."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float):
        return isinstance(right, int | float) and left == right
    if isinstance(left, list | tuple):
        if not isinstance(right, list | tuple) or len(left) != len(right):
            return False
        budget.spend(len(left))
        return all(equal(a, b, budget) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict):
        if not isinstance(right, dict) or len(left) != len(right):
            return False
        budget.spend(len(left))
        return left.keys() == right.keys() and all(equal(left[key], right[key], budget) for key in left)
    if left is None or left is UNSET:
        return right is None or right is UNSET
    return type(left) is type(right) and bool(left == right)


def _error(message: str, span: Span) -> ExpressionError:
    return ExpressionError(message, column=span[0], end_column=span[1])


def _bool(value: Any, span: Span) -> bool:
    if value is True or value is False:
        return bool(value)
    raise _error(f"true or false is needed here, and this is {kind(value)}", span)


def _text(value: Any, span: Span) -> str:
    if isinstance(value, str) and not isinstance(value, Enum):
        return value
    raise _error(f"a string is needed here, and this is {kind(value)}", span)


def _size(value: Any, span: Span) -> int:
    if isinstance(value, str | list | tuple | dict) and not isinstance(value, Enum):
        return len(value)
    raise _error(f"'size' is for strings, lists and maps, and this is {kind(value)}", span)


def _contains(target: Any, element: Any, span: Span, budget: Budget) -> bool:
    if isinstance(target, list | tuple):
        budget.spend(len(target))
        return any(equal(item, element, budget) for item in target)
    if isinstance(target, dict):
        return isinstance(element, str) and element in target
    raise _error(f"'in' looks into a list or a map, and this is {kind(target)}", span)


def _has_part(text: str, part: str, budget: Budget) -> bool:
    budget.spend(len(text) // _BLOCK)
    return part in text


def _joined(parts: list[Any], span: Span, budget: Budget) -> Any:
    if all(isinstance(part, str) and not isinstance(part, Enum) for part in parts):
        size = sum(map(len, parts))
        if size > MAX_JOINED:
            raise _TooMuchError
        budget.spend(size // _BLOCK)
        return "".join(parts)
    if all(isinstance(part, list | tuple) for part in parts):
        budget.spend(sum(map(len, parts)))
        return [item for part in parts for item in part]
    kinds = " and ".join(dict.fromkeys(kind(part) for part in parts))
    raise _error(f"'+' joins strings or lists, and this is {kinds}", span)


def _less(left: Any, right: Any, span: Span) -> bool:
    _check_order(left, right, span)
    return bool(left < right)


def _less_or_equal(left: Any, right: Any, span: Span) -> bool:
    _check_order(left, right, span)
    return bool(left <= right)


def _check_order(left: Any, right: Any, span: Span) -> None:
    if type(left) is type(right) and type(left) in _ORDERED:
        return
    if not (_is_number(left) and _is_number(right)):
        raise _error(f"{kind(left)} cannot be compared with {kind(right)}", span)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool | Enum)


_ORDERED = frozenset({int, float, str, bool})
