"""Each promise can be broken: components and services that break one are found out, by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from weft.contracts.chat import ChatChunk, ChatRequest, ChunkChoice, Delta
from weft.contracts.embedding import EmbeddingRequest, EmbeddingResponse
from weft.contracts.evidence import EvidenceRequest, EvidenceResponse
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.contracts.retriever import RetrieveRequest, RetrieveResponse
from weft.errors import InvalidRequestError
from weft.testing import ScriptedChat, ScriptedEmbedder
from weft.testing.promises import chat, embedding, every, evidence, reranker, retriever
from weft.testing.promises.base import Family, Finding, Subject, judge
from weft.testing.promises.every import promises_of
from weft.transport.local import LocalTransport
from weft.types import Document, Evidence, Quote, Usage, floats, vector


async def findings(family: Family, component: Any) -> dict[str, Finding]:
    """What comes of every promise."""
    transport = LocalTransport("tested", "tested", family.contract, component)
    subject = Subject(transport, family, instance=component)
    promises = [*promises_of(family.contract, in_process=True), *family.promises]
    found = [await judge(promise, subject, subject.record) for promise in promises]
    return {finding.name: finding for finding in found}


async def broken(family: Family, component: Any) -> set[str]:
    return {
        name for name, finding in (await findings(family, component)).items() if finding.outcome == "broken"
    }


class Ranks:
    """A reranker that keeps its promises, to be broken one by one."""

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        if request.top_n is not None and request.top_n < 1:
            raise InvalidRequestError("top_n must be at least 1", param="top_n")
        return RerankResponse(self.ranked(request)[: request.top_n])

    def ranked(self, request: RerankRequest) -> list[Document]:
        words = set(request.query.split())
        scored = [d.scored(float(len(words & set(d.text.split())))) for d in request.documents]
        return sorted(scored, key=lambda d: -(d.score or 0.0))


async def test_a_component_that_keeps_its_promises_breaks_none() -> None:
    """The components that the others below are made from are good ones."""
    assert await broken(reranker.FAMILY, Ranks()) == set()
    assert await broken(evidence.FAMILY, Quotes()) == set()
    assert await broken(retriever.FAMILY, Finds()) == set()


class Worst(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        return list(reversed(super().ranked(request)))


class Unscored(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        return request.documents


class TextOnly(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        return [Document(d.text, d.id, d.score) for d in super().ranked(request)]


class Ascii(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        ranked = super().ranked(request)
        return [msgspec.structs.replace(d, text=d.text.encode("ascii", "ignore").decode()) for d in ranked]


class Twice(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        return [d for document in super().ranked(request) for d in (document, document)]


class Everything(Ranks):
    async def invoke(self, request: RerankRequest) -> RerankResponse:
        return RerankResponse(self.ranked(request))


class NeedsSome(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        best = super().ranked(request)
        return [best[0], *best[1:]]


class Fragile(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        if len(request.documents) > 100:
            raise MemoryError("too many")
        return super().ranked(request)


class Sorts(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        request.documents.sort(key=lambda d: -len(set(request.query.split()) & set(d.text.split())))
        return super().ranked(request)


class Remembers(Ranks):
    """Takes the question from where the last request left it."""

    query = ""

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        self.query = request.query
        await asyncio.sleep(0)
        return await super().invoke(msgspec.structs.replace(request, query=self.query))


class Counts(Ranks):
    calls = 0

    def ranked(self, request: RerankRequest) -> list[Document]:
        self.calls += 1
        return [d.scored((d.score or 0.0) + self.calls) for d in super().ranked(request)]


class LeavesWork(Ranks):
    def __init__(self) -> None:
        self.left: list[asyncio.Task[bool]] = []

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        self.left.append(asyncio.create_task(asyncio.Event().wait(), name="left"))
        await asyncio.sleep(0)  # cancelled here, it forgets what it began
        self.left.pop().cancel()
        return await super().invoke(request)


class Unready(Ranks):
    async def ready(self) -> bool:
        return False


class Blames(Ranks):
    async def invoke(self, request: RerankRequest) -> RerankResponse:
        if request.top_n == 0:
            raise ZeroDivisionError
        return await super().invoke(request)


class Shuffles(Ranks):
    def ranked(self, request: RerankRequest) -> list[Document]:
        return sorted(
            super().ranked(request),
            key=lambda d: (-(d.score or 0.0), -int(d.id[1:] or 0) if d.id[1:].isdigit() else 0),
        )


@pytest.mark.parametrize(
    ("component", "names"),
    [
        (Worst, {"best-first-with-scores", "the-same-words-win", "equals-keep-their-order"}),
        (Unscored, {"best-first-with-scores", "the-same-words-win"}),
        (TextOnly, {"fields-are-kept"}),
        (Ascii, {"documents-are-those-given"}),
        (Twice, {"documents-are-those-given", "top-n-bounds"}),
        (Everything, {"top-n-bounds", "large-requests-do-not-break-it", "top-n-below-one-is-refused"}),
        (NeedsSome, {"no-documents-no-error"}),
        (Fragile, {"large-requests-do-not-break-it"}),
        (Sorts, {"a-request-stays-as-it-is"}),
        (Remembers, {"requests-do-not-mix"}),
        (Counts, {"asking-again-is-the-same", "requests-do-not-mix"}),
        (LeavesWork, {"who-leaves-leaves-nothing"}),
        (Unready, {"a-started-component-is-ready"}),
        (Blames, {"top-n-below-one-is-refused"}),
        (Shuffles, {"equals-keep-their-order"}),
    ],
)
async def test_a_reranker_that_breaks_a_promise_is_found_out(
    component: type[Any], names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is broken is named; what is kept is not blamed."""
    monkeypatch.setattr(every, "SETTLE_S", 0.01)
    found = await broken(reranker.FAMILY, component())
    assert found == names


