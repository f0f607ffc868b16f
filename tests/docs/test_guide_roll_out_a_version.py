"""The guide on versions, followed to the letter: its gateway, its commands, its requests."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from weft.spec.load import load

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "roll-out-a-version.md"
TEXT = GUIDE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ file=([\w.-]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
LINES = re.findall(r"^```sh run=rollout\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
BIN = Path(sys.executable).parent


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.e2e
def test_a_version_is_rolled_out_and_back(tmp_path: Path) -> None:
    """Every command does what the guide says, and the file is in the end what it was."""
    port = free_port()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WEFT_")}
    environment |= {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"WEFT_URL": f"http://127.0.0.1:{port}"}

    def run(script: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", script.replace("8080", port)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    with (tmp_path / "log").open("wb") as log:
        gateway = subprocess.Popen(
            [str(BIN / "weft"), "up", "front.yaml", "--port", port],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert gateway.stdout is not None
            assert any("is ready" in line for line in gateway.stdout)
            asked, promoted, back, reloaded = LINES
            versions = re.findall(r"x-weft-version: ([\d.]+)", run(asked))
            assert versions == ["2.0.0"] * 3 + ["1.2.0"]
            said = run(promoted)
            assert "answers 2.0.0: 0 -> 10" in said
            assert "10 %" in said
            assert "weight: 90}" in (tmp_path / "front.yaml").read_text()
            assert "answers 1.2.0: 90 -> 100" in run(back)
            assert (tmp_path / "front.yaml").read_text() == FILES["front.yaml"]
            said = run(reloaded)
            assert "what ran before goes on" in said
            assert "'wait' is not a key of a version" in said
            assert "The files' state is served" in said
        finally:
            gateway.terminate()
            gateway.communicate(timeout=20)


def test_the_keys_that_the_guide_shows_are_keys(tmp_path: Path) -> None:
    """What is shown of a file, and not run, is valid where it belongs."""
    version, drain = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    lines = FILES["front.yaml"].splitlines(keepends=True)
    (tmp_path / "front.yaml").write_text(
        "".join(lines[:-2]) + f"      {version}{lines[-1].replace('weight: 0', 'weight: 1')}{drain}"
    )
    front = load(tmp_path / "front.yaml").gateway
    assert front is not None
    assert front.drain.delay_s == 2
    assert front.routes[0].versions[0].notice == "https://example.org/end"
