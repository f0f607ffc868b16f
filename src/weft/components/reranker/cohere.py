"""``cohere-reranker``: any server that speaks Cohere's or Jina's rerank.

The two differ in what they add around the results only; vLLM, llama-server, SGLang, Infinity and OpenVINO's server answer in the
same form.
Source: Cohere API v2, "Rerank"; Jina AI API, ``POST /v1/rerank``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.components.reranker.batches import Rank, ranked
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import BackendReplyError, ServiceError
from weft.host import Host, HttpClient
from weft.types import Document

_PATH: Final = "/rerank"


class _Result(Struct):
    index: int
    relevance_score: float


class _Reply(Struct):
    results: list[_Result] | None = None
    error: Any = None


class _Body(Struct, omit_defaults=True):
    model: str
    query: str
    documents: list[str]
    top_n: int
    max_tokens_per_doc: int | None = None


class CohereReranker:
    """Orders documents by relevance with a server that speaks Cohere's or Jina's ``/rerank``.

    Args:
        url: The address before ``/rerank``: ``https://api.cohere.com/v2``, ``https://api.jina.ai/v1``,
            ``http://127.0.0.1:8000/v1`` for vLLM or llama-server.
        model: The model's name there.
        top_n: Documents that are kept where the request does not say.
        api_key: Sent as a bearer token.
        max_tokens_per_doc: Of a longer document the rest is not looked at; for servers that know it, as Cohere's.
        batch: Documents that are sent at once.
        timeout_s: Until the reply to one batch.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        top_n: int = 3,
        api_key: str | None = None,
        max_tokens_per_doc: int | None = None,
        batch: int = 128,
        timeout_s: float = 30.0,
    ) -> None:
        if batch < 1:
            raise ValueError("'batch' must be at least 1")
        self._url, self._model, self._top_n = url.rstrip("/"), model, top_n
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._max_tokens, self._batch, self._timeout_s = max_tokens_per_doc, batch, timeout_s
        self._client: HttpClient | None = None

    async def start(self, host: Host) -> None:
        """Make the client; nothing is contacted."""
        self._client = host.http(self._url, timeout_s=self._timeout_s, headers=self._headers)

    async def ready(self) -> bool:
        """Whether the server answers, and takes the key."""
        return await self._http().probe("/models")

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        """The best documents, best first, scored as the server does: 0 to 1 at Cohere's and Jina's, any number elsewhere.

        Raises:
            InvalidRequestError: ``top_n`` is below 1, or the server refused the request.
            OverloadedError: It is busy (429), with its ``Retry-After``.
            BackendStatusError: It answered any other status; the start of the body is quoted.
            BackendReplyError: What it sent are not the scores of these documents.
        """
        client, endpoint = self._http(), self._url + _PATH

        async def ask(query: str, documents: list[Document]) -> list[Rank]:
            texts = [document.text for document in documents]
            # Every document's score is asked for: only so can what comes back be checked against what was sent.
            body = _Body(self._model, query, texts, len(texts), self._max_tokens)
            reply: _Reply = await client.post_json(_PATH, body, type=_Reply)
            if reply.results is None:
                said = msgspec.json.encode(reply.error).decode()[:500]
                reason = "it has no results" if reply.error is None else f"the reply is an error: {said}"
                raise BackendReplyError(reason, endpoint=endpoint)
            return [Rank(result.index, result.relevance_score) for result in reply.results]

        return await ranked(request, ask, top_n=self._top_n, batch=self._batch, endpoint=endpoint)

    def _http(self) -> HttpClient:
        if self._client is None:
            raise ServiceError("it was not started", component="cohere-reranker")
        return self._client
