"""The retriever contract: a question in, the passages that may answer it out.

Source of the OPEA forms: GenAIComps, ``/v1/retrieval``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, Protocol

import msgspec
from msgspec import Struct

from weft.contracts.base import Contract, Operation, Route, invalid
from weft.types import Document

SearchType = Literal[
    "hybrid", "similarity", "text", "mmr", "similarity_score_threshold", "similarity_distance_threshold"
]


BOUNDS: Final[dict[str, Any]] = {
    "k": {"minimum": 1, "maximum": 1_000},
    "fetch_k": {"minimum": 1, "maximum": 1_000},
    "lambda_mult": {"minimum": 0, "maximum": 1},
}
"""What JSON Schema can say of fields beyond their types."""


class RetrieveRequest(Struct, omit_defaults=True):
    """What to look for.

    Attributes:
        query: The question, self-contained.
        k: How many passages, 1 to 1,000.
        search_type: ``hybrid`` (vectors and words), ``similarity`` (vectors), ``text`` (words), ``mmr`` (vectors, and unlike
            each other), ``similarity_score_threshold`` or ``similarity_distance_threshold`` (vectors, those near enough).
            None: the retriever's own default.
        fusion: How ``hybrid`` puts vectors and words together: ``blend`` of their scores, each against the best one found,
            or ``rrf``, reciprocal rank fusion. None: the retriever's own default.
        embedding: The question's vector, when the caller has it already.
        fetch_k: For ``mmr``: among how many of the nearest it chooses.
        lambda_mult: For ``mmr``: 1 is nearness alone, 0 is difference alone.
        score_threshold: Passages whose cosine to the question is lower are left out, however they were found.
        distance_threshold: The same as a distance, 1 - cosine: those that are farther are left out.
        filter: Metadata that a passage must have: name to value, or to a list of allowed values. ``file``, ``source``,
            ``title`` and ``page`` can be named too.
        neighbours: How many passages before and after each one found are joined to it, 0 to 10. Those found that are
            joined to a better one are not given again.
        collection: Which collection; empty is the default one.
    """

    query: str
    k: int = 4
    search_type: SearchType | None = None
    embedding: Any = None
    fetch_k: int = 20
    lambda_mult: float = 0.5
    score_threshold: float | None = None
    distance_threshold: float | None = None
    filter: dict[str, Any] | None = None
    collection: str = ""
    fusion: Literal["blend", "rrf"] | None = None
    neighbours: int | None = None

    schema: ClassVar[dict[str, Any]] = BOUNDS | {
        "neighbours": {"minimum": 0, "maximum": 10},
        "embedding": Document.schema["embedding"],
    }
    """What JSON Schema can say of the fields beyond their types."""


class RetrieveResponse(Struct, omit_defaults=True):
    """Passages, best first, with scores."""

    documents: list[Document]
    query: str = ""


class Retriever(Protocol):
    """What ``uses: {retriever: ...}`` binds."""

    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        """The best passages, best first."""
        ...


class OpeaRetrieveRequest(Struct):
    """OPEA's form of the request."""

    text: str | None = None
    input: str | None = None
    embedding: Any = None
    search_type: SearchType = "similarity"
    k: int = 4
    fetch_k: int = 20
    lambda_mult: float = 0.5
    score_threshold: float | None = None
    distance_threshold: float | None = None
    constraints: dict[str, Any] | None = None
    index_name: str | None = None

    schema: ClassVar[dict[str, Any]] = BOUNDS | {
        "": {"anyOf": [{"required": ["text"]}, {"required": ["input"]}]}
    }


class _Asked(RetrieveRequest):
    """The request with the form of reply that its field names ask for."""

    by_text: bool = True


class OpeaForm:
    """``{text | input, embedding, ...}`` → ``{retrieved_docs: [...]}``, in the variant that goes with the field."""

    name = "opea"
    asks: Any = OpeaRetrieveRequest
    answers: Any = dict[str, Any]

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(OpeaRetrieveRequest).decode

    def matches(self, fields: frozenset[str]) -> bool:
        """OPEA calls the question ``text`` or ``input``."""
        return "query" not in fields and bool(fields & {"text", "input"})

    def decode(self, body: bytes) -> Any:
        """See :class:`weft.contracts.Form`."""
        try:
            r = self._decode(body)
        except msgspec.DecodeError as error:
            raise invalid(error) from error
        return _Asked(
            r.text if r.text is not None else r.input or "",
            k=r.k,
            search_type=r.search_type,
            embedding=None if r.embedding in ([], "") else r.embedding,
            fetch_k=r.fetch_k,
            lambda_mult=r.lambda_mult,
            score_threshold=r.score_threshold,
            distance_threshold=r.distance_threshold,
            filter=r.constraints,
            collection=r.index_name or "",
            by_text=r.text is not None,
        )

    def encode(self, response: RetrieveResponse, request: Any) -> bytes:
        """See :class:`weft.contracts.Form`."""
        if isinstance(request, _Asked) and not request.by_text:
            return msgspec.json.encode(
                {"retrieved_docs": [{"text": d.text, "metadata": _metadata(d)} for d in response.documents]}
            )
        return msgspec.json.encode(
            {
                "id": "",
                "retrieved_docs": [{"id": d.id, "text": d.text} for d in response.documents],
                "initial_query": request.query,
                "top_n": 1,
                "metadata": [_metadata(d) for d in response.documents],
            }
        )


def _metadata(document: Document) -> dict[str, Any]:
    known = {
        "source": document.source,
        "title": document.title,
        "page": document.page,
        "score": document.score,
    }
    return document.metadata | {name: value for name, value in known.items() if value is not None}


CONTRACT = Contract(
    name="retriever",
    description="Finds the passages that may answer a question.",
    operations={
        "invoke": Operation(
            "invoke",
            RetrieveRequest,
            RetrieveResponse,
            routes=(Route("/v1/retrieval"),),
            forms=(OpeaForm(),),
        )
    },
    protocol=Retriever,
)
