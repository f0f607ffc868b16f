"""Measures programs side by side: all are up at once, and are loaded one after another, in random order, in rounds.

What counts is the CPU time of a program's whole process tree for one unit of work, from the kernel's nanosecond
counters: it stays meaningful while other things run on the machine, where rates and latencies do not. The programs
under test share one processor; the load generator and the backends have another.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = HERE / "bin"
RESULTS = HERE / "results"

TESTED_CPU, LOAD_CPU = "0", "1"
"""Which processor the programs under test are bound to, and which the load generator and backends."""

WARM_UP_S = 0.5
"""Of load on each program before anything is counted: connections are made, caches filled, code specialised."""

SLOW_WARM_UP_S = 8.0
"""For those whose first requests take seconds: they import then."""

READY_S = 60.0
"""Until a program answers; the slowest peers import for several seconds."""


@dataclass(frozen=True)
class Options:
    """How long to measure."""

    rounds: int = 5
    seconds: float = 1.0


@dataclass(frozen=True)
class Variant:
    """A program under test, or the absence of one.

    Attributes:
        name: In the table.
        command: What to start; empty: the load goes straight to a backend.
        port: Where it listens.
        path: What is asked for.
        body: File with the request's body.
        extra: Further arguments of the load generator.
        env: Added to the environment.
    """

    name: str
    command: Sequence[str]
    port: int
    path: str
    body: Path
    extra: Sequence[str] = ()
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class Sample:
    """One window of load on one program."""

    done: int
    errors: int
    rps: float
    p50: int
    p99: int
    first50: int
    first99: int
    events: int
    reads: int
    event50: int
    event99: int
    bytes: int
    seconds: float
    cpu_s: float = 0.0
    pss_mb: float = 0.0

    def cpu_us(self, unit: str) -> float:
        """CPU microseconds for one ``done`` request or one of the ``events``."""
        return self.cpu_s * 1e6 / max(1, getattr(self, unit))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def pinned(cpu: str, command: Sequence[str]) -> list[str]:
    """The command, bound to one processor where the machine has two and can."""
    can = (os.cpu_count() or 1) > 1 and shutil.which("taskset")
    return ["taskset", "-c", cpu, *command] if can else list(command)


@contextmanager
def running(
    name: str, command: Sequence[str], *, port: int, cpu: str, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes] | None]:
    """A program while the block runs; None if it does not listen in time (its log says why). Ends its whole group."""
    if shutil.which(command[0]) is None:
        print(f"  {name} did not start: there is no {command[0]}", file=sys.stderr)
        yield None
        return
    RESULTS.mkdir(exist_ok=True)
    log = RESULTS / f"{name.replace(' ', '-').replace('/', '-')}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(cpu, command),
            env=os.environ | (env or {}),
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        is_up = _listens(port, process, "/health/ready" if Path(command[0]).name == "weft" else None)
        if not is_up:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            print(
                f"  {name} did not start: {' '.join(last)[:200]} (see {log.relative_to(HERE)})",
                file=sys.stderr,
            )
        yield process if is_up else None
    finally:
        end(process)


def _listens(port: int, process: subprocess.Popen[bytes], ready: str | None) -> bool:
    """Whether a program takes connections in time and, if it has a path for that, says that it is ready."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5) as sock:
            if ready is None:
                return True
            sock.settimeout(READY_S)
            sock.sendall(f"GET {ready} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
            if sock.recv(64).split(b" ", 2)[1:2] == [b"200"]:
                return True
        time.sleep(0.05)
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and its group: asked first, then killed."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(3)
            break
    with suppress(ProcessLookupError):  # what the leader left behind
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def backend(*, first_us: int = 0, pace_us: int = 0, events: int = 128, delay_us: int = 0) -> Iterator[int]:
    """The fake model servers on a port of their own; see tools/backend.c."""
    port = free_port()
    arguments = [str(value) for value in (port, first_us, pace_us, events, delay_us)]
    with running(f"backend-{port}", [str(BIN / "backend"), *arguments], port=port, cpu=LOAD_CPU) as process:
        if process is None:
            raise RuntimeError("the backend did not start")
        yield port


def process_tree(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds that the threads of a process tree have had, to the nanosecond."""
    total = 0
    for process in process_tree(pid):
        with suppress(OSError):
            for thread in Path(f"/proc/{process}/task").iterdir():
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def pss_mb(pid: int) -> float:
    """Memory of a process tree; what is shared is counted once."""
    total = 0
    for process in process_tree(pid):
        with suppress(OSError):
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def load(
    port: int,
    path: str,
    body: Path,
    *,
    concurrency: int,
    seconds: float,
    extra: Sequence[str] = (),
    pid: int | None = None,
) -> Sample:
    """One window of load; the CPU time is that of the tree under ``pid``."""
    before = cpu_s(pid) if pid else 0.0
    command = [str(BIN / "load"), str(port), path, str(body), str(concurrency), str(seconds), *extra]
    result = subprocess.run(
        pinned(LOAD_CPU, command), capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    if not result.stdout:
        raise RuntimeError(f"the load generator failed: {result.stderr[:300]}")
    sample = Sample(**json.loads(result.stdout))
    if pid:
        sample.cpu_s, sample.pss_mb = cpu_s(pid) - before, pss_mb(pid)
    if sample.errors:
        print(f"  {sample.errors} errors on {path}: {result.stderr[:200].splitlines()[:1]}", file=sys.stderr)
    return sample


@dataclass(frozen=True)
class Summary:
    """The medians of a variant at one concurrency."""

    cpu_us: float
    p50: float
    p99: float
    rps: float
    first50: float
    event50: float
    event99: float
    events_a_read: float
    pss_mb: float
    errors: int


def summarise(samples: Sequence[Sample], unit: str) -> Summary:
    """The medians of some windows."""

    def median(name: str) -> float:
        return statistics.median(getattr(sample, name) for sample in samples)

    return Summary(
        cpu_us=statistics.median(sample.cpu_us(unit) for sample in samples),
        p50=median("p50"),
        p99=median("p99"),
        rps=median("rps"),
        first50=median("first50"),
        event50=median("event50"),
        event99=median("event99"),
        events_a_read=statistics.median(sample.events / max(1, sample.reads) for sample in samples),
        pss_mb=median("pss_mb"),
        errors=sum(sample.errors for sample in samples),
    )


@contextmanager
def started(variants: Sequence[Variant]) -> Iterator[dict[str, tuple[Variant, int | None]]]:
    """All programs that start and answer, by name, with their process ids; ends them."""
    up: dict[str, tuple[Variant, int | None]] = {}
    open_blocks = []
    try:
        for variant in variants:
            pid = None
            if variant.command:
                block = running(
                    variant.name, variant.command, port=variant.port, cpu=TESTED_CPU, env=variant.env
                )
                process = block.__enter__()
                open_blocks.append(block)
                if process is None:
                    continue
                pid = process.pid
            for seconds in (WARM_UP_S, SLOW_WARM_UP_S):
                probe = load(
                    variant.port,
                    variant.path,
                    variant.body,
                    concurrency=8,
                    seconds=seconds,
                    extra=variant.extra,
                )
                if probe.errors or probe.done or probe.events:
                    break
            if probe.errors or not (probe.done or probe.events):
                print(f"  {variant.name} does not answer: left out", file=sys.stderr)
                continue
            up[variant.name] = variant, pid
        yield up
    finally:
        for block in reversed(open_blocks):
            block.__exit__(None, None, None)


def compare(
    variants: Sequence[Variant], *, concurrencies: Sequence[int], options: Options, unit: str = "done"
) -> dict[tuple[str, int], Summary]:
    """Load each variant at each concurrency, round by round in random order; medians by name and concurrency."""
    samples: dict[tuple[str, int], list[Sample]] = {}
    with started(variants) as up:
        for _ in range(options.rounds):
            for concurrency in concurrencies:
                for name in random.sample(list(up), len(up)):
                    variant, pid = up[name]
                    sample = load(
                        variant.port,
                        variant.path,
                        variant.body,
                        concurrency=concurrency,
                        seconds=options.seconds,
                        extra=variant.extra,
                        pid=pid,
                    )
                    samples.setdefault((name, concurrency), []).append(sample)
    return {key: summarise(found, unit) for key, found in samples.items()}
