"""Spec -> YAML that loads as the same spec, the same text for the same spec on every machine.

The text is written here and not by the YAML library: few forms are needed, and no release of a library changes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from weft.spec.model import Spec
from weft.spec.plain import Quoted, documents, plain_document
from weft.spec.problems import NOWHERE
from weft.spec.tree import Scalar, scalar_value

_LINE: Final = 100
"""A mapping or list that fits into so many characters is written on one line."""


def to_yaml(spec: Spec) -> str:
    """A spec as one YAML text; marks and comments are not in it.

    Raises:
        UsageError: The spec holds something that cannot be written.
    """
    return "---\n".join(emit(plain_document(document)) for document in documents(spec))


def emit(document: dict[str, Any]) -> str:
    """One document as YAML: its tables an entry a line, and longer entries a key a line."""
    return "".join(f"{line}\n" for line in _mapping(document, is_document=True))


def _mapping(mapping: dict[str, Any], *, is_document: bool = False) -> Iterator[str]:
    """The lines of a mapping in block style."""
    for key, value in mapping.items():
        name = scalar(key)
        is_table = (
            is_document and isinstance(value, dict) and any(isinstance(v, dict) for v in value.values())
        )
        line = f"{name}: {_flow(value) if isinstance(value, dict | list) else scalar(value, in_flow=False)}"
        if not isinstance(value, dict | list) or not value or (len(line) <= _LINE and not is_table):
            yield line
        else:
            yield f"{name}:"
            yield from (
                f"  {inner}" for inner in (_mapping(value) if isinstance(value, dict) else _list(value))
            )


def _list(items: list[Any]) -> Iterator[str]:
    """The lines of a list in block style."""
    for item in items:
        line = f"- {_flow(item)}"
        if not isinstance(item, dict | list) or not item or len(line) <= _LINE:
            yield line
            continue
        for index, inner in enumerate(_mapping(item) if isinstance(item, dict) else _list(item)):
            yield f"{'  ' if index else '- '}{inner}"


def _flow(value: Any) -> str:
    """A value on one line, in braces and brackets."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return scalar(value)


_PLAIN = re.compile(r"[A-Za-z_./][^:#,\[\]{}\\]*")
"""Text that may stand without quotes anywhere, if it is also printable and looks like nothing else."""

_PLAIN_IN_BLOCK = re.compile(r"[A-Za-z_./][^:#\\]*")

_OTHER_WORDS = frozenset("y n yes no on off true false null".split())  # noqa: SIM905 - reads better
"""What some reader of YAML takes for something else than text, in lower case."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def scalar(value: str | float | bool | None, *, in_flow: bool = True) -> str:
    """A single value as it is written, in quotes only where it must be."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            text = repr(value)
            return text if "." in text else text.replace("e", ".0e")  # YAML 1.1 wants the dot
    if not isinstance(value, Quoted) and _may_be_plain(value, _PLAIN if in_flow else _PLAIN_IN_BLOCK):
        return str(value)
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(ord(c))) for c in value) + '"'


def _may_be_plain(text: str, form: re.Pattern[str]) -> bool:
    return (
        form.fullmatch(text) is not None
        and text.isprintable()
        and not text.endswith(" ")
        and text.lower() not in _OTHER_WORDS
        and not text.startswith(("...", "---"))
        and isinstance(scalar_value(Scalar(text, None, NOWHERE)), str)
    )


def _escape(point: int) -> str:
    if point > 0xFFFF:
        return f"\\U{point:08X}"
    return f"\\u{point:04X}" if point > 0xFF else f"\\x{point:02X}"
