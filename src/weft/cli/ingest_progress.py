"""How far ``weft ingest`` is: a bar on a terminal, a line for each file elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import click

MIN_PART = 0.01
"""Of everything, before which nothing is said of the time that is left."""


class IngestProgress:
    """Shows files, pages a minute and the time left.

    Args:
        files: How many there are.
        weight: Their bytes.
        quiet: Show nothing.

    Attributes:
        pages: Pages that are in.
    """

    def __init__(self, files: int, weight: int, *, quiet: bool) -> None:
        from rich.console import Console

        self._files, self._weight = files, weight + files
        self._console = Console(stderr=True, highlight=False)
        self._is_bar = not quiet and self._console.is_terminal
        self._is_list = not quiet and not self._is_bar
        self._bars: Any = None
        self._task: Any = None
        self._begun = time.monotonic()
        self._ended, self._done = 0, 0.0
        self.pages = 0

    def __enter__(self) -> Self:
        if self._is_bar:
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.fields[files]}"),
                BarColumn(bar_width=16),
                TextColumn("{task.fields[pace]}"),
            )
            self._bars = Progress(*columns, console=self._console, transient=True)
            self._bars.start()
            self._task = self._bars.add_task("", total=self._weight, files=self._count(), pace="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def ended(self, outcomes: Iterable[dict[str, Any]], *, weight: int, at_work: Sequence[str] = ()) -> None:
        """Some files have ended, or others have come further."""
        for outcome in outcomes:
            self._ended += 1
            self._done += 1
            if self._is_list:
                click.echo(f"[{self._ended}/{max(self._files, self._ended)}] {line(outcome)}")
            elif self._bars is not None and outcome["outcome"] not in ("ingested", "unchanged"):
                self._bars.console.print(line(outcome), markup=False)
        self._done += weight
        if self._bars is not None:
            self._bars.update(self._task, completed=self._done, files=self._count(), pace=self._pace(at_work))

    def _count(self) -> str:
        return f"{self._ended}/{max(self._files, self._ended)} files"

    def _pace(self, at_work: Sequence[str]) -> str:
        elapsed_s = time.monotonic() - self._begun
        parts = []
        if self.pages:
            parts.append(f"{60 * self.pages / elapsed_s:.0f} pages a minute")
        part = self._done / self._weight
        if MIN_PART < part < 1:
            parts.append(f"{duration(elapsed_s * (1 - part) / part)} left")
        if at_work:
            name = at_work[0]
            parts.append(name if len(name) <= 20 else f"...{name[-17:]}")
        return ", ".join(parts)


def line(outcome: dict[str, Any]) -> str:
    """``name outcome: reason``."""
    reason = f": {outcome['reason']}" if outcome.get("reason") else ""
    return f"{outcome['name']} {outcome['outcome']}{reason}"


def duration(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
