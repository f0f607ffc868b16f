"""The embedder in process remembers short texts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ragkit import SmallHost
from weft.components.embedding.onnx import OnnxEmbedder
from weft.components.embedding.remembered import MAX_CHARACTERS
from weft.context import Context, current
from weft.contracts.embedding import EmbeddingRequest
from weft.types import Usage, floats


class Lengths:
    """A model whose vector of a text is its length; it notes what it was shown."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def encode_batch_fast(self, texts: list[str]) -> list[Any]:
        return [SimpleNamespace(ids=[1] * len(text)) for text in texts]

    def run(self, names: None, inputs: dict[str, Any]) -> tuple[Any]:
        lengths = inputs["attention_mask"].sum(1)
        self.seen.append(sorted(int(length) for length in lengths))
        return (np.array([[length, 0.5] for length in lengths]),)


@pytest.fixture
async def embedder() -> AsyncIterator[OnnxEmbedder]:
    """An embedder with that model, which remembers three texts."""
    host, made = SmallHost(Path()), OnnxEmbedder(remember=3)
    made._session = made._tokenizer = Lengths()
    made._begin(host, host.lane(threads=1, queue=100), 1)
    yield made
    host.close()


@contextmanager
def of(tenant: str) -> Any:
    token = current.set(Context(tenant=tenant))
    yield
    current.reset(token)


async def test_a_text_is_embedded_once(embedder: OnnxEmbedder) -> None:
    """What is known comes from memory, in the order that was asked for, and costs the tokens that it would have cost."""
    await embedder.invoke(EmbeddingRequest(["one", "three"]))
    reply = await embedder.invoke(EmbeddingRequest(["three", "eleven", "one", "eleven"]))
    assert [floats(e) for e in reply.embeddings] == [[5.0, 0.5], [6.0, 0.5], [3.0, 0.5], [6.0, 0.5]]
    assert reply.usage == Usage(prompt_tokens=20, total_tokens=20)
    assert embedder._session.seen == [[3, 5], [6, 6]]


async def test_what_was_not_asked_for_the_longest_is_forgotten(embedder: OnnxEmbedder) -> None:
    """There is room for three."""
    for text in ("a", "bb", "ccc", "a", "dddd", "a", "bb"):
        await embedder.invoke(EmbeddingRequest([text]))
    assert embedder._session.seen == [[1], [2], [3], [4], [2]]


async def test_long_texts_are_not_remembered(embedder: OnnxEmbedder) -> None:
    """Passages on their way in would push the questions out."""
    for _ in range(2):
        await embedder.invoke(EmbeddingRequest(["x" * (MAX_CHARACTERS + 1), "x" * MAX_CHARACTERS]))
    assert embedder._session.seen == [[600, 601], [601]]


async def test_tenants_do_not_share_a_memory(embedder: OnnxEmbedder) -> None:
    """Nobody learns from the time an answer takes what somebody else has asked."""
    for tenant in ("acme", "globex", "acme"):
        with of(tenant):
            await embedder.invoke(EmbeddingRequest(["secret"]))
    assert embedder._session.seen == [[6], [6]]
