"""What does relaying a stream of tokens cost, and does every token arrive, at once and on its own?"""

from __future__ import annotations

import statistics
import sys

import nginx
import weft_app
from report import Bar, Section
from runner import BIN, HERE, Options, Sample, Variant, backend, compare, free_port, load, started

BODY = HERE / "bodies" / "stream.json"
NGINX, WEFT, RAW, FLOOR = "nginx", "Weft, from a spec", "Weft's server and client alone", "C gateway"
STREAMS, PACE_US, EVENTS = 16, 5000, 128
MANY = 256

CPU_BAR, READS_BAR = "stream relay, CPU an event to nginx", "stream relay, events a client read"
LOST_BAR = f"tokens lost in {MANY} streams at once"

WINDOW_S = 2.0
"""Three streams of 128 events at 5 ms, one after another, on each connection."""


def variants(chat_port: int) -> list[Variant]:
    """The programs that relay."""
    ports = {name: free_port() for name in (NGINX, WEFT, RAW, FLOOR)}
    chat = str(chat_port)
    raw = [sys.executable, str(HERE / "apps" / "raw_handler.py"), str(ports[RAW]), chat, chat]
    path = "/v1/chat/completions"
    return [
        Variant(NGINX, nginx.command(ports[NGINX], chat_port), ports[NGINX], path, BODY),
        Variant(FLOOR, [str(BIN / "gateway"), str(ports[FLOOR]), chat, chat], ports[FLOOR], "/sse", BODY),
        Variant(RAW, raw, ports[RAW], path, BODY),
        weft_app.relay(WEFT, ports[WEFT], chat_port),
    ]


def measure(options: Options) -> Section:
    """16 paced streams at a time; then 256 at once, each read to its end."""
    section = Section(
        "Relaying streams of tokens",
        f"{STREAMS} streams, an event every {PACE_US // 1000} ms on each. Delay: from when the backend made an event until the "
        f"client had read it. Then {MANY} streams at once, {MANY * EVENTS:,} tokens in all.",
        [
            "",
            "CPU µs an event",
            "ratio",
            "events a read",
            "delay p50 µs",
            "delay p99 µs",
            f"tokens lost of {MANY} streams",
        ],
        bars=[Bar(CPU_BAR, 1.3), Bar(READS_BAR, 1.05, "events"), Bar(LOST_BAR, 0, "tokens")],
    )
    paced = Options(rounds=max(2, min(3, options.rounds)), seconds=WINDOW_S)
    with backend(pace_us=PACE_US, events=EVENTS) as chat:
        offered = variants(chat)
        found = compare(offered, concurrencies=(STREAMS,), options=paced, unit="events")
        lost = _lost(offered)
    if (NGINX, STREAMS) not in found:
        section.note += " nginx is not installed (Debian: nginx-light): no ratios."
    base = found[NGINX, STREAMS].cpu_us if (NGINX, STREAMS) in found else None
    for variant in offered:
        if summary := found.get((variant.name, STREAMS)):
            section.rows.append(
                [
                    variant.name,
                    summary.cpu_us,
                    summary.cpu_us / base if base else "-",
                    summary.events_a_read,
                    summary.event50,
                    summary.event99,
                    lost.get(variant.name, "-"),
                ]
            )
    if (WEFT, STREAMS) in found:
        weft = found[WEFT, STREAMS]
        section.measured(CPU_BAR, weft.cpu_us / base if base else None)
        section.measured(READS_BAR, weft.events_a_read)
        section.measured(LOST_BAR, lost.get(WEFT))
    return section


def _lost(offered: list[Variant]) -> dict[str, int]:
    """Tokens that did not arrive when all streams run at once, the worst of two tries."""
    lost: dict[str, int] = {}
    with started(offered) as up:
        for name, (variant, pid) in up.items():
            tries = [_all_at_once(variant, pid) for _ in range(2)]
            lost[name] = max(MANY * EVENTS - sample.events for sample in tries)
            delay = statistics.median(sample.event99 for sample in tries)
            print(f"  {name}: {MANY} streams at once, event delay p99 {delay / 1000:.1f} ms")
    return lost


def _all_at_once(variant: Variant, pid: int | None) -> Sample:
    extra = ["--requests", str(MANY)]
    return load(variant.port, variant.path, variant.body, concurrency=MANY, seconds=20, extra=extra, pid=pid)
