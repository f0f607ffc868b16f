"""What a search asks of the passages' table: its words and its conditions, as SQLite takes them.

Every value is bound, never written into the SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.errors import InvalidRequestError
from weft.text import STOP_WORDS, words

_encode = msgspec.json.Encoder().encode

MAX_QUERY_TERMS: Final = 64
"""Words of a question that are looked up; more would make one search arbitrarily dear."""

Filters = dict[str, list[str | int | float | bool]]
"""Metadata that passages must have: each name with the values that it may have."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose passages, and who asks.

    Attributes:
        readers: Groups of the caller; None reads only what everyone may.
    """

    tenant: str
    collection: str
    readers: list[str] | None = None


def match_expression(query: str) -> str:
    """A question as an FTS5 expression that finds any of its words: each quoted, so that none is an operator."""
    asked = list(dict.fromkeys(word.removesuffix("'s") for word in words(query)))
    telling = [word for word in asked if word not in STOP_WORDS] or asked
    return " OR ".join(f'"{word}"' for word in telling[:MAX_QUERY_TERMS])


def readable(scope: Scope) -> tuple[str, list[Any]]:
    """The condition that a passage is of this tenant and collection and may be read by the caller, and its values."""
    groups = _encode(scope.readers or []).decode()
    condition = (
        "tenant = ? AND collection = ? AND (readers IS NULL OR EXISTS ("
        "SELECT 1 FROM json_each(passages.readers) r WHERE r.value IN (SELECT value FROM json_each(?))))"
    )
    return condition, [scope.tenant, scope.collection, groups]


def choices(filters: dict[str, Any] | None) -> Filters:
    """A request's filter, checked: each name with the values that it may have.

    Raises:
        InvalidRequestError: A value is neither a text, a number, a boolean nor a list of them.
    """
    checked: Filters = {}
    for name, wanted in (filters or {}).items():
        field_path(name)
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if not all(isinstance(value, str | int | float) for value in allowed):
            raise InvalidRequestError(
                f"metadata '{name}' is filtered by a text, a number, a boolean or a list of them",
                param="filter",
            )
        checked[name] = allowed
    return checked


def conditions(filters: Filters) -> tuple[str, list[str]]:
    """SQL for metadata equality. A list among the metadata fits when one of its elements does."""
    condition = (
        " AND EXISTS (SELECT 1 FROM json_each(passages.fields, ?) m WHERE EXISTS (SELECT 1 FROM json_each(?) w"
        " WHERE m.value = w.value AND (m.type IN ('true', 'false')) = (w.type IN ('true', 'false'))))"
    )
    values = [
        part
        for name, allowed in filters.items()
        for part in (f"$.{field_path(name)}", _encode(allowed).decode())
    ]
    return condition * len(filters), values


def field_path(name: str) -> str:
    """A metadata name as a quoted path element, which SQLite and the vector index write alike.

    Raises:
        InvalidRequestError: It cannot be quoted.
    """
    if not name or '"' in name or "\\" in name:
        raise InvalidRequestError(f"metadata cannot be filtered by the name {name!r}", param="filter")
    return f'"{name}"'
