"""``tei-reranker``: a Text Embeddings Inference server."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import BackendReplyError, BackendStatusError, InvalidRequestError, ServiceError
from weft.host import Host, HttpClient
from weft.types import Document

AT_ONCE: Final = 4
"""Batches of one request that are under way: enough that the server's queue is never empty, few enough to leave room in it."""

_PATH: Final = "/rerank"
_REFUSED: Final = (400, 413, 422)


class _Rank(Struct):
    index: int
    score: float


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
        """The best documents, best first. Each is scored by itself, so that batches can be put together.

        Raises:
            InvalidRequestError: ``top_n`` is below 1, or the server refused the request.
            OverloadedError: It is busy (429), with its ``Retry-After``.
            BackendStatusError: It answered any other status; the start of the body is quoted.
            BackendReplyError: What it sent are not the scores of these documents.
        """
        if request.top_n is not None and request.top_n < 1:
            raise InvalidRequestError("top_n must be at least 1", param="top_n")
        top_n = self._top_n if request.top_n is None else request.top_n
        documents = request.documents
        if not documents:
            return RerankResponse([])
        if len(documents) <= self._batch:
            return _best(await self._scored(request.query, documents), top_n)
        gate = asyncio.Semaphore(AT_ONCE)
        parts = [documents[start : start + self._batch] for start in range(0, len(documents), self._batch)]

        async def score(part: list[Document]) -> list[Document]:
            async with gate:
                return await self._scored(request.query, part)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(score(part)) for part in parts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return _best([document for task in tasks for document in task.result()], top_n)

    async def _scored(self, query: str, documents: list[Document]) -> list[Document]:
        body = {
            "query": query,
            "texts": [document.text for document in documents],
            "truncate": self._truncate,
        }
        try:
            ranking: list[_Rank] = await self._http().post_json(_PATH, body, type=list[_Rank])
        except BackendStatusError as error:
            if error.backend_status not in _REFUSED:
                raise
            raise InvalidRequestError(
                f"the reranking server refused the documents: {error.message} (at {error.endpoint})"
            ) from error
        ranking.sort(key=lambda rank: rank.index)  # TEI turns those of equal score round
        if [rank.index for rank in ranking] != list(range(len(documents))):
            raise BackendReplyError(
                "the ranking does not have each document that was sent once", endpoint=self._url + _PATH
            )
        return [documents[rank.index].scored(rank.score) for rank in ranking]

    def _http(self) -> HttpClient:
        if self._client is None:
            raise ServiceError("it was not started", component="tei-reranker")
        return self._client


def _best(scored: list[Document], top_n: int) -> RerankResponse:
    scored.sort(key=lambda document: document.score or 0.0, reverse=True)
    return RerankResponse(scored[:top_n])
