"""What a gateway says of its reloads: in health, in the metrics, in the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from weft.context import Identity
from weft.errors import RequestError
from weft.gateway.access.audit import AuditLog
from weft.observe.metrics import Metrics
from weft.serve.application import Application
from weft.serve.log import Log
from weft.serve.renewal import Reloads, ReloadStatus

BY: str = "the files"
"""Who has done it, where nobody asked: whoever may change them."""


class Recorder:
    """Writes into the audit log what becomes of the files; what is done stands, whether that can be written or not.

    Args:
        audit: None: there is no log.
        log: Where it is told when nothing could be written.
    """

    def __init__(self, audit: AuditLog | None, log: Log) -> None:
        self._audit, self._log = audit, log
        self._tasks: set[asyncio.Task[None]] = set()

    async def record(self, event: str, by: Identity | str, details: Mapping[str, Any]) -> None:
        """Write one record."""
        if self._audit is None:
            return
        try:
            await self._audit.record(event, by, details)
        except RequestError as error:
            self._log.failure(f"{event} could not be written into the audit log: {error}")

    def begin(self, event: str, details: Mapping[str, Any]) -> None:
        """Write one record of what nobody asked for, without waiting for it."""
        if self._audit is not None:
            task = asyncio.get_running_loop().create_task(self.record(event, BY, details), name=event)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Wait for what is being written."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def report_reloads(
    app: Application, reloads: Reloads, metrics: Metrics, recorder: Recorder, *, is_first: bool
) -> None:
    """Have health, the metrics and the audit log tell whether the files say what runs.

    Args:
        app: The gateway.
        reloads: Know it.
        metrics: Of this process.
        recorder: Writes the audit log.
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
    _record(app, reloads, recorder)


def _record(app: Application, reloads: Reloads, recorder: Recorder) -> None:
    told = reloads.status.failed

    def failed(status: ReloadStatus) -> None:
        nonlocal told
        if status.failed and status.failed != told and app.state == "running":
            told = status.failed
            # The first line says where; all of it may quote the files.
            recorder.begin("config.refused", {"why": status.error.partition("\n")[0]})

    async def stop() -> None:
        if failed in reloads.listeners:
            reloads.listeners.remove(failed)
        await recorder.stop()

    reloads.listeners.append(failed)
    app.on_stop.append(stop)
    app.on_succeed.append(lambda: recorder.begin("config.reloaded", {"build": app.build_id}))
