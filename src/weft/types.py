"""The values that flow between services: documents, messages, evidence, usage, vectors, streams.

All are msgspec Structs: cheap to make, decoded and checked in one pass, encoded without their defaults.
Unknown fields are ignored and new fields have defaults, so that services can be released one at a time.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec
from msgspec import Raw, Struct

T = TypeVar("T")
R = TypeVar("R")


class Empty(Struct):
    """A request without fields."""


class Document(Struct, omit_defaults=True):
    """A passage of text with where it came from and who may read it.

    Attributes:
        text: The passage.
        id: Unique within its collection; stable when the same content is ingested again.
        score: Relevance as the last service that ranked it saw it; higher is better.
        title: What a person calls the document (a file name, a page's title).
        source: Where it was taken from: a file name or URL.
        page: Page number, from 1, where the format has pages.
        start: Offset of ``text`` in the document's whole text, in characters.
        end: Offset of the first character after it.
        readers: Who may read it; None is everyone of the tenant.
        trusted: True only for text that the operator vouches for: it may instruct a model. Ingested text may not.
        metadata: Anything else, by name.
        embedding: The passage's vector: as :func:`vector` makes it, or the plain list that it is after a decoder
            (msgspec cannot decode an optional ``Raw``); :func:`floats` reads both.
    """

    text: str
    id: str = ""
    score: float | None = None
    title: str | None = None
    source: str | None = None
    page: int | None = None
    start: int | None = None
    end: int | None = None
    readers: list[str] | None = None
    trusted: bool = False
    metadata: dict[str, Any] = {}
    embedding: Any = None

    schema: ClassVar[dict[str, Any]] = {
        "embedding": {
            "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}, {"type": "null"}]
        }
    }
    """What JSON Schema can say of the fields beyond their types."""

    def scored(self, score: float) -> Document:
        """This document with another score."""
        return msgspec.structs.replace(self, score=score)


class Usage(Struct):
    """Tokens that a request cost; they add up over a graph."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.total_tokens + other.total_tokens,
        )


class FunctionCall(Struct, omit_defaults=True):
    """The function that a model wants called; ``arguments`` is JSON text as the model wrote it."""

    name: str | None = None
    # Factories: always written, empty too; OpenAI requires both of them in what it is sent and promises them in replies.
    arguments: str = msgspec.field(default_factory=lambda: "")


class ToolCall(Struct, omit_defaults=True):
    """One tool call of an assistant message, or a part of it in a stream (then ``index`` says of which)."""

    id: str | None = None
    type: str = msgspec.field(default_factory=lambda: "function")
    function: FunctionCall = msgspec.field(default_factory=FunctionCall)
    index: int | None = None


class ContentPart(Struct, omit_defaults=True):
    """A part of a message: text, or an image or audio by URL or inline."""

    type: str
    text: str | None = None
    image_url: Any = None
    input_audio: Any = None
    file: Any = None


class UrlCitation(Struct):
    """What OpenAI's own clients read of an annotation.

    Attributes:
        url: The web page that was taken in, or where this server shows the passage.
    """

    start_index: int
    end_index: int
    title: str
    url: str


class Annotation(Struct, omit_defaults=True):
    """Where a piece of an answer comes from: ``content[start_index:end_index]`` is the citation mark.

    Attributes:
        url_citation: The same as OpenAI writes it.
        marker: The number n of ``[n]`` in the content.
        document_id: The passage's id in its collection.
        title, source, page: Where a person finds it.
        start, end: The quoted characters in the document's whole text, where known.
        score: How well it fits, 0 to 1.
        quote: The quoted text.
    """

    type: str = msgspec.field(
        default_factory=lambda: "url_citation"
    )  # a factory: clients read it, always written
    url_citation: UrlCitation | None = None
    marker: int = 0
    start_index: int | None = None
    end_index: int | None = None
    document_id: str = ""
    title: str | None = None
    source: str | None = None
    page: int | None = None
    start: int | None = None
    end: int | None = None
    score: float | None = None
    quote: str | None = None

    def moved(self, by: int) -> Annotation:
        """This annotation of a part that begins ``by`` characters into the content."""
        replace = msgspec.structs.replace
        start, end, inner = (self.start_index or 0) + by, (self.end_index or 0) + by, self.url_citation
        if inner is not None:
            inner = replace(inner, start_index=start, end_index=end)
        return replace(self, start_index=start, end_index=end, url_citation=inner)


