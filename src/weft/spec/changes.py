"""What is wrong with a transformation whatever it transforms: fields that get in each other's way, headers that are not its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from weft.spec.gateway import HeadersSpec, TransformSpec
from weft.spec.problems import Problems

MAX_NAMES: Final = 16
"""Of a field's path: deeper than any request, far from where recursion ends."""

OWN_HEADERS: Final = frozenset(
    {
        "connection", "content-encoding", "content-length", "content-type", "date", "host", "keep-alive", "te", "trailer",
        "transfer-encoding", "upgrade", "x-request-id",
    }
)  # fmt: skip
"""Headers that the gateway reads or writes itself, before or after a route's changes."""

OWN_PREFIX: Final = "x-weft-"
"""How the headers begin in which Weft's processes speak to each other."""


def check_transform(spec: TransformSpec, problems: Problems) -> None:
    """Check what no single key of a transformation shows."""
    _lengths(spec, problems)
    _overlaps(spec, problems)
    _contradictions(spec, problems)
    for name, bounds in spec.clamp.items():
        mark = spec.marks.value("clamp", name)
        if len(bounds) != 2 and "clamp" in spec.marks.faulty:
            continue  # one of them was no number, and is left out
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            problems.add(
                "bad-value",
                f"the bounds of '{name}' are two numbers, the least first",
                mark,
                help="max_tokens: [1, 2048]",
            )
        elif name in spec.defaults:
            value = spec.defaults[name]
            if isinstance(value, bool) or not isinstance(value, int | float):
                message = f"'{name}' is a number, for it has bounds, and this default is none"
                problems.add("wrong-type", message, spec.marks.value("defaults", name))
            elif not bounds[0] <= value <= bounds[1]:
                message = (
                    f"the default {value} is not within the bounds of '{name}', {bounds[0]} to {bounds[1]}"
                )
                problems.add("bad-value", message, spec.marks.value("defaults", name))


def _lengths(spec: TransformSpec, problems: Problems) -> None:
    for key in ("set", "template", "rename", "defaults", "clamp"):
        table = getattr(spec, "set_" if key == "set" else key)
        for path in table:
            if path.count(".") >= MAX_NAMES:
                message = f"a field's path has at most {MAX_NAMES} names"
                problems.add("too-large", message, spec.marks.key(key, path))
    for old, new in spec.rename.items():
        if new.count(".") >= MAX_NAMES:
            message = f"a field's path has at most {MAX_NAMES} names"
            problems.add("too-large", message, spec.marks.value("rename", old))
    for index, path in enumerate(spec.remove):
        if path.count(".") >= MAX_NAMES:
            message = f"a field's path has at most {MAX_NAMES} names"
            problems.add("too-large", message, spec.marks.value("remove", index))


def _overlaps(spec: TransformSpec, problems: Problems) -> None:
    """Fields within each other under one key: which comes first would count, and their order does not."""
    for path in spec.template:
        if path in spec.set_:
            problems.add(
                "conflicting-keys",
                f"'{path}' is set by an expression and by a template: one of them",
                spec.marks.key("template", path),
            )
    made = [("set", path) for path in spec.set_] + [("template", path) for path in spec.template]
    for written in (
        made,
        [("defaults", path) for path in spec.defaults],
        [("clamp", path) for path in spec.clamp],
    ):
        paths = [path for _, path in written]
        for key, path in written:
            if (outer := _outer(path, paths)) is not None:
                problems.add(
                    "conflicting-keys",
                    f"'{path}' is within '{outer}', which is here too: which of them is done first would count",
                    spec.marks.key(key, path),
                )
    news = list(spec.rename.values())
    for old, new in spec.rename.items():
        if old in news or _outer(old, [*spec.rename, *news]) is not None:
            problems.add(
                "conflicting-keys",
                f"'{old}' is what another field becomes, or within one: which is renamed first would count",
                spec.marks.key("rename", old),
            )
        elif news.count(new) > 1 or _outer(new, [*spec.rename, *news]) is not None:
            problems.add(
                "conflicting-keys",
                f"'{new}' is what another field becomes, or within one: which is renamed first would count",
                spec.marks.value("rename", old),
            )


def _outer(path: str, others: Iterable[str]) -> str | None:
    """Which of the others ``path`` lies within."""
    return next((other for other in others if path.startswith(f"{other}.")), None)


def _contradictions(spec: TransformSpec, problems: Problems) -> None:
    """What one key does and the next undoes."""
    made = {**spec.set_, **spec.template}
    for old, new in spec.rename.items():
        if new in made:
            message = f"'{new}' is set, and then replaced by '{old}'"
            problems.add("conflicting-keys", message, spec.marks.value("rename", old))
    for index, path in enumerate(spec.remove):
        mark = spec.marks.value("remove", index)
        if path in spec.remove[:index]:
            problems.add("duplicate-name", f"'{path}' is removed twice", mark)
        elif path in made:
            problems.add("conflicting-keys", f"'{path}' is set, and then removed", mark)
        elif path in spec.rename:
            message = f"'{path}' has another name by then: '{spec.rename[path]}'"
            problems.add("conflicting-keys", message, mark)
        elif path in spec.rename.values():
            problems.add(
                "conflicting-keys", f"'{path}' is what a field is renamed to, and then removed", mark
            )


def check_headers(spec: HeadersSpec, problems: Problems) -> None:
    """Check what no single key of ``headers:`` shows."""
    seen: dict[str, str] = {}
    for name, value in spec.set_.items():
        mark = spec.marks.key("set", name)
        if (first := seen.setdefault(name.lower(), name)) is not name:
            problems.add("duplicate-name", f"'{name}' is '{first}' in other letters", mark)
        _own(name, mark_of=("set", name), spec=spec, problems=problems)
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            message = f"the value of '{name}' has a character that no header can have"
            problems.add("bad-value", message, spec.marks.value("set", name))
    for index, name in enumerate(spec.remove):
        _own(name, mark_of=("remove", index), spec=spec, problems=problems)
        if name.lower() in seen:
            message = f"'{name}' is set as well, which takes the place of what was there"
            problems.add("conflicting-keys", message, spec.marks.value("remove", index))


def _own(name: str, *, mark_of: tuple[str, str | int], spec: HeadersSpec, problems: Problems) -> None:
    if name.lower() in OWN_HEADERS or name.lower().startswith(OWN_PREFIX):
        mark = spec.marks.key(*mark_of) if mark_of[0] == "set" else spec.marks.value(*mark_of)
        problems.add("reserved-name", f"'{name}' is the gateway's own header", mark)
