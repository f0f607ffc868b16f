"""The tables of one part of Weft, version by version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from weft.errors import StateError


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables that belong together, and how they came to be what they are.

    The statements are for both databases: types are ``TEXT``, ``BIGINT`` and ``DOUBLE PRECISION`` (times are seconds
    since 1970), lists and objects are JSON in ``TEXT``. A step that was released is never changed: a change is a new step.

    Attributes:
        name: Of the part: ``keys``. Its tables begin with ``weft_``.
        steps: What leads from each version to the next, each a sequence of statements; the version of a database is
            the number of steps that it has had.
    """

    name: str
    steps: tuple[tuple[str, ...], ...]


BASE: Final = Schema(
    "base",
    (("CREATE TABLE weft_counters(name TEXT PRIMARY KEY, number BIGINT NOT NULL)",),),
)
"""What every database has: see :func:`weft.store.database.next_number`."""

VERSIONS: Final = "CREATE TABLE IF NOT EXISTS weft_schemas(name TEXT PRIMARY KEY, version BIGINT NOT NULL)"
"""Keeps the version of each schema."""


def steps_from(schema: Schema, version: int, place: str) -> Iterable[str]:
    """The statements that are still to be run where ``schema`` has this version.

    Raises:
        StateError: A newer Weft has been there.
    """
    if version > len(schema.steps):
        raise StateError(
            f"{place} was written by a newer version of Weft ({schema.name}: schema {version}; this version knows up "
            f"to {len(schema.steps)})",
            hint="update Weft, or use another data folder or database; nothing was changed",
        )
    for step in schema.steps[version:]:
        yield from step
