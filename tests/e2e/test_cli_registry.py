"""``weft registry`` and ``weft check --live`` against real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chatqna_process import Gateway, free_port

from weft.errors import EXIT_CODES

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  rank: {component: ./rank.py:Reversed}
expose: [rank]
---
apiVersion: weft/v1
kind: Megaservice
name: ranked
version: "1.0.0"
contract: reranker
nodes:
  rank: {service: rank, fill_from: request}
output: rank
"""

PLACEMENT = """\
apiVersion: weft/v1
kind: Placement
services:
  rank: {at: "registry:team-rank"}
"""

COMPONENT = """\
from weft.contracts.reranker import RerankRequest, RerankResponse


class Reversed:
    async def invoke(self, request: RerankRequest) -> RerankResponse:
        return RerankResponse(documents=request.documents[::-1])
"""


def weft(*arguments: str, folder: Path, url: str = "") -> tuple[int, str]:
    """A command in ``folder``; its status and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", "from weft.cli.main import main; main()", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        env=os.environ | ({"WEFT_URL": url} if url else {}),
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rank.py").write_text(COMPONENT)
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "placement.yaml").write_text(PLACEMENT)
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[str]:
    """The component as a microservice of its own."""
    port = free_port()
    command = [sys.executable, "-c", "from weft.cli.main import main; main()", "serve", "./rank.py:Reversed"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--data", str(folder / "service")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    try:
        assert any("is ready" in line for line in process.stdout)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_is_registered_placed_upon_and_removed(folder: Path, service: str, workers: str) -> None:
    """The whole life of a registration, by the command line, also where two workers share the port."""
    data = folder / "data"
    placement = str(folder / "placement.yaml")
    gateway = Gateway(
        data,
        "--placement",
        placement,
        "--workers",
        workers,
        spec=str(folder / "spec.yaml"),
        ready="waits for",
    )
    try:
        live = ("check", "spec.yaml", "--placement", "placement.yaml", "--live", "--data", str(data))
        status, said = weft(*live, folder=folder)
        assert (status, EXIT_CODES[status]) == (10, "a service is not ready or not reachable")
        assert "rank at registry:team-rank: not ready: no service is registered as 'team-rank'" in said

        status, said = weft(
            "registry", "add", "team-rank", "reranker", service, folder=folder, url=gateway.url
        )
        assert (status, said) == (
            0, "team-rank is registered (ready); place a service on it: at: registry:team-rank\n"
        )  # fmt: skip
        status, said = weft(
            "registry", "add", "team-rank", "reranker", gateway.url, folder=folder, url=gateway.url
        )
        assert status == 11
        assert f"'team-rank' is taken: it is a reranker at {service}" in said
        listed = [
            json.loads(weft("registry", "list", "--json", folder=folder, url=gateway.url)[1])
            for _ in range(4)
        ]
        assert [[entry["name"] for entry in services] for services in listed] == [["team-rank"]] * 4

        assert weft(*live, folder=folder) == (
            0, "spec.yaml: ranked 1.0.0 is fine (1 nodes)\n  rank at registry:team-rank: fits\n"
        )  # fmt: skip
        request = '{"query": "q", "documents": [{"text": "a"}, {"text": "b"}]}'
        status, said = weft("call", "ranked", request, folder=folder, url=gateway.url)
        assert status == 0, said
        assert [document["text"] for document in json.loads(said)["documents"]] == ["b", "a"]

        assert weft("registry", "rm", "team-rank", folder=folder, url=gateway.url)[0] == 0
        status, said = weft("registry", "rm", "team-rank", folder=folder, url=gateway.url)
        assert (status, "no service is registered as 'team-rank'" in said) == (11, True)
    finally:
        gateway.stop()


def test_check_live_refuses_what_does_not_fit(folder: Path, service: str) -> None:
    """A service of another contract at the address: status 3, with the place in the file."""
    spec = SPEC.replace("./rank.py:Reversed", "onnx-embedder").replace("reranker", "embedding")
    (folder / "spec.yaml").write_text(spec)
    (folder / "placement.yaml").write_text(PLACEMENT.replace("registry:team-rank", service))
    status, said = weft("check", "spec.yaml", "--placement", "placement.yaml", "--live", folder=folder)
    assert status == 3, said
    assert "placement.yaml:4:" in said
    assert f"service 'rank' cannot run at {service}: it is a 'reranker', not a 'embedding'" in said
    assert weft("check", "spec.yaml", "--placement", "placement.yaml", folder=folder)[0] == 0


def test_state_of_a_newer_version_is_left_alone(folder: Path) -> None:
    """A gateway that is too old for the registrations ends with the state's exit status and touches nothing."""
    data = folder / "data"
    data.mkdir()
    content = '{"schema_version": 99, "services": []}'
    (data / "registry.json").write_text(content)
    status, said = weft("up", "spec.yaml", "--port", str(free_port()), "--data", str(data), folder=folder)
    assert status == 8, said
    assert "was written by a newer Weft (schema 99" in said
    assert (data / "registry.json").read_text() == content
