"""What does a graph cost when its services live in the same process: a chain of 20, and a fan-out of 18?

Each component builds a response of four Documents. The same components are awaited by hand under one
``asyncio.timeout``, the fan-out with ``asyncio.gather``. Weft's side has deadline and journal on.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from report import Bar, Section
from runner import HERE, TESTED_CPU, Options, pinned

CHAIN, FAN_OUT = 20, 18
CHAIN_NAME, FAN_OUT_NAME = f"chain of {CHAIN}", f"fan-out of {FAN_OUT}"
BARS = {
    CHAIN_NAME: Bar(f"in process, {CHAIN_NAME}, to awaiting by hand", 2.5),
    FAN_OUT_NAME: Bar(f"in process, {FAN_OUT_NAME}, to awaiting by hand", 3),
}
BATCH_S = 0.1
"""One turn of one variant within a round: long against the clock, short against what else the machine does."""


def spec() -> str:
    """Both graphs, as a user would write them."""
    head = "apiVersion: weft/v1\nkind: Megaservice\nname: {}\nversion: '1.0.0'\ncontract: retriever\ntimeout_s: 60\nnodes:\n"
    chain = [head.format("chain")]
    for index in range(CHAIN):
        before = f"n{index - 1}.documents" if index else "{value: []}"
        chain.append(
            f"  n{index}: {{component: four, inputs: {{query: request.query, documents: {before}}}}}\n"
        )
    chain.append(f"output: n{CHAIN - 1}\n---\n")
    fan = [head.format("fan-out")]
    fan += [
        f"  n{index}: {{component: four, inputs: {{query: request.query, documents: {{value: []}}}}}}\n"
        for index in range(FAN_OUT)
    ]
    lists = ", ".join(f"n{index}.documents" for index in range(FAN_OUT))
    fan.append(
        f"  join: {{component: join, inputs: {{query: request.query, lists: [{lists}]}}}}\noutput: join\n"
    )
    return "".join([*chain, *fan])


def measure(options: Options) -> Section:
    """Run this file in a process of its own, bound to one processor."""
    section = Section(
        "Graphs in one process",
        f"A chain of {CHAIN} and a fan-out of {FAN_OUT} components that each build a response of four Documents, against "
        "the same awaited by hand under one `asyncio.timeout` (fan-out: `asyncio.gather`). CPU time of one run; deadline and "
        "journal on.",
        ["", "by hand, µs", "Weft, µs", "ratio", "Weft with metrics, µs"],
        bars=list(BARS.values()),
    )
    command = pinned(TESTED_CPU, [sys.executable, str(HERE / "inprocess.py"), str(options.rounds * 3)])
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if result.returncode:
        print(f"  in-process graphs failed: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return section
    for name, found in json.loads(result.stdout).items():
        section.rows.append([name, found["hand"], found["weft"], found["ratio"], found["metrics"]])
        section.measured(BARS[name].what, found["ratio"])
    return section


async def main(rounds: int) -> dict[str, dict[str, float]]:
    """Medians of the rounds, in microseconds; the ratio is the median of each round's."""
    from apps.graphs import by_hand, runners  # noqa: PLC0415 - only this process loads Weft

    kinds = {
        "hand": by_hand(CHAIN, FAN_OUT),
        "weft": runners(spec(), metrics=False),
        "metrics": runners(spec(), metrics=True),
    }
    names = {CHAIN_NAME: "chain", FAN_OUT_NAME: "fan-out"}
    for name, graph in names.items():
        answers = [await graphs[graph]() for graphs in kinds.values()]
        if any(answer != answers[0] for answer in answers):
            raise RuntimeError(f"{name}: Weft and the hand-written code do not give the same answer")
    gc.freeze()
    found: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in kinds} for name in names}
    for turn in range(rounds + 1):
        for name, graph in names.items():
            for kind in random.sample(list(kinds), len(kinds)):
                took = await _batch(kinds[kind][graph])
                if turn:  # the first warms up
                    found[name][kind].append(took)
    return {name: _medians(times) for name, times in found.items()}


def _medians(times: dict[str, list[float]]) -> dict[str, float]:
    ratios = (weft / hand for weft, hand in zip(times["weft"], times["hand"], strict=True))
    return {"ratio": statistics.median(ratios)} | {
        kind: statistics.median(each) for kind, each in times.items()
    }


async def _batch(run: Callable[[], Awaitable[object]]) -> float:
    """CPU microseconds of one run."""
    runs, begin = 0, time.process_time()
    while (elapsed := time.process_time() - begin) < BATCH_S:
        for _ in range(20):
            await run()
        runs += 20
    return 1e6 * elapsed / runs


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        print(json.dumps(loop.run(main(int(sys.argv[1])))))
