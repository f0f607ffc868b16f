"""Small scripted components, and specs made of them running on any transport; for tests of what a run does.

A component answers with what it was asked, as text: ``b(a(hi))`` is what ``b`` says to what ``a`` said to ``hi``. So an
expected output shows the whole computation, and a recorded call is the same text.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct

from weft.context import current
from weft.contracts import Contract, Operation, Route
from weft.contracts.chat import (
    Chat,
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    ChunkChoice,
    Delta,
)
from weft.contracts.embedding import Embedder, EmbeddingRequest, EmbeddingResponse
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.contracts.retriever import RetrieveRequest, RetrieveResponse
from weft.errors import (
    BackendStatusError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    UnavailableError,
)
from weft.serve.lanes import ThreadLane
from weft.types import Document, Empty, Message, Stream, Usage, vector

WATCHDOG_S = 10.0
"""After this nothing that a test waits for will come any more."""


class Ask(Struct, omit_defaults=True):
    """What most components are asked."""

    text: str
    texts: list[str] = []
    note: str | None = None
    count: int = 0
    documents: list[Document] = []


class Said(Struct, omit_defaults=True):
    """What they say."""

    text: str
    texts: list[str] = []
    note: str | None = None
    count: int = 0
    done: bool = False
    documents: list[Document] = []
    usage: Usage | None = None


class Word(Struct, omit_defaults=True):
    """A piece of a :class:`Said`."""

    text: str
    usage: Usage | None = None


class Reading(Struct, omit_defaults=True):
    """What a reader of streams is asked; it takes a whole answer as well."""

    said: Stream[Word] | Said
    text: str = ""


class Live(Struct):
    """What a reader is asked that takes nothing but a stream."""

    said: Stream[Word]


class Whole(Struct):
    """What a reader is asked that takes no stream."""

    said: Said


def collect(chunks: list[Word]) -> Said:
    """The whole of a stream."""
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    return Said("".join(chunk.text for chunk in chunks), usage=usages[-1] if usages else None)


SAY = Contract(
    "say",
    "Says something.",
    {"invoke": Operation("invoke", Ask, Said, chunk=Word, routes=(Route("/v1/say"),), collect=collect)},
)
"""The contract of most components and of most megaservices made of them."""


class ReplyParts(Struct, omit_defaults=True):
    """What makes a chat reply."""

    answer: Stream[ChatChunk] | ChatResponse
    quote: str = ""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "service": lambda: ServiceError("it is out of order"),
    "unavailable": lambda: UnavailableError("it is starting"),
    "overloaded": lambda: OverloadedError("it is full", retry_after_s=0.0),
    "away": lambda: OverloadedError("it is full for the day", retry_after_s=86_400.0),
    "invalid": lambda: InvalidRequestError("there is no such language", param="note"),
    "backend": lambda: BackendStatusError("POST /x: 500: oh no", backend_status=500),
    "refused": lambda: BackendStatusError("POST /x: 422: no", backend_status=422),
    "crash": lambda: RuntimeError("a secret of the component"),
    "cancels": asyncio.CancelledError,
}


class Recorder:
    """What components were asked, in order, and how it ended."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ended: list[str] = []
        self.running: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._changed: list[asyncio.Future[None]] = []

    def begin(self, name: str, text: str) -> int:
        """A call has come; which one it is of this component."""
        self.calls.append(text)
        self.running[name] += 1
        self.peak[name] = max(self.peak[name], self.running[name])
        self.wake()
        return sum(call == name or call.startswith(f"{name}(") for call in self.calls)

    def end(self, name: str, how: str) -> None:
        """It is over."""
        self.running[name] -= 1
        if how != "ok":
            self.ended.append(f"{name} {how}")
        self.wake()

    def wake(self) -> None:
        """Have everyone who waits look again."""
        waiting, self._changed = self._changed, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds."""
        while not condition():
            future = asyncio.get_running_loop().create_future()
            self._changed.append(future)
            async with asyncio.timeout(WATCHDOG_S):
                await future


class KitHost:
    """All of a host that these components use."""

    def __init__(self, service: str, recorder: Recorder) -> None:
        self.service, self.recorder = service, recorder
        self._lanes: list[ThreadLane] = []

    def lane(self, *, threads: int, queue: int, background: bool = False) -> ThreadLane:
        self._lanes.append(ThreadLane(self.service, threads=threads, queue_size=queue))
        return self._lanes[-1]

    def close(self) -> None:
        """End the threads."""
        for lane in self._lanes:
            lane.close()


def shown(value: Any) -> str:
    """A part of a request as text."""
    if isinstance(value, Stream):
        return "~"
    if isinstance(value, Said):
        return value.text
    if isinstance(value, ChatResponse):
        return value.text()
    if isinstance(value, Document):
        return value.text
    if isinstance(value, Message):
        return value.text()
    if isinstance(value, list):
        return f"[{' '.join(map(shown, value))}]"
    return str(value)


HIDDEN = frozenset({"model", "stream", "stream_options"})
"""Fields that address the gateway."""


def call_text(name: str, request: Struct) -> str:
    """A call as text: the first field bare, the others that were set by name."""
    first, *others = request.__struct_fields__
    value = getattr(request, first)
    parts = [" ".join(map(shown, value)) if isinstance(value, list) else shown(value)]
    defaults = {field.name: field for field in msgspec.structs.fields(request)}
    for other in others:
        value, field = getattr(request, other), defaults[other]
        usual = field.default_factory() if callable(field.default_factory) else field.default
        if value != usual and other not in HIDDEN:
            parts.append(f"{other}={shown(value)}")
    return f"{name}({', '.join(parts)})"


class Scripted:
    """What the components have in common: they do as their config says.

    Args:
        gives: Fields of the response; without ``text`` it is what was asked.
        fails: Which of :data:`ERRORS` it raises.
        times: How many calls fail; all without it.
        after: Chunks of a stream before it fails.
        hangs: Whether it never answers.
        gate: Each call waits until so many have been under way at once.
        tokens: Tokens that a call costs.
        turns: Turns of the event loop that a call takes.
    """

    def __init__(
        self,
        *,
        gives: dict[str, Any] | None = None,
        fails: str = "",
        times: int = 1_000,
        after: int = 0,
        hangs: bool = False,
        gate: int = 0,
        tokens: int = 0,
        turns: int = 0,
    ) -> None:
        self._gives, self._fails, self._times, self._after = gives or {}, fails, times, after
        self._hangs, self._gate, self._tokens, self._turns = hangs, gate, tokens, turns

    async def start(self, host: Any) -> None:
        # Of a service of a nested megaservice the last part: expectations read better so.
        self.name, self.recorder = host.service.rpartition("/")[2], host.recorder

    async def work(self, request: Any) -> str:
        """One whole call; its text."""
        text = call_text(self.name, request)
        number = self.recorder.begin(self.name, text)
        how = "ok"
        try:
            await self.misbehave(number)
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        except BaseException:
            how = "failed"
            raise
        finally:
            self.recorder.end(self.name, how)
        return str(self._gives.get("text", text))

    async def misbehave(self, number: int) -> None:
        """Do what the config says before an answer."""
        for _ in range(self._turns):
            await asyncio.sleep(0)
        if self._gate:
            await self.recorder.until(lambda: self.recorder.peak[self.name] >= self._gate)
        if self._hangs:
            await asyncio.get_running_loop().create_future()
        if self._fails and number <= self._times:
            error = ERRORS[self._fails]()
            raise error

    def usage(self) -> Usage | None:
        """What a call costs; a new object each time."""
        return Usage(self._tokens, 1, self._tokens + 1) if self._tokens else None

    def said(self, text: str) -> Said:
        """The answer."""
        gives = {key: value for key, value in self._gives.items() if key != "text"}
        return msgspec.convert({"text": text, **gives}, Said) if gives else Said(text)

    async def pieces(self, request: Any) -> AsyncGenerator[str, None]:
        """The text of a streamed call, four characters at a time."""
        text = call_text(self.name, request)
        number = self.recorder.begin(self.name, text)
        text = str(self._gives.get("text", text))
        how = "ok"
        try:
            for index in range(0, len(text), 4):
                if index // 4 == self._after:
                    await self.misbehave(number)
                yield text[index : index + 4]
                await asyncio.sleep(0)
        except (asyncio.CancelledError, GeneratorExit):
            how = "cancelled"
            raise
        except BaseException:
            how = "failed"
            raise
        finally:
            self.recorder.end(self.name, how)


class Say(Scripted):
    """Says what it was asked."""

    async def invoke(self, request: Ask) -> Said:
        said = self.said(await self.work(request))
        said.usage = self.usage()
        return said


class Plain(Scripted):
    """Says it in a plain function."""

    def invoke(self, request: Ask) -> Said:
        text = call_text(self.name, request)
        self.recorder.calls.append(text)
        return self.said(text)


class Telling(Scripted):
    """Says it in pieces."""

    async def invoke(self, request: Ask) -> Said:
        said = self.said(await self.work(request))
        said.usage = self.usage()
        return said

    async def stream(self, request: Ask) -> AsyncIterator[Word]:
        async with aclosing(self.pieces(request)) as pieces:
            async for piece in pieces:
                yield Word(piece)
        if self._tokens:
            yield Word("", self.usage())


class Read(Scripted):
    """Speaks first, then says what it reads."""

    async def invoke(self, request: Reading) -> Said:
        return await self.read(request)

    async def read(self, request: Any) -> Said:
        await self.work(request)
        said = request.said
        text = said.text if isinstance(said, Said) else "".join([word.text async for word in said])
        return Said(f"{self.name}: {text}")

    async def stream(self, request: Reading) -> AsyncIterator[Word]:
        self.recorder.begin(self.name, call_text(self.name, request))
        how = "ok"
        try:
            yield Word(f"{self.name}: ")
            if isinstance(request.said, Said):
                yield Word(request.said.text)
                return
            async for word in request.said:
                yield Word(word.text)
        except (asyncio.CancelledError, GeneratorExit):
            how = "cancelled"
            raise
        except BaseException:
            how = "failed"
            raise
        finally:
            self.recorder.end(self.name, how)


class ReadLive(Read):
    """Reads nothing but streams."""

    async def invoke(self, request: Live) -> Said:
        return await self.read(request)

    async def stream(self, request: Live) -> AsyncIterator[Word]:
        async with aclosing(super().stream(request)) as words:  # type: ignore[arg-type, type-var]  # the field is the same
            async for word in words:
                yield word


class ReadWhole(Scripted):
    """Reads nothing but whole answers."""

    async def invoke(self, request: Whole) -> Said:
        return Said(await self.work(request))


class Model(Scripted):
    """A chat model: says the last message."""

    def text(self, request: ChatRequest) -> ChatRequest:
        """The request as it is shown: the last message only."""
        return msgspec.structs.replace(request, messages=[request.messages[-1]])

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        text = await self.work(self.text(request))
        return ChatResponse("1", self.name, [Choice(0, Message("assistant", text), "stop")], self.usage())

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        async with aclosing(self.pieces(self.text(request))) as pieces:
            async for piece in pieces:
                yield ChatChunk("1", self.name, [ChunkChoice(0, Delta(content=piece))])
        yield ChatChunk("1", self.name, [ChunkChoice(0, Delta(), "stop")], usage=self.usage())


class WholeModel(Scripted):
    """A chat model that does not stream."""

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        request = msgspec.structs.replace(request, messages=[request.messages[-1]])
        text = await self.work(request)
        return ChatResponse("1", self.name, [Choice(0, Message("assistant", text), "stop")], self.usage())


class QuoteFirst(Scripted):
    """A chat reply that begins before the answer does."""

    async def invoke(self, request: ReplyParts) -> ChatResponse:
        await self.work(request)
        assert isinstance(request.answer, ChatResponse)
        message = Message("assistant", f"<{request.quote}> {request.answer.text()}")
        return ChatResponse("1", self.name, [Choice(0, message, "stop")], request.answer.usage)

    async def stream(self, request: ReplyParts) -> AsyncIterator[ChatChunk]:
        self.recorder.begin(self.name, call_text(self.name, request))
        try:
            yield ChatChunk("1", self.name, [ChunkChoice(0, Delta(content=f"<{request.quote}> "))])
            assert isinstance(request.answer, Stream)
            async for chunk in request.answer:
                yield chunk
        finally:
            self.recorder.end(self.name, "ok")


class Asking(Scripted):
    """Asks a chat service that it uses, whole or in chunks."""

    def __init__(self, chat: Chat, *, streams: bool = False, **script: Any) -> None:
        super().__init__(**script)
        self._chat, self._streams = chat, streams

    async def invoke(self, request: Ask) -> Said:
        await self.work(request)
        asked = ChatRequest([Message("user", request.text)])
        if not self._streams:
            answer = await self._chat.invoke(asked)
            return Said(f"{self.name}: {answer.text()}")
        texts = [
            choice.delta.content or "" async for chunk in self._chat.stream(asked) for choice in chunk.choices
        ]
        return Said(f"{self.name}: {''.join(texts)}")


class Describing(Scripted):
    """Says what the chat service that it uses says of itself."""

    def __init__(self, chat: Chat, **script: Any) -> None:
        super().__init__(**script)
        self._chat = chat

    async def invoke(self, request: Ask) -> Said:
        await self.work(request)
        return Said((await self._chat.describe(Empty())).model)


class Rewriting(Scripted):
    """A chat model that asks another; its answer costs what that one's costs."""

    def __init__(self, chat: Chat, **script: Any) -> None:
        super().__init__(**script)
        self._chat = chat

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        await self.work(msgspec.structs.replace(request, messages=[request.messages[-1]]))
        answer = await self._chat.invoke(ChatRequest(request.messages))
        message = Message("assistant", f"{self.name}: {answer.text()}")
        return ChatResponse("1", self.name, [Choice(0, message, "stop")], answer.usage)


