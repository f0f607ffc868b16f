"""What counting costs: memory, when 100,000 keys have been seen and 800,000 requests follow; processor time of a decision.

In one process, without HTTP: the ledger, its headers' figures, and the file of days and months, with a clock that moves a
millisecond a request, so that windows slide and are emptied. One request in a hundred is cut off, and charged in full.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import random
import tempfile
import time
from pathlib import Path

from report import Bar, Section
from runner import Options

from weft.gateway.limits.memory import MemoryStore
from weft.gateway.limits.terms import DAY, Ask
from weft.store.sqlite import SqliteDatabase

KEYS, REQUESTS, EVERY = 100_000, 800_000, 10_000
BEGIN_MS = 1_800_000_000_000

SLOPE_BAR = "limits: growth of memory a request after 100,000 keys, upper 95 % bound"


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def slope(samples: list[int]) -> tuple[float, float]:
    """Bytes a request by least squares, and the upper end of its 95 % interval."""
    n = len(samples)
    xs = [k * EVERY for k in range(n)]
    mean_x, mean_y = sum(xs) / n, sum(samples) / n
    spread = sum((x - mean_x) ** 2 for x in xs)
    rate = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, samples, strict=True)) / spread
    rest = sum((y - mean_y - rate * (x - mean_x)) ** 2 for x, y in zip(xs, samples, strict=True))
    return rate, rate + 1.99 * math.sqrt(rest / (n - 2) / spread)


async def run(folder: Path) -> tuple[list[int], int, float]:
    """The samples, how many counters there are in the end, and microseconds of processor time a request."""
    now, draw = BEGIN_MS, random.Random(7)
    store = MemoryStore(now_ms=lambda: now, database=SqliteDatabase(folder / "limits.db"))
    await store.start()

    async def one(key: int) -> None:
        nonlocal now
        now += 1
        asks = [
            Ask(f"/v1/talk:key-requests-min|k:{key}", 60, 1, 60_000),
            Ask(f"/v1/talk:key-tokens-day|k:{key}", 1_000_000, 300, DAY),
        ]
        verdict = await store.take(asks)
        if verdict.hold is not None:
            store.settle(verdict.hold, [None, None if draw.random() < 0.01 else 40])

    for key in range(KEYS):
        await one(key)
        if not key % 1000:
            await asyncio.sleep(0.005)  # the file is written meanwhile
    samples, used = [], 0.0
    for n in range(REQUESTS):
        if not n % EVERY:
            await asyncio.sleep(0.3)
            gc.collect()
            samples.append(resident())
            begun, at = time.process_time(), n
        await one(draw.randrange(KEYS))
        if n == at + EVERY - 1:
            used += time.process_time() - begun
    samples.append(resident())
    count = len(store.ledger)
    await store.aclose()
    return samples, count, 1e6 * used / REQUESTS


def measure(options: Options) -> Section:
    """The slope, with its bound."""
    del options  # the numbers are those of the question
    section = Section(
        "Counting for 100,000 keys",
        f"Two limits for each of {KEYS:,} keys, in one process; memory is read every {EVERY:,} of {REQUESTS:,} requests.",
        [
            "",
            "MB after all keys",
            "MB in the end",
            "bytes a request",
            "upper 95 % bound",
            "counters",
            "us a request",
        ],
        bars=[Bar(SLOPE_BAR, 2, "bytes")],
    )
    with tempfile.TemporaryDirectory(prefix="weft-") as name:
        samples, count, cost = asyncio.run(run(Path(name)))
    rate, bound = slope(samples)
    section.rows.append(["the ledger", samples[0] / 1e6, samples[-1] / 1e6, rate, bound, f"{count:,}", cost])
    section.measured(SLOPE_BAR, bound)
    return section


if __name__ == "__main__":
    found = measure(Options())
    print("\n".join(["", *(" | ".join(bar.row()) for bar in found.bars), "", found.markdown()]))
