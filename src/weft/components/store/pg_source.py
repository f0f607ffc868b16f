"""Where passages are in a PostgreSQL database, as SQL: our own tables, or someone else's columns.

Names come from the operator's configuration only, are checked, and are quoted. Whatever a request brings is bound as a
parameter; it is never part of a statement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from weft.components.store.conditions import Filters, Scope
from weft.errors import ComponentError

MAX_ALTERNATIVES: Final = 16
"""Values of one filter that are written out, so that an index answers them; more are compared row by row."""

_NAME: Final = re.compile(r'[^\x00"]{1,63}')
_encode = msgspec.json.Encoder().encode


def quoted(name: str, what: str) -> str:
    """A name as an SQL identifier.

    Raises:
        ComponentError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise ComponentError(
            f"pgvector: {what} {name!r} is no name of PostgreSQL (1 to 63 characters, no quotes)"
        )
    return f'"{name}"'


def quoted_path(name: str, what: str) -> str:
    """A table's name, with or without its schema, as SQL."""
    return ".".join(quoted(part, what) for part in name.split("."))


class Values(list[Any]):
    """The values of a statement; :meth:`add` gives the place that stands for one."""

    def add(self, value: Any) -> str:
        """Bind a value."""
        self.append(value)
        return f"${len(self)}"


@dataclass(frozen=True)
class Source:
    """A relation that has passages, by SQL expressions over its row ``p``.

    Attributes:
        relation: The table.
        key: What tells one row from another.
        embedding, embedding_type: The vector, and ``vector`` or ``halfvec``.
        words: The ``tsvector``.
        length: How many words the text has.
        tenant, collection, readers: Columns; None: all rows are of ``owner``, in the default collection, for everyone.
        columns: Columns that a filter can name.
        fields: A ``jsonb`` object whose names a filter can name.
        language: PostgreSQL's text search configuration that ``words`` were made with; None: they are our own terms.
    """

    relation: str
    key: str
    embedding: str
    words: str
    length: str
    embedding_type: str = "vector"
    tenant: str | None = None
    collection: str | None = None
    readers: str | None = None
    owner: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    fields: str | None = None
    language: str | None = None

    def where(self, scope: Scope, filters: Filters, values: Values, *, readable: bool = True) -> str:
        """The condition that a row is of this tenant and collection, may be read by the caller, and fits."""
        parts = [
            _equals(self.tenant, scope.tenant, self.owner, values),
            _equals(self.collection, scope.collection, "", values),
        ]
        if self.readers is not None and readable:
            groups = values.add(scope.readers or [])
            parts.append(f"({self.readers} IS NULL OR {self.readers}::text[] && {groups}::text[])")
        parts += [self._fits(name, allowed, values) for name, allowed in filters.items()]
        return " AND ".join(parts)

    def _fits(self, name: str, allowed: list[Any], values: Values) -> str:
        """One metadata value is equal to one of those allowed, or is a list that has one."""
        if (column := self.columns.get(name)) is not None:
            given = values.add([_text(value) for value in allowed])
            return f"to_jsonb({column}) @> ANY({given}::text[]::jsonb[])"
        if self.fields is None:
            return "FALSE"
        if len(allowed) > MAX_ALTERNATIVES:
            given = values.add([_text(value) for value in allowed])
            return f"({self.fields} -> {values.add(name)}::text) @> ANY({given}::text[]::jsonb[])"
        # Whole objects on the right: the form that an index on the column can answer.
        shapes = [{name: shape} for value in allowed for shape in (value, [value])]
        either = [f"{self.fields} @> {values.add(_text(shape))}::text::jsonb" for shape in shapes]
        return f"({' OR '.join(either) or 'FALSE'})"


def _equals(column: str | None, wanted: str, constant: str, values: Values) -> str:
    if column is not None:
        return f"{column} = {values.add(wanted)}::text"
    return "TRUE" if wanted == constant else "FALSE"


def _text(value: Any) -> str:
    return _encode(_without_nul(value)).decode()


def _without_nul(value: Any) -> Any:
    """PostgreSQL's JSON cannot have the character 0: it is compared as the replacement character."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value


def json_text(value: Any) -> str:
    """A value as JSON that PostgreSQL takes."""
    return _text(value)


def tsvector(text: list[str], heading: list[str]) -> str:
    """Terms as a ``tsvector`` literal: those of the text without a label, those of the heading labelled C."""
    places: dict[str, list[str]] = {}
    for label, terms in (("", text), ("C", heading)):
        for position, term in enumerate(terms, 1):
            # PostgreSQL keeps 255 places of a word, and none beyond 16,383.
            if len(at := places.setdefault(term, [])) < 200:
                at.append(f"{min(position, 16_383)}{label}")
    return " ".join(f"{_lexeme(term)}:{','.join(at)}" for term, at in places.items())


def tsquery(terms: list[str]) -> str:
    """A ``tsquery`` literal that any of the terms fits."""
    return " | ".join(_lexeme(term) for term in terms)


def _lexeme(term: str) -> str:
    escaped = term.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
