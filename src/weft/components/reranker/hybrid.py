"""The reranker that looks at the passages themselves: meaning, words, and words that stand together."""

from __future__ import annotations

from collections.abc import Sequence

from weft.contracts.embedding import Embedder, EmbeddingRequest
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import BackendReplyError, ComponentError, InvalidRequestError
from weft.host import Host
from weft.text import cosine, overlap, rarity, sentences, terms
from weft.types import Document, floats


class HybridReranker:
    """Orders passages by cosine, by the question's words in them, and by the most of those words in one sentence.

    The three count the same; each is 0 to 1, and so is the score. Words count by how rare they are among the
    passages given, so that what all of them share decides nothing. Passages that carry their vectors are not embedded
    again.

    Args:
        embedder: What the passages were embedded with.
        top_n: How many passages are returned, where a request does not say.
        max_documents: More are refused: each costs time.
    """

    def __init__(self, embedder: Embedder, *, top_n: int = 4, max_documents: int = 1_000) -> None:
        if top_n < 1 or max_documents < 1:
            raise ComponentError("hybrid-reranker: top_n and max_documents must be at least 1")
        self._embedder, self._top_n, self._max_documents = embedder, top_n, max_documents

    async def start(self, host: Host) -> None:
        """Take a thread for counting words."""
        self._lane = host.lane(threads=1, queue=64)

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        """The best passages, best first, scored 0 to 1; equals stay in the order that they came in.

        Raises:
            InvalidRequestError: ``top_n`` is below 1, or there are too many passages.
        """
        top_n = self._top_n if request.top_n is None else request.top_n
        if top_n < 1:
            raise InvalidRequestError("top_n must be at least 1", param="top_n")
        if len(request.documents) > self._max_documents:
            raise InvalidRequestError(
                f"at most {self._max_documents:,} documents are ranked at once", param="documents"
            )
        if not request.documents:
            return RerankResponse([])
        question, vectors = await self._vectors(request.query, request.documents)
        scores = await self._lane.run(_scores, request.query, question, request.documents, vectors)
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        return RerankResponse([request.documents[i].scored(round(scores[i], 6)) for i in order[:top_n]])

    async def _vectors(
        self, query: str, documents: Sequence[Document]
    ) -> tuple[list[float], list[list[float]]]:
        """The vector of the question and of each passage; only what has none is embedded, in one call."""
        missing = [document.text for document in documents if document.embedding is None]
        reply = await self._embedder.invoke(EmbeddingRequest([query, *missing]))
        if len(reply.embeddings) != 1 + len(missing):
            raise BackendReplyError(
                f"the embedder gave {len(reply.embeddings)} vectors for {1 + len(missing)} texts"
            )
        made = iter(reply.embeddings[1:])
        try:
            vectors = [floats(d.embedding if d.embedding is not None else next(made)) for d in documents]
        except ValueError as error:
            raise InvalidRequestError(str(error), param="documents") from error
        question = floats(reply.embeddings[0])
        if any(len(vector) != len(question) for vector in vectors):
            raise InvalidRequestError(
                f"the passages were embedded by another model: the embedder's vectors have {len(question)} numbers",
                param="documents",
            )
        return question, vectors


def _scores(
    query: str, question: Sequence[float], documents: Sequence[Document], vectors: Sequence[Sequence[float]]
) -> list[float]:
    """The mean of the three measures for each passage."""
    asked = terms(query)
    parts = [[terms(d.text[start:end]) for start, end in sentences(d.text)] for d in documents]
    weights = rarity(part for passage in parts for part in passage)
    near = [max(cosine(question, vector), 0.0) for vector in vectors]
    nearest = max(near) or 1.0
    scores = []
    for similarity, passage in zip(near, parts, strict=True):
        together = max((overlap(asked, part, weights) for part in passage), default=0.0)
        anywhere = overlap(asked, (term for part in passage for term in part), weights)
        scores.append((similarity / nearest + anywhere + together) / 3)
    return scores
