"""Counts and durations of requests, by route and status, through handles that are bound once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weft.serve.routing import Route

UNROUTED = "unrouted"
"""The route of requests that no route answers: their paths are the client's and without number."""


class RequestMeters:
    """Records each request that has ended.

    Args:
        metrics: The metrics of this process; None records nothing.
        in_flight: How many requests are being served, asked when metrics are read.
    """

    def __init__(self, metrics: Any, in_flight: Callable[[], int]) -> None:
        self._metrics = metrics

    def done(self, route: Route | None, status: int, seconds: float) -> None:
        """One request ended."""
