"""How many requests run at a time: as the file says, or as many as the backend's latency shows it can take.

The number that a backend can take is the one beyond which more requests only make all of them slower. It is found by
looking: in each *window* (so many requests that began and ended in it) the median latency is compared with that of a
quiet backend. Up to :data:`TOLERANCE` times as long, the number grows if it was what held requests back; beyond, it
shrinks in proportion. What a quiet backend takes cannot be seen while it is kept busy: therefore every so often a window
is run with a quarter of the number, and what is seen then is what is compared with.
"""

from __future__ import annotations

from statistics import median
from typing import Final, Protocol

START: Final = 8
"""Before anything is known: a small model server on a CPU takes one or two, a large one some hundred."""

MOST: Final = 1000
"""More than any backend serves at a time."""

TOLERANCE: Final = 2.0
"""A backend with as much waiting inside as being served is never idle, and nobody waits there for long."""

SAMPLES: Final = 8
"""A window has at least so many requests, and half of the number at least: one slow request makes no trend."""

QUICK_GROWTH: Final = 1.5
"""Until the first time that it was too much."""

GROWTH: Final = 1.1
SHRINK_MOST: Final = 0.5
REFUSED_SHARE: Final = 0.1
"""Of a window's requests: if the backend itself refuses more, it has too much to do. Fewer may have other reasons."""

REFUSED_SHRINK: Final = 0.9
"""After such a window."""

LOOK: Final = 4
"""Into how many parts the number is divided for a look at the quiet backend."""

LOOKS_BETWEEN: Final = (3, 6, 12, 24)
"""Windows before the first, second, ... look; the last number holds from then on: one window in 25 costs 3 %."""

DRIFT: Final = 0.1
"""How far the latency of a quiet backend follows a window in which nobody was held back."""


class Concurrency(Protocol):
    """A number of requests that may run at a time.

    Attributes:
        now: The number.
        era: What a request is given when it begins, and hands back with its latency.
    """

    now: int
    era: int

    def ended(self, latency_s: float | None, era: int, *, was_full: bool, was_refused: bool) -> None:
        """A request has its reply, or the first part of it.

        Args:
            latency_s: How long that took; None: it failed or was given up, and says nothing.
            era: Of when it began.
            was_full: Whether nobody else could begin while it ran.
            was_refused: Whether the backend said that it has too much to do, or did not answer in time.
        """
        ...


class Fixed:
    """As the file says."""

    def __init__(self, number: int) -> None:
        self.now, self.era = number, 0

    def ended(self, latency_s: float | None, era: int, *, was_full: bool, was_refused: bool) -> None:
        """See :class:`Concurrency`: nothing is learnt."""


class Adaptive:
    """As many as the latency shows; see the module.

    Attributes:
        quiet_s: The latency of the quiet backend, as far as it is known; 0: not yet.
    """

    def __init__(self, *, start: int = START, most: int = MOST) -> None:
        self.now, self.era = start, 0
        self.quiet_s = 0.0
        self._most = most
        self._number = float(start)
        self._samples: list[float] = []
        self._was_full = self._has_been_too_much = self._is_looking = False
        self._refused = self._windows = self._looks = 0

    def ended(self, latency_s: float | None, era: int, *, was_full: bool, was_refused: bool) -> None:
        """See :class:`Concurrency`."""
        self._was_full = self._was_full or was_full
        if era != self.era:
            return  # it began under another number
        if was_refused:
            self._refused += 1
        elif latency_s is not None:
            self._samples.append(latency_s)
        else:
            return
        if len(self._samples) + self._refused >= max(SAMPLES, self.now // 2):
            self._settle(median(self._samples) if self._samples else None)

    def _settle(self, middle_s: float | None) -> None:
        """A window has ended."""
        if self._is_looking and middle_s is not None:
            self.quiet_s = middle_s
            self._is_looking = False
        elif middle_s is not None:
            self._compare(middle_s)
        if self._refused > REFUSED_SHARE * (self._refused + len(self._samples)):
            self._has_been_too_much = True
            self._number = max(1.0, self._number * REFUSED_SHRINK)
        self._windows += 1
        wanted = LOOKS_BETWEEN[min(self._looks, len(LOOKS_BETWEEN) - 1)]
        if self._has_been_too_much and self._was_full and self._windows > wanted:
            self._is_looking, self._windows = True, 0
            self._looks += 1
        self._begin()

    def _compare(self, middle_s: float) -> None:
        if not self.quiet_s or middle_s < self.quiet_s:
            self.quiet_s = middle_s
        ratio = middle_s / self.quiet_s if self.quiet_s else 1.0
        if ratio > TOLERANCE:
            self._has_been_too_much = True
            self._number = max(1.0, self._number * max(SHRINK_MOST, TOLERANCE / ratio))
        elif not self._was_full:
            self.quiet_s += (middle_s - self.quiet_s) * DRIFT
        else:
            growth = GROWTH if self._has_been_too_much else QUICK_GROWTH
            self._number = min(float(self._most), max(self._number + 1.0, self._number * growth))

    def _begin(self) -> None:
        """A new window, under a new number."""
        self.now = max(1, int(self._number) // LOOK if self._is_looking else int(self._number))
        self.era += 1
        self._samples = []
        self._was_full, self._refused = False, 0
