"""Metrics of one process and of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from weft.http.client import Client, Endpoint
from weft.observe.metrics import Metrics
from weft.serve.application import Access, Application
from weft.serve.scrape import metrics_route, process_metrics, snapshot_route

Serve = Callable[[Application], Awaitable[Endpoint]]


def some_metrics(count: float, gauge: float) -> Metrics:
    metrics = Metrics()
    metrics.counter("things_total", "Things.").bind().add(count)
    metrics.gauge("level", "Level.", ("of",)).bind("x").set(gauge)
    return metrics


async def test_one_process_gives_its_own(app: Application, serve: Serve) -> None:
    """As Prometheus text."""
    metrics = some_metrics(2, 5)
    process_metrics(metrics)
    metrics_route(app, metrics)
    reply = await (await serve(app)).request("GET", "/metrics")
    assert reply.headers.get("content-type", "").startswith("text/plain; version=0.0.4")
    assert b"things_total 2\n" in reply.body
    assert b'level{of="x"} 5\n' in reply.body


async def test_any_process_answers_for_all(app: Application, serve: Serve) -> None:
    """Counters are added up, gauges say whose they are, a process that is gone is said to be."""
    other = Application(name="other", version="1", access=Access())
    snapshot_route(other, some_metrics(3, 7))
    peer = await serve(other)
    client = Client()
    peers = {"gateway-1": "unix:/nowhere", "gateway-2": peer.url, "llm": "unix:/nowhere-else.sock"}
    metrics_route(app, some_metrics(2, 5), process="gateway-1", peers=peers, client=client)
    text = (await (await serve(app)).request("GET", "/metrics")).body.decode()
    await client.aclose()
    assert "things_total 5\n" in text
    assert 'level{of="x",process="gateway-1"} 5\n' in text
    assert 'level{of="x",process="gateway-2"} 7\n' in text
    assert 'weft_process_up{process="gateway-2"} 1\n' in text
    assert 'weft_process_up{process="llm"} 0\n' in text
