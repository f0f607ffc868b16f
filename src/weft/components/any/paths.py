"""Paths into values: ``documents.*.text``, ``messages.-1.content``, ``result[0].score``; ``.`` is the value itself.

A step is a field's name, an index (from the end if negative), or ``*`` for every element of a list. A path is checked
against the type of what it will be read from where that is known: the contract's Structs are, another service's replies
are not. Indices in brackets are the same as steps: ``result[0]`` is ``result.0``, ``result[*]`` is ``result.*``.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from weft.errors import did_you_mean
from weft.types import Stream

MISSING: Final = type("Missing", (), {"__repr__": lambda _self: "MISSING"})()
"""What is at a path that leads nowhere, or to null."""

UNKNOWN: Final = Any
"""The type of what may be anything."""

_BRACKETS: Final = re.compile(r"\[(-?\d+|\*)\]")
_INDEX: Final = re.compile(r"-?\d+")

Read = Callable[[Any], Any]
"""Gives what is at a path in a value, or :data:`MISSING`."""

Step = str | int


class PathError(Exception):
    """A path is malformed, or leads nowhere.

    Attributes:
        message: What is wrong.
        hint: What there is instead.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def parse(path: Any) -> list[Step]:
    """The steps of a path.

    Raises:
        PathError: It is malformed.
    """
    if not isinstance(path, str):
        raise PathError(f"{path!r} is no path", f"a literal is {{$value: {path}}}")
    if path == ".":
        return []
    dotted = _BRACKETS.sub(r".\1", path)
    parts = (dotted[1:] if path.startswith("[") else dotted).split(".")
    if not all(parts) or any(character in dotted for character in "[]{}()\"' "):
        raise PathError(
            f"'{path}' is no path",
            "write names, indices and * with dots between them, as in documents.*.text; {$value: x} is a literal",
        )
    return [int(part) if _INDEX.fullmatch(part) else part for part in parts]


def reader(path: Any, source: Any = UNKNOWN, *, what: str = "value") -> tuple[Read, Any]:
    """What reads a path, and the type of what it reads.

    Args:
        path: The path.
        source: The type of what it is read from; :data:`UNKNOWN`: anything.
        what: How to call that, in errors.

    Raises:
        PathError: It is malformed, or ``source`` has nothing there.
    """
    steps = parse(path)
    found = source
    for place, step in enumerate(steps):
        found = _step(found, step, at=".".join(map(str, steps[:place])), what=what)
    # With a * in it the path gives a list, of whatever is at its end.
    for _ in range(steps.count("*")):
        found = list[found]  # type: ignore[valid-type]  # made while the program runs
    return _compile(steps), found


def _compile(steps: list[Step]) -> Read:
    if not steps:
        return lambda value: MISSING if value is None else value
    first, rest = steps[0], _compile(steps[1:])
    if first == "*":
        return lambda value: [_or_none(rest(item)) for item in value] if isinstance(value, list) else MISSING
    return lambda value: rest(_at(value, first))


def _or_none(value: Any) -> Any:
    return None if value is MISSING else value


def _at(value: Any, step: Step) -> Any:
    if isinstance(value, dict):
        return value.get(str(step))
    if isinstance(step, int):
        if isinstance(value, list) and -len(value) <= step < len(value):
            return value[step]
        return None
    return getattr(value, step, None) if isinstance(value, Struct) else None


def members(annotation: Any) -> list[Any]:
    """The alternatives of a type, null apart."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for member in typing.get_args(annotation) if member is not type(None)]
    return [annotation]


def fields(struct: type[Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a Struct, by the names that they have in JSON."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def is_struct(annotation: Any) -> bool:
    """Whether a type is a Struct."""
    return isinstance(annotation, type) and issubclass(annotation, Struct)


def element(annotation: Any) -> Any:
    """The type of a list's elements; None if it is no list."""
    for member in members(annotation):
        if member is UNKNOWN or member is list:
            return UNKNOWN
        if typing.get_origin(member) is list:
            return typing.get_args(member)[0]
    return None


def _step(source: Any, step: Step, *, at: str, what: str) -> Any:
    """The type of what is one step into ``source``."""
    choices: dict[str, Any] = {}
    for member in members(source):
        if member in (UNKNOWN, dict, Raw) or typing.get_origin(member) is Stream:
            return UNKNOWN
        if typing.get_origin(member) is dict:
            return typing.get_args(member)[1]
        if is_struct(member):
            choices |= {name: field.type for name, field in fields(member).items()}
    place = f"'{at}' in {what}" if at else what
    if step == "*" or isinstance(step, int):
        inner = element(source)
        if inner is None:
            raise PathError(f"{place} is no list, so it has no '{step}'")
        return inner
    if step in choices:
        return choices[step]
    if not choices:
        extra = ": write .*. to go through its elements" if element(source) is not None else ""
        raise PathError(f"{place} has no fields, so it has no '{step}'{extra}")
    raise PathError(f"{place} has no field '{step}'", did_you_mean(str(step), list(choices), what="fields"))
