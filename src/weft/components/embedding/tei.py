"""``tei-embedder``: a Text Embeddings Inference server."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from weft.components.embedding.batches import Batches, checked
from weft.contracts.embedding import EmbeddingDescription, EmbeddingRequest, EmbeddingResponse
from weft.errors import BackendReplyError, BackendStatusError, ServiceError
from weft.host import Host, HttpClient
from weft.types import Empty, Usage

_PATH: Final = "/embed"
_JSON: Final = {"content-type": "application/json"}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Raw]).decode

BATCH: Final = 32
"""What TEI takes at once unless it was started with another ``--max-client-batch-size``."""


class _Info(Struct):
    model_id: str = ""
    max_client_batch_size: int = BATCH
    model_sha: str | None = None
    max_input_length: int | None = None


class _Body(Struct, omit_defaults=True):
    inputs: list[str]
    normalize: bool | None = None
    truncate: bool | None = None
    dimensions: int | None = None


class TeiEmbedder:
    """Turns texts into vectors with a Text Embeddings Inference ``/embed`` server.

    Args:
        url: Its base address.
        api_key: Sent as a bearer token.
        normalize: Whether vectors have the length 1.
        truncate: Whether of a text that is too long the rest is not looked at; else it is refused.
        dimensions: Length of the vectors, for models that can shorten them; None is the model's own.
        batch: Texts that are sent at once; None is what the server says that it takes.
        timeout_s: Until the reply to one batch.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        normalize: bool = True,
        truncate: bool = True,
        dimensions: int | None = None,
        batch: int | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._normalize, self._truncate, self._dimensions = normalize, truncate, dimensions
        self._batches = Batches(batch or BATCH)
        self._is_told = batch is not None
        self._info: _Info | None = None
        self._client: HttpClient | None = None

    async def start(self, host: Host) -> None:
        """Make the client; nothing is contacted."""
        self._client = host.http(self._url, timeout_s=self._timeout_s, headers=self._headers)

    async def ready(self) -> bool:
        """Whether the server says that it is well."""
        return await self._http().probe("/health")

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector for each text, in order; in batches, a few of them at once.

        Raises:
            InvalidRequestError: No text, too many, or the server refused them.
            OverloadedError: It is busy (429), with its ``Retry-After``.
            BackendStatusError: It answered any other status; the start of the body is quoted.
            BackendReplyError: What it sent are not the vectors of these texts.
        """
        client, dimensions = self._http(), request.dimensions or self._dimensions
        info = self._info or await self._learn(client)

        async def ask(texts: list[str]) -> EmbeddingResponse:
            body = _encode(_Body(texts, self._normalize, self._truncate, dimensions))
            reply = await client.request("POST", _PATH, body, headers=_JSON)
            reply.raise_for_status()
            endpoint = self._url + _PATH
            try:
                found = _decode(reply.body)
            except msgspec.MsgspecError as error:
                raise BackendReplyError(
                    f"the reply is no list of vectors: {error}", endpoint=endpoint
                ) from error
            vectors = checked(found, texts=len(texts), dimensions=dimensions, endpoint=endpoint)
            # TEI counts in a header; servers that only speak its form count nowhere.
            tokens = reply.header("x-compute-tokens") or ""
            usage = Usage(prompt_tokens=int(tokens), total_tokens=int(tokens)) if tokens.isdecimal() else None
            return EmbeddingResponse(vectors, info.model_id, usage)

        return await self._batches.embed(request, ask)

    async def describe(self, request: Empty) -> EmbeddingDescription:
        """What the server says of its model."""
        info = self._info or await self._learn(self._http())
        return EmbeddingDescription(
            info.model_id,
            digest=info.model_sha,
            dimensions=self._dimensions,
            normalised=self._normalize,
            max_tokens=info.max_input_length,
        )

    async def _learn(self, client: HttpClient) -> _Info:
        """Which model it is and how many texts it takes; asked once, when the server is first needed."""
        try:
            info: _Info = await client.get_json("/info", type=_Info)
        except (BackendStatusError, BackendReplyError):
            info = _Info()  # something else that speaks TEI's form: it need not say
        if not self._is_told and info.max_client_batch_size > 0:
            self._batches.size = info.max_client_batch_size
        self._info = info
        return info

    def _http(self) -> HttpClient:
        if self._client is None:
            raise ServiceError("it was not started", component="tei-embedder")
        return self._client
