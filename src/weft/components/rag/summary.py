"""The node that sums a document up in its own sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from msgspec import Struct
from msgspec.structs import replace

from weft.components.rag import salient
from weft.components.rag.condense import CHOICE
from weft.components.rag.kinds import EVERYTHING
from weft.components.rag.library import (
    Known,
    collection_name,
    counted,
    is_deictic,
    known,
    meant,
    mentioned,
    nearest,
    plain,
)
from weft.components.rag.talk import is_small
from weft.contracts.chat import Chat
from weft.contracts.embedding import Embedder, EmbeddingRequest
from weft.contracts.evidence import EvidenceReader, EvidenceRequest, EvidenceResponse
from weft.contracts.retriever import Retriever, RetrieveRequest
from weft.contracts.store import ReadRequest, Store
from weft.errors import BackendReplyError, ComponentError, RequestError
from weft.host import Host
from weft.text import Span
from weft.types import Document, Empty, Evidence, Message, Quote, floats

MAX_PASSAGES: Final = 400
"""Passages of a document that are looked at; of a longer one pieces from all over."""

MAX_SENTENCES: Final = 120
"""Sentences that are embedded for one summary: a quarter of a second on two cores."""

MAX_COUNT: Final = 20
MAX_EACH: Final = 8
"""Documents that are summed up in a sentence each when all are asked for."""

MAX_CHOICES: Final = 10
SLICES: Final = 8
TOPIC_PASSAGES: Final = 8


class SummaryRequest(Struct, omit_defaults=True):
    """What is to be summed up.

    Attributes:
        subjects: The document, by its name, title or a part of them; ``*``: all of them; empty: the one that was
            spoken of. What names no document is a topic.
        messages: The conversation, for ``it`` and ``this document``.
        count: How many sentences; None: the node's own default.
        is_sure: False where the subject may not be meant as a document at all.
    """

    query: str = ""
    subjects: list[str] = []
    messages: list[Message] = []
    count: int | None = None
    is_sure: bool = True
    collection: str = ""


class Extract:
    """Picks what stands for a document: shared by the nodes that need it.

    Args:
        store: Where the documents are.
        embedder: What they were embedded with.
    """

    def __init__(self, store: Store, embedder: Embedder) -> None:
        self._store, self._embedder = store, embedder

    def start(self, host: Host) -> None:
        """Take a thread for comparing."""
        self._lane = host.lane(threads=1, queue=256)

    async def passages(self, name: str, collection: str, *, limit: int = MAX_PASSAGES) -> list[Document]:
        """The passages of a document with their vectors, in order; of a long one, pieces from all over."""
        collection, size = collection_name(collection), max(1, limit // SLICES)
        first = await self._store.read(
            ReadRequest(name, limit=size, with_embeddings=True, collection=collection)
        )
        found = list(first.documents)
        step = size if first.total <= limit else max(size, first.total // SLICES)
        after = step
        while after < first.total and len(found) < limit:
            reply = await self._store.read(
                ReadRequest(name, after, limit=size, with_embeddings=True, collection=collection)
            )
            found += reply.documents
            after += step
        return found

    async def best(self, documents: Sequence[Document], count: int) -> list[Document]:
        """The passages that stand for all of them, in order."""
        with_vectors = [document for document in documents if document.embedding is not None]
        if len(with_vectors) <= count:
            return list(documents[:count])
        return await self._lane.run(_best, with_vectors, count)

    async def sentences(self, documents: Sequence[Document], count: int) -> list[Quote]:
        """The ``count`` sentences that stand for a document, in its order."""
        chosen = await self.best(documents, 2 * count + 2)
        pieces = _distinct([(d, span) for d in chosen for span in salient.telling(d)])
        if not pieces:  # tables and listings have no sentences
            pieces = _distinct([*pieces, *salient.anything(chosen)])
        pieces = _thinned(pieces)
        if len(pieces) <= count:
            return [_quote(d, span) for d, span in pieces]
        vectors = await self.embed([d.text[span.start : span.end] for d, span in pieces])
        ahead = [0.0] * len(pieces)
        if pieces[0][0].id == documents[0].id:
            ahead[0] = salient.LEAD
        kept = await self._lane.run(salient.typical, vectors, count, ahead=ahead)
        return [_quote(*pieces[index]) for index in kept]

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """A unit vector for each text."""
        reply = await self._embedder.invoke(EmbeddingRequest(texts))
        if len(reply.embeddings) != len(texts):
            raise BackendReplyError(
                f"the embedder gave {len(reply.embeddings)} vectors for {len(texts)} texts"
            )
        return [salient.unit(floats(embedding)) for embedding in reply.embeddings]


class DocumentSummary:
    """Sums up a document in its own sentences, each with its place: those nearest to its middle and unlike each other.

    The document is found by its name or title; where several fit, it asks which one is meant; what names none is a
    topic, and what the documents say about that is collected. For a large model it hands on whole passages instead, for
    the model to put into words.

    Args:
        store: Where the documents are.
        embedder: What they were embedded with.
        retriever, reader: Find what is said about a topic.
        chat: The model, for its size; without one it is taken as small.
        sentences: How many sentences a summary has, where nobody says.
        passages: How many passages a large model is given.
    """

    idempotent = True

    asks: ClassVar[dict[str, int]] = {"chat": 0}

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        retriever: Retriever,
        reader: EvidenceReader,
        chat: Chat | None = None,
        *,
        sentences: int = 5,
        passages: int = 12,
    ) -> None:
        if not 1 <= sentences <= MAX_COUNT or passages < 1:
            raise ComponentError(
                f"document-summary: sentences must be from 1 to {MAX_COUNT} and passages at least 1"
            )
        self._store, self._retriever, self._reader, self._chat = store, retriever, reader, chat
        self._extract = Extract(store, embedder)
        self._sentences, self._passages = sentences, passages

    async def start(self, host: Host) -> None:
        """Take a thread for comparing sentences."""
        self._extract.start(host)

    async def invoke(self, request: SummaryRequest) -> EvidenceResponse:
        """The sentences, in the order of the document; or a question back in the evidence's ``note``."""
        documents = await known(self._store, request.collection)
        if not documents:
            return EvidenceResponse(Evidence(request.query, [], answerable=False))
        subject = request.subjects[0] if request.subjects else ""
        count = min(request.count or self._sentences, MAX_COUNT)
        if subject == EVERYTHING and len(documents) > 1:
            return EvidenceResponse(await self._each(request, documents))
        found = meant(subject, documents)
        if not found and (subject == EVERYTHING or is_deictic(subject)):
            found = mentioned(request.messages[:-1], documents)[:1] or documents
            if len(found) > 1:
                return EvidenceResponse(which(request.query, found))
        if len(found) == 1:
            return EvidenceResponse(await self._one(request, found[0], count))
        if len(found) > 1:
            return EvidenceResponse(which(request.query, found))
        return EvidenceResponse(await self._topic(request, subject, documents, count))

    async def _one(self, request: SummaryRequest, document: Known, count: int) -> Evidence:
        passages = await self._extract.passages(document.name, request.collection)
        if await self._is_large():
            chosen = await self._extract.best(passages, self._passages)
            quotes = [_quote(d, Span(0, len(d.text))) for d in chosen]
        else:
            quotes = await self._extract.sentences(passages, count)
        note = f"{document.label}, in its own words:"
        return Evidence(request.query, quotes, answerable=bool(quotes), note=note)

    async def _each(self, request: SummaryRequest, documents: Sequence[Known]) -> Evidence:
        """One sentence of each document."""
        quotes: list[Quote] = []
        for document in documents[:MAX_EACH]:
            passages = await self._extract.passages(document.name, request.collection, limit=16)
            chosen = await self._extract.sentences(passages[:4], 1)
            quotes += [replace(quote, about=document.label) for quote in chosen]
        note = f"There are {counted(len(documents), 'document')}; a sentence of each:"
        if len(documents) > MAX_EACH:
            note = f"There are {counted(len(documents), 'document')}; a sentence of each of the first {MAX_EACH}:"
        return Evidence(request.query, quotes, answerable=bool(quotes), note=note)

    async def _topic(
        self, request: SummaryRequest, subject: str, documents: Sequence[Known], count: int
    ) -> Evidence:
        query = subject if request.is_sure else request.query
        reply = await self._retriever.invoke(
            RetrieveRequest(query, k=TOPIC_PASSAGES, collection=request.collection)
        )
        read = await self._reader.invoke(
            EvidenceRequest(query, reply.documents, max_quotes=count + 1 if request.is_sure else None)
        )
        evidence = replace(read.evidence, query=request.query)
        if not evidence.answerable:
            return Evidence(request.query, [], answerable=False, note=_unknown(subject, documents))
        if request.is_sure:
            evidence = replace(evidence, quotes=salient.without_headings(evidence.quotes, count))
        return replace(
            evidence,
            note=f"What the documents say about \u201c{plain(subject)}\u201d:" if request.is_sure else "",
        )

    async def _is_large(self) -> bool:
        if self._chat is None:
            return False
        try:
            return not is_small(await self._chat.describe(Empty()))
        except RequestError:
            return False


