"""The type rules of references: which value fits which field.

The types are the annotations of msgspec Structs. Nothing is coerced: an ``int`` is no ``float``, a ``str | None`` is no
``str``. :data:`UNKNOWN` stands where an earlier fault, already reported, left no type: it fits everywhere, so that one
fault is one message.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import FieldInfo

from weft.registry.config import type_text
from weft.registry.describe import union_members
from weft.types import Stream

__all__ = [
    "UNKNOWN",
    "Missing",
    "assignable",
    "element",
    "fields_of",
    "follow",
    "members",
    "show",
    "stream_chunk",
]


class _Unknown:
    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final[Any] = _Unknown()


class Missing(Exception):  # noqa: N818 - not an error by itself: the caller makes a problem of it
    """A path that a type does not have.

    Attributes:
        index: Which part of the path.
        reason: Why, as the end of a sentence that begins with what came before it.
        choices: The names that would do.
    """

    def __init__(
        self, index: int, reason: str, choices: Sequence[str] = (), *, code: str = "unknown-field"
    ) -> None:
        super().__init__(reason)
        self.index, self.reason, self.choices, self.code = index, reason, list(choices), code


def bare(annotation: Any) -> Any:
    """An annotation without what only constrains it."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type, flat, without constraints."""
    found: list[Any] = []
    for member in union_members(bare(annotation)):
        inner = bare(member)
        found += members(inner) if len(union_members(inner)) > 1 else [inner]
    return tuple(found)


def fields_of(struct: type[Struct]) -> Mapping[str, FieldInfo]:
    """A Struct's fields by name."""
    return {field.name: field for field in msgspec.structs.fields(struct)}


def is_struct(annotation: Any) -> bool:
    """Whether a type is a Struct."""
    return isinstance(annotation, type) and issubclass(annotation, Struct)


def union(types: Iterable[Any]) -> Any:
    """One type for a value that is of any of these."""
    found: list[Any] = []
    for type_ in types:
        if type_ is UNKNOWN:
            return UNKNOWN
        found += [member for member in members(type_) if member not in found]
    if len(found) == 1:
        return found[0]
    return Union[tuple(found)] if found else UNKNOWN  # noqa: UP007 - made of a variable number of types


def assignable(source: Any, target: Any) -> bool:
    """Whether every value of ``source`` may stand where ``target`` is asked for."""
    if source is UNKNOWN or target is UNKNOWN:
        return True
    targets = members(target)
    return any(t is Any for t in targets) or all(_member_fits(s, targets) for s in members(source))


def _member_fits(source: Any, targets: Sequence[Any]) -> bool:
    if source is Any or source is UNKNOWN:
        return True
    if get_origin(source) is Literal:
        return all(_literal_fits(value, targets) for value in get_args(source))
    return any(_fits(source, target) for target in targets)


def _literal_fits(value: Any, targets: Sequence[Any]) -> bool:
    for target in targets:
        if get_origin(target) is Literal:
            if any(value == choice and type(value) is type(choice) for choice in get_args(target)):
                return True
        elif _fits(type(value), target):
            return True
    return False


_LISTS = (list, Sequence, Iterable, typing.Sequence, typing.Iterable)
_MAPPINGS = (dict, Mapping, typing.Mapping)


def _fits(source: Any, target: Any) -> bool:
    """One alternative against one alternative."""
    if source == target:
        return True
    if source in (None, NoneType) or target in (None, NoneType):
        return source in (None, NoneType) and target in (None, NoneType)
    from_, to = get_origin(source) or source, get_origin(target) or target
    if to in _LISTS:
        return from_ in (*_LISTS, tuple) and _arguments_fit(_items(source), _items(target))
    if to in _MAPPINGS:
        return from_ in _MAPPINGS and _arguments_fit(get_args(source), get_args(target))
    if to is Stream:
        return from_ is Stream and _arguments_fit(get_args(source), get_args(target))
    if to in (tuple, set, frozenset):
        return from_ is to and _arguments_fit(get_args(source), get_args(target))
    if isinstance(from_, type) and isinstance(to, type):
        # bool is an int to Python and to nobody else; the same goes for every other built-in.
        return is_struct(from_) and issubclass(from_, to)
    return False


def _items(annotation: Any) -> tuple[Any, ...]:
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple:
        return (union(a for a in arguments if a is not Ellipsis),) if arguments else ()
    return arguments


def _arguments_fit(source: Sequence[Any], target: Sequence[Any]) -> bool:
    if not source or not target:
        return True  # a bare list is a list of anything
    return len(source) == len(target) and all(assignable(s, t) for s, t in zip(source, target, strict=True))


def list_of(item: Any) -> Any:
    """The type of a list of these."""
    return UNKNOWN if item is UNKNOWN else list.__class_getitem__(item)


def element(annotation: Any) -> Any:
    """What a list has in it; None when the type is no list."""
    if annotation is UNKNOWN:
        return UNKNOWN
    found: list[Any] = []
    for member in members(annotation):
        if member is Any:
            return Any
        origin = get_origin(member) or member
        if origin not in (*_LISTS, tuple):
            return None
        items = _items(member)
        found.append(items[0] if items else Any)
    return union(found) if found else None


def follow(annotation: Any, path: Sequence[str | int]) -> Any:
    """The type at the end of a path.

    Raises:
        Missing: A part of it is not there, or may be null.
    """
    for index, part in enumerate(path):
        if annotation is UNKNOWN:
            return UNKNOWN
        if NoneType in members(annotation):
            raise Missing(index, "may be null", code="null-ref")
        annotation = union(_step(member, part, index) for member in members(annotation))
    return annotation


def _step(annotation: Any, part: str | int, index: int) -> Any:
    if isinstance(part, int):
        item = element(annotation)
        if item is None or annotation is Any:
            raise Missing(index, f"is {article(show(annotation))}, not a list")
        return item
    if is_struct(annotation):
        fields = fields_of(annotation)
        if part not in fields:
            raise Missing(index, f"has no field '{part}'", list(fields))
        return fields[part].type
    if annotation is Raw:
        raise Missing(index, "is passed on encoded and has no fields that can be read")
    if get_origin(annotation) in _LISTS or annotation is list:
        raise Missing(index, f"is a list: take one element ('[0]') before '.{part}'")
    raise Missing(index, f"is {article(show(annotation))} and has no fields")


def stream_chunk(annotation: Any) -> Any:
    """The chunk type of the stream that a field takes; None when it takes none."""
    for member in members(annotation):
        if get_origin(member) is Stream:
            return get_args(member)[0]
    return None


def without_streams(annotation: Any) -> Any:
    """The type without its stream alternatives; None when nothing is left."""
    rest = [member for member in members(annotation) if get_origin(member) is not Stream]
    return union(rest) if rest else None


def show(annotation: Any) -> str:
    """A type as a message names it."""
    if annotation is UNKNOWN:
        return "unknown"
    shown = [
        type_text(member)
        for member in sorted(members(annotation), key=lambda m: m in (None, NoneType))
        if member not in (UNSET, UnsetType)
    ]
    return " | ".join(shown)


def article(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
