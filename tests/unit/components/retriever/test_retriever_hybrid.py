"""The hybrid retriever over a real store with hashed-word vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragkit import BagEmbedder, SmallHost, bag, passage
from weft.components.retriever.hybrid import HybridRetriever
from weft.components.store.qdrant_edge import QdrantEdge
from weft.context import Context, current, scope
from weft.contracts.retriever import RetrieveRequest
from weft.contracts.store import ScopedStore, UpsertRequest
from weft.errors import ComponentError, InvalidRequestError

TEXTS = [
    "The harbour of Lisbon opened in 1887 and was widened twice.",
    "Lisbon is the capital of Portugal.",
    "The harbour crane was built of steel.",
    "Porto is famous for port wine.",
]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ScopedStore]:
    """A store with four passages."""
    inner, host = QdrantEdge(), SmallHost(tmp_path)
    await inner.start(host)
    store = ScopedStore(inner, scope)
    documents = [passage(text, str(n), metadata={"n": n}) for n, text in enumerate(TEXTS)]
    await store.upsert(UpsertRequest(documents, "f"))
    yield store
    await inner.aclose()
    host.close()


async def make(store: ScopedStore, tmp_path: Path, **config: object) -> HybridRetriever:
    retriever = HybridRetriever(store, BagEmbedder(), **config)
    await retriever.start(SmallHost(tmp_path))
    return retriever


@pytest.mark.parametrize("search_type", ["hybrid", "similarity", "text", "mmr", None])
@pytest.mark.parametrize("fusion", ["blend", "rrf"])
async def test_the_best_passage_is_first(store, tmp_path, search_type, fusion) -> None:
    """Every way of searching puts the passage that answers the question first, scored."""
    retriever = await make(store, tmp_path, fusion=fusion)
    reply = await retriever.invoke(
        RetrieveRequest("When did the harbour of Lisbon open?", 2, search_type=search_type)
    )
    assert reply.documents[0].text == TEXTS[0]
    assert reply.documents[0].score > reply.documents[1].score
    assert reply.query == "When did the harbour of Lisbon open?"


async def test_both_scores_are_in_the_metadata(store, tmp_path) -> None:
    """A hybrid passage says its cosine and its BM25 score beside its own metadata."""
    retriever = await make(store, tmp_path)
    (best,) = (await retriever.invoke(RetrieveRequest("harbour of Lisbon", 1))).documents
    assert best.metadata["n"] == 0
    assert best.metadata["dense_score"] > 0.3
    assert best.metadata["text_score"] > 0
    assert best.score == pytest.approx(1.0)


async def test_passages_carry_vectors_only_when_configured(store, tmp_path) -> None:
    """``embeddings: false`` leaves the vectors out, in every way of searching."""
    request = RetrieveRequest("harbour", 2)
    assert all(d.embedding for d in (await (await make(store, tmp_path)).invoke(request)).documents)
    without = await make(store, tmp_path, embeddings=False)
    for search_type in ("hybrid", "mmr"):
        request.search_type = search_type
        assert not any(d.embedding for d in (await without.invoke(request)).documents)


async def test_a_given_vector_is_not_made_again(store, tmp_path) -> None:
    """With an embedding in the request the embedder is not asked."""
    retriever = await make(store, tmp_path)
    reply = await retriever.invoke(RetrieveRequest("", 1, embedding=bag("port wine Porto")))
    assert reply.documents[0].text == TEXTS[3]
    assert retriever._embedder.calls == []


async def test_mmr_prefers_what_is_new(tmp_path) -> None:
    """With full weight on diversity the near copy of the first hit comes last."""
    inner, host = QdrantEdge(), SmallHost(tmp_path)
    await inner.start(host)
    texts = ["red apple pie recipe", "red apple pie recipe indeed", "apple orchard"]
    await inner.upsert(UpsertRequest([passage(t) for t in texts], "f", tenant="default"))
    retriever = await make(ScopedStore(inner, scope), tmp_path)
    request = RetrieveRequest("red apple pie recipe", 3, search_type="mmr", lambda_mult=0.1)
    assert [d.text for d in (await retriever.invoke(request)).documents] == [texts[0], texts[2], texts[1]]
    request.lambda_mult = 1.0
    assert [d.text for d in (await retriever.invoke(request)).documents] == texts
    await inner.aclose()


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"score_threshold": 0.999}, 0), ({"score_threshold": 0.5}, 1), ({"distance_threshold": 0.5}, 1),
        ({"search_type": "similarity_score_threshold"}, 1), ({"score_threshold": -1.0}, 4),
    ],
)  # fmt: skip
async def test_thresholds_compare_the_cosine(store, tmp_path, fields, count) -> None:
    """Only passages that are similar enough are returned; OPEA's threshold type has a default."""
    retriever = await make(store, tmp_path)
    reply = await retriever.invoke(RetrieveRequest("capital of Portugal", 10, **fields))
    assert len(reply.documents) == count


