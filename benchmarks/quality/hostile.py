"""Hostile files handed in while somebody else asks: reasons, memory of the server, latency of retrieval.

    python benchmarks/quality/hostile.py [--rounds 2] [--out FILE]

The files are those of ``tests/hostile_files.py``, each handed in by a request of its own, two at a time. Another person asks
``/v1/retrieval`` ten times a second meanwhile, as before on the quiet server; the first seconds warm it up.
Memory is that of the server's own process: the readers are processes of their own, bounded and killed.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
sys.path[:0] = [str(HERE), str(REPO / "tests")]

from server import Server, running  # noqa: E402 - beside this file

from hostile_files import HOSTILE, MB, Hostile  # noqa: E402 - beside the tests

PERIOD_S = 0.1
WARM_S, QUIET_S = 5.0, 20.0
QUESTIONS = [
    "what is a contract",
    "how is a service placed",
    "which errors are retried",
    "how does a stream end",
]


class Asker:
    """Somebody who asks at a steady pace, whatever the answers take; and the server's memory meanwhile."""

    def __init__(self, server: Server) -> None:
        self.taken_ms: list[float] = []
        self.failed = 0
        self.before = self.most = rss(server.process.pid)
        self._server, self._ended = server, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        begun, number = time.monotonic(), 0
        while not self._ended.wait(max(begun + number * PERIOD_S - time.monotonic(), 0)):
            due = time.monotonic()
            query = {"query": QUESTIONS[number % len(QUESTIONS)], "k": 4}
            status, found = self._server.request("POST", "/v1/retrieval", query)
            self.taken_ms.append((time.monotonic() - due) * 1000)
            self.failed += status != 200 or not found["documents"]
            self.most = max(self.most, rss(self._server.process.pid))
            number += 1

    def row(self, name: str) -> str:
        cuts = statistics.quantiles(self.taken_ms, n=100)
        return f"| {name} | {len(self.taken_ms)} | {cuts[49]:.1f} | {cuts[94]:.1f} | {max(self.taken_ms):.1f} | {self.failed} |"

    def p95(self) -> float:
        return statistics.quantiles(self.taken_ms, n=100)[94]


def rss(process: int) -> int:
    """Bytes that a process has in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def hand_in(server: Server, hostile: Hostile, content: bytes) -> tuple[float, list[dict[str, Any]]]:
    begun = time.monotonic()
    status, reply = server.ingest([(hostile.name, content)])
    if status != 400:
        raise SystemExit(f"{hostile.name} was answered with {status}: {str(reply)[:500]}")
    return time.monotonic() - begun, reply["files"]


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2, help="how often all of them are handed in")
    parser.add_argument("--out", type=Path, help="where the table goes, too")
    options = parser.parse_args()
    made = [(hostile, hostile.make()) for hostile in HOSTILE]
    with running() as server:
        documents = [(path.name, path.read_bytes()) for path in sorted((REPO / "docs").rglob("*.md"))]
        status, reply = server.ingest(documents)
        if status != 200:
            raise SystemExit(f"the documents were answered with {status}: {str(reply)[:500]}")
        server.ingest([("warm.exe", b"MZ")])
        with Asker(server):
            time.sleep(WARM_S)
        with Asker(server) as quiet:
            time.sleep(QUIET_S)
        with Asker(server) as beside, ThreadPoolExecutor(2) as pool:
            begun = time.monotonic()
            handed = [pool.submit(hand_in, server, *each) for _ in range(options.rounds) for each in made]
            outcomes = [one.result() for one in handed]
            took = time.monotonic() - begun
        after = rss(server.process.pid)
    lines = ["| file | bytes | after | seconds | refused with |", "|---|---:|---|---:|---|"]
    wrong = 0
    for (hostile, content), (seconds, files) in zip(made * options.rounds, outcomes, strict=True):
        good = all(f["outcome"] == "refused" and re.search(hostile.reason, f["reason"]) for f in files)
        wrong += not good
        if len(lines) < len(made) + 2 or not good:
            lines.append(
                f"| {hostile.name} | {len(content):,} | {hostile.attacks} | {seconds:.2f} | {'' if good else 'WRONG: '}{files[0]['reason']} |"
            )
    lines += [
        "",
        f"{len(handed)} handed in within {took:.0f} s; {wrong} not refused with their reason.",
        (
            f"Memory of the server's process: {beside.before / MB:.0f} MB before, {beside.most / MB:.0f} MB at most,"
            f" {after / MB:.0f} MB after: grown by at most {(beside.most - beside.before) / MB:.1f} MB."
        ),
        "",
        "| /v1/retrieval of another person | requests | p50 ms | p95 ms | most ms | failed |",
        "|---|---:|---:|---:|---:|---:|",
        quiet.row("quiet"),
        beside.row("while they are handed in"),
        "",
        f"p95 is {beside.p95() / quiet.p95():.2f} times its usual.",
    ]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
        options.out.with_suffix(".json").write_text(
            json.dumps({"quiet": quiet.taken_ms, "beside": beside.taken_ms})
        )


if __name__ == "__main__":
    main()
