"""Models that say what a script says: for tests that need fixed words or fixed vectors, and never for anything else."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncIterator

from msgspec import Raw

from weft.contracts.chat import (
    ChatChunk,
    ChatDescription,
    ChatRequest,
    ChatResponse,
    ChunkChoice,
    Delta,
    collect,
)
from weft.contracts.embedding import EmbeddingDescription, EmbeddingRequest, EmbeddingResponse
from weft.errors import ComponentError, ContextWindowError, InvalidRequestError
from weft.text import terms
from weft.types import Empty, Usage, vector

_PIECES = re.compile(r"\S+\s*|\s+").findall


class ScriptedChat:
    """Says one fixed text, word by word, whatever it is asked: a script, not a model.

    A word counts as a token. ``max_tokens``, ``stop`` and ``n`` are honoured, so that it fulfils the chat contract. To
    have it say other things for other questions, override :meth:`words`.

    Args:
        reply: The text.
        token_s: Seconds before each word, for tests that need a stream to last.
        context: Words of prompt and answer together; a longer prompt is refused.

    Attributes:
        requests: What it was asked, in order.
        running: How many answers are being given: 0 when everyone has gone.
        gate: While it is cleared, no answer goes beyond its first word.
    """

    def __init__(
        self,
        reply: str = "This is what the script says, word by word.",
        *,
        token_s: float = 0.0,
        context: int = 2048,
    ) -> None:
        self._reply, self._token_s, self._context = reply, token_s, context
        self.requests: list[ChatRequest] = []
        self.running = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def words(self, request: ChatRequest) -> str:
        """What is said to ``request``; the same for the same request."""
        return self._reply

    async def describe(self, request: Empty) -> ChatDescription:
        """A small local model by the name ``scripted``."""
        return ChatDescription("scripted", 0, self._context, local=True)

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        """The whole text."""
        return collect([chunk async for chunk in self.stream(request)])

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """The text word by word, then the finish reason, then the usage.

        Raises:
            InvalidRequestError: There are no messages.
            ContextWindowError: The messages have more words than ``context``.
        """
        self.requests.append(request)
        if not request.messages:
            raise InvalidRequestError("there are no messages", param="messages")
        asked = sum(len(message.text().split()) for message in request.messages)
        if asked >= self._context:
            raise ContextWindowError(
                f"the prompt has {asked} words, the window {self._context}", param="messages"
            )
        id_ = f"scripted-{len(self.requests)}"
        said = 0
        self.running += 1
        try:
            for index in range(request.n or 1):
                pieces, finish = _cut(self.words(request), request)
                yield _chunk(id_, ChunkChoice(index, Delta("assistant", "")))
                for number, piece in enumerate(pieces):
                    if number:
                        await self.gate.wait()
                    if self._token_s:
                        await asyncio.sleep(self._token_s)
                    said += 1
                    yield _chunk(id_, ChunkChoice(index, Delta(content=piece)))
                yield _chunk(id_, ChunkChoice(index, Delta(), finish))
            usage = Usage(max(asked, 1), said, max(asked, 1) + said)
            yield ChatChunk(id_, "scripted", [], usage=usage)
        finally:
            self.running -= 1


def _cut(text: str, request: ChatRequest) -> tuple[list[str], str]:
    """The words up to a stop text or the bound, and why they end."""
    found = [at for stop in request.stops() if stop and (at := text.find(stop)) >= 0]
    pieces = _PIECES(text[: min(found)] if found else text)
    bound = request.max_output_tokens()
    if bound is not None and len(pieces) > bound:
        return pieces[:bound], "length"
    return pieces, "stop"


def _chunk(id_: str, choice: ChunkChoice) -> ChatChunk:
    return ChatChunk(id_, "scripted", [choice])


class ScriptedEmbedder:
    """Gives each text a unit vector of its hashed words: texts that share words are near. A script, not a model.

    Args:
        dimensions: Length of the vectors.

    Attributes:
        requests: What it was asked, in order.
    """

    def __init__(self, *, dimensions: int = 64) -> None:
        if dimensions < 1:
            raise ComponentError("ScriptedEmbedder: dimensions must be at least 1")
        self._dimensions = dimensions
        self.requests: list[EmbeddingRequest] = []

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One unit vector for each text, in order.

        Raises:
            InvalidRequestError: There is no text.
        """
        self.requests.append(request)
        if not request.texts:
            raise InvalidRequestError("there are no texts to embed", param="texts")
        tokens = sum(len(text.split()) for text in request.texts)
        vectors = [self.vector(text) for text in request.texts]
        return EmbeddingResponse(vectors, "scripted", Usage(tokens, 0, tokens))

    async def describe(self, request: Empty) -> EmbeddingDescription:
        """What a script can say: how long its vectors are."""
        return EmbeddingDescription("scripted", dimensions=self._dimensions, normalised=True)

    def vector(self, text: str) -> Raw:
        """The vector of one text, as documents carry it."""
        numbers = [0.0] * self._dimensions
        # What has no words (punctuation, emoji) is one word of its own, so that every vector has a length of 1.
        for term in terms(text) or [f"\0{text}"]:
            numbers[int.from_bytes(hashlib.sha256(term.encode()).digest()[:4]) % self._dimensions] += 1.0
        length = math.sqrt(sum(number * number for number in numbers))
        return vector([number / length for number in numbers])
