"""What a gateway says of its reloads: in health, in the metrics."""

from __future__ import annotations

from weft.observe.metrics import Metrics
from weft.serve.application import Application
from weft.serve.renewal import Reloads


def report_reloads(app: Application, reloads: Reloads, metrics: Metrics, *, is_first: bool) -> None:
    """Have health and the metrics tell whether the files say what runs.

    Args:
        app: The gateway.
        reloads: Know it.
        metrics: Of this process.
        is_first: Whether this process is the one that reports for all workers: what several report is added up.
    """

    def note() -> str | None:
        # Health is open to everybody: why it is so, which may quote the files, is for administrators.
        status = reloads.status
        if status.error:
            return "the Gateway file was changed and could not be taken in: weft gateway status says why"
        if status.drifted:
            return "the Gateway file differs from what runs"
        return None

    app.notes.append(note)
    if not is_first:
        return
    metrics.gauge(
        "weft_gateway_drift", "1 while the files say something else than what runs, else 0."
    ).bind().follow(lambda: float(reloads.status.drifted))
    metrics.gauge(
        "weft_gateway_reloads", "How often what the files said took the place of what ran."
    ).bind().follow(lambda: float(reloads.status.number))
    metrics.gauge(
        "weft_gateway_reload_failed_seconds",
        "When, in seconds since 1970, the last reload failed that no good one has followed; 0: none has.",
    ).bind().follow(lambda: float(reloads.status.failed))
