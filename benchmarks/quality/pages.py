"""A thousand pages of documentation taken in while questions are asked: pages a minute, memory, latency, answers.

    python benchmarks/quality/pages.py [--folder FOLDER] [--pages 1000] [--without-questions] [--quotes] [--out FILE]

The default folder is Debian's ``postgresql-doc-15``, its first 1,000 pages by name. The pages that the thirty questions are
about go in first, so that a question means the same work in each phase: asked of a quiet server, asked again and again,
a second apart, while the other pages go in as one job, and asked at last of all of them, when they are judged as in
``documents.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, Self

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent / "corpus")]

from documents import interval, judge, missed, read  # noqa: E402 - beside this file
from server import Reply, Server, running  # noqa: E402

HERE = Path(__file__).resolve().parent
PAUSE_S = 1.0
"""Between two questions of one person who reads quickly."""


@dataclass
class Watch:
    """The memory of a server's processes, looked at every second."""

    server: Server
    peak: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(1.0):
            self.peak = max(self.peak, self.server.memory())


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("/usr/share/doc/postgresql-doc-15/html"))
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--without-questions", action="store_true", help="nobody asks while the pages go in")
    parser.add_argument(
        "--quotes", action="store_true", help="quotes only: the model says one token, for quick runs"
    )
    parser.add_argument("--out", type=Path, help="write every figure there, as JSON")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.html"))[: options.pages]
    if not paths:
        raise SystemExit(
            f"there are no pages in {options.folder}; on Debian: apt-get install postgresql-doc-15"
        )
    questions = read(HERE / "questions-pages.jsonl")
    most = 1 if options.quotes else None
    asked_about = {question["file"] for question in questions}
    first = [path for path in paths if path.name in asked_about]
    others = [path for path in paths if path.name not in asked_about]
    with running() as server:
        take_in(server, first)
        idle_memory = server.memory()
        server.ask(questions[0]["question"])  # the first one loads what is loaded once
        quiet = [server.ask(question["question"], max_tokens=most) for question in questions]
        busy: list[Reply] = []
        with Watch(server) as watch:
            asked = [] if options.without_questions else questions
            job, seconds = while_asked(server, others, asked, busy, max_tokens=most)
        replies = [server.ask(question["question"], max_tokens=most) for question in questions]
        results = [
            {**question, **judge(server, question, reply)}
            for question, reply in zip(questions, replies, strict=True)
        ]
    figures = {
        "pages": len(others),
        "seconds": seconds,
        "pages_per_minute": 60 * len(others) / seconds,
        "counts": job["counts"],
        "memory_before": idle_memory,
        "memory_peak": watch.peak,
        "latency": {"quiet": times(quiet), "during": times(busy), "after": times(replies)},
        "results": results,
    }
    report(figures)
    if options.out:
        options.out.write_text(json.dumps(figures, ensure_ascii=False, indent=1), encoding="utf-8")


def take_in(server: Server, paths: list[Path]) -> None:
    """Take pages in and wait for it."""
    status, body = server.ingest([(path.name, path.read_bytes()) for path in paths])
    if status != 200:
        raise SystemExit(f"{status}: {str(body)[:500]}")


def while_asked(
    server: Server,
    paths: list[Path],
    questions: list[dict[str, Any]],
    replies: list[Reply],
    *,
    max_tokens: int | None,
) -> tuple[Any, float]:
    """Take pages in as one job, asking meanwhile; the job at its end, and how many seconds it took."""
    began = time.monotonic()
    files = [(path.name, path.read_bytes()) for path in paths]
    status, body = server.ingest(files, headers={"prefer": "respond-async"})
    if status != 202:
        raise SystemExit(f"{status}: {str(body)[:500]}")
    job = body
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            for question in questions:
                if ended.wait(PAUSE_S):
                    return
                reply = server.ask(question["question"], max_tokens=max_tokens)
                if not ended.is_set():
                    replies.append(reply)

    person = threading.Thread(target=ask, daemon=True)
    if questions:
        person.start()
    try:
        while job["state"] not in ("done", "cancelled"):
            wanted = {"id": job["id"], "since": job["revision"], "wait_s": 30, "after": 0, "limit": 0}
            status, job = server.request("POST", "/v1/dataprep/job", wanted)
            if status != 200:
                raise SystemExit(f"{status}: {job}")
            time.sleep(0.5)
        seconds = time.monotonic() - began
    finally:
        ended.set()
        if questions:
            person.join()
    return job, seconds


def times(replies: list[Reply]) -> dict[str, float]:
    """Median and 95th percentile of the first words and of the whole reply, in seconds."""
    if len(replies) < 2:
        return {}
    found = {
        "questions": float(len(replies)),
        "broke_off": float(sum(bool(reply.error) for reply in replies)),
    }
    for name in ("first_s", "whole_s"):
        cuts = quantiles([getattr(reply, name) for reply in replies], n=20, method="inclusive")
        found |= {f"{name[:-2]}_p50": cuts[9], f"{name[:-2]}_p95": cuts[18]}
    return found


def report(figures: dict[str, Any]) -> None:
    """What the README shows."""
    print(
        f"{figures['pages']} pages in {figures['seconds']:.0f} s: {figures['pages_per_minute']:.0f} a minute"
    )
    print(f"outcomes: { {name: count for name, count in figures['counts'].items() if count} }")
    before, peak = figures["memory_before"] / 1e6, figures["memory_peak"] / 1e6
    print(f"memory of all processes: {before:.0f} MB before, {peak:.0f} MB at the peak\n")
    print("| asked | questions | first words p50 | p95 | whole reply p50 | p95 |\n|---|---|---|---|---|---|")
    for phase, found in figures["latency"].items():
        if found:
            cells = " | ".join(
                f"{found[key]:.2f} s" for key in ("first_p50", "first_p95", "whole_p50", "whole_p95")
            )
            print(f"| {phase} | {found['questions']:.0f} | {cells} |")
            if found["broke_off"]:
                print(f"{found['broke_off']:.0f} of these replies broke off with an error")
    quiet, during = figures["latency"]["quiet"], figures["latency"]["during"]
    if during:
        print(
            "| during / quiet | | "
            + " | ".join(
                f"{during[key] / quiet[key]:.1f} x"
                for key in ("first_p50", "first_p95", "whole_p50", "whole_p95")
            )
            + " |"
        )
    results = figures["results"]
    print(f"\nright passage cited first: {interval(sum(r['cited'] for r in results), len(results))}")
    print(f"answer in the reply: {interval(sum(r['answered'] for r in results), len(results))}")
    for result in results:
        if not result["right"]:
            print(missed(result))


if __name__ == "__main__":
    main()
