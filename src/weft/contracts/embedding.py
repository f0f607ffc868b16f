"""The embedding contract: texts in, one vector for each out.

Source: OpenAI API, "Create embeddings"; Text Embeddings Inference, ``POST /embed``.
"""

from __future__ import annotations

import base64
from array import array
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import Raw, Struct

from weft.contracts.base import Contract, Operation, Route, invalid
from weft.errors import InvalidRequestError
from weft.types import Empty, Usage, floats


class EmbeddingRequest(Struct, omit_defaults=True):
    """Texts to embed, 1 to 2,048 of them.

    Attributes:
        background: Whether nobody waits for the vectors: whoever else asks goes first, where the embedder can do that.
    """

    texts: list[str]
    model: str = ""
    dimensions: int | None = None
    user: str | None = None
    background: bool = False


class EmbeddingResponse(Struct, omit_defaults=True):
    """One encoded vector (see ``weft.types.floats``) for each text, in order."""

    embeddings: list[Raw]
    model: str = ""
    usage: Usage | None = None


class EmbeddingDescription(Struct, omit_defaults=True):
    """What an embedding service can say about its model; None where it does not know.

    Attributes:
        model: The model's name.
        digest: SHA-256 of its files: two models of one name and digest make the same vectors.
        dimensions: Length of each vector.
        normalised: Whether each vector has length 1.
        max_tokens: How much of a text is looked at; the rest does not count.
        languages: ISO 639-1 codes of those that it was trained for; None is also any language.
    """

    model: str = ""
    digest: str | None = None
    dimensions: int | None = None
    normalised: bool | None = None
    max_tokens: int | None = None
    languages: list[str] | None = None


class Embedder(Protocol):
    """What ``uses: {embedder: ...}`` binds."""

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector for each text, in order."""
        ...

    async def describe(self, request: Empty) -> EmbeddingDescription:
        """What is known about the model."""
        ...


class OpenAIEmbeddingRequest(Struct):
    """OpenAI's form of the request."""

    input: str | list[str]
    model: str = ""
    encoding_format: str = "float"
    dimensions: int | None = None
    user: str | None = None

    schema: ClassVar[dict[str, Any]] = {"encoding_format": {"enum": ["float", "base64"]}}


class OpenAIEmbedding(Struct):
    """One vector, as numbers or as base64 of their float32."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class OpenAIEmbeddingUsage(Struct):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddingResponse(Struct):
    """OpenAI's form of the reply."""

    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIEmbeddingUsage
    object: str = "list"


class _Wire(EmbeddingRequest):
    """The request with how its reply is to be written."""

    base64: bool = False


class OpenAIForm:
    """``{"input": ...}`` → ``{"object": "list", "data": [...]}``, vectors as arrays or base64."""

    name = "openai"
    asks: Any = OpenAIEmbeddingRequest
    answers: Any = OpenAIEmbeddingResponse

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(OpenAIEmbeddingRequest).decode

    def matches(self, fields: frozenset[str]) -> bool:
        """OpenAI calls the texts ``input``."""
        return "input" in fields

    def decode(self, body: bytes) -> Any:
        """See :class:`weft.contracts.Form`."""
        try:
            request = self._decode(body)
        except msgspec.DecodeError as error:
            raise invalid(error) from error
        if request.encoding_format not in ("float", "base64"):
            raise InvalidRequestError("encoding_format must be 'float' or 'base64'", param="encoding_format")
        texts = [request.input] if isinstance(request.input, str) else request.input
        return _Wire(
            texts, request.model, request.dimensions, request.user, base64=request.encoding_format == "base64"
        )

    def encode(self, response: EmbeddingResponse, request: Any) -> bytes:
        """See :class:`weft.contracts.Form`."""
        as_base64 = isinstance(request, _Wire) and request.base64
        usage = response.usage or Usage()
        return msgspec.json.encode(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": _base64(raw) if as_base64 else raw}
                    for index, raw in enumerate(response.embeddings)
                ],
                "model": response.model,
                "usage": {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens},
            }
        )


def _base64(raw: Raw) -> str:
    return base64.b64encode(array("f", floats(raw)).tobytes()).decode()


class TeiEmbeddingRequest(Struct):
    """Text Embeddings Inference's form of the request."""

    inputs: str | list[str]


class TeiForm:
    """``{"inputs": str or list}`` → ``[[...]]``."""

    name = "tei"
    asks: Any = TeiEmbeddingRequest
    answers: Any = list[list[float]]

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(TeiEmbeddingRequest).decode

    def matches(self, fields: frozenset[str]) -> bool:
        """TEI calls the texts ``inputs``."""
        return "inputs" in fields

    def decode(self, body: bytes) -> Any:
        """See :class:`weft.contracts.Form`."""
        try:
            inputs = self._decode(body).inputs
        except msgspec.DecodeError as error:
            raise invalid(error) from error
        return EmbeddingRequest([inputs] if isinstance(inputs, str) else inputs)

    def encode(self, response: EmbeddingResponse, request: Any) -> bytes:
        """See :class:`weft.contracts.Form`."""
        return msgspec.json.encode(response.embeddings)


CONTRACT = Contract(
    name="embedding",
    description="Turns texts into vectors.",
    operations={
        "invoke": Operation(
            "invoke",
            EmbeddingRequest,
            EmbeddingResponse,
            routes=(Route("/v1/embeddings"), Route("/embed", opea=True)),
            forms=(OpenAIForm(), TeiForm()),
            form_fields=frozenset({"input", "encoding_format", "inputs"}),
            openai=True,
        ),
        "describe": Operation(
            "describe",
            Empty,
            EmbeddingDescription,
            routes=(Route("/v1/embeddings/describe"),),
            default=EmbeddingDescription,
        ),
    },
    protocol=Embedder,
)
