"""What contracts promise beside their types, seen to for services that never heard of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

from weft.components.any.templates import ReplyMismatchError
from weft.contracts.chat import ChatChunk, ChatResponse, ChunkChoice, Delta
from weft.contracts.embedding import EmbeddingRequest, EmbeddingResponse
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import InvalidRequestError
from weft.types import Usage, floats


def as_chat(found: Mapping[str, Any]) -> dict[str, Any]:
    """A chat's response of one text.

    Raises:
        ReplyMismatchError: There is none.
    """
    if "text" not in found:
        raise ReplyMismatchError("there is no text where the mapping says")
    rest = dict(found)
    message = {"role": "assistant", "content": rest.pop("text")}
    choice = {"index": 0, "message": message, "finish_reason": rest.pop("finish_reason", "stop")}
    return {"id": new_id(), "model": "", **rest, "choices": [choice]}


def new_id() -> str:
    """For an answer, of which a foreign service gives none."""
    return f"chatcmpl-{uuid4().hex}"


def as_chunk(response: Any) -> ChatChunk:
    """A whole answer as the only chunk of a stream."""
    choices = [
        ChunkChoice(
            choice.index,
            Delta(
                role="assistant",
                content=choice.message.text() or None,
                reasoning_content=choice.message.reasoning_content,
                tool_calls=choice.message.tool_calls,
            ),
            choice.finish_reason,
        )
        for choice in response.choices
    ]
    return ChatChunk(response.id, response.model, choices, response.created, response.usage)


def summed(usage: Usage) -> Usage:
    """Counts whose total the service did not say."""
    if not usage.total_tokens:
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens
    return usage


def _has_top_n(request: RerankRequest) -> None:
    if request.top_n is not None and request.top_n < 1:
        raise InvalidRequestError("top_n must be at least 1", param="top_n")


def _has_texts(request: EmbeddingRequest) -> None:
    if not request.texts:
        raise InvalidRequestError("there is no text to embed", param="input")


def _best_first(response: RerankResponse, request: RerankRequest) -> RerankResponse:
    """The contract's order and number, whatever those of the service."""
    if all(document.score is not None for document in response.documents):
        response.documents.sort(key=lambda document: document.score or 0.0, reverse=True)
    if request.top_n is not None:
        del response.documents[request.top_n :]
    return response


def _one_each(response: EmbeddingResponse, request: EmbeddingRequest) -> EmbeddingResponse:
    """A vector for each text, all alike."""
    if len(response.embeddings) != len(request.texts):
        raise ReplyMismatchError(
            f"there are {len(response.embeddings)} vectors for {len(request.texts)} texts"
        )
    lengths = {len(floats(raw)) for raw in response.embeddings}
    if len(lengths) > 1 or 0 in lengths:
        raise ReplyMismatchError(f"its vectors have {', '.join(map(str, sorted(lengths)))} dimensions")
    if response.usage is not None:
        summed(response.usage)
    return response


def _counted(response: ChatResponse, _request: Any) -> ChatResponse:
    if response.usage is not None:
        summed(response.usage)
    return response


PROMISES: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "chat": _counted,
    "embedding": _one_each,
    "reranker": _best_first,
}
"""What the response of a contract must be beside its type."""

ASKABLE: Final[Mapping[str, Callable[[Any], None]]] = {"embedding": _has_texts, "reranker": _has_top_n}
"""What a request of a contract must be beside its type."""

SEEN_TO: Final = {"reranker": {"top_n"}}
"""Fields of requests that these promises honour, whether the service does or not."""
