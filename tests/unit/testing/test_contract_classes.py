"""The contract tests on components that exist: our own, and the scripted ones that are shipped for tests."""

from __future__ import annotations

from typing import Any

from weft.components.dataprep.ingest import DocumentIngest
from weft.components.evidence.reader import ExtractiveReader
from weft.components.reranker.hybrid import HybridReranker
from weft.components.retriever.hybrid import HybridRetriever
from weft.components.store.qdrant_edge import QdrantEdge
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.contracts.store import UpsertRequest
from weft.errors import InvalidRequestError
from weft.testing import (
    ChatContract,
    DataprepContract,
    EmbeddingContract,
    EvidenceContract,
    RerankerContract,
    RetrieverContract,
    ScriptedChat,
    ScriptedEmbedder,
    StoreContract,
)
from weft.testing.promises.texts import PASSAGES
from weft.types import Document


class TestScriptedChat(ChatContract):
    def component(self) -> ScriptedChat:
        return ScriptedChat()


class TestScriptedEmbedder(EmbeddingContract):
    def component(self) -> ScriptedEmbedder:
        return ScriptedEmbedder(dimensions=4096)


class TestHybridReranker(RerankerContract):
    def component(self) -> HybridReranker:
        return HybridReranker(ScriptedEmbedder())


class WordReranker:
    """Written as a plain function: it runs in a thread."""

    def invoke(self, request: RerankRequest) -> RerankResponse:
        if request.top_n is not None and request.top_n < 1:
            raise InvalidRequestError("top_n must be at least 1", param="top_n")
        words = set(request.query.lower().split())
        scored = [d.scored(float(len(words & set(d.text.lower().split())))) for d in request.documents]
        best = sorted(scored, key=lambda d: d.score or 0.0, reverse=True)
        return RerankResponse(best[: request.top_n] if request.top_n is not None else best)


class TestPlainFunction(RerankerContract):
    def component(self) -> WordReranker:
        return WordReranker()


class TestExtractiveReader(EvidenceContract):
    def component(self) -> ExtractiveReader:
        return ExtractiveReader(ScriptedEmbedder())


class TestQdrantEdge(StoreContract):
    def component(self) -> QdrantEdge:
        return QdrantEdge()


class TestHybridRetriever(RetrieverContract):
    def component(self) -> HybridRetriever:
        self.store, self.embedder = QdrantEdge(), ScriptedEmbedder()
        return HybridRetriever(self.store, self.embedder)

    def uses(self) -> list[Any]:
        return [self.store]

    async def prepare(self, component: HybridRetriever) -> None:
        documents = [
            Document(text, id=f"d{index}", embedding=self.embedder.vector(text))
            for index, text in enumerate(PASSAGES)
        ]
        await self.store.upsert(UpsertRequest(documents, "a.txt"))


class TestDocumentIngest(DataprepContract):
    def component(self) -> DocumentIngest:
        self.store = QdrantEdge()
        return DocumentIngest(self.store, ScriptedEmbedder())

    def uses(self) -> list[Any]:
        return [self.store]
