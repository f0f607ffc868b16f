"""The retriever that asks a store for meaning and for words, and blends the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Raw

from weft.components.retriever.neighbours import MAX_NEIGHBOURS, with_neighbours
from weft.contracts.embedding import Embedder, EmbeddingRequest
from weft.contracts.manifest import Manifest, manifest_of
from weft.contracts.retriever import RetrieveRequest, RetrieveResponse, SearchType
from weft.contracts.store import Hit, SearchRequest, Store, refuse_other
from weft.errors import BackendReplyError, ComponentError, InvalidRequestError
from weft.host import Host
from weft.text import cosine
from weft.types import Document, Empty, floats

MAX_K = 1_000
MAX_MMR = 200
"""Candidates among which diversity is weighed: the work grows with the square."""

RANK_CONSTANT = 60
"""Reciprocal rank fusion's k. Source: Cormack, Clarke and Büttcher, SIGIR 2009."""

DEFAULT_SCORE_THRESHOLD = 0.2
"""OPEA's, for ``similarity_score_threshold`` without a number."""


class HybridRetriever:
    """Finds passages by meaning and by words, and ranks them by both.

    Each passage's ``score`` is what it was ranked by: the blend (0 to 1, relative to the best found), the cosine, or
    BM25. Its metadata have ``dense_score`` (cosine) and ``text_score`` (BM25) where they are known.
    Thresholds always compare the cosine. With neighbours, a passage comes with what stands around it in its document.

    Args:
        store: Where the passages are.
        embedder: What the passages were embedded with.
        search_type: What is done when a request does not say.
        fusion: How meaning and words are put together: ``blend`` of their scores, or ``rrf`` of their ranks.
        dense_weight: What meaning counts in the blend, 0 to 1; words count the rest.
        fetch: How many passages of each kind are looked at, at least.
        neighbours: How many passages before and after each one found are joined to it, where a request does not say.
        embeddings: Whether passages carry their vectors, so that a reranker or reader need not embed them again.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        *,
        search_type: SearchType = "hybrid",
        fusion: Literal["blend", "rrf"] = "blend",
        dense_weight: float = 0.6,
        fetch: int = 20,
        neighbours: int = 0,
        embeddings: bool = True,
    ) -> None:
        if not 0 <= dense_weight <= 1:
            raise ComponentError(f"hybrid-retriever: dense_weight is {dense_weight}, it must be from 0 to 1")
        if not 1 <= fetch <= MAX_K:
            raise ComponentError(f"hybrid-retriever: fetch is {fetch}, it must be from 1 to {MAX_K}")
        if not 0 <= neighbours <= MAX_NEIGHBOURS:
            raise ComponentError(
                f"hybrid-retriever: neighbours is {neighbours}, it must be from 0 to {MAX_NEIGHBOURS}"
            )
        self._store, self._embedder = store, embedder
        self._neighbours = neighbours
        self._manifest: Manifest | None = None
        self._model = ""
        self._search_type: SearchType = search_type
        self._fusion, self._dense_weight, self._fetch = fusion, dense_weight, fetch
        self._embeddings = embeddings

    async def start(self, host: Host) -> None:
        """Take a thread for weighing diversity.

        Raises:
            StateError: The documents in the store were made with another embedder.
        """
        await refuse_other(host.service, self._store, self._embedder)
        self._lane = host.lane(threads=1, queue=256)

    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        """The best ``k`` passages, best first.

        Raises:
            InvalidRequestError: A number is out of bounds, or there is nothing to look for.
        """
        _check(request)
        search_type = request.search_type or self._search_type
        if search_type == "text":
            hits = await self._search(request, None, "text", k=request.k)
        else:
            embedding = request.embedding or await self._embed(request.query)
            if search_type == "hybrid" and request.query.strip():
                hits = await self._search(request, embedding, "hybrid", k=max(request.k, self._fetch))
                hits = self._fused(hits, request.fusion or self._fusion)
            elif search_type == "mmr":
                k = min(max(request.k, request.fetch_k), MAX_MMR)
                hits = await self._search(request, embedding, "dense", k=k, embeddings=True)
                hits = await self._lane.run(_diverse, hits, k=request.k, weight=request.lambda_mult)
            else:
                hits = await self._search(request, embedding, "dense", k=request.k)
        hits = _above(hits, request, search_type)
        documents = [self._document(hit) for hit in hits[: request.k]]
        count = self._neighbours if request.neighbours is None else request.neighbours
        if count:
            collection = collection_name(request.collection)
            documents = await with_neighbours(self._store, documents, collection=collection, count=count)
        return RetrieveResponse(documents, request.query)

    async def _embed(self, query: str) -> Raw:
        if not query.strip():
            raise InvalidRequestError("there is neither a query nor an embedding to look for", param="query")
        reply = await self._embedder.invoke(EmbeddingRequest([query]))
        if len(reply.embeddings) != 1:
            raise BackendReplyError(f"the embedder gave {len(reply.embeddings)} vectors for one text")
        if self._manifest is None or self._model != reply.model:
            # Asked again when another model answers: it can be switched while this runs.
            self._manifest, self._model = manifest_of(await self._embedder.describe(Empty())), reply.model
        return reply.embeddings[0]

    async def _search(
        self,
        request: RetrieveRequest,
        embedding: Raw | None,
        mode: Literal["dense", "text", "hybrid"],
        *,
        k: int,
        embeddings: bool = False,
    ) -> list[Hit]:
        reply = await self._store.search(
            SearchRequest(
                query=request.query,
                embedding=embedding,
                mode=mode,
                k=k,
                filter=request.filter,
                collection=collection_name(request.collection),
                with_embeddings=embeddings or self._embeddings,
                # A vector that the request brought is of whatever made it.
                manifest=self._manifest if embedding is not None and request.embedding is None else None,
            )
        )
        for hit in reply.hits:
            hit.document.score = hit.text if mode == "text" else hit.dense
        return reply.hits

    def _fused(self, hits: list[Hit], fusion: Literal["blend", "rrf"]) -> list[Hit]:
        dense, text = [max(hit.dense or 0.0, 0.0) for hit in hits], [hit.text or 0.0 for hit in hits]
        weights = (self._dense_weight, 1 - self._dense_weight)
        if fusion == "rrf":
            dense, text, weights = _reciprocal_ranks(dense), _reciprocal_ranks(text), (0.5, 0.5)
        # Each kind relative to the best found: cosine and BM25 have no scale in common.
        most = (max(dense, default=0.0) or 1.0, max(text, default=0.0) or 1.0)
        for hit, by_meaning, by_words in zip(hits, dense, text, strict=True):
            hit.document.score = weights[0] * by_meaning / most[0] + weights[1] * by_words / most[1]
        return sorted(hits, key=lambda hit: -(hit.document.score or 0.0))

    def _document(self, hit: Hit) -> Document:
        document = hit.document
        scores = {"dense_score": hit.dense, "text_score": hit.text}
        known = {name: round(score, 6) for name, score in scores.items() if score is not None}
        document.metadata = document.metadata | known
        if not self._embeddings:
            document.embedding = None
        return document


def collection_name(name: str) -> str:
    """The collection as stores call it: the one without a name is shown to people as ``default``."""
    return "" if name == "default" else name


def _check(request: RetrieveRequest) -> None:
    if not 1 <= request.k <= MAX_K:
        raise InvalidRequestError(f"k must be from 1 to {MAX_K:,}", param="k")
    if not 1 <= request.fetch_k <= MAX_K:
        raise InvalidRequestError(f"fetch_k must be from 1 to {MAX_K:,}", param="fetch_k")
    if not 0 <= request.lambda_mult <= 1:
        raise InvalidRequestError("lambda_mult must be from 0 to 1", param="lambda_mult")
    if not 0 <= (request.neighbours or 0) <= MAX_NEIGHBOURS:
        raise InvalidRequestError(f"neighbours must be from 0 to {MAX_NEIGHBOURS}", param="neighbours")
    if request.embedding is not None and not _is_vector(request.embedding):
        raise InvalidRequestError("embedding must be an array of numbers, or base64 text", param="embedding")


def _is_vector(embedding: object) -> bool:
    """Whether it can be one: what is encoded is looked at where it is decoded."""
    if not isinstance(embedding, list):
        return isinstance(embedding, str | Raw) and bool(embedding)
    return bool(embedding) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in embedding)


def _above(hits: list[Hit], request: RetrieveRequest, search_type: SearchType) -> list[Hit]:
    """Those that are similar enough, where the request sets a bound."""
    least = request.score_threshold
    if search_type == "similarity_score_threshold" and least is None:
        least = DEFAULT_SCORE_THRESHOLD
    if request.distance_threshold is not None:
        nearest = 1 - request.distance_threshold
        least = nearest if least is None else max(least, nearest)
    if least is None:
        return hits
    return [hit for hit in hits if hit.dense is not None and hit.dense >= least]


def _reciprocal_ranks(scores: Sequence[float]) -> list[float]:
    """1 / (60 + rank) of each; nothing for what was not found."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    ranks = {index: rank for rank, index in enumerate(order, 1)}
    return [1 / (RANK_CONSTANT + ranks[index]) if score > 0 else 0.0 for index, score in enumerate(scores)]


def _diverse(hits: list[Hit], *, k: int, weight: float) -> list[Hit]:
    """Maximal marginal relevance: each next hit is near the question and unlike those taken before.

    Source: Carbonell and Goldstein, SIGIR 1998.
    """
    vectors = [floats(hit.document.embedding) if hit.document.embedding else [] for hit in hits]
    nearest_taken = [0.0] * len(hits)
    left = list(range(len(hits)))
    taken: list[Hit] = []
    while left and len(taken) < k:
        best = max(left, key=lambda i: weight * (hits[i].dense or 0.0) - (1 - weight) * nearest_taken[i])
        left.remove(best)
        taken.append(hits[best])
        for i in left:
            nearest_taken[i] = max(nearest_taken[i], cosine(vectors[i], vectors[best]))
    return taken
