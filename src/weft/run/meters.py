"""Durations and outcomes of one node, through handles that are bound once."""

from __future__ import annotations

from weft.errors import RequestError
from weft.observe.metrics import Metrics


class NodeMeters:
    """What is counted of one node of one megaservice.

    Attributes:
        seconds: Takes the duration of each call that ended well.
        first_seconds: Takes the time to the first chunk of each stream.
    """

    __slots__ = ("_labels", "_outcomes", "first_seconds", "seconds")

    def __init__(self, metrics: Metrics, megaservice: str, node: str, service: str) -> None:
        labels = ("megaservice", "node", "service")
        self._labels = (megaservice, node, service)
        self.seconds = (
            metrics.histogram("weft_node_seconds", "Seconds of each call of a node that ended well.", labels)
            .bind(*self._labels)
            .observe
        )
        self.first_seconds = (
            metrics.histogram(
                "weft_node_first_chunk_seconds",
                "Seconds to the first chunk of each stream of a node.",
                labels,
            )
            .bind(*self._labels)
            .observe
        )
        self._outcomes = metrics.counter(
            "weft_node_failures_total",
            "Calls of a node that did not end well, by error code; skipped and cancelled ones too.",
            (*labels, "code"),
        )

    def failed(self, failure: BaseException) -> None:
        """A call ended otherwise: with an error, or cancelled."""
        self.count(failure.code if isinstance(failure, RequestError) else "cancelled")

    def count(self, outcome: str) -> None:
        """Count an outcome other than success; these are rare enough to look the handle up."""
        self._outcomes.bind(*self._labels, outcome).add()
