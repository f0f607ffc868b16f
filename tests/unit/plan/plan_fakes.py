"""Components that are never called: small stand-ins of every shape that the plan compiler tells apart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from msgspec import Raw, Struct

from weft.components.any.http import Http
from weft.contracts import Contract
from weft.contracts.chat import Chat, ChatChunk, ChatRequest, ChatResponse
from weft.contracts.embedding import Embedder, EmbeddingRequest, EmbeddingResponse
from weft.contracts.evidence import EvidenceRequest, EvidenceResponse
from weft.contracts.reranker import Reranker, RerankRequest, RerankResponse
from weft.contracts.retriever import RetrieveRequest, RetrieveResponse
from weft.contracts.store import (
    CollectionsRequest,
    CollectionsResponse,
    DeleteRequest,
    DeleteResponse,
    ListRequest,
    ListResponse,
    ReadRequest,
    ReadResponse,
    SearchRequest,
    SearchResponse,
    Store,
    StoreDescription,
    UpsertRequest,
    UpsertResponse,
)
from weft.plan import Plans
from weft.types import Document, Empty, Evidence, Message, Stream

Compile = Callable[..., Plans]
"""What the fixture ``compile_text`` is."""

HEAD = """
apiVersion: weft/v1
kind: Services
services:
  llm: {component: chat-model, config: {model: m}}
  plain: {component: whole-chat}
  finder: {component: finder}
  ranker: {component: ranker}
  picker: {component: picker}
  embedder: {component: text-embedder}