class OtherType(Ranks):
    async def invoke(self, request: RerankRequest) -> Any:
        return {"documents": []}


async def test_a_reply_of_another_type_is_said() -> None:
    """A plain dictionary is no response: the finding says what it is and what it should be, and what was sent."""
    finding = (await findings(reranker.FAMILY, OtherType()))["replies-are-typed"]
    assert finding.outcome == "broken"
    assert finding.came.startswith("the reply is a dict, not a RerankResponse")
    assert finding.sent.startswith('invoke {"query":"When was the old bridge finished?"')
    assert finding.section == "8.1.1"


class Quotes:
    """A reader that quotes the first sentence with a word of the question."""

    async def invoke(self, request: EvidenceRequest) -> EvidenceResponse:
        words = [word.strip("?") for word in request.query.split() if len(word) > 4]
        found = [
            d for d in request.documents if sum(word in d.text for word in words) > 1
        ] or request.documents
        quotes = [self.quote(d) for d in found[: request.max_quotes or 2] if d.text]
        return EvidenceResponse(Evidence(request.query, quotes, answerable=bool(quotes)))

    def quote(self, document: Document) -> Quote:
        end = document.text.find(". ") + 1 or len(document.text)
        return Quote(document.text[:end], document, 0.5, 0, end)


class Bytes(Quotes):
    def quote(self, document: Document) -> Quote:
        quote = super().quote(document)
        return msgspec.structs.replace(quote, end=len(quote.text.encode()))


class Sure(Quotes):
    def quote(self, document: Document) -> Quote:
        return msgspec.structs.replace(super().quote(document), score=99.0)


class Rambles(Quotes):
    async def invoke(self, request: EvidenceRequest) -> EvidenceResponse:
        return await super().invoke(msgspec.structs.replace(request, max_quotes=9))


class Invents(Quotes):
    async def invoke(self, request: EvidenceRequest) -> EvidenceResponse:
        reply = await super().invoke(request)
        return EvidenceResponse(msgspec.structs.replace(reply.evidence, answerable=True))


@pytest.mark.parametrize(
    ("component", "name"),
    [
        (Bytes, "quotes-stand-in-the-passage"),
        (Sure, "quotes-are-few-and-best-first"),
        (Rambles, "quotes-are-few-and-best-first"),
        (Invents, "no-documents-no-evidence"),
    ],
)
async def test_a_reader_that_breaks_a_promise_is_found_out(component: type[Any], name: str) -> None:
    """Offsets in bytes, scores beyond 1, too many quotes, evidence out of nothing."""
    assert await broken(evidence.FAMILY, component()) == {name}


class Finds:
    """A retriever over three passages."""

    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        if request.k < 1:
            raise InvalidRequestError("k must be at least 1", param="k")
        documents = [Document(f"passage {n}", id=f"d{n}", score=float(9 - n)) for n in range(3)]
        if request.filter or request.collection:
            documents = []
        return RetrieveResponse(documents[: request.k])


class Filterless(Finds):
    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        return await super().invoke(msgspec.structs.replace(request, filter=None))


class Generous(Finds):
    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        return await super().invoke(msgspec.structs.replace(request, k=request.k + 1 if request.k > 0 else 0))


class AnyK(Finds):
    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        return await super().invoke(msgspec.structs.replace(request, k=max(request.k, 1)))


class AsciiOnly(Finds):
    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        request.query.encode("ascii")
        return await super().invoke(request)


@pytest.mark.parametrize(
    ("component", "name"),
    [
        (Filterless, "filters-hold"),
        (Generous, "k-bounds"),
        (AnyK, "k-below-one-is-refused"),
        (AsciiOnly, "any-text-is-searched-for"),
    ],
)
async def test_a_retriever_that_breaks_a_promise_is_found_out(component: type[Any], name: str) -> None:
    """No filter, too many, any k, only English."""
    assert await broken(retriever.FAMILY, component()) == {name}


