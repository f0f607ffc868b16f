"""Fuzzes the HTTP server's and client's framing, the reader of events and the reader of forms.

    python tests/fuzz/fuzz_http.py --seconds 600 [--seed 1]

Messages are made by the grammar (``fuzz_messages``); some are broken. Each is delivered whole, byte by byte and in random
pieces to each target (``fuzz_targets``), and

- a message that keeps every rule gives exactly what was put into it,
- the three deliveries give the same result,
- nothing raises but the errors that are promised, nothing takes long, and no more than the bounds is held.

Ends with 1 when something was found; each finding is printed with its input and the seed that makes it again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import fuzz_messages
import fuzz_targets
from fuzz_targets import Finding

CASE_LIMIT_S = 10
"""A case that takes longer hangs; each takes milliseconds."""

MAX_BYTEWISE = 5000
"""Longer messages are delivered in pieces of a hundredth instead of bytes."""


@dataclass
class Outcome:
    """What a run has done: executions by target, and findings as text."""

    executions: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


Run = Callable[[list[bytes]], Awaitable[object]]


async def _events(pieces: list[bytes]) -> object:
    return fuzz_targets.read_events(pieces)


async def _form(pieces: list[bytes]) -> object:
    return fuzz_targets.read_form(pieces)


def _case(target: str, rng: random.Random) -> tuple[bytes, Run, object]:
    """A message that keeps the rules, what takes it, and what must come of it."""
    if target == "server":
        data, bodies = fuzz_messages.requests(rng)
        return data, fuzz_targets.serve, (["200"] * len(bodies), bodies, False)
    if target == "events":
        data, found = fuzz_messages.events(rng)
        return data, _events, found
    if target == "form":
        data, parts = fuzz_messages.form(rng)
        return data, _form, parts
    mode = target.removeprefix("client_")
    data, status, body = fuzz_messages.reply(rng)

    async def run(pieces: list[bytes]) -> object:
        return await fuzz_targets.ask(pieces, mode)

    return data, run, (status, body)


def _agrees(target: str, got: Any, expected: Any) -> bool:
    if target == "server":
        return bool(got == expected)
    if target == "events":
        return got != fuzz_targets.REFUSED and [event.data for event in got[0]] == expected
    if target == "form":
        return not isinstance(got, str) and [(p[0], p[1], bytes(p[3])) for p in got[0]] == expected
    status, body = expected
    return bool(got[0] == status and (target == "client_head" or got[2] == body))


TARGETS = ("server", "server", "client_plain", "client_stream", "client_head", "events", "form")


def _too_long(_number: int, _frame: object) -> None:
    raise Finding(f"took more than {CASE_LIMIT_S} s")


async def _one(seed: int, outcome: Outcome) -> None:
    rng = random.Random(seed)
    target = rng.choice(TARGETS)
    data, run, expected = _case(target, rng)
    is_valid = rng.random() < 0.15
    if not is_valid:
        data = fuzz_messages.mutated(data, rng)
    step = 1 if len(data) <= MAX_BYTEWISE else len(data) // 100
    deliveries = {
        "whole": [data] if data else [],
        "bytes": [data[i : i + step] for i in range(0, len(data), step)],
        "pieces": fuzz_messages.cuts(data, rng),
    }
    results = {}
    try:
        for name, pieces in deliveries.items():
            results[name] = await run(pieces)
            outcome.executions[target] += 1
        if not results["whole"] == results["bytes"] == results["pieces"]:
            raise Finding(
                "\n  ".join(["deliveries differ", *(f"{n}: {r!r:.600}" for n, r in results.items())])
            )
        if is_valid and not _agrees(target, results["whole"], expected):
            raise Finding(
                f"a good message is misread:\n  got {results['whole']!r:.600}\n  not {expected!r:.600}"
            )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        kind = str(error) if isinstance(error, Finding) else "".join(traceback.format_exception(error)[-4:])
        outcome.findings.append(f"seed {seed}, {target}: {kind}\n  input: {data!r:.3000}")


async def fuzz(
    *, seed: int = 1, seconds: float | None = None, cases: int | None = None, max_findings: int = 20
) -> Outcome:
    """Run for a time, a number of cases or of findings; the cases depend on the seed alone."""
    outcome = Outcome()
    started, number = time.monotonic(), 0
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _loop, context: outcome.findings.append(
            f"seed {seed + number}: {context['message']}: {context.get('exception')!r}"
        )
    )
    has_alarm = hasattr(signal, "setitimer")
    if has_alarm:
        before = signal.signal(signal.SIGALRM, _too_long)
    try:
        while (seconds is None or time.monotonic() - started < seconds) and (cases is None or number < cases):
            if has_alarm:
                signal.setitimer(signal.ITIMER_REAL, CASE_LIMIT_S)
            await _one(seed + number, outcome)
            number += 1
            if len(outcome.findings) >= max_findings:
                break
    finally:
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        loop.set_exception_handler(None)
    return outcome


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, help="stop after so many, whatever the time")
    arguments = parser.parse_args()
    outcome = asyncio.run(fuzz(seed=arguments.seed, seconds=arguments.seconds, cases=arguments.cases))
    for finding in outcome.findings:
        sys.stdout.write(f"{finding}\n")
    peak = ""
    if sys.platform != "win32":
        import resource

        # Kilobytes on Linux, bytes on macOS.
        divisor = 2**20 if sys.platform == "darwin" else 2**10
        peak = f", peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / divisor:.0f} MB"
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(outcome.executions.items()))
    total, findings = outcome.executions.total(), len(outcome.findings)
    sys.stdout.write(f"{total:,} executions ({counts}), {findings} findings{peak}\n")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
