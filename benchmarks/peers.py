"""Other ways of doing the same chain, in an environment of their own: FastAPI with aiohttp, and LangGraph."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from runner import HERE, Variant, free_port

BODY = HERE / "bodies" / "chat.json"
APPS = {"FastAPI + aiohttp": "fastapi_chain.py", "LangGraph + FastAPI + aiohttp": "langgraph_chain.py"}


def environment() -> Path:
    """Where the peers are installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "weft-benchmarks" / f"peers-{sys.version_info[0]}.{sys.version_info[1]}"


def python() -> Path | None:
    """The peers' Python, if they are installed."""
    path = environment() / "bin" / "python"
    return path if (environment() / "installed").is_file() and path.exists() else None


def install() -> None:
    """Make or update the environment."""
    subprocess.run([sys.executable, "-m", "venv", str(environment())], check=True)
    pip = [str(environment() / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", "-r", str(HERE / "peers.txt")], check=True)
    (environment() / "installed").touch()


def versions() -> str:
    """What is installed there, for the table's note."""
    script = (
        "from importlib.metadata import version as v;"
        "print(', '.join(f'{n} {v(n)}' for n in ('fastapi', 'uvicorn', 'aiohttp', 'langgraph')))"
    )
    found = subprocess.run([str(python()), "-c", script], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def variants(backend_port: int) -> list[Variant]:
    """The peers that are installed; empty without ``benchmarks/run --peers``."""
    interpreter = python()
    if interpreter is None:
        return []
    found = []
    for name, app in APPS.items():
        port = free_port()
        command = [
            str(interpreter),
            str(HERE / "apps" / app),
            str(port),
            str(backend_port),
            str(backend_port),
        ]
        found.append(Variant(name, command, port, "/v1/chat/completions", BODY))
    return found
