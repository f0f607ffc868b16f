"""Fields of a JSON value by their paths. Nothing is changed in place: what changes is copied, the rest is shared.

``a.b.c`` leads through objects. A list on the way stands for each of its elements, so that ``choices.logprobs`` is
that field of every choice; a list within a list does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Parts = tuple[str, ...]

Edit = Callable[[dict[str, Any], str], dict[str, Any]]
"""``(object, name) -> object``: the object with its field ``name`` changed; the same object if nothing changes."""

ABSENT: Final = object()


class NoObjectError(Exception):
    """A path leads through something that has no fields.

    Attributes:
        path: How far it leads.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(".".join(parts))
        self.path = ".".join(parts)


def parts_of(path: str) -> Parts:
    """A path as its names."""
    return tuple(path.split("."))


def edited(value: Any, parts: Parts, edit: Edit, *, makes: bool) -> Any:
    """``value`` with ``edit`` done to every object that has, or is to have, the field.

    Args:
        value: An object, or a list of objects.
        parts: The field's path.
        edit: What is done.
        makes: Whether objects on the way that are not there are made; else there is nothing to do then.

    Returns:
        ``value`` itself if nothing has changed.

    Raises:
        NoObjectError: With ``makes``: something on the way is there and is no object.
    """
    return _edited(value, parts, 0, edit, makes=makes)


def _edited(value: Any, parts: Parts, at: int, edit: Edit, *, makes: bool) -> Any:
    if isinstance(value, list):
        changed = [
            item if isinstance(item, list) and not makes else _in_object(item, parts, at, edit, makes=makes)
            for item in value
        ]
        return value if all(a is b for a, b in zip(changed, value, strict=True)) else changed
    return _in_object(value, parts, at, edit, makes=makes)


def _in_object(value: Any, parts: Parts, at: int, edit: Edit, *, makes: bool) -> Any:
    if not isinstance(value, dict):
        if makes:
            raise NoObjectError(parts[:at])
        return value
    name = parts[at]
    if at == len(parts) - 1:
        return edit(value, name)
    inner = value.get(name)
    if inner is None:
        if not makes:
            return value
        inner = {}
    after = _edited(inner, parts, at + 1, edit, makes=makes)
    return value if after is inner else {**value, name: after}


def removed(value: dict[str, Any], name: str) -> dict[str, Any]:
    """An edit: the object without the field."""
    if name not in value:
        return value
    return {key: kept for key, kept in value.items() if key != name}


def found(value: Any, parts: Parts) -> list[Any]:
    """Every value that the path leads to."""
    values = [value]
    for name in parts:
        holders = [item for one in values for item in (one if isinstance(one, list) else (one,))]
        values = [holder[name] for holder in holders if isinstance(holder, dict) and name in holder]
    return values


def size_within(value: Any, limit: int) -> bool:
    """Whether the value's JSON has at most about ``limit`` bytes; looks no further than that.

    What is shared counts as often as it is written.
    """
    left = limit
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            left -= 2 + (len(one) if one.isascii() else len(one.encode("utf-8", "surrogatepass")))
        elif isinstance(one, dict):
            left -= 2
            for key, inner in one.items():
                left -= len(key) + 4
                waiting.append(inner)
        elif isinstance(one, list | tuple):
            left -= 2 + len(one)
            if left < 0:
                return False
            waiting.extend(one)
        else:
            left -= 4
        if left < 0:
            return False
    return True
