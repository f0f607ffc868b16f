"""The hybrid reranker: order, scores, and what it embeds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragkit import BagEmbedder, SmallHost, passage
from weft.components.reranker.hybrid import HybridReranker
from weft.contracts.reranker import RerankRequest
from weft.errors import ComponentError, InvalidRequestError
from weft.types import Document, vector

TEXTS = [
    "Harbours are opened by mayors. Lisbon has many squares. In 1887 there was a war.",
    "Porto is famous for port wine.",
    "The harbour of Lisbon was opened in 1887. It is big.",
]


@pytest.fixture
async def reranker(tmp_path: Path) -> AsyncIterator[HybridReranker]:
    """A reranker with hashed-word vectors."""
    host, made = SmallHost(tmp_path), HybridReranker(BagEmbedder())
    await made.start(host)
    yield made
    host.close()


async def test_words_that_stand_together_win(reranker: HybridReranker) -> None:
    """A passage with the question in one sentence is before one that scatters its words."""
    reply = await reranker.invoke(
        RerankRequest("When was the harbour of Lisbon opened?", [passage(t) for t in TEXTS], 3)
    )
    assert [d.text for d in reply.documents] == [TEXTS[2], TEXTS[0], TEXTS[1]]
    scores = [d.score for d in reply.documents]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[2] < 0.1
    assert 0.9 < scores[0] <= 1


async def test_words_that_follow_each_other_win(reranker: HybridReranker) -> None:
    """The same words in another order are another thing."""
    texts = ["A house was boat racing today.", "A boat house was racing today."]
    reply = await reranker.invoke(RerankRequest("Which boat house?", [passage(t) for t in texts]))
    assert [d.text for d in reply.documents] == texts[::-1]


async def test_a_heading_counts_as_the_text(reranker: HybridReranker) -> None:
    """Passages with the same words differ by what they stand under."""
    documents = [
        passage("Open from nine to five.", title=title, metadata={"heading": "Opening hours"})
        for title in ("Canteen", "Library")
    ]
    reply = await reranker.invoke(RerankRequest("When is the library open?", documents))
    assert [d.title for d in reply.documents] == ["Library", "Canteen"]


async def test_documents_stay_whole(reranker: HybridReranker) -> None:
    """Only the score changes."""
    document = passage("Lisbon", "x", title="T", page=2, metadata={"dense_score": 0.5}, score=0.1)
    (ranked,) = (await reranker.invoke(RerankRequest("Lisbon", [document]))).documents
    assert ranked == document.scored(ranked.score)


async def test_only_what_has_no_vector_is_embedded(reranker: HybridReranker) -> None:
    """The question and bare passages go to the embedder in one call."""
    await reranker.invoke(RerankRequest("q", [passage("one"), Document("two"), passage("three")]))
    assert reranker._embedder.calls == [["q", "two"]]


async def test_top_n(reranker: HybridReranker) -> None:
    """The request's number, else the config's; fewer passages than that are all returned."""
    documents = [passage(f"text {n}", str(n)) for n in range(6)]
    assert len((await reranker.invoke(RerankRequest("text", documents))).documents) == 4
    assert len((await reranker.invoke(RerankRequest("text", documents, 1))).documents) == 1
    assert len((await reranker.invoke(RerankRequest("text", documents, 99))).documents) == 6
    assert (await reranker.invoke(RerankRequest("text", []))).documents == []


async def test_equals_keep_their_order(reranker: HybridReranker) -> None:
    """The retriever's order decides where the reranker sees no difference."""
    documents = [passage("same words", str(n)) for n in range(4)]
    reply = await reranker.invoke(RerankRequest("other question", documents))
    assert [d.id for d in reply.documents] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("fields", [{"top_n": 0}, {"documents": [Document("x")] * 1001}])
async def test_bounds_are_checked(reranker: HybridReranker, fields: dict[str, object]) -> None:
    """What cannot be is the caller's error."""
    with pytest.raises(InvalidRequestError):
        await reranker.invoke(RerankRequest(**({"query": "q", "documents": [passage("x")]} | fields)))


@pytest.mark.parametrize("embedding", [vector([1.0]), vector([])])
async def test_vectors_of_another_model_are_refused(reranker: HybridReranker, embedding: object) -> None:
    """Passages of another length of vector cannot be compared."""
    with pytest.raises(InvalidRequestError, match="another model"):
        await reranker.invoke(RerankRequest("q", [Document("x", embedding=embedding)]))


def test_config_is_checked() -> None:
    """A reranker that returns nothing is refused when it is made."""
    with pytest.raises(ComponentError):
        HybridReranker(BagEmbedder(), top_n=0)