async def test_filter_and_collection_reach_the_store(store, tmp_path) -> None:
    """A filter narrows, another collection is empty, 'default' is the one without a name."""
    retriever = await make(store, tmp_path)
    reply = await retriever.invoke(RetrieveRequest("harbour", 9, filter={"n": [1, 2]}))
    assert {d.metadata["n"] for d in reply.documents} == {1, 2}
    assert (await retriever.invoke(RetrieveRequest("harbour", 9, collection="x"))).documents == []
    assert len((await retriever.invoke(RetrieveRequest("harbour", 9, collection="default"))).documents) == 4


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"k": 0}, "k"), ({"k": 1001}, "k"), ({"fetch_k": 0}, "fetch_k"), ({"lambda_mult": 1.1}, "lambda_mult"),
        ({"query": "  "}, "query"), ({"neighbours": 11}, "neighbours"), ({"neighbours": -1}, "neighbours"),
        ({"embedding": []}, "embedding"), ({"embedding": [None]}, "embedding"), ({"embedding": False}, "embedding"),
    ],
)  # fmt: skip
async def test_bounds_are_checked(store, tmp_path, fields, param) -> None:
    """A value out of bounds, or nothing to look for, is the caller's error and names the field."""
    retriever = await make(store, tmp_path)
    with pytest.raises(InvalidRequestError) as refused:
        await retriever.invoke(RetrieveRequest(**({"query": "x"} | fields)))
    assert refused.value.param == param


@pytest.mark.parametrize("config", [{"dense_weight": 2.0}, {"fetch": 0}, {"neighbours": 11}])
def test_config_is_checked(config) -> None:
    """Weights and sizes that cannot be are refused when the component is made."""
    with pytest.raises(ComponentError):
        HybridRetriever(None, None, **config)


async def test_a_request_names_its_fusion(store, tmp_path) -> None:
    """Fusion of ranks scores by ranks, whatever the config says: what is first in both kinds has the most there is."""
    retriever = await make(store, tmp_path)
    request = RetrieveRequest("harbour Lisbon 1887", 4, fusion="rrf")
    scores = [d.score for d in (await retriever.invoke(request)).documents]
    assert scores[0] == pytest.approx(1.0)
    assert scores[1] == pytest.approx(61 / 62)
    request.fusion = "blend"
    assert [d.score for d in (await retriever.invoke(request)).documents][1] < 0.9


@pytest.mark.parametrize("search_type", ["hybrid", "similarity", "text", "mmr"])
async def test_nobody_is_given_what_is_not_theirs(tmp_path, search_type) -> None:
    """Two tenants, and two groups in one: each caller finds their own passages, beside and around those found too."""
    inner, host = QdrantEdge(), SmallHost(tmp_path)
    await inner.start(host)
    retriever = await make(ScopedStore(inner, scope), tmp_path)
    for tenant in ("acme", "globex"):
        documents = [
            passage(f"The {tenant} payroll is {who}.", f"{n}", source="pay.txt", readers=readers)
            for n, (who, readers) in enumerate(
                [("open", None), ("for staff", ["staff"]), ("for chiefs", ["chiefs"])]
            )
        ]
        await inner.upsert(UpsertRequest(documents, "pay.txt", tenant=tenant))

    async def found(tenant: str, readers: list[str] | None, neighbours: int) -> str:
        token = current.set(Context(tenant=tenant, readers=readers))
        try:
            request = RetrieveRequest(
                "Whose payroll is it?", 9, search_type=search_type, neighbours=neighbours
            )
            return " ".join(sorted(d.text for d in (await retriever.invoke(request)).documents))
        finally:
            current.reset(token)

    for neighbours in (0, 2):
        for tenant, readers, hidden in (
            ("acme", ["staff"], ("globex", "chiefs")),
            ("globex", ["chiefs"], ("acme", "staff")),
            ("globex", None, ("acme", "staff", "chiefs")),
        ):
            text = await found(tenant, readers, neighbours)
            for shown in (f"The {tenant} payroll is open.", *(f"is for {group}" for group in readers or [])):
                assert shown in text
            assert not any(word in text for word in hidden)
    assert await found("initech", ["staff", "chiefs"], 1) == ""
    await inner.aclose()
    host.close()
