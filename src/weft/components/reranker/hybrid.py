"""The reranker that looks at the passages themselves: meaning, words, and words that stand together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from weft.contracts.embedding import Embedder, EmbeddingRequest
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import BackendReplyError, ComponentError, InvalidRequestError
from weft.host import Host
from weft.text import asked, cosine, overlap, rarity, sentences, terms
from weft.types import Document, floats


class Weights(NamedTuple):
    """What each measure counts; the score is their weighted mean.

    They were set by cross-validation over the articles of a question set (``benchmarks/quality``), and rounded.

    Attributes:
        meaning: Cosine, relative to the nearest passage.
        words: The question's words anywhere in the passage, by how rare they are.
        together: The most of them in one sentence.
        phrases: Pairs of the question's words that follow each other in the passage too.
    """

    meaning: float = 1.5
    words: float = 1.0
    together: float = 0.5
    phrases: float = 0.5


class HybridReranker:
    """Orders passages by cosine, by the question's words in them, and by how many of those stand together.

    Together is in one sentence, and one after the other. The score is 0 to 1. Words count by how rare they are among the
    passages given, so that what all of them share decides nothing; a heading's words count as the text's. Passages that
    carry their vectors are not embedded again.

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
        self._lane = host.lane(threads=1, queue=256)

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
    """The score of each passage."""
    return [scored(measured, Weights()) for measured in measures(query, question, documents, vectors)]


def scored(measured: Weights, weights: Weights) -> float:
    """The weighted mean of what was measured."""
    return sum(measure * weight for measure, weight in zip(measured, weights, strict=True)) / sum(weights)


def measures(
    query: str, question: Sequence[float], documents: Sequence[Document], vectors: Sequence[Sequence[float]]
) -> list[Weights]:
    """What is measured of each passage, each 0 to 1.

    Args:
        query: The question.
        question: Its vector.
        documents: The passages.
        vectors: Theirs.
    """
    wanted, said = asked(query), terms(query)
    pairs = {*pairwise(said)}
    parts = [[terms(d.text[start:end]) for start, end in sentences(d.text)] for d in documents]
    rare = rarity(part for passage in parts for part in passage)
    near = [max(cosine(question, vector), 0.0) for vector in vectors]
    nearest = max(near) or 1.0
    measured = []
    for document, similarity, passage in zip(documents, near, parts, strict=True):
        everything = [*_heading(document), *(term for part in passage for term in part)]
        following = {pair for part in passage for pair in pairwise(part)}
        measured.append(
            Weights(
                meaning=similarity / nearest,
                words=overlap(wanted, everything, rare),
                together=max((overlap(wanted, part, rare) for part in passage), default=0.0),
                phrases=len(pairs & following) / len(pairs) if pairs else 0.0,
            )
        )
    return measured


def _heading(document: Document) -> list[str]:
    heading = document.metadata.get("heading")
    return terms(" ".join(part for part in (document.title, heading) if isinstance(part, str)))
