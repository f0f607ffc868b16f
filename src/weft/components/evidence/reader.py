"""The extractive reader: the sentences that answer a question, quoted as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from weft.components.evidence.fit import Candidate, Weights, candidates_of, measures, score, support
from weft.components.evidence.judge import BASE, Judge
from weft.components.evidence.windows import judged
from weft.contracts.embedding import Embedder, EmbeddingRequest
from weft.contracts.evidence import EvidenceRequest, EvidenceResponse
from weft.errors import BackendReplyError, ComponentError, InvalidRequestError, ModelUnavailableError
from weft.host import Host
from weft.text import asked, overlap, rarity, terms
from weft.types import Document, Evidence, Quote, floats

MAX_QUOTES: Final = 20
MAX_SENTENCES: Final = 200
"""Of one passage; passages of a usual size have a tenth of that."""

SECOND_SHARE: Final = 0.5
"""A further sentence is quoted when it has at least this part of the best one's score."""


class ExtractiveReader:
    """Picks the one or two sentences that answer a question, by meaning, by words, and by the kind of answer.

    A sentence fits by its cosine to the question and by the question's rarer words in it; words that only the sentence
    before has count a quarter, those of the headings above and of a table's header half. A sentence without a number or a
    time gives way where one is asked for, and so does a heading. Each quote's ``score`` is that.

    ``answerable`` says whether the best quote, together with its passage, fits well enough (the evidence's ``score``) for
    the documents to have an answer; a number or code of the question that the passage has not speaks against it. Quotes are given all the same, so that whoever reads on can
    decide; without any passage there are none.

    With ``judge`` a small model that was trained for it reads the question together with the two pieces of the passages
    that fit best. What it marks as the answer is quoted first, and whether it finds one counts more than the fit.

    Args:
        embedder: What the passages were embedded with.
        documents: How many of the passages, best first, are read.
        max_quotes: How many sentences are quoted, where a request does not say. Neighbours become one quote.
        dense_weight: What meaning counts against words, 0 to 1.
        threshold: The score below which the documents do not answer the question. 0.4 is MiniLM's: 4 % of the questions that
            are answered in the documents are refused, and of those on other things 1.5 % are not; another embedder has
            another one. 0 or less is never.
        compare: How many sentences are compared by meaning, which is what takes time; of more, those are taken that
            share most words with the question.
        judge: Whether the small model is asked, too; English. It takes some 25 milliseconds of a processor, 40 MB of memory and the
            model all-minilm-l6-v2, which is fetched if it is not here; where it cannot be, the log says so, and the reader
            decides by fit alone.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        documents: int = 3,
        max_quotes: int = 2,
        dense_weight: float = Weights().meaning,
        threshold: float = 0.4,
        compare: int = 16,
        judge: bool = False,
    ) -> None:
        if documents < 1 or compare < 1 or not 1 <= max_quotes <= MAX_QUOTES:
            raise ComponentError(
                f"evidence-reader: documents and compare must be at least 1 and max_quotes from 1 to {MAX_QUOTES}"
            )
        if not 0 <= dense_weight <= 1 or not -1 <= threshold <= 1:
            raise ComponentError(
                "evidence-reader: dense_weight must be from 0 to 1 and threshold from -1 to 1"
            )
        self._embedder, self._documents, self._max_quotes = embedder, documents, max_quotes
        self._weights, self._threshold = Weights(meaning=dense_weight), threshold
        self._compare = compare
        self._with_judge = judge
        self._judge: Judge | None = None

    async def start(self, host: Host) -> None:
        """Take a thread for comparing sentences, and load the judge."""
        self._lane = host.lane(threads=1, queue=256)
        if self._with_judge:
            try:
                files = await host.models.files(BASE, kind="onnx-embedder")
            except (
                ModelUnavailableError
            ) as error:  # another embedder, and no network: the reader works without
                host.log(
                    "the judge has no base model: whether there is an answer is decided by fit alone",
                    why=str(error),
                )
            else:
                self._judge = await self._lane.run(Judge.load, files)

    async def invoke(self, request: EvidenceRequest) -> EvidenceResponse:
        """The sentences that answer the question, best first.

        Raises:
            InvalidRequestError: ``max_quotes`` is out of bounds.
        """
        count = self._max_quotes if request.max_quotes is None else request.max_quotes
        if not 1 <= count <= MAX_QUOTES:
            raise InvalidRequestError(f"max_quotes must be from 1 to {MAX_QUOTES}", param="max_quotes")
        documents = request.documents[: self._documents]
        candidates = await self._lane.run(self._candidates, request.query, documents)
        if not candidates or not request.query.strip():
            return EvidenceResponse(Evidence(request.query, [], answerable=False))
        # One call for everything: the question, passages that came without a vector, and the sentences.
        bare = [index for index, document in enumerate(documents) if document.embedding is None]
        texts = [request.query, *(documents[index].text for index in bare)]
        texts += [_embedded(documents[c.passage], c) for c in candidates]
        vectors = await self._embed(texts)
        quotes, sure = await self._lane.run(self._read, request.query, documents, candidates, vectors, count)
        answerable = sure >= self._threshold
        return EvidenceResponse(Evidence(request.query, quotes, answerable=answerable, score=round(sure, 6)))

    def _candidates(self, query: str, documents: Sequence[Document]) -> list[Candidate]:
        """The sentences of the passages in the order of the text, as many as are compared."""
        candidates = [
            candidate
            for index, document in enumerate(documents)
            for candidate in candidates_of(index, document, MAX_SENTENCES)
        ]
        if len(candidates) <= self._compare:
            return candidates
        found = [terms(candidate.text(documents)) for candidate in candidates]
        wanted, rare = asked(query), rarity(found)
        shared = [overlap(wanted, own, rare) for own in found]
        best = sorted(range(len(candidates)), key=lambda index: -shared[index])[: self._compare]
        return [candidates[index] for index in sorted(best)]

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
        candidates: Sequence[Candidate],
        vectors: Sequence[Sequence[float]],
        count: int,
    ) -> tuple[list[Quote], float]:
        """The quotes, and how sure it is that the best sentence answers."""
        question = vectors[0]
        made = iter(vectors[1:])
        passages = [next(made) if d.embedding is None else floats(d.embedding) for d in documents]
        if any(len(passage) != len(question) for passage in passages):
            raise InvalidRequestError(
                f"the passages were embedded by another model: the embedder's vectors have {len(question)} numbers",
                param="documents",
            )
        measured = measures(query, question, documents, passages, candidates, list(made))
        fits = [
            (score(measure, self._weights, is_heading=candidate.is_heading), candidate, measure)
            for measure, candidate in zip(measured, candidates, strict=True)
        ]
        fits.sort(key=lambda entry: (-entry[0], *entry[1].place))
        # What is quoted has to answer: that another sentence fits, which is none, does not make it so.
        sure = min(support(fits[0][2], self._weights), 1.0)
        ranked = [(fit, candidate) for fit, candidate, _ in fits]
        if self._judge is not None:
            ranked, sure = judged(self._judge, query, documents, ranked, sure)
        chosen = _chosen(documents, ranked, count)
        return _quotes(documents, chosen), sure


def _embedded(document: Document, candidate: Candidate) -> str:
    """What is embedded of a sentence: a table's row says little without the names of its columns."""
    text = document.text[candidate.span.start : candidate.span.end]
    return f"{candidate.header}\n{text}" if candidate.header else text


