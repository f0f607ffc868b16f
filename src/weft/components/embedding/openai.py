"""``openai-embedder``: any server that speaks OpenAI's embeddings."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from weft.components.embedding.batches import Batches, checked
from weft.contracts.embedding import EmbeddingDescription, EmbeddingRequest, EmbeddingResponse
from weft.errors import BackendReplyError, ServiceError
from weft.host import Host, HttpClient
from weft.types import Empty, Usage

_PATH: Final = "/embeddings"


class _Item(Struct):
    embedding: Raw
    index: int | None = None


class _Reply(Struct):
    data: list[_Item] = []
    model: str | None = None
    usage: Usage | None = None
    error: Any = None


class _Body(Struct, omit_defaults=True):
    input: list[str]
    model: str
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None


class OpenAIEmbedder:
    """Asks a server that speaks OpenAI's embeddings: vLLM, TEI, Ollama, llama-server, OpenAI.

    Args:
        url: Its base address, ``/v1`` included.
        model: The model's name there.
        api_key: Sent as a bearer token.
        timeout_s: Until the reply to one batch.
        batch: Texts that are sent at once; a TEI server takes 32 unless it was told otherwise, OpenAI 2048.
        dimensions: Length of the vectors, for models that can shorten them; None is the model's own.
        encoding_format: ``base64`` makes replies a third as long; servers that do not know it answer with numbers.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        batch: int = 32,
        dimensions: int | None = None,
        encoding_format: Literal["float", "base64"] = "float",
    ) -> None:
        self._url, self._model, self._timeout_s = url.rstrip("/"), model, timeout_s
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._dimensions = dimensions
        self._format = encoding_format if encoding_format != "float" else None
        self._batches = Batches(batch)
        self._client: HttpClient | None = None

    async def start(self, host: Host) -> None:
        """Make the client; nothing is contacted."""
        self._client = host.http(self._url, timeout_s=self._timeout_s, headers=self._headers)

    async def ready(self) -> bool:
        """Whether the server answers, and takes the key."""
        return await self._http().probe("/models")

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector for each text, in order; in batches, a few of them at once.

        Raises:
            InvalidRequestError: No text, too many, or the server refused them.
            OverloadedError: It is busy (429), with its ``Retry-After``.
            BackendStatusError: It answered any other status; the start of the body is quoted.
            BackendReplyError: What it sent are not the vectors of these texts.
        """
        client, dimensions = self._http(), request.dimensions or self._dimensions

        async def ask(texts: list[str]) -> EmbeddingResponse:
            body = _Body(texts, self._model, self._format, dimensions, request.user)
            reply: _Reply = await client.post_json(_PATH, body, type=_Reply)
            endpoint = self._url + _PATH
            if reply.error is not None:
                raise BackendReplyError(
                    f"the reply is an error: {msgspec.json.encode(reply.error).decode()[:500]}",
                    endpoint=endpoint,
                )
            vectors = checked(
                _in_order(reply.data, endpoint), texts=len(texts), dimensions=dimensions, endpoint=endpoint
            )
            return EmbeddingResponse(vectors, reply.model or self._model, reply.usage)

        return await self._batches.embed(request, ask)

    async def describe(self, request: Empty) -> EmbeddingDescription:
        """What is configured: the form has no way to ask the server."""
        return EmbeddingDescription(self._model, dimensions=self._dimensions)

    def _http(self) -> HttpClient:
        if self._client is None:
            raise ServiceError("it was not started", component="openai-embedder")
        return self._client


def _in_order(items: list[_Item], endpoint: str) -> list[Raw]:
    """The vectors in the order of the texts: by index, which need not be the order of the reply."""
    indexes = [item.index for item in items]
    if all(index is None for index in indexes):
        return [item.embedding for item in items]
    by_index = {
        index: item.embedding for index, item in zip(indexes, items, strict=True) if index is not None
    }
    if sorted(by_index) != list(range(len(items))):
        listed = ", ".join(str(index) for index in indexes[:20])
        raise BackendReplyError(
            f"the vectors are not of one text each: their indexes are {listed}", endpoint=endpoint
        )
    return [by_index[place] for place in range(len(items))]
