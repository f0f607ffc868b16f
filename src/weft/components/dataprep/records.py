"""JSON and JSON Lines to blocks: each value on a line with its name, lists of records as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from weft.components.dataprep.blocks import Block, Parsed, RefusedError

MAX_DEPTH: Final = 100
"""Levels; data that people keep comes to ten."""

MAX_LABEL: Final = 120
LONG: Final = 200
"""Characters from which a value is a text with sentences, not an entry of a list."""

MAX_COLUMNS: Final = 30
_NAMES: Final = ("title", "name", "label", "id", "key")
"""What a record is called by."""


def parse_json(data: bytes) -> Parsed:
    """The values of a JSON document.

    Raises:
        RefusedError: It is none, or nested too deeply.
    """
    try:
        value = msgspec.json.decode(data)
    except RecursionError as error:
        raise RefusedError(f"it is nested more than {MAX_DEPTH} levels deep") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if data.lstrip()[:1] == b"{" and b"\n" in data.strip():
            try:  # many files called .json have one object on each line
                return parse_json_lines(data)
            except RefusedError:
                pass
        raise RefusedError(f"it is not JSON: {error}") from error
    return _parsed(value)


def parse_json_lines(data: bytes) -> Parsed:
    """The values of a file with one on each line.

    Raises:
        RefusedError: A line is no JSON, or nested too deeply; it is named.
    """
    values = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            values.append(msgspec.json.decode(line))
        except RecursionError as error:
            raise RefusedError(f"line {number:,} is nested more than {MAX_DEPTH} levels deep") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RefusedError(f"line {number:,} is not JSON: {error}") from error
    return _parsed(values)


def _parsed(value: Any) -> Parsed:
    title = value.get("title") if isinstance(value, dict) else None
    return Parsed(list(_blocks(value, "", 0)), title[:500] if isinstance(title, str) and title else None)


def _blocks(value: Any, path: str, depth: int) -> Iterator[Block]:
    if depth > MAX_DEPTH:
        raise RefusedError(f"it is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        yield from _object(value, path, depth)
    elif isinstance(value, list):
        yield from _list(value, path, depth)
    elif _words(value):
        yield Block(_words(value), label=path)


def _object(value: dict[str, Any], path: str, depth: int) -> Iterator[Block]:
    lines: list[str] = []
    for key, found in value.items():
        if _is_short(found):
            if words := _words(found):
                lines.append(f"{key}: {words}")
            continue
        if lines:
            yield Block("\n".join(lines), "table", label=path)
            lines = []
        yield from _blocks(found, _below(path, key), depth + 1)
    if lines:
        yield Block("\n".join(lines), "table", label=path)


def _list(value: list[Any], path: str, depth: int) -> Iterator[Block]:
    if rows := _rows(value):
        yield Block("\n".join(rows), "table", label=path, header_rows=1)
        return
    for number, found in enumerate(value, 1):
        name = (
            next((found[n] for n in _NAMES if _is_short(found.get(n)) and found.get(n)), number)
            if isinstance(found, dict)
            else ""
        )
        yield from _blocks(found, _below(path, _words(name)), depth + 1)


def _rows(value: list[Any]) -> list[str]:
    """A list of records of the same few short fields as a table; empty: it is none."""
    if len(value) < 2 or not all(isinstance(found, dict) for found in value):
        return []
    columns = list(dict.fromkeys(key for found in value[:1_000] for key in found))
    if not 2 <= len(columns) <= MAX_COLUMNS:
        return []
    known = set(columns)
    if not all(known.issuperset(found) and all(map(_is_short, found.values())) for found in value):
        return []
    lines = [" | ".join(_words(found.get(column)) for column in columns) for found in value]
    return [" | ".join(" ".join(column.split()) for column in columns), *lines]


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONG and "\n" not in value
    if isinstance(value, list):
        return len(value) <= 50 and all(not isinstance(v, dict | list) and _is_short(v) for v in value)
    return not isinstance(value, dict)


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value) if not isinstance(value, str) or len(value) > LONG else " ".join(value.split())


def _below(path: str, key: str) -> str:
    step = " ".join(key[:MAX_LABEL].split())
    return f"{path} > {step}"[-MAX_LABEL:] if path else step
