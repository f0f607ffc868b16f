"""Plain metrics: counters, gauges and histograms, written as Prometheus text, merged from several workers.

A metric with labels is a family; a *handle* is bound to its label values once, and recording through it looks nothing
up. Everything is per process: what a worker hands over is a :data:`Snapshot`, plain data that can be encoded, merged
with those of other workers and rendered.

Source: Prometheus, "Text-based exposition format", version 0.0.4.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from weft.errors import UsageError

Kind = Literal["counter", "gauge", "histogram"]

SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""Buckets of durations: from an in-process node (1 ms) to a long generation (5 min)."""

TOKEN_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
"""Buckets of the time between tokens: 5 ms is a fast server, 50 ms reads as fluent, 1 s is a stall."""

TOKENS: Final = (1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 32768.0, 131072.0)
"""Buckets of token counts: from one word to the largest usual window."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of what :func:`render` writes."""


class Series(Struct, array_like=True):
    """One combination of label values. ``counts`` is empty unless the family is a histogram; it has one more than buckets."""

    labels: list[str]
    value: float = 0.0
    counts: list[int] = []


class Family(Struct):
    """One metric of a snapshot."""

    name: str
    kind: Kind
    description: str
    labels: list[str] = []
    buckets: list[float] = []
    series: list[Series] = []


Snapshot = list[Family]
"""All metrics of one process at one moment; encodes as JSON."""


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        """Grow by ``amount``."""
        self.value += amount


class Followed:
    """A number that somebody else keeps, and that is asked for when metrics are read."""

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask

    @property
    def value(self) -> float:
        """The number now."""
        return self._ask()