class Embedding(Scripted):
    """Vectors."""

    async def invoke(self, request: EmbeddingRequest) -> EmbeddingResponse:
        await self.work(request)
        return EmbeddingResponse([vector([1.0])] * len(request.texts), usage=self.usage())


class Finding(Scripted):
    """Finds two passages; asks the embedder that it may use."""

    def __init__(self, embedder: Embedder | None = None, **script: Any) -> None:
        super().__init__(**script)
        self._embedder = embedder

    async def invoke(self, request: RetrieveRequest) -> RetrieveResponse:
        await self.work(request)
        if self._embedder is not None:
            await self._embedder.invoke(EmbeddingRequest([request.query]))
        texts = self._gives.get("texts", ["one", "two"])
        return RetrieveResponse([Document(text, id=text) for text in texts], request.query)


class Ranking(Scripted):
    """Turns the order of documents round."""

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        await self.work(request)
        return RerankResponse(list(reversed(request.documents)))


class Deadline(Scripted):
    """Says how many whole seconds it has left, as its request's context has it."""

    async def invoke(self, request: Ask) -> Said:
        await self.work(request)
        left = current.get().time_left_s()
        return Said("none" if left is None else f"{round(left)} s")


COMPONENTS: dict[str, type[Any]] = {
    "asking": Asking,
    "deadline": Deadline,
    "describing": Describing,
    "embedding": Embedding,
    "finding": Finding,
    "model": Model,
    "plain": Plain,
    "quote-first": QuoteFirst,
    "ranking": Ranking,
    "read": Read,
    "read-live": ReadLive,
    "read-whole": ReadWhole,
    "rewriting": Rewriting,
    "say": Say,
    "tell": Telling,
    "whole-model": WholeModel,
}

