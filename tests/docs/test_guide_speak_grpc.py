"""The guide on gRPC, followed to the letter: its gateway, its client, and its mapping of a service."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from weft.plan import check
from weft.registry.components import Components
from weft.spec.load import load

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "speak-grpc.md"
TEXT = GUIDE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ file=([\w.]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
LINES = re.findall(r"^```sh run=client\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SERVICES = re.search(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.e2e
def test_a_client_gets_an_answer(tmp_path: Path) -> None:
    """The gateway starts, the client is made of its interface, and the streamed answer is printed."""
    ports = {"8080": str(free_port()), "8081": str(free_port())}

    def ported(text: str) -> str:
        return re.sub(r"\b(8080|8081)\b", lambda match: ports[match[0]], text)

    for name, text in FILES.items():
        (tmp_path / name).write_text(ported(text))
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"XDG_CACHE_HOME": str(Path.home() / ".cache")}
    gateway = subprocess.Popen(
        [str(BIN / "weft"), "up", "front.yaml"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert gateway.stdout is not None
        for line in gateway.stdout:
            if "is ready" in line:
                break
        else:
            pytest.fail("the gateway did not become ready")
        for command in LINES:
            done = subprocess.run(
                ["bash", "-euc", ported(command)],
                cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        assert len(done.stdout.split()) > 3
    finally:
        gateway.terminate()
        gateway.communicate(timeout=20)


def test_the_mapping_is_one(tmp_path: Path) -> None:
    """The example of the component passes every check of a spec."""
    assert SERVICES is not None
    megaservice = """
        ---
        apiVersion: weft/v1
        kind: Megaservice
        name: ranked
        contract: reranker
        nodes:
          rank: {service: ranker, inputs: {query: request.query, documents: request.documents}}
        output: rank
        """
    (tmp_path / "spec.yaml").write_text(SERVICES[1] + textwrap.dedent(megaservice).lstrip())
    assert check(load(str(tmp_path / "spec.yaml")), Components())
