"""What adapters to embedding servers share: batches that the server takes, and vectors that are checked before they are used.

A vector that is wrong is worse than none: it is stored, and every search after it is wrong as well. So each is looked at:
that there is one for each text, that it has as many numbers as was asked for (or as all others), and that all are numbers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from math import isfinite
from typing import Final

from msgspec import Raw

from weft.contracts.embedding import EmbeddingRequest, EmbeddingResponse
from weft.errors import BackendReplyError, BackendStatusError, InvalidRequestError
from weft.types import Usage, floats, vector

MAX_TEXTS: Final = 2048
"""Of one request, as OpenAI's API has it."""

AT_ONCE: Final = 4
"""Batches of one request that are under way: enough that the server's queue is never empty, few enough to leave room in it."""

_REFUSED: Final = (400, 413, 422)
"""Statuses that say that the request itself is wrong."""

_LIMIT: Final = re.compile(r"maximum allowed batch size (\d+)")
"""How TEI, and services made of it, say what they take."""

Ask = Callable[[list[str]], Awaitable[EmbeddingResponse]]
"""Embeds one batch."""


class Batches:
    """Embeds any number of texts through a server that takes a few at a time.

    Args:
        size: Texts of one batch; it becomes smaller when the server says that it takes fewer.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("'batch' must be at least 1")
        self.size = size

    async def embed(self, request: EmbeddingRequest, ask: Ask) -> EmbeddingResponse:
        """All texts of a request, in order. Cancelling it, or the failure of one batch, cancels all.

        Raises:
            InvalidRequestError: No text, too many, or one that the server refuses.
            RequestError: What ``ask`` raises.
        """
        if not 1 <= len(request.texts) <= MAX_TEXTS:
            raise InvalidRequestError(f"1 to {MAX_TEXTS} texts can be embedded at once", param="input")
        if len(request.texts) <= self.size:
            return await self._batch(request.texts, ask)
        gate = asyncio.Semaphore(AT_ONCE)

        async def embed(texts: list[str]) -> EmbeddingResponse:
            async with gate:
                return await self._batch(texts, ask)

        try:
            async with asyncio.TaskGroup() as group:
                parts = _cut(request.texts, self.size)
                tasks = [group.create_task(embed(texts)) for texts in parts]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return _joined([task.result() for task in tasks])

    async def _batch(self, texts: list[str], ask: Ask) -> EmbeddingResponse:
        try:
            return await ask(texts)
        except BackendStatusError as error:
            if error.backend_status not in _REFUSED:
                raise
            parts = self._smaller(texts, error)
            if parts is None:
                raise InvalidRequestError(
                    f"the embedding server refused the texts: {error.message} (at {error.endpoint})",
                    param="input",
                ) from error
        return _joined([await self._batch(part, ask) for part in parts])

    def _smaller(self, texts: list[str], error: BackendStatusError) -> list[list[str]] | None:
        """The batch in parts that the server may take; None if the number of texts is not what is wrong."""
        limit = _LIMIT.search(error.message)
        if limit is not None and 1 <= int(limit[1]) < len(texts):
            self.size = min(self.size, int(limit[1]))
            return _cut(texts, int(limit[1]))
        if error.backend_status == 413 and len(texts) > 1:  # too many bytes, or one text of them too long
            return _cut(texts, (len(texts) + 1) // 2)
        return None


def _cut(texts: Sequence[str], size: int) -> list[list[str]]:
    return [list(texts[start : start + size]) for start in range(0, len(texts), size)]


def _joined(parts: Sequence[EmbeddingResponse]) -> EmbeddingResponse:
    if len(parts) == 1:
        return parts[0]
    usage: Usage | None = None
    for part in parts:
        if part.usage is not None:
            usage = part.usage if usage is None else usage + part.usage
    return EmbeddingResponse([raw for part in parts for raw in part.embeddings], parts[0].model, usage)


def checked(found: Sequence[Raw], *, texts: int, dimensions: int | None, endpoint: str) -> list[Raw]:
    """The vectors of one reply as JSON arrays.

    Args:
        found: One for each text, as arrays of numbers or as OpenAI's base64.
        texts: How many texts were sent.
        dimensions: How long each must be; None: all alike.
        endpoint: For the error.

    Raises:
        BackendReplyError: Another number of vectors, or one that is wrong; it is named by its place.
    """
    if len(found) != texts:
        raise BackendReplyError(f"there are {len(found)} vectors for {texts} texts", endpoint=endpoint)
    vectors: list[Raw] = []
    for place, raw in enumerate(found):
        if (length := _length(bytes(raw))) and length == (dimensions or length):
            dimensions = length
            vectors.append(raw)
            continue
        try:
            numbers = floats(raw)
        except ValueError as error:
            raise BackendReplyError(f"vector {place} cannot be read: {error}", endpoint=endpoint) from error
        if not all(map(isfinite, numbers)):
            raise BackendReplyError(
                f"vector {place} has something in it that is no number", endpoint=endpoint
            )
        if not numbers or len(numbers) != (dimensions or len(numbers)):
            wanted = f"{dimensions} were asked for" if place == 0 else f"others have {dimensions}"
            raise BackendReplyError(
                f"vector {place} has {len(numbers)} dimensions" + (f", and {wanted}" if dimensions else ""),
                endpoint=endpoint,
            )
        dimensions = dimensions or len(numbers)
        vectors.append(raw if bytes(memoryview(raw)[:1]) == b"[" else vector(numbers))
    return vectors


def _length(data: bytes) -> int:
    """How many finite numbers a vector has, by a look at its bytes, which are JSON; 0 where only decoding it would tell.

    A fifth of what decoding costs; nearly every vector is one that this can tell.
    """
    rest = data.translate(None, b"0123456789.,- \n")
    if rest != b"[]":
        if rest.translate(None, b"e") != b"[]":
            return 0
        place = data.find(b"e")
        while place >= 0:
            if data[place + 1 : place + 2] != b"-":
                return 0  # so large, perhaps, that it is infinite
            place = data.find(b"e", place + 1)
    return data.count(b",") + 1 if len(data) > 2 else 0