"""
"""Services of most tests."""


class ChatModel:
    """Streams answers; has no ``describe``.

    Args:
        model: Which model answers.
    """

    unsupported = frozenset({"logit_bias"})

    def __init__(self, model: str, *, temperature: float = 1.0, api_key: str = "") -> None:
        pass

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        raise NotImplementedError

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        raise NotImplementedError
        yield


class WholeChat:
    """A chat model that does not stream."""

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        raise NotImplementedError


class TextEmbedder:
    """Vectors."""

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        raise NotImplementedError


class FileStore:
    """A store in a file of its own."""

    exclusive = True

    def __init__(self, path: str) -> None:
        pass

    async def search(self, request: SearchRequest) -> SearchResponse:
        raise NotImplementedError

    async def upsert(self, request: UpsertRequest) -> UpsertResponse:
        raise NotImplementedError

    async def delete(self, request: DeleteRequest) -> DeleteResponse:
        raise NotImplementedError

    async def list(self, request: ListRequest) -> ListResponse:
        raise NotImplementedError

    async def read(self, request: ReadRequest) -> ReadResponse:
        raise NotImplementedError

    async def collections(self, request: CollectionsRequest) -> CollectionsResponse:
        raise NotImplementedError

    async def describe(self, request: Empty) -> StoreDescription:
        raise NotImplementedError


class Finder:
    """Finds."""

    def __init__(self, *, store: Store | None = None, embedder: Embedder | None = None) -> None:
        pass

    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        raise NotImplementedError


class Ranker:
    """Orders."""

    def __init__(self, *, top_n: int = 3) -> None:
        pass

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        raise NotImplementedError


class VectorRanker:
    """Orders by vectors."""

    def __init__(self, embedder: Embedder) -> None:
        pass

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        raise NotImplementedError


class Cascade:
    """Orders what another has ordered."""

    def __init__(self, before: Reranker) -> None:
        pass

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        raise NotImplementedError


class Picker:
    """Picks sentences."""

    async def invoke(self, request: EvidenceRequest) -> EvidenceResponse:
        raise NotImplementedError


class Conversation(Struct):
    messages: list[Message]


class Question(Struct):
    query: str
    keywords: list[str] = []
    language: str | None = None
    certainty: float = 1.0
    vector: Raw | None = None
    length: int = 0


class Condense:
    """One question out of a conversation."""

    def __init__(self, chat: Chat | None = None) -> None:
        pass

    async def invoke(self, request: Conversation) -> Question:
        raise NotImplementedError


class PromptParts(Struct):
    messages: list[Message]
    evidence: Evidence | None = None


class Prompt(Struct):
    messages: list[Message]


class PromptBuilder:
    """Messages with evidence in them."""

    async def invoke(self, request: PromptParts) -> Prompt:
        raise NotImplementedError


class ReplyParts(Struct):
    answer: Stream[ChatChunk] | ChatResponse
    evidence: Evidence | None = None


class Reply:
    """Streams the answer on."""

    async def invoke(self, request: ReplyParts) -> ChatResponse:
        raise NotImplementedError

    async def stream(self, request: ReplyParts) -> AsyncIterator[ChatChunk]:
        raise NotImplementedError
        yield


class LiveParts(Struct):
    answer: Stream[ChatChunk]


class LiveOnly:
    """Takes nothing but a stream."""

    idempotent = True

    async def invoke(self, request: LiveParts) -> ChatResponse:
        raise NotImplementedError

    async def stream(self, request: LiveParts) -> AsyncIterator[ChatChunk]:
        raise NotImplementedError
        yield


class Report(Struct):
    length: int


class Tap:
    """Measures an answer."""

    async def invoke(self, request: ReplyParts) -> Report:
        raise NotImplementedError


class WholeParts(Struct):
    answer: ChatResponse


class Grade:
    """Needs the whole answer."""

    async def invoke(self, request: WholeParts) -> Report:
        raise NotImplementedError


class CountRequest(Struct):
    count: int
    step: float = 1.0


class CountResponse(Struct):
    count: int
    done: bool = False


class Counter:
    """Counts on."""

    async def invoke(self, request: CountRequest) -> CountResponse:
        raise NotImplementedError


class TextRequest(Struct):
    text: str
    tags: list[str] = []
    style: str | None = None
    weight: float = 1.0
    documents: list[Document] = []
    options: dict[str, Any] = {}


class TextResponse(Struct):
    text: str
    texts: list[str] = []
    documents: list[Document] = []


class Transform:
    """Text to text."""

    async def invoke(self, request: TextRequest) -> TextResponse:
        raise NotImplementedError


class Answer(Struct):
    answer: str


class ToChat:
    """Any text as a chat answer."""

    async def invoke(self, request: Answer) -> ChatResponse:
        raise NotImplementedError


class Letters(Struct):
    letters: list[str]


class Letter(Struct):
    letter: str


class Speller:
    """Streams chunks that nobody can put together."""

    async def invoke(self, request: TextRequest) -> Letters:
        raise NotImplementedError

    async def stream(self, request: TextRequest) -> AsyncIterator[Letter]:
        raise NotImplementedError
        yield


class LiveLetters(Struct):
    letters: Stream[Letter]


class WholeLetters(Struct):
    letters: Letters


class Reader:
    """Reads letters as they come."""

    async def invoke(self, request: LiveLetters) -> TextResponse:
        raise NotImplementedError


class Printer:
    """Needs all letters."""

    async def invoke(self, request: WholeLetters) -> TextResponse:
        raise NotImplementedError


class Anything:
    """Fulfils the contract that its config names."""

    def __init__(self, contract: Contract) -> None:
        pass

    async def invoke(self, request: Any) -> Any:
        raise NotImplementedError


COMPONENTS: dict[str, type[Any]] = {
    "anything": Anything,
    "cascade": Cascade,
    "chat-model": ChatModel,
    "condense": Condense,
    "counter": Counter,
    "file-store": FileStore,
    "finder": Finder,
    "grade": Grade,
    "http": Http,
    "live-only": LiveOnly,
    "picker": Picker,
    "prompt-builder": PromptBuilder,
    "printer": Printer,
    "ranker": Ranker,
    "reader": Reader,
    "reply": Reply,
    "speller": Speller,
    "tap": Tap,
    "text-embedder": TextEmbedder,
    "to-chat": ToChat,
    "transform": Transform,
    "vector-ranker": VectorRanker,
    "whole-chat": WholeChat,
}
