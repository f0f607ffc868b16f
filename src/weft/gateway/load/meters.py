"""What is counted of one route's places and queues."""

from __future__ import annotations

from collections.abc import Callable

from weft.gateway.load.admission import Admission, Refusal
from weft.observe.metrics import Metrics

NORMAL = "normal"
"""The priority of routes that tell none apart."""


class LoadMeters:
    """The metrics of one route; each process has its own.

    Args:
        metrics: Of the process.
        route: The route's target.
        has_priorities: Whether it tells high from low.
    """

    def __init__(self, metrics: Metrics, route: str, *, has_priorities: bool) -> None:
        self._route = route
        self._names = ("low", "high") if has_priorities else (NORMAL, NORMAL)
        names = dict.fromkeys(self._names)
        waits = metrics.histogram(
            "weft_route_wait_seconds",
            "Seconds that requests waited for a place, of those that waited and got one.",
            ("route", "priority"),
        )
        self._waits = {name: waits.bind(route, name).observe for name in names}
        refused = metrics.counter(
            "weft_route_refused_total",
            "Requests turned away because there was too much to do, by the reason.",
            ("route", "priority", "reason"),
        )
        reasons: tuple[Refusal, ...] = ("full", "late", "shed", "expired")
        self._refused = {
            (name, reason): refused.bind(route, name, reason).add for name in names for reason in reasons
        }
        self._metrics = metrics

    def watch(self, admission: Admission) -> None:
        """Show how many places there are, how many are taken, and who waits."""
        gauge, route = self._metrics.gauge, self._route
        gauge("weft_route_places", "Requests of a route that may run at a time.", ("route",)).bind(
            route
        ).follow(lambda: admission.concurrency.now)
        gauge("weft_route_running", "Requests of a route that have a place.", ("route",)).bind(route).follow(
            lambda: admission.in_flight
        )
        waiting = gauge(
            "weft_route_waiting", "Requests of a route that wait for a place.", ("route", "priority")
        )
        lines: dict[str, list[Callable[[], int]]] = {}
        lines.setdefault(self._names[0], []).append(lambda: len(admission.low))
        lines.setdefault(self._names[1], []).append(lambda: len(admission.high))
        for name, counts in lines.items():
            waiting.bind(route, name).follow(lambda counts=counts: sum(count() for count in counts))

    def waited(self, seconds: float, *, is_high: bool) -> None:
        """A request that waited has its place."""
        self._waits[self._names[is_high]](seconds)

    def refused(self, is_high: bool, reason: Refusal) -> None:
        """A request was turned away."""
        self._refused[self._names[is_high], reason]()
