"""``weft conform`` as a person runs it: services in processes of their own, with real models and in other languages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conform_services import SCRIPTED

from weft.serve import ports

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SERVICES = Path(__file__).with_name("services")
WEFT = [sys.executable, "-c", "from weft.cli.main import main; main()"]
WATCHDOG_S = 600


@contextmanager
def running(folder: Path, command: list[str], word: str) -> Iterator[None]:
    """A program that goes on; entered when it has printed ``word``, ended as Ctrl-C ends it."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        printed = ""
        while word not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def free_port() -> int:
    return ports.next_free("127.0.0.1", 24_000 + os.getpid() % 20_000)


@contextmanager
def served(folder: Path, component: str, *options: str) -> Iterator[str]:
    """``weft serve COMPONENT``; its URL."""
    port = free_port()
    with running(folder, [*WEFT, "serve", component, "--port", str(port), *options], "is ready"):
        yield f"http://127.0.0.1:{port}"


def conform(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WEFT, "conform", url, *options], check=False, capture_output=True, text=True, timeout=WATCHDOG_S
    )


def report(url: str, *options: str) -> dict[str, Any]:
    """The report as a program reads it, of a service that conforms."""
    ended = conform(url, "--json", *options)
    found: dict[str, Any] = json.loads(ended.stdout)
    wrong = [f for f in found["findings"] if f["outcome"] == "broken"]
    assert (wrong, ended.returncode) == ([], 0)
    return found


@pytest.mark.parametrize(
    ("component", "contract"),
    [("llama-cpp", "chat"), ("onnx-embedder", "embedding"), ("qdrant-edge", "store")],
)
def test_what_weft_serves_conforms(tmp_path: Path, component: str, contract: str) -> None:
    """The components that need nothing beside them, with their real models; the service says which contract it is."""
    with served(tmp_path, component, "--data", str(tmp_path)) as url:
        found = report(url)
    assert found["contract"] == contract
    assert found["conforms"]
    assert found["specification"] == 1
    assert len([f for f in found["findings"] if f["outcome"] == "kept"]) > 30


def test_a_component_of_no_family_conforms(tmp_path: Path) -> None:
    """What it requires is read from what it states; a request that it can serve is given."""
    (tmp_path / "shout.py").write_text(
        "from msgspec import Struct\n\n\nclass Text(Struct):\n    text: str\n\n\nclass Shout:\n"
        "    def invoke(self, request: Text) -> Text:\n        return Text(request.text.upper())\n"
    )
    with served(tmp_path, "./shout.py:Shout") as url:
        found = report(url, "--request", '{"text": "hello"}')
        unasked = conform(url)
    assert found["contract"] == "./shout.py:Shout"
    assert unasked.returncode == 2
    assert "--request" in unasked.stderr


@pytest.mark.system("node")
def test_a_chat_in_node_conforms_and_streams_in_a_graph(tmp_path: Path) -> None:
    """Section by section, streams included; then the same spec with the model in Node, whole and streamed."""
    port, front = free_port(), free_port() + 1
    (tmp_path / "scripted.py").write_text(SCRIPTED)
    (tmp_path / "talk.yaml").write_text(
        "apiVersion: weft/v1\nkind: Services\nservices:\n  llm: {component: './scripted.py:Chat'}\n---\n"
        "apiVersion: weft/v1\nkind: Megaservice\nname: talk\nversion: '1.0.0'\ncontract: chat\nnodes:\n"
        "  answer: {service: llm, fill_from: request}\noutput: answer\n"
    )
    (tmp_path / "node.yaml").write_text(
        f"apiVersion: weft/v1\nkind: Placement\nservices:\n  llm: {{at: 'http://127.0.0.1:{port}'}}\n"
    )
    with running(tmp_path, ["node", str(SERVICES / "chat.mjs"), str(port)], "ready"):
        ended = conform(f"http://127.0.0.1:{port}", "--contract", "chat")
        assert ended.returncode == 0, ended.stdout
        assert "It conforms." in ended.stdout
        assert "must:   32 kept, 0 broken" in ended.stdout
        up = [*WEFT, "up", "talk.yaml", "--placement", "node.yaml", "--port", str(front), "--data", "data"]
        with running(tmp_path, up, "is ready"):
            whole, streamed = ask(f"http://127.0.0.1:{front}")
    assert whole == "This is what the script in Node says, word by word."
    assert streamed == whole


def ask(url: str) -> tuple[str, str]:
    """The answer of a megaservice, whole and streamed."""
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)
    asked: dict[str, Any] = {"model": "talk", "messages": [{"role": "user", "content": "Hi"}]}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 11
    client.close()
    return whole, "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_a_broken_service_is_reported_in_eighty_columns(tmp_path: Path) -> None:
    """What was sent, what came, what the specification says; the status is the documented one."""
    (tmp_path / "worst.py").write_text(
        "from weft.contracts.reranker import RerankRequest, RerankResponse\n\n\nclass Worst:\n"
        "    async def invoke(self, request: RerankRequest) -> RerankResponse:\n"
        "        scored = [d.scored(float(n)) for n, d in enumerate(request.documents)]\n"
        "        return RerankResponse(scored)\n"
    )
    with served(tmp_path, "./worst.py:Worst") as url:
        ended = conform(url)
    assert ended.returncode == 12
    assert "breaks 3 promises of the specification" in ended.stderr
    assert max(map(len, ended.stdout.splitlines())) <= 80
    lines = ended.stdout.splitlines()
    at = lines.index("  FAIL   8.5.2  best-first-with-scores")
    assert lines[at + 1 : at + 3] == [
        "         spec  Each document must have a `score`, higher is better, and the best",
        "               must come first.",
    ]
    assert lines[at + 3].startswith('         sent  invoke {"query":"When was the old bridge')
    assert "         came  scores [0.0, 1.0, 2.0, 3.0, 4.0]" in lines
    assert "It does not conform." in lines
    assert "8.5.1" not in ended.stdout


def test_nothing_there_and_no_contract_are_said() -> None:
    """An address where nothing answers is 10; a contract that nobody knows is 2, with the nearest."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    ended = conform(nowhere, "--contract", "reranker")
    assert ended.returncode == 10
    assert f"nothing answers at {nowhere}" in ended.stderr
    ended = conform(nowhere, "--contract", "rerank")
    assert ended.returncode == 2
    assert "did you mean 'reranker'?" in ended.stderr
