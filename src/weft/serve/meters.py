"""Counts and durations of requests, by route and status, through handles that are bound once."""

from __future__ import annotations

from collections.abc import Callable

from weft.observe.metrics import Counter, Histogram, Metrics
from weft.serve.routing import Route

UNROUTED = "unrouted"
"""The route of requests that no route answers: their paths are the client's and without number."""


class RequestMeters:
    """Records each request that has ended.

    Args:
        metrics: The metrics of this process; None records nothing.
        in_flight: How many requests are being served, asked when metrics are read.
    """

    def __init__(self, metrics: Metrics | None, in_flight: Callable[[], int]) -> None:
        self._bound: dict[tuple[Route | None, int], tuple[Counter, Histogram]] = {}
        self._is_on = metrics is not None
        if metrics is None:
            return
        self._requests = metrics.counter(
            "weft_http_requests_total",
            "Requests, by route and status; 499: the client left.",
            ("route", "method", "status"),
        )
        self._seconds = metrics.histogram(
            "weft_http_request_seconds", "From a request's head to the end of its reply.", ("route", "method")
        )
        metrics.gauge("weft_http_requests_in_flight", "Requests whose reply is not done.").bind().follow(
            in_flight
        )

    def done(self, route: Route | None, status: int, seconds: float) -> None:
        """One request ended."""
        if not self._is_on:
            return
        handles = self._bound.get((route, status))
        if handles is None:
            handles = self._bind(route, status)
        handles[0].value += 1
        handles[1].observe(seconds)

    def _bind(self, route: Route | None, status: int) -> tuple[Counter, Histogram]:
        name, method = (route.name, route.method) if route is not None else (UNROUTED, "")
        handles = self._requests.bind(name, method, str(status)), self._seconds.bind(name, method)
        self._bound[route, status] = handles
        return handles
