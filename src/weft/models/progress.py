"""How far the work on a model is, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Phase = Literal["download", "verify", "prepare"]

REPORT_EVERY_BYTES: Final = 1 << 20
"""Progress is reported no finer than this: a terminal shows nothing smaller."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work on one model is.

    Attributes:
        name: The reference that was asked for.
        phase: What is being done; each phase starts again from 0.
        done_bytes: So far; goes back when a download has to start again.
        total_bytes: In this phase; None while it is not known.
    """

    name: str
    phase: Phase
    done_bytes: int
    total_bytes: int | None


class Meter:
    """Turns counts of bytes into :class:`Progress`."""

    def __init__(self, name: str, on_progress: Callable[[Progress], None] | None) -> None:
        self._name, self._on_progress = name, on_progress
        self._phase: Phase = "download"
        self._done = self._reported = 0
        self._total: int | None = None

    def phase(self, phase: Phase, total_bytes: int | None) -> None:
        """A new phase begins, of ``total_bytes`` if that is known."""
        self._phase, self._total, self._done = phase, total_bytes, 0
        self._report()

    def total(self, total_bytes: int) -> None:
        """The size of this phase has become known."""
        self._total = total_bytes

    def add(self, count: int) -> None:
        """So many bytes more are done; negative: so many were thrown away."""
        self._done += count
        if abs(self._done - self._reported) >= REPORT_EVERY_BYTES or self._done == self._total:
            self._report()

    def _report(self) -> None:
        self._reported = self._done
        if self._on_progress is not None:
            self._on_progress(Progress(self._name, self._phase, self._done, self._total))
