"""Inputs as a Python program writes them: ``ref.question.query``, ``first(ref.a.text, ref.b.text)``, values as they are."""

from __future__ import annotations

from typing import Any, Final

from weft.errors import UsageError
from weft.spec.model import First, Input, ListOf, Ref, SecretRef, Value
from weft.spec.plain import plain_json
from weft.spec.syntax import REFERENCE_FORM, NotationError, parse_reference


class Reference:
    """A reference to a node or to the request, and to what is in it: ``ref.question.query``, ``ref.found.documents[0]``."""

    __slots__ = ("__ref",)

    def __init__(self, reference: Ref) -> None:
        self.__ref = reference

    def __getattr__(self, field: str) -> Reference:
        if field.startswith("__"):
            raise AttributeError(field)
        return Reference(Ref(self.__ref.head, (*self.__ref.path, field)))

    def __getitem__(self, index: int) -> Reference:
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise UsageError(f"'{self.__ref}' has elements by number from 0, not by {index!r}")
        return Reference(Ref(self.__ref.head, (*self.__ref.path, index)))

    def __iter__(self) -> Any:
        raise TypeError(
            f"'{self.__ref}' stands for a value that is not there yet: it cannot be iterated over"
        )

    def __bool__(self) -> bool:
        raise TypeError(
            f"'{self.__ref}' stands for a value that is not there yet: write when='...' for a condition"
        )

    def __repr__(self) -> str:
        return f"ref({str(self.__ref)!r})"

    def __str__(self) -> str:
        return str(self.__ref)


class References:
    """Where references begin: ``ref.question``, ``ref.request``; ``ref.some_node`` is the node ``some-node``."""

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("__"):
            raise AttributeError(name)
        return Reference(Ref(name.replace("_", "-")))  # names of nodes have no underscores

    def __call__(self, text: str) -> Reference:
        """A reference as a spec writes it: ``ref("question.query")``.

        Raises:
            UsageError: It is none.
        """
        return Reference(_parsed(text, "ref"))

    def __repr__(self) -> str:
        return "ref"


ref: Final = References()
"""``ref.node``, ``ref.node.field``, ``ref.node.list[0]``, ``ref.request.field``."""


class FirstOf:
    """What :func:`first` makes."""

    __slots__ = ("choices",)

    def __init__(self, choices: tuple[Any, ...]) -> None:
        self.choices = choices


def first(*choices: Any) -> Any:
    """The first of these that was produced, as an input: ``first(ref.ranked.documents, ref.found.documents)``."""
    return FirstOf(choices)


def secret(name: str) -> Any:
    """A secret in a config, by name; it is looked up when the service starts."""
    return SecretRef(name)


def _parsed(text: str, where: str) -> Ref:
    try:
        return Ref(*parse_reference(text))
    except NotationError as error:
        raise UsageError(f"{where}: {error.message}", hint=REFERENCE_FORM) from error


def as_input(value: Any, where: str) -> Input:
    """An input as the spec has it: references are references, everything else is what it is."""
    match value:
        case Reference():
            return _parsed(str(value), where)
        case FirstOf(choices=choices):
            return First(tuple(as_input(choice, where) for choice in choices))
        case list() | tuple():
            items = tuple(as_input(item, where) for item in value)
            if not all(isinstance(item, Value) for item in items):
                return ListOf(items)
    try:
        plain_json(value)
    except UsageError as error:
        raise UsageError(
            f"{where}: {error.message}", hint="an input is a reference (ref.node.field) or JSON"
        ) from error
    return Value(list(value) if isinstance(value, tuple) else value)
