"""The evidence contract: a question and passages in, the sentences that answer it out."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from weft.contracts.base import Contract, Operation, Route
from weft.types import Document, Evidence


class EvidenceRequest(Struct, omit_defaults=True):
    """Where to look for an answer; ``max_quotes`` None is the reader's own default."""

    query: str
    documents: list[Document]
    max_quotes: int | None = None


class EvidenceResponse(Struct, omit_defaults=True):
    """What was found."""

    evidence: Evidence


class EvidenceReader(Protocol):
    """What ``uses: {reader: ...}`` binds."""

    async def invoke(self, request: EvidenceRequest) -> EvidenceResponse:
        """The sentences that answer the question, best first."""
        ...


CONTRACT = Contract(
    name="evidence",
    description="Picks the sentences that answer a question.",
    operations={
        "invoke": Operation("invoke", EvidenceRequest, EvidenceResponse, routes=(Route("/v1/evidence"),)),
    },
    protocol=EvidenceReader,
)
