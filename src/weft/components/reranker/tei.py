"""``tei-reranker``: a Text Embeddings Inference server."""

from __future__ import annotations

from msgspec import Struct

from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import BackendReplyError, ServiceError
from weft.host import Host, HttpClient


class _Rank(Struct):
    index: int
    score: float


class TeiReranker:
    """Orders documents by relevance with a Text Embeddings Inference ``/rerank`` server.

    Args:
        url: Its base address.
        top_n: Documents that are kept where the request does not say.
        timeout_s: Until the reply.
    """

    def __init__(self, url: str, *, top_n: int = 3, timeout_s: float = 30.0) -> None:
        self._url, self._top_n, self._timeout_s = url, top_n, timeout_s
        self._client: HttpClient | None = None

    async def start(self, host: Host) -> None:
        """Make the client; nothing is contacted."""
        self._client = host.http(self._url, timeout_s=self._timeout_s)

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        """The best documents, best first."""
        if self._client is None:
            raise ServiceError("it was not started", component="tei-reranker")
        body = {"query": request.query, "texts": [document.text for document in request.documents]}
        ranking: list[_Rank] = await self._client.post_json("/rerank", body, type=list[_Rank])
        if any(not 0 <= rank.index < len(request.documents) for rank in ranking):
            raise BackendReplyError("the ranking names documents that were not sent", endpoint=self._url)
        best = sorted(ranking, key=lambda rank: rank.score, reverse=True)
        count = self._top_n if request.top_n is None else request.top_n
        return RerankResponse([request.documents[rank.index].scored(rank.score) for rank in best[:count]])
