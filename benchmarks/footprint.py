"""What does Weft weigh before a model is loaded, and how long does a person wait for it to say its help?"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import weft_app
from report import Bar, Section
from runner import Options, backend, free_port, load, pinned, process_tree, pss_mb, running

MEMORY_BAR = "memory of one worker without models"
TIMES = 9
"""Starts of an interpreter for each figure; the median of few is good enough for milliseconds."""

IMPORT = "import time; begin = time.perf_counter(); import weft; print(time.perf_counter() - begin)"


def rss_mb(pid: int) -> float:
    """The largest resident set in a process tree."""
    sizes = []
    for process in process_tree(pid):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        sizes += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")]
    return max(sizes)


def import_s() -> float:
    """Seconds that ``import weft`` takes in a fresh interpreter."""
    command = pinned("0", [sys.executable, "-c", IMPORT])
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def help_s() -> float:
    """Seconds from typing ``weft --help`` to the prompt."""
    command = pinned("0", [str(Path(sys.executable).with_name("weft")), "--help"])
    begin = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - begin


def measure(options: Options) -> Section:
    """Memory after a thousand requests, and the two start times."""
    del options  # seconds of load mean nothing here
    section = Section(
        "Footprint",
        "One worker that serves a megaservice without local models, after some thousand requests. Start times: median of "
        f"{TIMES}, files in the page cache.",
        ["", "measured"],
        bars=[Bar("import weft", 0.15, "s"), Bar("weft --help", 0.25, "s"), Bar(MEMORY_BAR, 60, "MB")],
    )
    for function in (import_s, help_s):
        function()  # compiles to bytecode
    imported = statistics.median(import_s() for _ in range(TIMES))
    helped = statistics.median(help_s() for _ in range(TIMES))
    section.rows = [["import weft", f"{imported:.3f} s"], ["weft --help", f"{helped:.3f} s"]]
    section.measured("import weft", imported)
    section.measured("weft --help", helped)
    with backend() as port:
        variant = weft_app.relay("footprint", free_port(), port)
        with running("footprint", variant.command, port=variant.port, cpu="0") as process:
            if process is not None:
                load(variant.port, variant.path, weft_app.RELAY, concurrency=16, seconds=1)
                resident, shared = rss_mb(process.pid), pss_mb(process.pid)
                section.rows += [
                    ["resident memory of the worker", f"{resident:.1f} MB"],
                    ["all processes, PSS", f"{shared:.1f} MB"],
                ]
                section.measured(MEMORY_BAR, resident)
    return section
