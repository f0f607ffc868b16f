"""How Weft is started for a measurement: from the specs in ``specs/``, as a user would."""

from __future__ import annotations

import string
import sys
import tempfile
from pathlib import Path

from runner import HERE, Variant

CHAT, STREAM, RELAY, SLOW = (HERE / "bodies" / f"{name}.json" for name in ("chat", "stream", "relay", "slow"))
"""Requests to the megaservice ``chain``; to ``relay``, streamed and not; to ``slow``."""


def command(spec: str, port: int, **ports: int) -> list[str]:
    """``weft up`` on a spec whose ``$name`` are replaced by ports."""
    text = string.Template((HERE / "specs" / spec).read_text()).substitute(ports, here=HERE / "specs")
    path = Path(tempfile.mkdtemp(prefix="weft-bench-")) / spec
    path.write_text(text)
    weft = Path(sys.executable).with_name("weft")
    return [str(weft), "up", str(path), "--port", str(port)]


def chain(name: str, port: int, backend_port: int) -> Variant:
    """The four-hop chain."""
    return Variant(
        name, command("chain.yaml", port, backend=backend_port), port, "/v1/chat/completions", CHAT
    )


def relay(name: str, port: int, backend_port: int) -> Variant:
    """One streamed chat."""
    return Variant(name, command("relay.yaml", port, chat=backend_port), port, "/v1/chat/completions", STREAM)
