"""The types of values in conditions, made from Python annotations, and their names in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct, UnsetType


@dataclass(frozen=True, slots=True)
class ListType:
    """A list; ``item`` is empty when nothing is known to be in it."""

    item: Type


@dataclass(frozen=True, slots=True)
class MapType:
    """A mapping from strings."""

    value: Type


@dataclass(frozen=True, slots=True)
class OpaqueType:
    """Something that conditions cannot look into: a stream, bytes, JSON that is passed on unread."""

    name: str


Member = str | ListType | MapType | OpaqueType | type[Struct]
"""One alternative: a simple type by its name (``dyn``: only known when it is there), or one of the above."""

Type = tuple[Member, ...]
"""What a value may be: the alternatives, each once."""

DYN: Final[Type] = ("dyn",)
BOOL: Final[Type] = ("bool",)
INT: Final[Type] = ("int",)
STRING: Final[Type] = ("string",)

_SIMPLE: Final[dict[Any, str]] = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    None: "null",
    NoneType: "null",
    UnsetType: "null",
    msgspec.UNSET: "null",
    Any: "dyn",
    object: "dyn",
}
_LISTS: Final = (list, tuple, Sequence, Iterable)
_MAPS: Final = (dict, Mapping)


def join(types: Iterable[Type]) -> Type:
    """The type of a value that is of any of these."""
    return tuple(dict.fromkeys(member for type_ in types for member in type_))


def of(annotation: Any) -> Type:
    """The type that an annotation stands for; ``dyn`` for what conditions know nothing of."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return of(arguments[0])
    if origin in (Union, UnionType):
        return join(of(argument) for argument in arguments)
    if origin is Literal:
        return join(of(type(argument)) for argument in arguments)
    base = origin or annotation
    if base in _LISTS:
        items = [argument for argument in arguments if argument is not Ellipsis]
        return (ListType(join(of(item) for item in items) if items else DYN),)
    if base in _MAPS:
        return (MapType(of(arguments[1]) if len(arguments) == 2 else DYN),)
    try:
        if base in _SIMPLE:
            return (_SIMPLE[base],)
    except TypeError:  # an object that cannot be hashed is no annotation that we know
        return DYN
    if base in (bytes, bytearray, memoryview, Raw):
        return (OpaqueType("encoded JSON" if base is Raw else "bytes"),)
    if isinstance(base, type):
        if issubclass(base, Struct):
            return (base,)
        if not issubclass(base, str | int | Enum):
            return (OpaqueType(base.__name__),)
    return DYN


@lru_cache(maxsize=1024)
def field_types(struct: type[Struct]) -> Mapping[str, Type]:
    """The types of a Struct's fields, by name."""
    return {field.name: of(field.type) for field in msgspec.structs.fields(struct)}


def show(type_: Type) -> str:
    """A type as a message names it."""
    return " or ".join(_show(member) for member in type_) or "nothing"


def _show(member: Member) -> str:
    match member:
        case "dyn":
            return "any"
        case str():
            return member
        case ListType(item):
            return f"list({show(item)})" if item else "list"
        case MapType(value):
            return f"map(string, {show(value)})" if value else "map"
        case OpaqueType(name):
            return name
    return member.__name__


def with_article(type_: Type) -> str:
    """A type in the middle of a sentence."""
    shown = show(type_)
    if shown == "null":
        return shown
    if shown == "any":
        return "of any type"
    return f"{'an' if shown[0].lower() in 'aeiou' else 'a'} {shown}"


def may_equal(left: Type, right: Type) -> bool:
    """Whether a value of one can be equal to a value of the other. What is empty can be anything."""
    return not left or not right or any(_may_equal(a, b) for a in left for b in right)


def _may_equal(left: Member, right: Member) -> bool:
    if "dyn" in (left, right):
        return True
    match left, right:
        case ListType(a), ListType(b):
            return may_equal(a, b)
        case MapType(a), MapType(b):
            return may_equal(a, b)
        case OpaqueType(), _:
            return False
        case _, OpaqueType():
            return False
    if isinstance(left, type) and isinstance(right, type):
        return issubclass(left, right) or issubclass(right, left)
    return left == right or {left, right} == {"int", "double"}


def may_order(left: Type, right: Type) -> bool:
    """Whether a value of one can be less or greater than a value of the other."""
    return any(_may_order(a, b) for a in left for b in right)


def _may_order(left: Member, right: Member) -> bool:
    ordered = {"int", "double", "string", "bool"}
    if left == "dyn":
        return right == "dyn" or right in ordered
    if right == "dyn":
        return left in ordered
    return left in ordered and right in ordered and _may_equal(left, right)


def kind(value: Any) -> str:
    """What a value is, as a message names it."""
    match value:
        case None | msgspec.UNSET:
            return "null"
        case bool():
            return "bool"
        case Enum():
            return str(value.value)
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case list() | tuple():
            return "list"
        case dict():
            return "map"
    return type(value).__name__
