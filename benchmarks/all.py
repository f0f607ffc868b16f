"""Builds the tools, asks every question, and writes the answers into README.md."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import time

import cancel
import chain
import coldstart
import footprint
import gateway
import gone
import inprocess
import late_headers
import limits_memory
import overload
import peers
import report
import rolling
import sse
import store_down
from runner import BIN, HERE, Options

QUESTIONS = {
    "chain": chain.measure,
    "sse": sse.measure,
    "inprocess": inprocess.measure,
    "footprint": footprint.measure,
    "late_headers": late_headers.measure,
    "cancel": cancel.measure,
    "gateway": gateway.measure,
    "overload": overload.measure,
    "gone": gone.measure,
    "store_down": store_down.measure,
    "limits_memory": limits_memory.measure,
    "rolling": rolling.measure,
    "coldstart": coldstart.measure,
}


def build() -> None:
    """Compile what is newer than its program."""
    compiler = shutil.which("cc") or sys.exit("benchmarks need a C compiler (Debian: gcc)")
    BIN.mkdir(exist_ok=True)
    header = HERE / "tools" / "net.h"
    for source in sorted((HERE / "tools").glob("*.c")):
        program = BIN / source.stem
        newest = max(source.stat().st_mtime, header.stat().st_mtime)
        if not program.exists() or program.stat().st_mtime < newest:
            subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison (5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of load in a round (1)")
    parser.add_argument(
        "--only", metavar="NAME,...", help=f"some of: {', '.join(QUESTIONS)}; README.md stays as it is"
    )
    parser.add_argument(
        "--peers", action="store_true", help="install the peer frameworks first, into the user's cache"
    )
    parser.add_argument("--cold", action="store_true", help="also start from a fresh clone with empty caches")
    return parser.parse_args()


def main() -> int:
    """Measure; 1 if a bar was missed."""
    options = arguments()
    if sys.platform != "linux":
        sys.exit("benchmarks read the kernel's counters of CPU time: they run on Linux only")
    if importlib.util.find_spec("weft") is None:
        sys.exit("this Python cannot import weft: run ./test once, or set PYTHON")
    build()
    if options.peers:
        peers.install()
    chosen = options.only.split(",") if options.only else list(QUESTIONS)
    if unknown := set(chosen) - set(QUESTIONS):
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    begin, sections = time.monotonic(), []
    for name in chosen:
        print(f"{name} ...", flush=True)
        how_long = Options(options.rounds, options.seconds)
        if name == "coldstart":
            sections.append(coldstart.measure(how_long, with_cold=options.cold))
        else:
            sections.append(QUESTIONS[name](how_long))
    text = report.render(
        sections,
        rounds=options.rounds,
        seconds=options.seconds,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
    )
    print(f"\n{text}\n\n{time.monotonic() - begin:.0f} s")
    if not options.only:
        report.write(HERE / "README.md", text)
    return int(not all(bar.is_met for section in sections for bar in section.bars))


if __name__ == "__main__":
    sys.exit(main())
