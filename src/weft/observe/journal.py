"""The journal: every step that starts, gives its first output and ends is one tuple in a bounded ring.

A step is a run of a megaservice, a node of it, an attempt, one element of ``each``, or a call through ``uses:``. Writing
is one ``deque.append`` of a plain tuple: no formatting, no lock, nothing that waits (measured: 0.1 µs to 0.2 µs an
event, the clock included). Reading puts the tuples of one run together. ``Journal.off()`` takes the same calls and keeps
nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeAlias

STARTED: Final = "started"
FIRST: Final = "first"
OK: Final = "ok"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
CANCELLED: Final = "cancelled"
SUSPENDED: Final = "suspended"
"""Waits for something outside (a person's approval): nothing does yet, and readers know the word from the start."""

ENDINGS: Final = frozenset({OK, FAILED, SKIPPED, CANCELLED})
"""Statuses after which a step has no further events."""

CAPACITY: Final = 16_384
"""Events kept: some 4 MB, the last thousand requests of a graph of eight nodes."""

Event: TypeAlias = tuple[int, int, int, str, str, str, int, int, int, Any]
"""``(run, step, parent, status, name, service, attempt, iteration, time_ns, detail)``.

``name`` is the node's, the parameter of ``uses:``, or the megaservice's; ``service`` is empty for the latter. ``attempt``
and ``iteration`` count from 0. ``time_ns`` is the monotonic clock. ``detail``: the request id when a run starts, an
error's code when a step fails, else None.
"""


@dataclass(slots=True)
class Step:
    """One step put together from its events; times are wall-clock nanoseconds, None where the event is not there.

    Attributes:
        status: Of its last event; ``started`` or ``first`` is a step that still runs.
        detail: The request id of a run, the code of an error.
    """

    run: int
    id: int
    parent: int
    name: str
    service: str
    attempt: int
    iteration: int
    status: str
    started_ns: int | None = None
    first_ns: int | None = None
    ended_ns: int | None = None
    detail: Any = None
    children: list[Step] = field(default_factory=list, repr=False)

    @property
    def elapsed_s(self) -> float | None:
        """From start to end; None while one of them is unknown."""
        if self.started_ns is None or self.ended_ns is None:
            return None
        return (self.ended_ns - self.started_ns) / 1e9


class Journal:
    """A bounded ring of events.

    Args:
        capacity: Events kept; the oldest go first.
        now_ns: The monotonic clock that the events' times are of.
        wall_ns: The clock on the wall, read once: readers are given its time.

    Attributes:
        record: Takes one :data:`Event`.
        new_run, new_step: The next id of a run, of a step; unique in this process, from 1.
        is_on: Whether events are kept.
    """

    def __init__(
        self,
        *,
        capacity: int = CAPACITY,
        now_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._offset_ns = wall_ns() - now_ns()
        # The bound methods themselves: a wrapper would double the cost of an event.
        self.record: Callable[[Event], None] = self._events.append
        self.new_run: Callable[[], int] = count(1).__next__
        self.new_step: Callable[[], int] = count(1).__next__
        self.is_on = True

    @classmethod
    def off(cls) -> Journal:
        """A journal that keeps nothing (``journal: off``)."""
        journal = cls(capacity=0)
        journal.record = _forget
        journal.is_on = False
        return journal

    def __len__(self) -> int:
        return len(self._events)

    def events(self, run: int | None = None) -> list[Event]:
        """The events that are still there, oldest first; of one run or of all."""
        everything = list(self._events)
        return everything if run is None else [event for event in everything if event[0] == run]

    def steps(self, run: int) -> list[Step]:
        """The steps of one run, in the order in which they started."""
        return put_together(self.events(run), self._offset_ns)

    def tree(self, run: int) -> list[Step]:
        """The steps of one run under their parents; several roots if the ring has lost the first."""
        steps = self.steps(run)
        by_id = {step.id: step for step in steps}
        roots: list[Step] = []
        for step in steps:
            parent = by_id.get(step.parent)
            (parent.children if parent is not None else roots).append(step)
        return roots

    def runs(self, limit: int = 50) -> list[Step]:
        """The last runs (their own steps, without those below), newest first."""
        found = [step for step in put_together(self.events(), self._offset_ns) if not step.service]
        return found[: -limit - 1 : -1]


def _forget(_event: Event) -> None:
    """What ``record`` is when the journal is off."""


def put_together(events: Iterable[Event], offset_ns: int = 0) -> list[Step]:
    """Fold events into steps; one whose start is lost has what its other events say."""
    steps: dict[int, Step] = {}
    for run, id_, parent, status, name, service, attempt, iteration, time_ns, detail in events:
        step = steps.get(id_)
        if step is None:
            step = steps[id_] = Step(run, id_, parent, name, service, attempt, iteration, status)
        step.status = status
        if detail is not None:
            step.detail = detail
        at_ns = time_ns + offset_ns
        if status == STARTED:
            step.started_ns = at_ns
        elif status == FIRST:
            step.first_ns = at_ns
        elif status in ENDINGS:
            step.ended_ns = at_ns
    return list(steps.values())
