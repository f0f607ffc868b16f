"""A store, a retriever and a reader in a dozen lines each, for nodes that ask them."""

from __future__ import annotations

from ragkit import bag
from weft.contracts.evidence import EvidenceRequest, EvidenceResponse
from weft.contracts.retriever import RetrieveRequest, RetrieveResponse
from weft.contracts.store import ListRequest, ListResponse, ReadRequest, ReadResponse, StoredFile, page
from weft.text import cosine, sentences, terms
from weft.types import Document, Evidence, Quote, floats


class Shelf:
    """A store of documents in memory: each a name, a title and its passages."""

    def __init__(self) -> None:
        self.files: dict[str, list[Document]] = {}
        self.hidden: set[str] = set()
        self.reads: list[ReadRequest] = []

    def put(self, name: str, *passages: str, title: str | None = None, heading: str = "") -> None:
        start = 0
        self.files[name] = []
        for number, text in enumerate(passages):
            metadata = {"heading": heading} if heading else {}
            document = Document(
                text, f"{name}-{number}", title=title or name, source=name, start=start, metadata=metadata
            )
            document.embedding = bag(text)
            self.files[name].append(document)
            start += len(text) + 2

    async def list(self, request: ListRequest) -> ListResponse:
        if request.collection:
            return ListResponse([])
        return ListResponse([StoredFile(n, chunks=len(d)) for n, d in sorted(self.files.items())])

    async def read(self, request: ReadRequest) -> ReadResponse:
        self.reads.append(request)
        found = [] if request.file in self.hidden else self.files.get(request.file, [])
        ids = [document.id for document in found]
        at = page(request, lambda id_: ids.index(id_) if id_ in ids else None, len(found))
        first, count = at or (0, 0)
        return ReadResponse(found[first : first + count], first, len(found))

    async def retrieve(self, request: RetrieveRequest) -> RetrieveResponse:
        asked = floats(bag(request.query))
        every = [d for documents in self.files.values() for d in documents]
        ranked = sorted(every, key=lambda d: -cosine(asked, floats(d.embedding)))
        return RetrieveResponse(ranked[: request.k])


async def read_evidence(request: EvidenceRequest) -> EvidenceResponse:
    """The sentences that share most words with the question; none shares any: it is not answered."""
    asked = set(terms(request.query))
    found = [
        (len(asked & set(terms(document.text[span.start : span.end]))), document, span)
        for document in request.documents
        for span in sentences(document.text)
    ]
    found.sort(key=lambda triple: -triple[0])
    best = [(d, s) for score, d, s in found[: request.max_quotes or 2] if score or not found[0][0]]
    quotes = [Quote(d.text[s.start : s.end], d, 0.5, s.start, s.end) for d, s in best]
    return EvidenceResponse(Evidence(request.query, quotes, answerable=bool(found and found[0][0])))
