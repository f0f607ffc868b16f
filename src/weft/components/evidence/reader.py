"""The extractive reader: the sentences that answer a question, quoted as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from weft.contracts.embedding import Embedder, EmbeddingRequest
from weft.contracts.evidence import EvidenceRequest, EvidenceResponse
from weft.errors import BackendReplyError, ComponentError, InvalidRequestError
from weft.host import Host
from weft.text import Span, cosine, overlap, rarity, sentences, terms
from weft.types import Document, Evidence, Quote, floats

MAX_QUOTES: Final = 20
MAX_SENTENCES: Final = 200
"""Of one passage; passages of a usual size have a tenth of that."""

SENTENCE_ANSWERS: Final = 0.6
"""A sentence this near to the question is about it, also in a passage that is mostly about other things: a short note on many
subjects is near to none of their questions as a whole."""

RANK_WEIGHT: Final = 0.2
"""What the passage's own score counts: enough to decide between sentences that fit the question alike."""

HEADING_SHARE: Final = 0.7
"""What a heading counts against a sentence: it repeats the question's words and seldom answers."""

SECOND_SHARE: Final = 0.5
"""A further sentence is quoted when it has at least this part of the best one's score."""


@dataclass(slots=True)
class _Candidate:
    """A sentence of a passage, and how well it fits."""

    passage: int
    position: int
    span: Span
    score: float


