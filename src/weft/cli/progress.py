"""Progress of long work: bars on a terminal, a line at each start and end elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from weft.models.progress import Progress

WORDS = {"download": "Downloading", "verify": "Verifying", "prepare": "Preparing"}


class ProgressBars:
    """Shows the progress of fetching models."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._bars: Any = None
        self._tasks: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, progress: Progress) -> None:
        """Show how far one model is."""
        key = (progress.name, progress.phase)
        words = f"{WORDS.get(progress.phase, progress.phase)} {progress.name}"
        if key not in self._tasks:
            if not self._console.is_terminal:
                total = f" ({progress.total_bytes / 1e6:.0f} MB)" if progress.total_bytes else ""
                self._console.print(f"{words}{total}")
                self._tasks[key] = None
                return
            self._tasks[key] = self._started().add_task(words, total=progress.total_bytes)
        if (task := self._tasks[key]) is not None:
            self._bars.update(task, completed=progress.done_bytes, total=progress.total_bytes)

    def _started(self) -> Any:
        if self._bars is None:
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bars.start()
        return self._bars

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._console.print(line)
