"""How Weft is started for a measurement: from the specs in ``specs/``, as a user would."""

from __future__ import annotations

import string
import sys
import tempfile
from pathlib import Path

from runner import HERE, Variant

CHAT, STREAM, RELAY, SLOW = (HERE / "bodies" / f"{name}.json" for name in ("chat", "stream", "relay", "slow"))
"""Requests to the megaservice ``chain``; to ``relay``, streamed and not; to ``slow``."""


def command(spec: str, port: int, *, placement: str = "", **ports: int) -> list[str]:
    """``weft up`` on a spec (and a placement) whose ``$name`` are replaced by ports."""
    folder = Path(tempfile.mkdtemp(prefix="weft-bench-"))
    for name in filter(None, (spec, placement)):
        text = string.Template((HERE / "specs" / name).read_text()).substitute(ports, here=HERE / "specs")
        (folder / name).write_text(text)
    weft = Path(sys.executable).with_name("weft")
    placed = ["--placement", str(folder / placement)] if placement else []
    return [str(weft), "up", str(folder / spec), "--port", str(port), *placed]


def chain(name: str, port: int, backend_port: int, *, placement: str = "") -> Variant:
    """The four-hop chain: through adapters, or with its services placed elsewhere."""
    started = command("chain.yaml", port, placement=placement, backend=backend_port)
    return Variant(name, started, port, "/v1/chat/completions", CHAT)


def relay(name: str, port: int, backend_port: int) -> Variant:
    """One streamed chat."""
    return Variant(name, command("relay.yaml", port, chat=backend_port), port, "/v1/chat/completions", STREAM)
