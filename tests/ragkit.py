"""What the tests of the document components share: a deterministic embedder, a scripted chat, a small host."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from msgspec import Raw

from weft.contracts.chat import (
    ChatChunk,
    ChatDescription,
    ChatRequest,
    ChatResponse,
    Choice,
    ChunkChoice,
    Delta,
)
from weft.contracts.embedding import EmbeddingDescription, EmbeddingRequest, EmbeddingResponse
from weft.serve.lanes import ThreadLane
from weft.text import terms
from weft.types import Document, Empty, Message, Usage, vector

DIMENSIONS = 256


def bag(text: str) -> Raw:
    """A unit vector of hashed words: texts that share words are near, texts that share none are at right angles."""
    values = [0.0] * DIMENSIONS
    for term in terms(text):
        values[int.from_bytes(hashlib.sha256(term.encode()).digest()[:4], "big") % DIMENSIONS] += 1.0
    norm = math.sqrt(sum(v * v for v in values)) or 1.0
    return vector([v / norm for v in values])


class BagEmbedder:
    """An embedder of hashed words; it counts its calls."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        self.calls.append(request.texts)
        return EmbeddingResponse([bag(text) for text in request.texts], "bag-of-words")

    async def describe(self, request: Empty) -> EmbeddingDescription:
        return EmbeddingDescription("bag-of-words", dimensions=DIMENSIONS, normalised=True)


class ScriptedModel:
    """A chat that says what it was given, in words, and notes whether its stream was closed."""

    def __init__(
        self, words: str = "The model says so.", *, parameters: int | None = 135_000_000, local: bool = True
    ) -> None:
        self.words, self.parameters, self.local = words, parameters, local
        self.requests: list[ChatRequest] = []
        self.closed = asyncio.Event()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.fails: Exception | None = None

    async def describe(self, request: Empty) -> ChatDescription:
        return ChatDescription("scripted", self.parameters, 2048, self.local)

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        self.requests.append(request)
        choice = Choice(0, Message("assistant", self.words), "stop")
        return ChatResponse("c-1", "scripted", [choice], usage=Usage(7, 3, 10), created=5)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        self.requests.append(request)
        try:
            await self.may_start.wait()
            yield ChatChunk("c-1", "scripted", [ChunkChoice(0, Delta("assistant", ""))], created=5)
            for piece in re.findall(r"\S+\s*", self.words):
                yield ChatChunk("c-1", "scripted", [ChunkChoice(0, Delta(content=piece))], created=5)
            if self.fails is not None:
                raise self.fails
            yield ChatChunk("c-1", "scripted", [ChunkChoice(0, Delta(), "stop")], created=5)
            yield ChatChunk("c-1", "scripted", [], created=5, usage=Usage(7, 3, 10))
        finally:
            self.closed.set()


class SmallHost:
    """As much of a host as the document components use: storage and lanes; what is isolated runs in a thread."""

    def __init__(self, storage: Path) -> None:
        self.service = "test"
        self.storage = storage
        self.cpu_count = 2
        self.lanes: list[ThreadLane] = []
        self.pages: dict[str, Any] = {}
        self.http_calls: list[dict[str, Any]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def lane(self, *, threads: int, queue: int, background: bool = False) -> ThreadLane:
        lane = ThreadLane("test", threads=threads, queue_size=queue, background=background)
        self.lanes.append(lane)
        return lane

    async def isolated(
        self, work: Callable[..., Any], /, *args: Any, timeout_s: float, max_memory_bytes: int
    ) -> Any:
        return await asyncio.to_thread(work, *args)

    def http(self, url: str, **options: Any) -> Any:
        self.http_calls.append({"url": url} | options)
        return self.pages[url]

    def log(self, message: str, **fields: object) -> None:
        pass

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        for lane in self.lanes:
            lane.close()


def passage(text: str, id: str = "", **fields: Any) -> Document:
    """A document with its vector."""
    return Document(text, id or hashlib.sha256(text.encode()).hexdigest()[:8], embedding=bag(text), **fields)
