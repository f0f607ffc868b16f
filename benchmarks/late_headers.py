"""Do requests that wait for a slow backend's headers cost the other requests more than their own share of the CPU?

The chain is loaded alone, then again while 64 requests at a time go to a backend that takes 50 ms to its headers. What
the slow requests cost is measured by loading them alone.
"""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor

import weft_app
from report import Bar, Section
from runner import TESTED_CPU, Options, Sample, backend, free_port, load, running

RATE_BAR, LATENCY_BAR = "late headers: throughput of the others lost", "late headers: p99 of the others grown"
CONCURRENCY, SLOW = 16, 64
DELAY_US = 50_000
LEAD_S = 0.3
"""By which the slow load starts before and ends after the window: it is there for all of it."""


def measure(options: Options) -> Section:
    """Throughput and p99 of the chain, alone and beside the slow requests."""
    section = Section(
        "Beside requests that wait for late headers",
        f"The chain at concurrency {CONCURRENCY}, alone and beside {SLOW} requests at a time to a backend that takes "
        f"{DELAY_US // 1000} ms to its headers. Their own share is their CPU time, measured without the chain.",
        ["", "requests/s", "p99 µs"],
        bars=[Bar(RATE_BAR, 3, "%"), Bar(LATENCY_BAR, 10, "%")],
    )
    with backend() as fast, backend(delay_us=DELAY_US) as slow:
        port = free_port()
        command = weft_app.command("late.yaml", port, backend=fast, slow=slow)
        with running("late headers", command, port=port, cpu=TESTED_CPU) as process:
            if process is None:
                return section
            alone, beside, shares = _rounds(port, process.pid, options)
    if not alone:
        return section
    rate, rate_beside = _median(alone, "rps"), _median(beside, "rps")
    p99, p99_beside = _median(alone, "p99"), _median(beside, "p99")
    share = statistics.median(shares)
    section.rows = [
        ["chain alone", rate, p99],
        ["chain beside them", rate_beside, p99_beside],
        ["change", f"{100 * (rate_beside / rate - 1):+.1f} %", f"{100 * (p99_beside / p99 - 1):+.1f} %"],
        ["their CPU share", f"{100 * share:.1f} %", ""],
    ]
    section.bars = [
        Bar(RATE_BAR, round(100 * share + 3, 1), "%", 100 * (1 - rate_beside / rate)),
        Bar(LATENCY_BAR, round(100 * share + 10, 1), "%", 100 * (p99_beside / p99 - 1)),
    ]
    return section


def _median(samples: list[Sample], name: str) -> float:
    return statistics.median(getattr(sample, name) for sample in samples)


def _rounds(port: int, pid: int, options: Options) -> tuple[list[Sample], list[Sample], list[float]]:
    def chain(seconds: float) -> Sample:
        return load(port, "/v1/chat/completions", weft_app.CHAT, concurrency=CONCURRENCY, seconds=seconds)

    def slow(seconds: float) -> Sample:
        return load(port, "/v1/chat/completions", weft_app.SLOW, concurrency=SLOW, seconds=seconds, pid=pid)

    alone, beside, shares = [], [], []
    if chain(0.5).errors or slow(0.5).errors:
        return [], [], []
    with ThreadPoolExecutor(1) as thread:
        for _ in range(options.rounds):
            cost_us = slow(options.seconds / 2).cpu_us("done")
            alone.append(chain(options.seconds))
            other = thread.submit(slow, options.seconds + 2 * LEAD_S)
            chain(LEAD_S)
            beside.append(chain(options.seconds))
            shares.append(cost_us * other.result().rps / 1e6)
    return alone, beside, shares