async def test_a_retriever_without_documents_leaves_promises_unseen() -> None:
    """What cannot be seen is neither kept nor broken, and the reason says what to do."""

    class Nothing(Finds):
        async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
            return RetrieveResponse((await super().invoke(request)).documents[:0])

    found = await findings(retriever.FAMILY, Nothing())
    assert found["best-first-with-scores"].outcome == "unseen"
    assert "put a few documents in" in found["best-first-with-scores"].why


class Long(ScriptedEmbedder):
    """Vectors that are not of length one."""

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        reply = await super().invoke(request)
        longer = [vector([2 * number for number in floats(raw)]) for raw in reply.embeddings]
        return EmbeddingResponse(longer, usage=reply.usage)


class Reversed(ScriptedEmbedder):
    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        reply = await super().invoke(request)
        return EmbeddingResponse(reply.embeddings[::-1], usage=reply.usage)


class Uncounted(ScriptedEmbedder):
    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        return EmbeddingResponse((await super().invoke(request)).embeddings)


class Ragged(ScriptedEmbedder):
    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        reply = await super().invoke(request)
        return EmbeddingResponse([*reply.embeddings[:-1], vector([1.0])], usage=reply.usage)


class TakesNothing(ScriptedEmbedder):
    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        return (
            EmbeddingResponse([], usage=Usage(1, 0, 1))
            if not request.texts
            else await super().invoke(request)
        )


@pytest.mark.parametrize(
    ("component", "names"),
    [
        (Long, {"vectors-are-of-length-one"}),
        (Uncounted, {"tokens-are-counted"}),
        (TakesNothing, {"no-texts-are-refused"}),
        (Reversed, {"one-vector-for-each-text", "different-texts-differ"}),
    ],
)
async def test_an_embedder_that_breaks_a_promise_is_found_out(component: type[Any], names: set[str]) -> None:
    """Length, count, order, nothing at all."""
    assert await broken(embedding.FAMILY, component(dimensions=4096)) == names


async def test_ragged_vectors_are_found_out() -> None:
    """Vectors of different sizes are named as such."""
    assert "vectors-have-one-length" in await broken(embedding.FAMILY, Ragged(dimensions=4096))


class Endless(ScriptedChat):
    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        async for chunk in super().stream(msgspec.structs.replace(request, max_tokens=None)):
            yield chunk


class Unstoppable(ScriptedChat):
    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        async for chunk in super().stream(msgspec.structs.replace(request, stop=None)):
            yield chunk


class NoUsage(ScriptedChat):
    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        async for chunk in super().stream(request):
            if chunk.usage is None:
                yield chunk


class NoEnd(ScriptedChat):
    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        async for chunk in super().stream(request):
            if not any(choice.finish_reason for choice in chunk.choices):
                yield chunk


class TalksOn(ScriptedChat):
    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        last = None
        async for chunk in super().stream(request):
            yield chunk
            last = chunk
        if last is not None:
            yield ChatChunk(last.id, "scripted", [ChunkChoice(0, Delta(content="and"))])


class Speechless(ScriptedChat):
    """Refuses nothing: no messages are answered as well."""

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        if not request.messages:
            yield ChatChunk(
                "c", "scripted", [ChunkChoice(0, Delta("assistant", "Hi"), "stop")], usage=Usage(1, 1, 2)
            )
            return
        async for chunk in super().stream(request):
            yield chunk


@pytest.mark.parametrize(
    ("component", "names"),
    [
        (Endless, {"max-tokens-bounds"}),
        (Unstoppable, {"stop-ends-the-answer"}),
        (NoUsage, {"usage-is-counted"}),
        (NoEnd, {"one-choice-for-each-n", "max-tokens-bounds", "chunks-make-the-answer"}),
        (TalksOn, {"chunks-make-the-answer"}),
        (Speechless, {"no-messages-are-refused"}),
    ],
)
async def test_a_chat_that_breaks_a_promise_is_found_out(component: type[Any], names: set[str]) -> None:
    """Bounds, stops, counts, ends, and a conversation of nothing."""
    assert await broken(chat.FAMILY, component()) == names


async def test_a_stream_that_holds_the_model_is_found_out() -> None:
    """A model with one slot that a left stream keeps is not free for the next request."""

    class Held(ScriptedChat):
        taken = 0

        async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
            if self.taken > 5:
                raise RuntimeError("no slot is free")
            self.taken += 1
            async for chunk in super().stream(request):
                yield chunk
            self.taken -= 1  # not reached when the reader leaves

    assert "leaving-a-stream-frees-the-model" in await broken(chat.FAMILY, Held())
