"""How much does a chain of four HTTP services cost through Weft, beside the least that a gateway can cost?"""

from __future__ import annotations

import sys

import peers
import weft_app
from report import Bar, Section
from runner import BIN, HERE, Options, Summary, Variant, backend, compare, free_port

BODY = HERE / "bodies" / "chat.json"
CPU_BAR, LATENCY_BAR = "chain, CPU a request at c=16 to the C gateway", "chain, p50 at c=1 to the C gateway"
FLOOR, RAW = "C gateway", "Weft's server and client alone"
WEFT, ADAPTED = "Weft, from a spec", "Weft, from a spec, through adapters to foreign forms"


def variants(backend_port: int) -> list[Variant]:
    """The programs that make the four calls."""
    ports = {name: free_port() for name in (FLOOR, WEFT, ADAPTED, RAW)}
    arguments = [str(backend_port), str(backend_port)]
    raw = [sys.executable, str(HERE / "apps" / "raw_handler.py"), str(ports[RAW]), *arguments]
    return [
        Variant("straight to the services", [], backend_port, "/v1/chat/completions", BODY, ["--chain"]),
        Variant(
            FLOOR,
            [str(BIN / "gateway"), str(ports[FLOOR]), *arguments],
            ports[FLOOR],
            "/v1/chat/completions",
            BODY,
        ),
        Variant(RAW, raw, ports[RAW], "/v1/chat/completions", BODY),
        weft_app.chain(WEFT, ports[WEFT], backend_port, placement="elsewhere.yaml"),
        weft_app.chain(ADAPTED, ports[ADAPTED], backend_port),
    ]


def measure(options: Options) -> Section:
    """The chain at concurrency 1 and 16, with the peers in the same run where they are installed."""
    with backend() as port:
        offered = [*variants(port), *peers.variants(port)]
        found = compare(offered, concurrencies=(1, 16), options=options)
    return _section(found, [variant.name for variant in offered])


def _section(found: dict[tuple[str, int], Summary], names: list[str]) -> Section:
    section = Section(
        "A chain of four HTTP services",
        "Embedding, retrieval, reranking, chat; CPU of the whole process tree for one request, and the ratio to a C program "
        "that validates nothing. Latencies include the backends. From a spec, the services speak their contracts' own routes; "
        "through adapters they speak TEI's, OPEA's and OpenAI's forms, as they do to all others here.",
        ["", "CPU µs, c=16", "ratio", "CPU µs, c=1", "p50 µs, c=1", "ratio", "requests/s, c=16", "MB"],
        bars=[Bar(CPU_BAR, 2.8), Bar(LATENCY_BAR, 2.2)],
    )
    if peers.python():
        section.note += f" Peers: {peers.versions()}."
    else:
        section.note += " Peers are left out: `benchmarks/run --peers` installs them."
    if (FLOOR, 16) not in found:
        return section
    floor, floor_alone = found[FLOOR, 16], found[FLOOR, 1]
    for name in names:
        if (name, 16) in found:
            many, one = found[name, 16], found[name, 1]
            ratio = many.cpu_us / floor.cpu_us if many.cpu_us else "-"
            section.rows.append(
                [
                    name,
                    many.cpu_us or "-",
                    ratio,
                    one.cpu_us or "-",
                    one.p50,
                    one.p50 / floor_alone.p50,
                    many.rps,
                    many.pss_mb or "-",
                ]
            )
    if (WEFT, 16) in found:
        section.measured(CPU_BAR, found[WEFT, 16].cpu_us / floor.cpu_us)
        section.measured(LATENCY_BAR, found[WEFT, 1].p50 / floor_alone.p50)
    return section
