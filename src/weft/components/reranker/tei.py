"""``tei-reranker``: a Text Embeddings Inference server."""

from __future__ import annotations

from typing import Final

from weft.components.reranker.batches import Rank, ranked
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import ServiceError
from weft.host import Host, HttpClient
from weft.types import Document

_PATH: Final = "/rerank"


class TeiReranker:
    """Orders documents by relevance with a Text Embeddings Inference ``/rerank`` server.

    Args:
        url: Its base address.
        top_n: Documents that are kept where the request does not say.
        api_key: Sent as a bearer token.
        truncate: Whether of a document that is too long the rest is not looked at; else the request is refused.
        batch: Documents that are sent at once; TEI takes 32 unless it was started with ``--max-client-batch-size``.
        timeout_s: Until the reply to one batch.
    """

    def __init__(
        self,
        url: str,
        *,
        top_n: int = 3,
        api_key: str | None = None,
        truncate: bool = True,
        batch: int = 32,
        timeout_s: float = 30.0,
    ) -> None:
        if batch < 1:
            raise ValueError("'batch' must be at least 1")
        self._url, self._top_n, self._timeout_s = url.rstrip("/"), top_n, timeout_s
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._truncate, self._batch = truncate, batch
        self._client: HttpClient | None = None

    async def start(self, host: Host) -> None:
        """Make the client; nothing is contacted."""
        self._client = host.http(self._url, timeout_s=self._timeout_s, headers=self._headers)

    async def ready(self) -> bool:
        """Whether the server says that it is well."""
        return await self._http().probe("/health")

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        """The best documents, best first.

        Raises:
            InvalidRequestError: ``top_n`` is below 1, or the server refused the request.
            OverloadedError: It is busy (429), with its ``Retry-After``.
            BackendStatusError: It answered any other status; the start of the body is quoted.
            BackendReplyError: What it sent are not the scores of these documents.
        """
        client = self._http()

        async def ask(query: str, documents: list[Document]) -> list[Rank]:
            texts = [document.text for document in documents]
            body = {"query": query, "texts": texts, "truncate": self._truncate}
            ranking: list[Rank] = await client.post_json(_PATH, body, type=list[Rank])
            return ranking

        return await ranked(request, ask, top_n=self._top_n, batch=self._batch, endpoint=self._url + _PATH)

    def _http(self) -> HttpClient:
        if self._client is None:
            raise ServiceError("it was not started", component="tei-reranker")
        return self._client
