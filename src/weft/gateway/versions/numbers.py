"""Version numbers: their order, and which of several a shorter one means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

V = TypeVar("V")


def order(version: str) -> tuple[Any, ...]:
    """A key that sorts versions; a preliminary one (``2.0.0-rc.1``) comes before its release.

    Source: Semantic Versioning 2.0.0, section 11.
    """
    release, hyphen, preliminary = version.partition("-")
    numbers = [int(part) for part in release.split(".") if part.isdecimal()]
    padded = tuple(numbers + [0] * (3 - len(numbers)))
    parts = tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in preliminary.split(".") if part
    )
    return padded, not hyphen, parts


def fits(version: str, wanted: str) -> bool:
    """Whether ``wanted``, whole or a leading part (``2``, ``2.0``), means ``version``."""
    return version == wanted or (version.startswith(f"{wanted}.") and is_version(wanted))


def is_version(text: str) -> bool:
    """Whether it is a version, or a leading part of one."""
    return re.fullmatch(r"[0-9]+(\.[0-9]+){0,2}(-[0-9A-Za-z.-]+)?", text) is not None


def newest(versions: Iterable[str], wanted: str) -> str | None:
    """The highest of those that ``wanted`` means."""
    return max((version for version in versions if fits(version, wanted)), key=order, default=None)