TAKES_STREAMS = frozenset({"read", "read-live", "quote-first"})
"""Components that stay in the graph's process, since streams are not sent to others."""


class FakeClock:
    """Time that only moves when it is told to; it starts where the real clock is, for what reads that."""

    def __init__(self) -> None:
        self._now_ns = time.monotonic_ns()
        self._timers: list[tuple[int, FakeTimer]] = []

    def now_ns(self) -> int:
        return self._now_ns

    def call_later(self, delay_s: float, call: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(call)
        self._timers.append((self._now_ns + int(delay_s * 1e9), timer))
        return timer

    async def sleep(self, delay_s: float) -> None:
        """Let everyone else run; time goes on by itself."""
        self._now_ns += int(delay_s * 1e9)
        await asyncio.sleep(0)

    @property
    def pending(self) -> int:
        """Timers that were not taken back."""
        return sum(timer.is_set for _, timer in self._timers)

    def advance(self, seconds: float) -> None:
        """Move on, and call what is due."""
        self._now_ns += int(seconds * 1e9)
        due = [timer for at_ns, timer in self._timers if at_ns <= self._now_ns]
        self._timers = [(at_ns, timer) for at_ns, timer in self._timers if at_ns > self._now_ns]
        for timer in due:
            timer.fire()


class FakeTimer:
    """One call to come."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call

    @property
    def is_set(self) -> bool:
        """Whether it will be made."""
        return self._call is not None

    def cancel(self) -> None:
        self._call = None

    def fire(self) -> None:
        if self._call is not None:
            self._call()
