"""``weft up chatqna --workers 2``: two gateways on one port, each exclusive service once, metrics added up."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from chatqna_process import HANDBOOK, QUESTION, Gateway

from weft.http.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Two gateway processes with the handbook in their store."""
    folder = tmp_path_factory.mktemp("data")
    running = Gateway(folder, "--workers", "2")
    try:
        (folder / "handbook.txt").write_text(HANDBOOK)
        assert "handbook.txt ingested" in running.run("ingest", str(folder / "handbook.txt"))
        yield running
    finally:
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert running.stop() == 130
    assert not psutil.wait_procs(family, timeout=10)[1]


async def test_both_workers_answer_from_the_same_store(workers: Gateway) -> None:
    """Questions on fresh connections reach either worker, and all find the document."""
    for _ in range(6):
        client = Client()
        try:
            body = b'{"query": "days of leave", "k": 1}'
            reply = await client.endpoint(workers.url, timeout_s=30).request(
                "POST", "/v1/retrieval", body, headers=[("content-type", "application/json")]
            )
        finally:
            await client.aclose()
        assert b"30 days of leave" in reply.body
    answer = workers.client().chat.completions.create(
        model="chatqna", messages=[{"role": "user", "content": QUESTION}], max_tokens=8
    )
    assert "30 days of leave" in (answer.choices[0].message.content or "")


def test_exclusive_services_run_once(workers: Gateway) -> None:
    """The store, the models and what takes documents in have one process each; the gateway has two."""
    up = Counter(re.findall(r'weft_process_up\{process="([\w-]+?)(?:-\d+)?"\} 1', metrics(workers)))
    assert up == {"gateway": 2, "llm": 1, "embedder": 1, "store": 1, "documents": 1}


def test_metrics_are_added_up(workers: Gateway) -> None:
    """Whichever worker is asked, a counter is the sum over both."""

    def asked() -> float:
        found = re.findall(
            r'^weft_http_requests_total\{[^}]*route="/v1/models"[^}]*\} (\d+)', metrics(workers), re.MULTILINE
        )
        return sum(map(float, found))

    before = asked()
    for _ in range(8):
        assert workers.client().models.list().data
    assert asked() == before + 8


def metrics(workers: Gateway) -> str:
    with urllib.request.urlopen(f"{workers.url}/metrics", timeout=30) as reply:
        return str(reply.read().decode())


def test_state_is_one_folder(workers: Gateway) -> None:
    """The documents are where ``--data`` says, once."""
    assert (Path(workers.folder) / "documents").is_dir()
