"""What a reply cost, on its way to another process: in the reply itself, or in a header where it has no field for that."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from weft.context import Context
from weft.types import Usage

USAGE_HEADER: Final = "x-weft-usage"
"""``prompt,completion`` tokens that a reply cost whose contract has no field for them."""


def costed(response: Any, context: Context, *, has_field: bool) -> Any:
    """The response with all that it cost in it, where it has a field for that and its component has asked others."""
    tally = context.tally
    if tally is None or not has_field:
        return response
    tally.add(response.usage)
    return response if tally.total is response.usage else replace(response, usage=tally.total)


def header_of(context: Context) -> tuple[tuple[str, str], ...]:
    """The header of a reply that has no field; none where nothing was counted."""
    total = context.tally.total if context.tally is not None else None
    if total is None:
        return ()
    return ((USAGE_HEADER, f"{total.prompt_tokens},{total.completion_tokens}"),)


def read_header(value: str) -> Usage | None:
    """What a reply's header says; None for what is no such header."""
    parts = value.split(",")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        return None
    asked, answered = int(parts[0]), int(parts[1])
    return Usage(asked, answered, asked + answered)