class Gauge:
    """A number that goes up and down; or one that is asked for when metrics are read (:meth:`follow`)."""

    __slots__ = ("_ask", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._ask: Callable[[], float] | None = None

    @property
    def value(self) -> float:
        """The number now."""
        return self._value if self._ask is None else self._ask()

    def set(self, value: float) -> None:
        """The value from now on."""
        self._value = value

    def add(self, amount: float = 1) -> None:
        """Change it by ``amount``."""
        self._value += amount

    def follow(self, ask: Callable[[], float]) -> None:
        """Take the value from ``ask`` whenever it is read; it must be quick and must not raise."""
        self._ask = ask


class Histogram:
    """How often values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Metric:
    """A family: handles by label values. ``bind`` is for start-up; keep what it returns."""

    def __init__(
        self, name: str, kind: Kind, description: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> None:
        self.name, self.kind, self.description = name, kind, description
        self.labels, self.buckets = tuple(labels), tuple(buckets)
        self._handles: dict[tuple[str, ...], Any] = {}

    def bind(self, *values: str) -> Any:
        """The handle for these label values, in the order of the labels; the same one each time."""
        if len(values) != len(self.labels):
            raise UsageError(f"metric '{self.name}' has the labels {', '.join(self.labels) or 'none'}")
        handle = self._handles.get(values)
        if handle is None:
            handle = self._handles[values] = self._make()
        return handle

    def follow(self, *values: str, ask: Callable[[], float]) -> None:
        """Take the number for these label values from ``ask`` whenever it is read; it must be quick and must not raise."""
        self.bind(*values)
        self._handles[values] = Followed(ask)

    def _make(self) -> Counter | Gauge | Histogram:
        if self.kind == "histogram":
            return Histogram(self.buckets)
        return Counter() if self.kind == "counter" else Gauge()

    def snapshot(self) -> Family:
        """What it says now."""
        series = [
            Series(list(values), handle.sum, list(handle.counts))
            if isinstance(handle, Histogram)
            else Series(list(values), handle.value)
            for values, handle in self._handles.items()
        ]
        return Family(self.name, self.kind, self.description, list(self.labels), list(self.buckets), series)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Metric:
        """A counter; Prometheus asks that its name ends in ``_total``."""
        return self._metric(name, "counter", description, labels, ())

    def gauge(self, name: str, description: str, labels: Sequence[str] = ()) -> Metric:
        """A gauge. Those of several workers are added up."""
        return self._metric(name, "gauge", description, labels, ())

    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS
    ) -> Metric:
        """A histogram."""
        return self._metric(name, "histogram", description, labels, buckets)

    def _metric(
        self, name: str, kind: Kind, description: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Metric:
        known = self._metrics.get(name)
        if known is None:
            known = self._metrics[name] = Metric(name, kind, description, labels, buckets)
        elif (known.kind, known.labels) != (kind, tuple(labels)):
            raise UsageError(f"metric '{name}' is a {known.kind} of ({', '.join(known.labels)}) already")
        return known

    def of_service(self, service: str) -> ServiceMetrics:
        """What the components of one service are handed; see :class:`weft.host.Metrics`."""
        return ServiceMetrics(self, service)

    def snapshot(self) -> Snapshot:
        """All metrics now, by name."""
        return [self._metrics[name].snapshot() for name in sorted(self._metrics)]

    def render(self) -> str:
        """Prometheus text."""
        return render(self.snapshot())


class ServiceMetrics:
    """Implements :class:`weft.host.Metrics`: names get ``weft_`` in front, and the label ``service``."""

    def __init__(self, metrics: Metrics, service: str) -> None:
        self._metrics, self._service = metrics, service

    def counter(self, name: str, description: str) -> Counter:
        """See :class:`weft.host.Metrics`."""
        found: Counter = self._metrics.counter(f"weft_{name}_total", description, ("service",)).bind(
            self._service
        )
        return found

    def gauge(self, name: str, description: str) -> Gauge:
        """See :class:`weft.host.Metrics`."""
        found: Gauge = self._metrics.gauge(f"weft_{name}", description, ("service",)).bind(self._service)
        return found


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The metrics of several workers as one: counters, gauges and histograms are added up, series by series.

    A family whose buckets or labels differ between workers (two releases at once) is kept from the first only.
    """
    families: dict[str, Family] = {}
    known: dict[tuple[str, tuple[str, ...]], Series] = {}
    for snapshot in snapshots:
        for family in snapshot:
            into = families.get(family.name)
            if into is None:
                into = families[family.name] = Family(
                    family.name, family.kind, family.description, family.labels, family.buckets, []
                )
            if (into.kind, into.labels, into.buckets) != (family.kind, family.labels, family.buckets):
                continue
            for series in family.series:
                key = family.name, tuple(series.labels)
                total = known.get(key)
                if total is None:
                    total = known[key] = Series(series.labels, 0.0, [0] * len(series.counts))
                    into.series.append(total)
                total.value += series.value
                total.counts = [a + b for a, b in zip(total.counts, series.counts, strict=True)]
    return [families[name] for name in sorted(families)]


def render(snapshot: Snapshot) -> str:
    """A snapshot as Prometheus text."""
    lines: list[str] = []
    for family in snapshot:
        lines += [f"# HELP {family.name} {_help(family.description)}", f"# TYPE {family.name} {family.kind}"]
        for series in family.series:
            if family.kind == "histogram":
                lines += _buckets(family, series)
            else:
                lines.append(f"{family.name}{_labels(family.labels, series.labels)} {number(series.value)}")
    return "\n".join(lines) + "\n" if lines else ""


def _buckets(family: Family, series: Series) -> Iterable[str]:
    total = 0
    for bound, count in zip([*family.buckets, math.inf], series.counts, strict=True):
        total += count
        labels = _labels([*family.labels, "le"], [*series.labels, number(bound)])
        yield f"{family.name}_bucket{labels} {total}"
    labels = _labels(family.labels, series.labels)
    yield f"{family.name}_sum{labels} {number(series.value)}"
    yield f"{family.name}_count{labels} {total}"


def number(value: float) -> str:
    """A number as Prometheus writes it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
