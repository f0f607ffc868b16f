"""The node that says which documents there are, or which of them speak of something."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from weft.components.rag.library import Known, counted, known, plain
from weft.components.rag.salient import without_headings
from weft.contracts.evidence import EvidenceReader, EvidenceRequest, EvidenceResponse
from weft.contracts.retriever import Retriever, RetrieveRequest
from weft.contracts.store import Store
from weft.errors import ComponentError
from weft.types import Document, Evidence, Quote

CANDIDATES: Final = 20
"""Passages among which documents about a subject are looked for."""

MAX_SPEAKING: Final = 5
"""Documents that are named with a quote each."""


class ContentsRequest(Struct, omit_defaults=True):
    """What is asked about the documents; ``subjects``: only those that speak of the first of them."""

    query: str = ""
    subjects: list[str] = []
    collection: str = ""


class DocumentContents:
    """Lists the documents that are in, with their counts, from the store itself; or finds those that speak of a subject.

    Args:
        store: Where the documents are.
        retriever: Finds passages about a subject.
        reader: Picks the sentence that is quoted of each document.
        shown: How many documents are named; of more only the number is said.
    """

    idempotent = True

    def __init__(
        self, store: Store, retriever: Retriever, reader: EvidenceReader, *, shown: int = 50
    ) -> None:
        if shown < 1:
            raise ComponentError("document-contents: shown must be at least 1")
        self._store, self._retriever, self._reader, self._shown = store, retriever, reader, shown

    async def invoke(self, request: ContentsRequest) -> EvidenceResponse:
        """The list in the evidence's ``note``; for a subject a quote of each document that speaks of it."""
        documents = await known(self._store, request.collection)
        if not documents:
            return EvidenceResponse(Evidence(request.query, [], answerable=False))
        if request.subjects:
            evidence = await self._speaking(request, documents)
        else:
            evidence = Evidence(request.query, [], note=self._list(documents))
        return EvidenceResponse(evidence)

    def _list(self, documents: list[Known]) -> str:
        passages = counted(sum(document.passages for document in documents), "passage")
        are = "is" if len(documents) == 1 else "are"
        lines = [f"There {are} {counted(len(documents), 'document')} with {passages} in all:", ""]
        for number, document in enumerate(documents[: self._shown], 1):
            size = counted(document.passages, "passage")
            if document.pages:
                size = f"{counted(document.pages, 'page')}, {size}"
            lines.append(f"{number}. {document.label} \N{EM DASH} {size}")
        if len(documents) > self._shown:
            lines += ["", f"and {len(documents) - self._shown:,} more."]
        return "\n".join(lines)

    async def _speaking(self, request: ContentsRequest, documents: list[Known]) -> Evidence:
        subject = request.subjects[0]
        reply = await self._retriever.invoke(
            RetrieveRequest(subject, k=CANDIDATES, collection=request.collection)
        )
        best: dict[str, Document] = {}
        for document in reply.documents:
            best.setdefault(document.source or document.title or document.id, document)
        found = await asyncio.gather(*(self._quote(subject, d) for d in list(best.values())[:MAX_SPEAKING]))
        quotes = [quote for quote in found if quote is not None]
        if not quotes:
            note = f"None of the {counted(len(documents), 'document')} seems to speak of \u201c{plain(subject)}\u201d."
            if len(documents) == 1:
                note = f"The one document that is in does not seem to speak of \u201c{plain(subject)}\u201d."
            return Evidence(request.query, [], answerable=False, note=note)
        speak = "speaks" if len(quotes) == 1 else "speak"
        note = f"{counted(len(quotes), 'document')} {speak} of \u201c{plain(subject)}\u201d:"
        return Evidence(request.query, quotes, note=note)

    async def _quote(self, subject: str, document: Document) -> Quote | None:
        reply = await self._reader.invoke(EvidenceRequest(subject, [document], max_quotes=2))
        evidence = reply.evidence
        return without_headings(evidence.quotes, 1)[0] if evidence.answerable and evidence.quotes else None
