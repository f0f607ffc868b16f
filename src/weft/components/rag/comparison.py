"""The node that puts what the documents say about two things side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from operator import mul
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from weft.components.rag.library import Known, exactly, is_deictic, known, meant, mentioned, other, plain
from weft.components.rag.salient import unit, without_headings
from weft.components.rag.summary import Extract, which
from weft.contracts.embedding import Embedder
from weft.contracts.evidence import EvidenceReader, EvidenceRequest, EvidenceResponse
from weft.contracts.retriever import Retriever, RetrieveRequest
from weft.contracts.store import Store
from weft.errors import ComponentError
from weft.host import Host
from weft.text import terms
from weft.types import Document, Evidence, Message, Quote, floats

MAX_THINGS: Final = 4
PASSAGES: Final = 4
"""Passages that are read for each of the things."""

CANDIDATES: Final = 12
"""Passages among which those are looked for that name the thing."""


_GENERAL: Final = re.compile(
    r"(?:the\s)?(?:pros and cons|(?:dis)?advantages|benefits|drawbacks|features|details)", re.IGNORECASE
)
"""An aspect that is none: documents that tell advantages seldom call them so."""


class CompareRequest(Struct, omit_defaults=True):
    """What is to be compared.

    Attributes:
        subjects: The things, documents or topics; one that only points (``both``, ``them``) is what was spoken of.
        aspect: What they are compared in; empty: in general.
        messages: The conversation, for what ``them`` means.
    """

    query: str = ""
    subjects: list[str] = []
    aspect: str = ""
    messages: list[Message] = []
    collection: str = ""


class SideBySide:
    """Finds evidence for each of the things that are compared; each quote says which it is about.

    A thing that is a document by its name is looked into alone: its sentences on the aspect, or those that stand for it.
    Anything else is a topic and is looked for in all documents. What nothing is said about is named.

    Args:
        store: Where the documents are.
        embedder: What they were embedded with.
        retriever, reader: Find what is said about a topic.
        sentences: How many sentences are quoted of each.
    """

    idempotent = True

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        retriever: Retriever,
        reader: EvidenceReader,
        *,
        sentences: int = 2,
    ) -> None:
        if not 1 <= sentences <= 10:
            raise ComponentError("side-by-side: sentences must be from 1 to 10")
        self._store, self._retriever, self._reader = store, retriever, reader
        self._extract = Extract(store, embedder)
        self._sentences = sentences

    async def start(self, host: Host) -> None:
        """Take a thread for comparing sentences."""
        self._extract.start(host)

    async def invoke(self, request: CompareRequest) -> EvidenceResponse:
        """The quotes, those of the first thing first; in the ``note`` what nothing was found about."""
        documents = await known(self._store, request.collection)
        if not documents:
            return EvidenceResponse(Evidence(request.query, [], answerable=False))
        subjects = request.subjects[:MAX_THINGS]
        fitting = [
            (meant if _names_document(subject) else exactly)(subject, documents) for subject in subjects
        ]
        named = [found[0] for found in fitting if len(found) == 1]
        things: list[tuple[str, Known | None]] = []
        for subject, found in zip(subjects, fitting, strict=True):
            if is_deictic(subject):
                things += [(d.label, d) for d in _pointed(subject, request, documents, things)]
                continue
            if len(found) != 1 and named and len(others := other(subject, documents, named)) == 1:
                found = others  # noqa: PLW2901 - the new handbook, beside that of 2019
            if len(found) > 1:
                return EvidenceResponse(which(request.query, found))
            things.append((found[0].label, found[0]) if len(found) == 1 else (subject, None))
        if len(things) < 2:
            return EvidenceResponse(which(request.query, documents))
        quotes: list[Quote] = []
        nothing: list[str] = []
        for label, document in things:
            found_quotes = (
                await self._document(request, document)
                if document is not None
                else await self._topic(request, label)
            )
            quotes += [replace(quote, about=plain(label)) for quote in found_quotes]
            if not found_quotes:
                nothing.append(f"\u201c{plain(label)}\u201d")
        on = f" on {plain(request.aspect)}" if request.aspect else ""
        note = f"Nothing was found in the documents{on} about {' or '.join(nothing)}." if nothing else ""
        return EvidenceResponse(Evidence(request.query, quotes, answerable=bool(quotes), note=note))

    async def _document(self, request: CompareRequest, document: Known) -> list[Quote]:
        passages = await self._extract.passages(document.name, request.collection)
        if not request.aspect:
            return await self._extract.sentences(passages, self._sentences + 1)
        (question,) = await self._extract.embed([request.aspect])
        near = sorted(passages, key=lambda passage: -_likeness(question, passage))[:PASSAGES]
        read = await self._reader.invoke(
            EvidenceRequest(request.aspect, near, max_quotes=self._sentences + 1)
        )
        return without_headings(read.evidence.quotes, self._sentences) if read.evidence.answerable else []

    async def _topic(self, request: CompareRequest, subject: str) -> list[Quote]:
        is_said = request.aspect and not _GENERAL.fullmatch(request.aspect)
        query = f"{request.aspect} {subject}" if is_said else subject
        reply = await self._retriever.invoke(
            RetrieveRequest(query, k=CANDIDATES, collection=request.collection)
        )
        # A passage on the other thing is as near by its meaning: those that name this one go first.
        asked = set(terms(subject))
        named = [d for d in reply.documents if asked & set(terms(f"{d.title or ''} {d.text}"))]
        passages = (named or reply.documents)[:PASSAGES]
        read = await self._reader.invoke(EvidenceRequest(query, passages, max_quotes=self._sentences + 1))
        return without_headings(read.evidence.quotes, self._sentences) if read.evidence.answerable else []


def _pointed(
    subject: str,
    request: CompareRequest,
    documents: Sequence[Known],
    things: Sequence[tuple[str, Known | None]],
) -> list[Known]:
    """The documents that ``both`` or ``it`` means: those spoken of, the earlier first, or the two that there are."""
    wanted = 1 if len(request.subjects) > 1 else 2
    taken = [document for _, document in things]
    spoken = [d for d in mentioned(request.messages[:-1], documents) if d not in taken]
    if len(spoken) >= wanted:
        return spoken[:wanted][::-1]
    left = [d for d in documents if d not in taken]
    return list(left) if len(left) == wanted else []


def _names_document(subject: str) -> bool:
    """Whether a subject says that it is a document, so that several that fit are worth a question back."""
    return bool(
        re.search(
            r"\.\w{2,5}$|\b(?:documents?|files?|pdf|reports?|handbook|manual|contract|paper)\b",
            subject,
            re.IGNORECASE,
        )
    )


def _likeness(question: Sequence[float], passage: Document) -> float:
    if passage.embedding is None:
        return -1.0
    return math.fsum(map(mul, question, unit(floats(passage.embedding))))