def which(query: str, documents: Sequence[Known]) -> Evidence:
    """The question back: which of several documents is meant."""
    lines = [f"{n}. {document.label}" for n, document in enumerate(documents[:MAX_CHOICES], 1)]
    if len(documents) > MAX_CHOICES:
        lines.append(f"and {len(documents) - MAX_CHOICES:,} more")
    note = f"{counted(len(documents), 'document')} could be meant:\n\n" + "\n".join(lines) + f"\n\n{CHOICE}"
    return Evidence(query, [], answerable=False, note=note)


def _unknown(subject: str, documents: Sequence[Known]) -> str:
    near = nearest(subject, documents)
    note = f"There is no document called \u201c{plain(subject)}\u201d, and the documents do not seem to speak of it."
    if not near:
        return f"{note} Ask \u201cwhat is in my documents?\u201d for their list."
    lines = [f"{n}. {document.label}" for n, document in enumerate(near, 1)]
    return f"{note} The nearest names:\n\n" + "\n".join(lines) + f"\n\n{CHOICE}"


def _best(documents: Sequence[Document], count: int) -> list[Document]:
    vectors = [salient.unit(floats(document.embedding)) for document in documents]
    ahead = [salient.OPENING, *([0.0] * (len(documents) - 1))]
    return [documents[index] for index in salient.typical(vectors, count, ahead=ahead)]


def _distinct(pieces: Sequence[tuple[Document, Span]]) -> list[tuple[Document, Span]]:
    """Each sentence once: passages overlap."""
    found: dict[str, tuple[Document, Span]] = {}
    for document, span in pieces:
        found.setdefault(" ".join(document.text[span.start : span.end].split()), (document, span))
    return list(found.values())


def _thinned(pieces: list[tuple[Document, Span]]) -> list[tuple[Document, Span]]:
    if len(pieces) <= MAX_SENTENCES:
        return pieces
    step = len(pieces) / MAX_SENTENCES
    return [pieces[int(index * step)] for index in range(MAX_SENTENCES)]


def _quote(document: Document, span: Span) -> Quote:
    return Quote(
        document.text[span.start : span.end], replace(document, embedding=None), 0.0, span.start, span.end
    )
