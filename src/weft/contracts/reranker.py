"""The reranker contract: a question and passages in, the best of them in order out.

Source of the other forms: GenAIComps, ``/v1/reranking``; Text Embeddings Inference, ``POST /rerank``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import Struct

from weft.contracts.base import Contract, Operation, Route, invalid
from weft.types import Document


class RerankRequest(Struct, omit_defaults=True):
    """Passages to put in order; ``top_n`` None is the reranker's own default."""

    query: str
    documents: list[Document]
    top_n: int | None = None

    schema: ClassVar[dict[str, Any]] = {"top_n": {"minimum": 1}}
    """What JSON Schema can say of the fields beyond their types."""


class RerankResponse(Struct, omit_defaults=True):
    """The best passages, best first, scored."""

    documents: list[Document]


class Reranker(Protocol):
    """What ``uses: {reranker: ...}`` binds."""

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        """The best passages, best first."""
        ...


class OpeaRerankRequest(Struct):
    """OPEA's form of the request."""

    retrieved_docs: list[Document]
    initial_query: str | None = None
    input: str | None = None
    top_n: int = 1

    schema: ClassVar[dict[str, Any]] = {"top_n": {"minimum": 1}}


class _Asked(RerankRequest):
    by_input: bool = False


class OpeaForm:
    """``{initial_query | input, retrieved_docs, top_n}`` → ``{query, documents}`` or ``{reranked_docs}``."""

    name = "opea"
    asks: Any = OpeaRerankRequest
    answers: Any = dict[str, Any]

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(OpeaRerankRequest).decode

    def matches(self, fields: frozenset[str]) -> bool:
        """OPEA calls the passages ``retrieved_docs``."""
        return "retrieved_docs" in fields

    def decode(self, body: bytes) -> Any:
        """See :class:`weft.contracts.Form`."""
        try:
            r = self._decode(body)
        except msgspec.DecodeError as error:
            raise invalid(error) from error
        query = r.initial_query if r.initial_query is not None else r.input or ""
        return _Asked(query, r.retrieved_docs, r.top_n, by_input=r.initial_query is None)

    def encode(self, response: RerankResponse, request: Any) -> bytes:
        """See :class:`weft.contracts.Form`."""
        if isinstance(request, _Asked) and request.by_input:
            ranked = [{"text": d.text, "score": d.score} for d in response.documents]
            return msgspec.json.encode({"reranked_docs": ranked})
        return msgspec.json.encode(
            {"query": request.query, "documents": [d.text for d in response.documents]}
        )


class TeiRerankRequest(Struct):
    """Text Embeddings Inference's form of the request."""

    query: str
    texts: list[str]


class TeiRank(Struct):
    """One text of the request, by its place in it."""

    index: int
    score: float


class TeiForm:
    """``{query, texts}`` → ``[{"index", "score"}]``, best first."""

    name = "tei"
    asks: Any = TeiRerankRequest
    answers: Any = list[TeiRank]

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(TeiRerankRequest).decode

    def matches(self, fields: frozenset[str]) -> bool:
        """TEI sends plain ``texts``."""
        return "texts" in fields

    def decode(self, body: bytes) -> Any:
        """See :class:`weft.contracts.Form`."""
        try:
            r = self._decode(body)
        except msgspec.DecodeError as error:
            raise invalid(error) from error
        texts = [Document(t, id=str(i)) for i, t in enumerate(r.texts)]
        return RerankRequest(r.query, texts, len(texts) or None)

    def encode(self, response: RerankResponse, request: Any) -> bytes:
        """See :class:`weft.contracts.Form`."""
        return msgspec.json.encode([{"index": int(d.id), "score": d.score} for d in response.documents])


CONTRACT = Contract(
    name="reranker",
    description="Orders passages by how well they answer a question.",
    operations={
        "invoke": Operation(
            "invoke",
            RerankRequest,
            RerankResponse,
            routes=(Route("/v1/reranking"), Route("/rerank", opea=True)),
            forms=(OpeaForm(), TeiForm()),
        )
    },
    protocol=Reranker,
)
