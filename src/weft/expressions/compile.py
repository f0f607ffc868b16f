"""Type check of an expression, and its compilation to closures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from weft.errors import did_you_mean
from weft.expressions import types as t
from weft.expressions.evaluate import Closure, Emitter, Read
from weft.expressions.syntax import (
    ARITHMETIC,
    JOINS,
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
    parse,
)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """What a resolver returns for a name that means nothing, or nothing here."""

    message: str
    hint: str | None = None


Resolve = Callable[[str], Any]
"""From the root of a reference to its type, as an annotation, or to :class:`Unresolved`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reference that an expression reads.

    Attributes:
        path: Root and fields, as far as they are fields: ``("retrieve", "documents")`` for ``retrieve.documents[0]``.
        column: Where it begins in the text, from 1.
        end_column: Where it ends, exclusive.
        is_tested: Whether it is only asked for with ``has``: then it may be of a node that was skipped.
    """

    path: tuple[str, ...]
    column: int
    end_column: int
    is_tested: bool


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    Attributes:
        text: As it was written.
        refs: Every reference that it reads, in the order written.
        type: Its type, as messages name it.
        value: Its type: the alternatives of what it may be.
    """

    text: str
    refs: tuple[Reading, ...]
    type: str
    value: t.Type
    _tree: Node
    _is_condition: bool

    @property
    def roots(self) -> tuple[str, ...]:
        """The names that its references begin with, each once."""
        return tuple(dict.fromkeys(reading.path[0] for reading in self.refs))

    def bind(self, read: Read) -> Closure:
        """Compile it for values that are kept in some way.

        Args:
            read: From a root's name to the function that reads its value, such as ``operator.itemgetter(slot)``.

        Returns:
            A function from the values to the result. It raises :class:`ExpressionError`, and what the readers raise.
        """
        return Emitter(self.text, read).whole(self._tree, is_condition=self._is_condition)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The result for values by name; compiles anew, so :meth:`bind` is for what runs more than once.

        Raises:
            ExpressionError: Evaluation failed.
        """
        return self.bind(itemgetter)(values)


def compile_condition(text: str, *, resolve: Resolve, expect: type[bool] | None = bool) -> Expression:
    """Parse and type-check an expression.

    Args:
        text: The expression.
        resolve: The type of each name.
        expect: ``bool``, or None for an expression of any type.

    Raises:
        ExpressionError: It is not in the subset, a name is unknown, or types do not fit.
    """
    tree = parse(text)
    checker = _Checker(text, resolve)
    type_ = checker.check(tree)
    if expect is bool:
        checker.want_bool(tree, type_, "a condition")
    return Expression(text, tuple(checker.readings), t.show(type_), type_, tree, expect is bool)


class _Checker:
    def __init__(self, text: str, resolve: Resolve) -> None:
        self._text, self._resolve = text, resolve
        self.readings: list[Reading] = []

    def check(self, node: Node) -> t.Type:
        match node:
            case Literal(value):
                return (t.kind(value),)
            case Name() | Select():
                return self._reference(node, is_tested=False)
            case Index():
                return self._index(node)
            case Has(field, span):
                self._reference(field, is_tested=True, span=span)
                return t.BOOL
            case Logic(is_and, parts):
                for part in parts:
                    self.want_bool(part, self.check(part), f"each side of '{'&&' if is_and else '||'}'")
                return t.BOOL
            case Ternary(test, yes, no):
                self.want_bool(test, self.check(test), "what stands before '?'")
                return t.join((self.check(yes), self.check(no)))
            case ListLiteral(items):
                return (t.ListType(t.join([self.check(item) for item in items])),)
            case MapLiteral(entries):
                return self._map(entries)
            case Call():
                return self._call(node)

    def want_bool(self, node: Node, type_: t.Type, what: str) -> None:
        """Refuse what can never be true or false."""
        if not {"bool", "dyn"} & set(type_):
            raise self._error(f"{what} is true or false, and this is {t.with_article(type_)}", node.span)

    def _error(self, message: str, span: Span, hint: str | None = None) -> ExpressionError:
        return ExpressionError(message, column=span[0], end_column=span[1], hint=hint)

    def _shown(self, node: Node) -> str:
        return self._text[node.span[0] - 1 : node.span[1] - 1]

    def _reference(self, node: Name | Select, *, is_tested: bool, span: Span | None = None) -> t.Type:
        """The type of a chain of fields; what it begins with, where that is a name, is noted as read."""
        chain: list[Select] = []
        root: Node = node
        while isinstance(root, Select):
            chain.append(root)
            root = root.target
        if not isinstance(root, Name):
            type_ = self.check(root)
        else:
            found = self._resolve(root.name)
            if isinstance(found, Unresolved):
                raise self._error(found.message, node.span, found.hint)
            type_ = t.of(found)
            path = (root.name, *(select.field for select in reversed(chain)))
            self.readings.append(Reading(path, node.span[0], node.span[1], is_tested))
        for select in reversed(chain):
            type_ = self._select(select, type_)
        return type_

    def _select(self, node: Select, target: t.Type) -> t.Type:
        found: list[t.Type] = []
        choices: list[str] = []
        for member in target:
            if member == "dyn":
                found.append(t.DYN)
            elif isinstance(member, t.MapType):
                found.append(member.value)
            elif isinstance(member, type):
                fields = t.field_types(member)
                choices += fields
                found += [fields[node.field]] if node.field in fields else []
        if found:
            return t.join(found)
        shown = self._shown(node.target)
        if choices:
            near = did_you_mean(node.field, list(dict.fromkeys(choices)), what="fields")
            raise self._error(f"'{shown}' has no field '{node.field}'", node.span, near)
        hint = "take one element first: [0]" if any(isinstance(m, t.ListType) for m in target) else None
        raise self._error(f"'{shown}' is {t.with_article(target)} and has no fields", node.span, hint)

    def _index(self, node: Index) -> t.Type:
        target, index = self.check(node.target), self.check(node.index)
        found: list[t.Type] = []
        wanted: list[str] = []
        for member in target:
            if member == "dyn":
                found.append(t.DYN)
            elif isinstance(member, t.ListType):
                wanted.append("int")
                found += [member.item or t.DYN] if {"int", "dyn"} & set(index) else []
            elif isinstance(member, t.MapType):
                wanted.append("string")
                found += [member.value or t.DYN] if {"string", "dyn"} & set(index) else []
        if found:
            return t.join(found)
        if wanted:
            message = f"the index of {t.with_article(target)} is {t.with_article((wanted[0],))}, and this is {t.with_article(index)}"
            raise self._error(message, node.index.span)
        raise self._error(
            f"'{self._shown(node.target)}' is {t.with_article(target)} and has no elements", node.span
        )

    def _map(self, entries: tuple[tuple[Node, Node], ...]) -> t.Type:
        for key, _ in entries:
            type_ = self.check(key)
            if not {"string", "dyn"} & set(type_):
                raise self._error(
                    f"the keys of a map are strings, and this is {t.with_article(type_)}", key.span
                )
        return (t.MapType(t.join([self.check(value) for _, value in entries])),)

    def _call(self, node: Call) -> t.Type:
        types = [self.check(argument) for argument in node.arguments]
        match node.function:
            case "!":
                self.want_bool(node.arguments[0], types[0], "what stands after '!'")
            case "==" | "!=":
                if not t.may_equal(*types):
                    raise self._error(
                        f"{t.with_article(types[0])} is never equal to {t.with_article(types[1])}", node.span
                    )
            case "in":
                self._in(node, types[0], types[1])
            case "size":
                self._size(node.arguments[0], types[0])
                return t.INT
            case "+":
                return self._joined(node, types)
            case "startsWith" | "endsWith" | "contains":
                for argument, type_ in zip(node.arguments, types, strict=True):
                    if not {"string", "dyn"} & set(type_):
                        raise self._error(
                            f"'{node.function}' is for strings, and this is {t.with_article(type_)}",
                            argument.span,
                        )
            case _:
                if not t.may_order(*types):
                    raise self._error(
                        f"{t.with_article(types[0])} cannot be compared with {t.with_article(types[1])}",
                        node.span,
                    )
        return t.BOOL

    def _joined(self, node: Call, types: list[t.Type]) -> t.Type:
        """What ``+`` makes: a string of strings, a list of lists."""
        joins_text = all({"string", "dyn"} & set(type_) for type_ in types)
        joins_lists = all(any(m == "dyn" or isinstance(m, t.ListType) for m in type_) for type_ in types)
        if not (joins_text or joins_lists):
            for argument, type_ in zip(node.arguments, types, strict=True):
                if not any(m in ("string", "dyn") or isinstance(m, t.ListType) for m in type_):
                    is_number = bool({"int", "double"} & set(type_))
                    raise self._error(
                        ARITHMETIC
                        if is_number
                        else f"'+' joins strings or lists, and this is {t.with_article(type_)}",
                        argument.span,
                        JOINS if is_number else None,
                    )
            shown = " and ".join(dict.fromkeys(t.with_article(type_) for type_ in types))
            raise self._error(f"'+' joins strings or lists, not {shown}", node.span)
        if joins_text and joins_lists:
            return t.DYN
        if joins_text:
            return t.STRING
        members = [m for type_ in types for m in type_]
        items = [
            m.item if isinstance(m, t.ListType) else t.DYN
            for m in members
            if m == "dyn" or isinstance(m, t.ListType)
        ]
        return (t.ListType(t.join(items)),)

    def _size(self, argument: Node, type_: t.Type) -> None:
        if not any(m in ("string", "dyn") or isinstance(m, t.ListType | t.MapType) for m in type_):
            raise self._error(
                f"'size' is for strings, lists and maps, and this is {t.with_article(type_)}", argument.span
            )

    def _in(self, node: Call, element: t.Type, target: t.Type) -> None:
        fits = is_collection = False
        for member in target:
            if member == "dyn":
                fits = is_collection = True
            elif isinstance(member, t.ListType):
                is_collection = True
                fits |= t.may_equal(element, member.item)
            elif isinstance(member, t.MapType):
                is_collection = True
                fits |= t.may_equal(element, t.STRING)
        if not is_collection:
            message = f"'in' looks into a list or a map, and this is {t.with_article(target)}"
            hint = "write text.contains(part)" if "string" in target else None
            raise self._error(message, node.arguments[1].span, hint)
        if not fits:
            raise self._error(f"{t.with_article(element)} is never in {t.with_article(target)}", node.span)
