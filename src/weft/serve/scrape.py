"""``/metrics``: of this process, or of all processes of the installation, whichever of them is asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from weft.context import Context
from weft.errors import RequestError
from weft.http.client import Client, Endpoint
from weft.http.message import Request, Response
from weft.observe.metrics import CONTENT_TYPE, Family, Metrics, Series, Snapshot, merge, render
from weft.serve.application import Application
from weft.serve.routing import RouteDoc

SNAPSHOT_PATH: Final = "/weft/snapshot"
"""Where a process gives its own metrics to its siblings, on its private address."""

SCRAPE_TIMEOUT_S: Final = 1.0
"""A process that does not answer by then is missing from the answer, and ``weft_process_up`` says so."""

_decode = msgspec.json.Decoder(Snapshot).decode
_encode = msgspec.json.Encoder().encode


def process_metrics(metrics: Metrics) -> None:
    """Have this process's memory and open files among its metrics, where the system tells them."""
    if Path("/proc/self/statm").exists():
        page = os.sysconf("SC_PAGE_SIZE")

        def memory() -> float:
            return int(Path("/proc/self/statm").read_text().split()[1]) * page

        metrics.gauge("process_resident_memory_bytes", "Memory that this process uses.").bind().follow(memory)
        files = metrics.gauge("process_open_fds", "Open file descriptors.").bind()
        files.follow(lambda: len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - counted on each scrape: no objects


def snapshot_route(app: Application, metrics: Metrics) -> None:
    """Give this process's own metrics to its siblings, on an application that only they reach."""

    async def snapshot(request: Request, context: Context) -> Response:
        return Response(200, (), _encode(metrics.snapshot()))

    app.route("GET", SNAPSHOT_PATH, snapshot)


def metrics_route(
    app: Application,
    metrics: Metrics,
    *,
    process: str = "",
    peers: Mapping[str, str] | None = None,
    client: Client | None = None,
    signed: Callable[[], list[tuple[str, str]]] = list,
) -> None:
    """Route ``/metrics``, in Prometheus' text format.

    Counters and histograms are added up over the processes. Gauges are not: each says in its label ``process`` whose
    it is.

    Args:
        app: Where the route goes.
        metrics: Of this process.
        process: Its name.
        peers: Name of every process of the installation (this one may be among them) to its private address.
        client: To ask them with.
        signed: Gives the headers that show them who asks.
    """
    others: dict[str, Endpoint] = {}
    if client is not None:
        others = {
            name: client.endpoint(address, timeout_s=SCRAPE_TIMEOUT_S)
            for name, address in (peers or {}).items()
            if name != process
        }

    async def scrape(request: Request, context: Context) -> Response:
        if not others:
            return Response(200, (), metrics.render().encode(), CONTENT_TYPE)
        headers = signed()
        answers = await asyncio.gather(*(_ask(endpoint, headers) for endpoint in others.values()))
        found = {process: metrics.snapshot()} | dict(zip(others, answers, strict=True))
        return Response(200, (), render(merged(found)).encode(), CONTENT_TYPE)

    doc = RouteDoc(summary="Metrics, for Prometheus.", content_type="text/plain", tags=("about",))
    app.route("GET", "/metrics", scrape, doc=doc, needs="metrics")


async def _ask(endpoint: Endpoint, headers: list[tuple[str, str]]) -> Snapshot | None:
    try:
        return _decode((await endpoint.request("GET", SNAPSHOT_PATH, headers=headers)).body)
    except (RequestError, msgspec.DecodeError):
        return None  # it is being restarted: said by weft_process_up


def merged(snapshots: Mapping[str, Snapshot | None]) -> Snapshot:
    """The metrics of several processes as one, each gauge with its process's name; None is one that did not answer."""
    found = [_per_process(name, snapshot) for name, snapshot in snapshots.items() if snapshot is not None]
    up = Family("weft_process_up", "gauge", "Whether a process of this installation answered.", ["process"])
    up.series = [
        Series([name], 0.0 if snapshot is None else 1.0) for name, snapshot in sorted(snapshots.items())
    ]
    return merge([*found, [up]])


def _per_process(process: str, snapshot: Snapshot) -> Snapshot:
    return [
        family
        if family.kind != "gauge"
        else Family(
            family.name,
            "gauge",
            family.description,
            [*family.labels, "process"],
            [],
            [Series([*series.labels, process], series.value) for series in family.series],
        )
        for family in snapshot
    ]
