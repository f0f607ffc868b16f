"""``weft conform`` on services: every own component conforms, and what does not conform is found out."""

from __future__ import annotations

from pathlib import Path

import pytest
from conform_services import ADAPTERS, broken, checked, post, service, unseen

from weft.registry.components import Components

CONTRACTS = Components().contracts

ALONE = [
    ("chat", "chat"),
    ("embedder", "embedding"),
    ("store", "store"),
    ("reranker", "reranker"),
    ("reader", "evidence"),
    ("documents", "dataprep"),
]


@pytest.mark.parametrize(("key", "contract"), ALONE, ids=[key for key, _ in ALONE])
async def test_an_own_service_conforms(tmp_path: Path, key: str, contract: str) -> None:
    """A service that Weft runs keeps every must and every should of the specification."""
    async with service(tmp_path, key, token="secret") as url:
        report = await checked(url, CONTRACTS[contract], token="secret")
    assert broken(report) == []
    assert report.conforms
    assert unseen(report) == {}


async def test_a_retriever_with_documents_conforms(tmp_path: Path) -> None:
    """What was ingested by one service is found by another, and nothing is left unseen."""
    files = [
        {"name": f"{number}.txt", "content": content}
        for number, content in enumerate(("VGhlIG9sZCBicmlkZ2Uu", "TGVhdmUgaXMgMzAgZGF5cy4="))
    ]
    async with service(tmp_path, "documents") as url:
        await post(url, "/v1/dataprep/ingest", {"files": files})
    async with service(tmp_path, "retriever", token="secret") as url:
        report = await checked(url, CONTRACTS["retriever"], token="secret")
    assert broken(report) == []
    assert unseen(report) == {}


@pytest.mark.parametrize(
    ("adapter", "behind", "contract"),
    [
        ("chat-adapter", "chat", "chat"),
        ("reranker-adapter", "reranker", "reranker"),
        ("openai-adapter", "embedder", "embedding"),
        ("tei-adapter", "embedder", "embedding"),
    ],
)
async def test_an_adapter_conforms(tmp_path: Path, adapter: str, behind: str, contract: str) -> None:
    """A component that asks another server keeps the promises of its contract as well."""
    async with (
        service(tmp_path, behind) as url,
        service(tmp_path, adapter, ADAPTERS.format(url=url)) as front,
    ):
        report = await checked(front, CONTRACTS[contract])
    # The wire of TEI's /embed has no counts: nothing could be said that is true.
    uncounted = ["tokens-are-counted"] if adapter == "tei-adapter" else []
    assert [f.name for f in report.findings if f.outcome == "broken"] == uncounted, broken(report)


CHUNKLESS = {
    "id": "c-1",
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "30 days."}, "finish_reason": "stop"}
    ],
}
SAMPLES = {
    "question": {"messages": [{"role": "user", "content": "How many days of leave are there?"}]},
    "prompt": {
        "messages": [{"role": "user", "content": "How many days of leave are there?"}],
        "evidence": {"quotes": [{"text": "30 days.", "document": {"text": "30 days."}, "end": 8}]},
    },
    "reply": {
        "evidence": {"quotes": [{"text": "30 days.", "document": {"text": "30 days."}, "end": 8}]},
        "answer": CHUNKLESS,
    },
}


@pytest.mark.parametrize("key", SAMPLES)
async def test_a_node_of_no_family_conforms(tmp_path: Path, key: str) -> None:
    """Served alone it answers on ``/v1/invoke``, and its contract is what it states."""
    async with service(tmp_path, key) as url:
        report = await checked(url, sample=SAMPLES[key])
    assert broken(report) == []
    assert unseen(report).keys() <= {"2.6", "5.4", "5.5"}
