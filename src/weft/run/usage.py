"""Token counts of one run: what every node and every call through ``uses:`` reports, each report once."""

from __future__ import annotations

from contextvars import ContextVar

from weft.types import Usage


class Tally:
    """Adds usages up.

    A component may hand on the very usage that it was given (a reply made from an answer): the same object counts once.
    """

    __slots__ = ("_seen", "total")

    def __init__(self) -> None:
        self.total: Usage | None = None
        self._seen: list[Usage] = []

    def add(self, usage: Usage | None) -> None:
        """Count a report, unless it is one that was counted."""
        if usage is None:
            return
        for seen in self._seen:
            if seen is usage:
                return
        self._seen.append(usage)
        self.total = usage if self.total is None else self.total + usage


tally: ContextVar[Tally | None] = ContextVar("weft_tally", default=None)
"""Where the running task's token counts go; every run has its own, and hands its total to the one around it."""
