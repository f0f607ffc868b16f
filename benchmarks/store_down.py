"""The limits' Redis stops answering, or is gone: how much longer do requests take, and does what on_store_down says hold?"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import weft_app
from report import Bar, Section
from runner import HERE, LOAD_CPU, TESTED_CPU, Options, backend, free_port, running

from weft.errors import RequestError
from weft.http.client import Client, ClientLimits, Endpoint

RATE, REQUESTS, AFTER = 125, 11_000, 1_000
"""Requests a second to each gateway, in all, and before Redis goes."""

NOTICED_S = 0.5
"""In which the gateway finds out; until then either answer is right."""

GROWTH_BAR = "limits' store away: p99 grows by, worst"
WRONG_BAR = "limits' store away: requests that were not answered as on_store_down says"

BODY = (HERE / "bodies" / "relay.json").read_bytes()


@dataclass
class Side:
    """One gateway, as its clients see it."""

    endpoint: Endpoint
    took_ms: list[float] = field(default_factory=list)
    statuses: list[tuple[float, int]] = field(default_factory=list)

    async def ask(self) -> None:
        """One request."""
        sent = time.perf_counter()
        headers = [("content-type", "application/json")]
        try:
            status = (await self.endpoint.request("POST", "/v1/limited", BODY, headers=headers)).status
        except RequestError:
            status = 0
        self.took_ms.append(1000 * (time.perf_counter() - sent))
        self.statuses.append((sent, status))

    def percentile(self, share: float) -> float:
        """Of the times, in milliseconds."""
        return sorted(self.took_ms)[int(share * (len(self.took_ms) - 1))]


@contextmanager
def redis(folder: Path, name: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis of its own, on a Unix socket."""
    path = folder / f"{name}.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(["taskset", "-c", LOAD_CPU, *command], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            time.sleep(0.01)
        yield f"unix://{path}", process
    finally:
        process.kill()
        process.wait()


async def drive(well: Side, ill: Side, fault: subprocess.Popen[bytes], how: signal.Signals) -> float:
    """Ask both in turn, at their times; when the fault began."""
    begun, at, tasks = time.perf_counter(), 0.0, []
    for n in range(REQUESTS):
        if n == AFTER:
            at = time.perf_counter()
            fault.send_signal(how)
        for k, side in enumerate((well, ill) if n % 2 else (ill, well)):
            due = begun + (n + k / 2) / RATE
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(side.ask()))
    await asyncio.gather(*tasks)
    return at


async def one(
    ports: tuple[int, int], fault: subprocess.Popen[bytes], how: signal.Signals
) -> tuple[Side, Side, float]:
    """One fault; what the clients of both gateways saw."""
    client = Client(limits=ClientLimits(max_connections=1000, max_waiting=4000))
    sides = [Side(client.endpoint(f"http://127.0.0.1:{port}", timeout_s=30)) for port in ports]
    for _ in range(200):  # warm
        await asyncio.gather(*(side.ask() for side in sides))
    for side in sides:
        side.took_ms.clear()
        side.statuses.clear()
    at = await drive(sides[0], sides[1], fault, how)
    await client.aclose()
    return sides[0], sides[1], at


def wrong(side: Side, at: float, down: str) -> int:
    """How many were not answered as they should."""
    after = 503 if down == "deny" else 200
    return sum(
        status != (200 if sent < at else after)
        for sent, status in side.statuses
        if not at - 0.2 < sent < at + NOTICED_S
    ) + sum(status not in (200, 503) for _, status in side.statuses)


def measure(options: Options) -> Section:
    """Two gateways at once, each with a Redis of its own, of which one is stopped or killed."""
    del options  # the numbers are those of the question
    section = Section(
        "The limits' store is away",
        f"Two gateways, each with a Redis of its own; {REQUESTS:,} requests to each, in turn, {RATE} a second to each. After {AFTER:,} "
        "the Redis of one stops answering (and keeps its connections), or is killed.",
        ["", "p50 ms", "p99 ms", "p99 beside it, Redis well", "most ms", "answered as on_store_down says"],
        bars=[Bar(GROWTH_BAR, 5, "ms"), Bar(WRONG_BAR, 0, "")],
    )
    if shutil.which("redis-server") is None:
        print("  there is no redis-server (Debian: redis-server)", file=sys.stderr)
        return section
    growth, mistakes = [], 0
    for down in ("deny", "local_share"):
        for how, name in ((signal.SIGSTOP, "stops answering"), (signal.SIGKILL, "is killed")):
            folder = Path(tempfile.mkdtemp(prefix="weft-"))
            with ExitStack() as stack:
                chat = stack.enter_context(backend())
                stores = [stack.enter_context(redis(folder, side)) for side in ("well", "ill")]
                ports = free_port(), free_port()
                for port, (url, _) in zip(ports, stores, strict=True):
                    command = weft_app.command("limited.yaml", port, chat=chat, redis=url, down=down)
                    stack.enter_context(running(f"limited {port}", command, port=port, cpu=TESTED_CPU))
                well, ill, at = asyncio.run(one(ports, stores[1][1], how))
                stores[1][1].send_signal(signal.SIGCONT)
            shutil.rmtree(folder)
            growth.append(ill.percentile(0.99) - well.percentile(0.99))
            missed = wrong(ill, at, down)
            mistakes += missed
            section.rows.append(
                [
                    f"{down}, Redis {name}",
                    ill.percentile(0.5),
                    ill.percentile(0.99),
                    well.percentile(0.99),
                    ill.percentile(1.0),
                    f"{100 * (1 - missed / REQUESTS):.2f} %",
                ]
            )
    section.measured(GROWTH_BAR, max(growth))
    section.measured(WRONG_BAR, float(mistakes))
    return section


if __name__ == "__main__":
    found = measure(Options())
    print("\n".join(["", *(" | ".join(bar.row()) for bar in found.bars), "", found.markdown()]))
