"""What the modules hand back, and how it becomes the README's table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

BEGIN, END = "<!-- results: written by benchmarks/run -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Bar:
    """A figure that has a limit. Modules declare theirs at once, so that none is silently left out.

    Attributes:
        what: In words.
        limit: At most this.
        unit: ``x`` for a ratio.
        value: As measured; None: it could not be, which is no better than missing it.
    """

    what: str
    limit: float
    unit: str = "x"
    value: float | None = None

    def row(self) -> list[str]:
        """As it stands in the table."""
        limit = f"{self.limit:g} {self.unit}"
        if self.value is None:
            return [self.what, "-", limit, "**not measured**"]
        return [self.what, f"{self.value:.3g} {self.unit}", limit, "met" if self.is_met else "**missed**"]

    @property
    def is_met(self) -> bool:
        """Whether the value is within the limit."""
        return self.value is not None and self.value <= self.limit


@dataclass
class Section:
    """One question's answer."""

    title: str
    note: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def measured(self, what: str, value: float | None) -> None:
        """Give a bar that was declared its value."""
        self.bars = [replace(bar, value=value) if bar.what == what else bar for bar in self.bars]

    def markdown(self) -> str:
        """The section of the README."""
        return "\n\n".join([f"### {self.title}", self.note, _table(self.columns, self.rows)])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """The machine in one line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or "unknown processor",
    )
    memory = next(
        (int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    return (
        f"{os.cpu_count()} cores of {model}, {memory / 2**20:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def render(sections: Sequence[Section], *, rounds: int, seconds: float, date: str) -> str:
    """All results in Markdown."""
    bars = [bar for section in sections for bar in section.bars]
    summary = _table(["what", "measured", "at most", ""], [bar.row() for bar in bars])
    head = f"Measured {date} on {machine()}; medians of {rounds} rounds of {seconds:g} s."
    return "\n\n".join([head, summary, *(section.markdown() for section in sections)])


def write(readme: Path, text: str) -> None:
    """Put the results between the markers."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
