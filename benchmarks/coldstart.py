"""How long from typing the command until ChatQnA answers: warm, and (``benchmarks/run --cold``) from a fresh clone.

The cold start clones the repository, with an empty cache, data and package cache, runs ``./run``, waits until it is ready,
uploads a document, asks about it and waits for the first token of an answer. It downloads some hundred megabytes.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path

from report import Bar, Section
from runner import HERE, RESULTS, Options, cpu_s, end, free_port, pss_mb

WARM_BAR = "warm start of ChatQnA to ready"
WARM_TIMES = 3
READY_S = 600.0
DOCUMENT = (
    "The lighthouse of Ardmore was built in 1851 by the engineer Alan Stevenson. "
    "Its lamp is 38 metres above the sea and can be seen from 24 kilometres away. "
    "The last keeper, Morag Sinclair, left in 1983, when the light was made automatic.\n"
)
QUESTION = "Who was the last keeper of the lighthouse of Ardmore?"


def received_bytes() -> int:
    """Bytes that have come in over every network but loopback."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return sum(int(line.split(":")[1].split()[0]) for line in lines if not line.strip().startswith("lo:"))


def wait_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until ``/health/ready`` says so."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        with (
            suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5),
        ):
            return
        time.sleep(0.02)
    raise RuntimeError("ChatQnA did not become ready: see results/start.log")


def upload(port: int) -> None:
    """Hand the document over."""
    boundary = uuid.uuid4().hex
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="ardmore.txt"\r\nContent-Type: text/plain\r\n\r\n'
    body = part.encode() + DOCUMENT.encode() + f"\r\n--{boundary}--\r\n".encode()
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/dataprep/ingest", body, headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        reply.read()


def ask(port: int) -> tuple[float, str]:
    """When the first words came, and all of them."""
    body = {"model": "chatqna", "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    first, words = 0.0, []
    with urllib.request.urlopen(request, timeout=60) as reply:
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            choices = json.loads(line[6:]).get("choices") or [{}]
            if text := choices[0].get("delta", {}).get("content"):
                first = first or time.monotonic()
                words.append(text)
    return first, "".join(words)


def start(
    command: list[str], env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start ChatQnA; what it says goes to a log."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "start.log").open("wb") as log:
        return subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def warm() -> tuple[float, float, float]:
    """Seconds to ready with everything in the cache, CPU seconds of it, and memory then."""
    port = free_port()
    data = tempfile.mkdtemp(prefix="weft-bench-data-")
    weft = str(Path(sys.executable).with_name("weft"))
    command = [weft, "up", "chatqna", "--port", str(port), "--data", data]
    begin = time.monotonic()
    process = start(command)
    try:
        wait_ready(port, process)
        return time.monotonic() - begin, cpu_s(process.pid), pss_mb(process.pid)
    finally:
        end(process)
        shutil.rmtree(data, ignore_errors=True)


def cold() -> dict[str, float]:
    """Seconds, bytes and megabytes from a fresh clone to the first cited words."""
    work = Path(tempfile.mkdtemp(prefix="weft-bench-cold-"))
    home, clone = work / "home", work / "weft"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(HERE.parent), str(clone)], check=True)
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WEFT_", "XDG_", "VIRTUAL_ENV"))
    }
    env |= {"HOME": str(home), "PIP_NO_CACHE_DIR": "1"}
    port = free_port()
    before, begin = received_bytes(), time.monotonic()
    process = start([str(clone / "run"), "--port", str(port)], env, clone)
    try:
        wait_ready(port, process)
        ready = time.monotonic() - begin
        upload(port)
        first, answer = ask(port)
        if "Sinclair" not in answer:
            print(f"  the answer does not name the keeper: {answer[:200]!r}", file=sys.stderr)
        disk = sum(
            path.stat().st_size for path in work.rglob("*") if path.is_file() and not path.is_symlink()
        )
        return {
            "ready": ready,
            "first": first - begin,
            "downloaded": (received_bytes() - before) / 1e6,
            "disk": disk / 1e6,
            "memory": pss_mb(process.pid),
        }
    finally:
        end(process)
        shutil.rmtree(work, ignore_errors=True)


def measure(options: Options, *, with_cold: bool = False) -> Section:
    """Warm starts, and one from nothing."""
    del options  # it is counted in times, not seconds
    section = Section(
        "Starting ChatQnA",
        f"Until /health/ready says that the models answer; median of {WARM_TIMES} with models in the cache.",
        ["", "measured"],
        bars=[Bar(WARM_BAR, 6, "s")],
    )
    try:
        starts = [warm() for _ in range(WARM_TIMES)]
    except RuntimeError as error:
        print(f"  {error}", file=sys.stderr)
        return section
    seconds, cpu, memory = (statistics.median(column) for column in zip(*starts, strict=True))
    section.rows = [
        ["warm start to ready", f"{seconds:.2f} s ({cpu:.2f} s of CPU)"],
        ["memory then", f"{memory:.0f} MB"],
    ]
    section.measured(WARM_BAR, seconds)
    if with_cold:
        found = cold()
        section.rows += [
            ["fresh clone, empty caches: to ready", f"{found['ready']:.1f} s"],
            ["... to the first words of a cited answer", f"{found['first']:.1f} s"],
            ["... downloaded", f"{found['downloaded']:.0f} MB"],
            ["... disk, the clone with it", f"{found['disk']:.0f} MB"],
            ["... memory after the answer", f"{found['memory']:.0f} MB"],
        ]
        section.bars.append(
            Bar("fresh clone to first cited words, download included", 60, "s", found["first"])
        )
    return section