class Message(Struct, omit_defaults=True):
    """One message of a conversation, in OpenAI's form."""

    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    annotations: list[Annotation] | None = None

    def text(self) -> str:
        """The message's words: its content, or its text parts in order."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if part.text)


class Quote(Struct, omit_defaults=True):
    """A sentence or two of a document that answer a question.

    Attributes:
        text: The words as they stand in the document.
        document: The passage they were found in (its ``start`` is where the passage begins).
        score: 0 to 1: how sure the reader is.
        start: Offset of ``text`` in the passage, in characters.
        end: Offset of the first character after it in the passage.
        about: Which of several things it speaks of, where things are compared.
    """

    text: str
    document: Document
    score: float = 0.0
    start: int = 0
    end: int = 0
    about: str = ""


class Evidence(Struct, omit_defaults=True):
    """What the documents say to a question, best first. No quotes: they do not answer it.

    Attributes:
        answerable: False when the documents are about something else.
        score: 0 to 1: how well the best sentence and its passage fit the question; what ``answerable`` was decided by.
        note: What is known beside the quotes, for people to read: a list of the documents, or why there are no quotes.
    """

    query: str = ""
    quotes: list[Quote] = []
    answerable: bool = True
    note: str = ""
    score: float = 0.0


Outcome = Literal["ingested", "partly", "unchanged", "refused", "failed", "cancelled"]


class FileOutcome(Struct, omit_defaults=True):
    """What became of one uploaded file.

    ``refused`` is for its owner to mend, ``failed`` for the operator: the embedder or the store could not be had.
    """

    name: str
    outcome: Outcome
    reason: str | None = None
    chunks: int = 0
    pages: int | None = None
    id: str | None = None


class Upload(Struct, omit_defaults=True):
    """A file on its way in: its bytes inline, or (within one machine) the path of a spooled copy."""

    name: str
    content: bytes = b""
    content_type: str | None = None
    path: str | None = None


def vector(values: Sequence[float]) -> Raw:
    """``values`` as the JSON array that Weft passes between services.

    Vectors travel encoded: a service that only hands one on never decodes it.
    """
    return Raw(msgspec.json.encode(values if isinstance(values, list) else list(values)))


_decode_floats = msgspec.json.Decoder(list[float]).decode
_decode_text = msgspec.json.Decoder(str).decode


def floats(embedding: Raw | list[float] | str) -> list[float]:
    """The numbers of a vector: a JSON array, decoded or not, or OpenAI's base64 form (little-endian float32).

    Raises:
        ValueError: It is neither.
    """
    if isinstance(embedding, list):
        return embedding
    data = msgspec.json.encode(embedding) if isinstance(embedding, str) else bytes(embedding)
    if data[:1] == b'"':
        numbers = array("f")
        numbers.frombytes(base64.b64decode(_decode_text(data), validate=True))
        return numbers.tolist()
    try:
        return _decode_floats(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"an embedding is neither an array of numbers nor base64 text: {error}") from error


class Stream(Generic[T]):
    """Chunks on their way: an asynchronous iterator that can be closed, made from any other.

    A request Struct field annotated ``Stream[ChatChunk] | ChatResponse`` says: this component can start before
    the producer has finished. One reader; iterate once. Leaving the loop early: call :meth:`aclose`.
    """

    __slots__ = ("_close", "_iterator")

    def __init__(
        self, chunks: AsyncIterator[T], *, aclose: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        self._iterator = chunks
        self._close = aclose if aclose is not None else getattr(chunks, "aclose", None)

    def __aiter__(self) -> AsyncIterator[T]:
        return self._iterator

    async def __anext__(self) -> T:
        return await self._iterator.__anext__()

    async def aclose(self) -> None:
        """End the producer now; its connection or model slot is free when this returns."""
        if self._close is not None:
            await self._close()
