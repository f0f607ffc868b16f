"""What does the front door cost: a key, a request and a token limit, metrics and access log, beside nginx and two others?"""

from __future__ import annotations

import json
import string
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import nginx
import peers
from report import Bar, Section
from runner import HERE, RESULTS, Options, Summary, Variant, backend, compare, free_port

WINDOW_S = 3.0
"""Longer than the slowest program takes for its first answers at 64 at a time."""

AT_ONCE, PACE_US, EVENTS = 64, 5000, 128
NGINX, WEFT, TWO, PASSING = "nginx", "Weft", "Weft, two workers", "Weft, without keys and limits"
FASTAPI, LITELLM = "FastAPI + httpx", "LiteLLM's proxy"
JSON_BAR = "gateway, JSON, CPU a request to nginx"
SSE_BAR = "gateway, streams, CPU an event to nginx"
TWO_BAR = "gateway, CPU a request with two workers to one"
SHARE_BAR = "gateway, requests that one of two workers served, at most"

PATH = "/v1/chat/completions"
BODY, STREAM = (HERE / "bodies" / f"{name}.json" for name in ("relay", "stream"))
KEY = "sk-benchmark-0123456789"

LITELLM_CONFIG = """\
model_list:
  - model_name: relay
    litellm_params: {{model: openai/relay, api_base: "http://127.0.0.1:{chat}/v1", api_key: none, rpm: 100000000, tpm: 10000000000}}
general_settings: {{master_key: {key}}}
litellm_settings: {{drop_params: true, request_timeout: 600, num_retries: 0}}
"""


def weft(name: str, spec: str, chat: int, body: Path, *, workers: int = 1) -> Variant:
    """The gateway, as a user starts it."""
    folder = Path(tempfile.mkdtemp(prefix="weft-bench-"))
    text = string.Template((HERE / "specs" / spec).read_text()).substitute(chat=chat)
    (folder / "front.yaml").write_text(text)
    program, port = str(Path(sys.executable).with_name("weft")), free_port()
    where = [str(folder / "front.yaml"), "--data", str(folder / "data")]
    extra: list[str] = []
    if "keys: true" in text:
        made = subprocess.run(
            [program, "keys", "create", "bench", "--spec", where[0], *where[1:], "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        extra = ["--header", f"Authorization: Bearer {json.loads(made.stdout)['secret']}"]
    command = [program, "up", *where, "--port", str(port), "--workers", str(workers)]
    return Variant(name, command, port, PATH, body, extra)


def others(chat: int, body: Path) -> list[Variant]:
    """The peers that are installed; none without ``benchmarks/run --peers``."""
    interpreter = peers.python()
    if interpreter is None:
        return []
    authorized = ["--header", f"Authorization: Bearer {KEY}"]
    port = free_port()
    app = [str(interpreter), str(HERE / "apps" / "fastapi_proxy.py"), str(port), str(chat), KEY]
    found = [Variant(FASTAPI, app, port, PATH, body, authorized)]
    program = interpreter.with_name("litellm")
    if program.exists():
        port = free_port()
        config = Path(tempfile.mkdtemp(prefix="weft-bench-litellm-")) / "config.yaml"
        config.write_text(LITELLM_CONFIG.format(chat=chat, key=KEY))
        command = [str(program), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
        env = {"LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        found.append(Variant(LITELLM, command, port, PATH, body, authorized, env))
    return found


def measure(options: Options) -> Section:
    """JSON and streams at 64 at a time, all programs in one run."""
    section = Section(
        "The front door",
        f"{AT_ONCE} requests at a time; streams: {AT_ONCE}, an event every {PACE_US // 1000} ms on each. Weft: a key, a limit of requests "
        "and one of tokens, metrics and access log. nginx: none of that, no log. FastAPI: a key is compared, requests are counted. "
        "LiteLLM: its master key, limits of requests and tokens of the model, no database.",
        ["", "CPU µs a request", "ratio", "requests/s", "p50 µs", "CPU µs an event", "ratio", "MB"],
        bars=[Bar(JSON_BAR, 3), Bar(SSE_BAR, 1.6), Bar(TWO_BAR, 1.1), Bar(SHARE_BAR, 60, "%")],
    )
    with backend() as chat:
        whole = _compared(chat, BODY, Options(options.rounds, max(WINDOW_S, options.seconds)), "done")
    with backend(pace_us=PACE_US, events=EVENTS) as chat:
        paced = Options(rounds=max(2, min(3, options.rounds)), seconds=2.0)
        streams = _compared(chat, STREAM, paced, "events")
    bases = [found.get(NGINX) for found in (whole, streams)]
    for name in (NGINX, PASSING, WEFT, TWO, FASTAPI, LITELLM):
        one, many = whole.get(name), streams.get(name)
        if one is None and many is None:
            continue
        ratios = [
            summary.cpu_us / base.cpu_us if summary is not None and base is not None else "-"
            for summary, base in zip((one, many), bases, strict=True)
        ]
        section.rows.append(
            [
                name,
                one.cpu_us if one is not None else "-",
                ratios[0],
                one.rps if one is not None else "-",
                one.p50 if one is not None else "-",
                many.cpu_us if many is not None else "-",
                ratios[1],
                one.pss_mb if one is not None else "-",
            ]
        )
    for bar, found, base in ((JSON_BAR, whole, bases[0]), (SSE_BAR, streams, bases[1])):
        if WEFT in found and base is not None:
            section.measured(bar, found[WEFT].cpu_us / base.cpu_us)
    if WEFT in whole and TWO in whole:
        section.measured(TWO_BAR, whole[TWO].cpu_us / whole[WEFT].cpu_us)
        section.measured(SHARE_BAR, _largest_share(TWO))
    return section


def _compared(chat: int, body: Path, options: Options, unit: str) -> dict[str, Summary]:
    port = free_port()
    variants = [
        Variant(NGINX, nginx.command(port, chat), port, PATH, body),
        weft(PASSING, "passing.yaml", chat, body),
        weft(WEFT, "gateway.yaml", chat, body),
        weft(TWO, "gateway.yaml", chat, body, workers=2),
        *others(chat, body),
    ]
    found = compare(variants, concurrencies=(AT_ONCE,), options=options, unit=unit)
    return {name: summary for (name, _), summary in found.items()}


def _largest_share(name: str) -> float | None:
    """Which part of its requests the busiest worker served, by the access log."""
    log = RESULTS / f"{name.replace(' ', '-').replace('/', '-')}.log"
    served: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{") and f'"route":"{PATH}"' in line:
            served[json.loads(line)["request_id"][:16]] += (
                1  # each process begins its ids in a way of its own
            )
    total = sum(served.values())
    return 100 * max(served.values()) / total if total and len(served) > 1 else None


if __name__ == "__main__":
    shown = measure(Options())
    print("\n".join(["", *(" | ".join(bar.row()) for bar in shown.bars), "", shown.markdown()]))
