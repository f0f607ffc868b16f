"""The embedder in process: who waits goes before what nobody waits for."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ragkit import SmallHost
from weft.components.embedding.onnx import OnnxEmbedder
from weft.contracts.embedding import EmbeddingRequest
from weft.serve.lanes import NICE, ThreadLane
from weft.types import floats

WATCHDOG_S = 10.0


class Gated:
    """A model that keeps long texts until it is told to go on, and notes the batches that it was shown."""

    def __init__(self) -> None:
        self.gate, self.began = threading.Event(), threading.Event()
        self.seen: list[int] = []

    def encode_batch_fast(self, texts: list[str]) -> list[Any]:
        return [SimpleNamespace(ids=[1] * len(text)) for text in texts]

    def run(self, names: None, inputs: dict[str, Any]) -> tuple[Any]:
        lengths = inputs["attention_mask"].sum(1)
        self.seen.append(len(lengths))
        if max(lengths) > 100:
            self.began.set()
            assert self.gate.wait(WATCHDOG_S)
        return (np.array([[length, 0.5] for length in lengths]),)


def begun(host: SmallHost, width: int, **config: Any) -> tuple[OnnxEmbedder, Gated]:
    """An embedder with such a model and ``width`` threads."""
    embedder, model = OnnxEmbedder(**config), Gated()
    embedder._session = embedder._tokenizer = model
    embedder._begin(host, host.lane(threads=width, queue=100), width)
    return embedder, model


async def test_a_question_does_not_wait_for_what_nobody_waits_for() -> None:
    """It is answered while every thread of the background is busy with passages, and more of them wait."""
    host = SmallHost(Path())
    embedder, model = begun(host, 1, batch=2)
    try:
        passages = EmbeddingRequest([f"{n}" * 300 for n in range(9)], background=True)
        behind = asyncio.create_task(embedder.invoke(passages))
        await asyncio.to_thread(model.began.wait, WATCHDOG_S)
        reply = await asyncio.wait_for(embedder.invoke(EmbeddingRequest(["question"])), WATCHDOG_S)
        assert floats(reply.embeddings[0]) == [8.0, 0.5]
        assert not behind.done()
        model.gate.set()
        assert len((await asyncio.wait_for(behind, WATCHDOG_S)).embeddings) == 9
    finally:
        model.gate.set()
        host.close()


async def test_all_threads_share_what_waits() -> None:
    """Eight texts are four for each of two threads, though a batch may have sixteen."""
    host = SmallHost(Path())
    embedder, model = begun(host, 2)
    try:
        await asyncio.wait_for(embedder.invoke(EmbeddingRequest([f"text {n}" for n in range(8)])), WATCHDOG_S)
    finally:
        host.close()
    assert model.seen[0] == 4
    assert sum(model.seen) == 8


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
async def test_threads_of_the_background_stand_back() -> None:
    """They, and only they, have a lower priority."""
    import os

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    lanes = [ThreadLane("test", threads=1, queue_size=1, background=behind) for behind in (False, True)]
    try:
        usual, behind = [await asyncio.wait_for(lane.run(niceness), WATCHDOG_S) for lane in lanes]
    finally:
        for lane in lanes:
            lane.close()
    assert usual == niceness()
    assert behind == max(usual, NICE)