class ExtractiveReader:
    """Picks the one or two sentences that answer a question, by meaning and by words.

    ``answerable`` compares the passage that is nearest to the question with a threshold: below it, the documents are
    about something else. Quotes are given all the same, so that whoever reads on can decide; without any passage
    there are none.

    Args:
        embedder: What the passages were embedded with.
        documents: How many of the passages, best first, are read.
        max_quotes: How many sentences are quoted, where a request does not say. Neighbours become one quote.
        dense_weight: What meaning counts against words, 0 to 1.
        threshold: Cosine of the nearest passage below which the documents do not answer the question. 0.35 is
            MiniLM's (5 % false refusals, 7 % false answers on xquad); another embedder has another one. -1 is never.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        documents: int = 3,
        max_quotes: int = 2,
        dense_weight: float = 0.6,
        threshold: float = 0.35,
    ) -> None:
        if documents < 1 or not 1 <= max_quotes <= MAX_QUOTES:
            raise ComponentError(
                f"evidence-reader: documents must be at least 1 and max_quotes from 1 to {MAX_QUOTES}"
            )
        if not 0 <= dense_weight <= 1 or not -1 <= threshold <= 1:
            raise ComponentError(
                "evidence-reader: dense_weight must be from 0 to 1 and threshold from -1 to 1"
            )
        self._embedder, self._documents, self._max_quotes = embedder, documents, max_quotes
        self._dense_weight, self._threshold = dense_weight, threshold

    async def start(self, host: Host) -> None:
        """Take a thread for comparing sentences."""
        self._lane = host.lane(threads=1, queue=64)

    async def invoke(self, request: EvidenceRequest) -> EvidenceResponse:
        """The sentences that answer the question, best first.

        Raises:
            InvalidRequestError: ``max_quotes`` is out of bounds.
        """
        count = self._max_quotes if request.max_quotes is None else request.max_quotes
        if not 1 <= count <= MAX_QUOTES:
            raise InvalidRequestError(f"max_quotes must be from 1 to {MAX_QUOTES}", param="max_quotes")
        documents = request.documents[: self._documents]
        candidates = [
            _Candidate(index, position, span, 0.0)
            for index, document in enumerate(documents)
            for position, span in enumerate(sentences(document.text)[:MAX_SENTENCES])
        ]
        if not candidates or not request.query.strip():
            return EvidenceResponse(Evidence(request.query, [], answerable=False))
        # One call for everything: the question, passages that came without a vector, and the sentences.
        bare = [index for index, document in enumerate(documents) if document.embedding is None]
        texts = [request.query, *(documents[index].text for index in bare)]
        texts += [documents[c.passage].text[c.span.start : c.span.end] for c in candidates]
        vectors = await self._embed(texts)
        quotes, nearest = await self._lane.run(
            self._read, request.query, documents, candidates, vectors, count
        )
        return EvidenceResponse(Evidence(request.query, quotes, answerable=nearest >= self._threshold))

    async def _embed(self, texts: list[str]) -> list[list[float]]:
        reply = await self._embedder.invoke(EmbeddingRequest(texts))
        if len(reply.embeddings) != len(texts):
            raise BackendReplyError(
                f"the embedder gave {len(reply.embeddings)} vectors for {len(texts)} texts"
            )
        return [floats(embedding) for embedding in reply.embeddings]

    def _read(
        self,
        query: str,
        documents: Sequence[Document],
        candidates: Sequence[_Candidate],
        vectors: Sequence[Sequence[float]],
        count: int,
    ) -> tuple[list[Quote], float]:
        """The quotes, and the cosine of the passage (or of a very near sentence in it) to the question."""
        question = vectors[0]
        made = iter(vectors[1:])
        passages = [next(made) if d.embedding is None else floats(d.embedding) for d in documents]
        if any(len(passage) != len(question) for passage in passages):
            raise InvalidRequestError(
                f"the passages were embedded by another model: the embedder's vectors have {len(question)} numbers",
                param="documents",
            )
        nearest = max(cosine(question, passage) for passage in passages)
        found = [terms(documents[c.passage].text[c.span.start : c.span.end]) for c in candidates]
        weights, asked = rarity(found), terms(query)
        best = max((document.score or 0.0 for document in documents), default=0.0)
        for candidate, words, vector in zip(candidates, found, made, strict=True):
            document = documents[candidate.passage]
            near = cosine(question, vector)
            if near >= SENTENCE_ANSWERS:
                nearest = max(nearest, near)
            fit = self._dense_weight * max(near, 0.0)
            fit += (1 - self._dense_weight) * overlap(asked, words, weights)
            rank = max(document.score or 0.0, 0.0) / best if best > 0 else 0.0
            score = (fit + RANK_WEIGHT * rank) / (1 + RANK_WEIGHT)
            candidate.score = score * (HEADING_SHARE if _is_heading(document, candidate.span) else 1.0)
        return _quotes(documents, _chosen(documents, candidates, count)), nearest


def _is_heading(document: Document, span: Span) -> bool:
    """Whether a piece is one of the headings that the passage stands under: those carry no stop."""
    heading = document.metadata.get("heading")
    text = document.text[span.start : span.end]
    if text.startswith("#"):
        return True
    return isinstance(heading, str) and text in heading.split(" > ")


def _chosen(documents: Sequence[Document], candidates: Sequence[_Candidate], count: int) -> list[_Candidate]:
    """The best sentences, none of them twice (passages overlap, and documents repeat each other)."""
    ranked = sorted(candidates, key=lambda c: (-c.score, c.passage, c.position))
    chosen: list[_Candidate] = []
    seen: set[str] = set()
    for candidate in ranked:
        text = " ".join(documents[candidate.passage].text[candidate.span.start : candidate.span.end].split())
        if text in seen:
            continue
        if chosen and candidate.score < SECOND_SHARE * chosen[0].score:
            break
        seen.add(text)
        chosen.append(candidate)
        if len(chosen) == count:
            break
    return chosen


def _quotes(documents: Sequence[Document], chosen: Sequence[_Candidate]) -> list[Quote]:
    """Sentences as quotes, best first; neighbours in a passage are one quote, in the order of the text."""
    groups: list[list[_Candidate]] = []
    for candidate in chosen:
        beside = next((group for group in groups if _adjoins(group, candidate)), None)
        if beside is None:
            groups.append([candidate])
        else:
            beside.append(candidate)
    quotes = []
    for group in groups:
        document = replace(documents[group[0].passage], embedding=None)  # nobody after the reader needs it
        start = min(candidate.span.start for candidate in group)
        end = max(candidate.span.end for candidate in group)
        score = max(candidate.score for candidate in group)
        quotes.append(Quote(document.text[start:end], document, round(min(score, 1.0), 6), start, end))
    return quotes


def _adjoins(group: Sequence[_Candidate], candidate: _Candidate) -> bool:
    return any(
        other.passage == candidate.passage and abs(other.position - candidate.position) == 1
        for other in group
    )