def _chosen(
    documents: Sequence[Document], ranked: Sequence[tuple[float, Candidate]], count: int
) -> list[tuple[float, Candidate]]:
    """The best sentences, none of them twice (passages overlap, and documents repeat each other)."""
    chosen: list[tuple[float, Candidate]] = []
    seen: set[str] = set()
    for fit, candidate in ranked:
        text = " ".join(candidate.text(documents).split())
        if text in seen or (chosen and candidate.is_heading):
            continue  # a heading may be what was asked for, but adds nothing to what was
        if chosen and fit < SECOND_SHARE * chosen[0][0]:
            break
        seen.add(text)
        chosen.append((fit, candidate))
        if len(chosen) == count:
            break
    return chosen


def _quotes(documents: Sequence[Document], chosen: Sequence[tuple[float, Candidate]]) -> list[Quote]:
    """Sentences as quotes, best first; neighbours in a passage are one quote, in the order of the text."""
    groups: list[list[tuple[float, Candidate]]] = []
    for entry in chosen:
        beside = next((group for group in groups if _adjoins(group, entry[1])), None)
        if beside is None:
            groups.append([entry])
        else:
            beside.append(entry)
    quotes = []
    for group in groups:
        document = replace(documents[group[0][1].passage], embedding=None)  # nobody after the reader needs it
        start = min(candidate.span.start for _, candidate in group)
        end = max(candidate.span.end for _, candidate in group)
        fit = max(fit for fit, _ in group)
        quotes.append(Quote(document.text[start:end], document, round(min(fit, 1.0), 6), start, end))
    return quotes


def _adjoins(group: Sequence[tuple[float, Candidate]], candidate: Candidate) -> bool:
    return any(
        other.passage == candidate.passage and abs(other.position - candidate.position) == 1
        for _, other in group
    )
