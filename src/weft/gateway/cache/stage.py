"""The stage that answers from what was answered before.

What is kept is a target's own response, not the bytes of a reply: whole or streamed, in OpenAI's form, OPEA's or another
protocol's, it is told again as if the target had just given it. The stage finds out under which key, and who waits for
whom; the target that it puts in the place of the real one gives what is kept, or keeps what the real one gives.

Where two ask the same at the same time the first asks the target, and the others wait for it: whole, if it streams. When it
fails, or its caller leaves, the next of them asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

import msgspec

from weft.contracts import Operation
from weft.contracts.chat import ChatChunk
from weft.errors import DeadlineError, RequestError
from weft.gateway.cache.corpus import Corpus
from weft.gateway.cache.entries import Entries, Entry, unit
from weft.gateway.cache.keys import Key, key_of
from weft.gateway.cache.told import again, chunks_of, is_whole
from weft.gateway.passage import Passage, Proceed, Reply
from weft.gateway.targets import Target
from weft.http.message import StreamResponse
from weft.observe.metrics import Metrics
from weft.serve.log import Log
from weft.serve.streams import close
from weft.spec.gateway import CacheSpec, RouteSpec

HEADER: Final = "x-weft-cache"
HIT: Final = "hit"
MISS: Final = "miss"
BYPASS: Final = "bypass"

KEPT: Final = "kept"
UNKEPT: Final = "unkept"
FAILED: Final = "failed"
"""What became of the request that others wait for."""

Embed = Callable[[str], Awaitable[Sequence[float]]]
"""Gives the vector of a question."""

_encode = msgspec.json.Encoder().encode


class Recording:
    """What becomes of one request.

    Attributes:
        target: Whose answer it is about.
        hit: What is told again; None: the target is asked, and what it gives is kept.
    """

    def __init__(self, target: Target, hit: Any, keep: Callable[[Any], None] | None) -> None:
        self.target, self.hit, self.keep = target, hit, keep


_recording: ContextVar[Recording | None] = ContextVar("weft_cache_recording", default=None)
"""Of the request that the running task works for."""


class CacheStage:
    """Answers one route's requests from its cache. See :class:`weft.gateway.passage.Stage`.

    Args:
        rule: The route; it has ``cache:``.
        entries: What is kept.
        corpus: Counts the changes of documents.
        build_of: What a target is made of.
        embed: For likeness; None: only what is the same is told again.
        metrics, log: Of the process.
    """

    def __init__(
        self,
        rule: RouteSpec,
        entries: Entries,
        *,
        corpus: Corpus,
        build_of: Callable[[Target], str],
        embed: Embed | None = None,
        metrics: Metrics | None = None,
        log: Log | None = None,
    ) -> None:
        spec = rule.cache or CacheSpec()
        self._entries, self._corpus, self._build_of, self._embed = entries, corpus, build_of, embed
        self._least, self._log = spec.semantic, log
        self._running: dict[bytes, asyncio.Future[str]] = {}
        self._kept: dict[Target, tuple[Any, Target]] = {}
        count = None
        if metrics is not None:
            count = metrics.counter(
                "weft_route_cache_total",
                "Requests of a route with a cache, by what it did.",
                ("route", "outcome"),
            )
        self._count = {
            outcome: count.bind(rule.target, outcome).add if count is not None else _nothing
            for outcome in (HIT, MISS, BYPASS)
        }

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`.

        Raises:
            DeadlineError: Another's answer, which this request waited for, did not come in time.
        """
        target, operation = passage.target, passage.operation
        wishes = _Wishes(passage.request.headers.get("cache-control"))
        if target is None or operation is None or wishes.no_store or not _is_cacheable(passage, operation):
            self._tell(passage, BYPASS)
            return await proceed(passage)
        body = passage.body()
        if isinstance(body.get("n"), int) and body["n"] > 1:
            self._tell(passage, BYPASS)  # who asks for several wants them to differ
            return await proceed(passage)
        corpus = self._corpus.of(passage.context.tenant)
        key = key_of(passage, target, body, build=self._build_of(target), corpus=corpus)
        vector: Sequence[float] = ()
        if not wishes.no_cache:
            entry = await self._found(key, wishes, passage)
            if entry is None and self._embed is not None and self._least is not None and key.group:
                vector = await self._vector(key.question)
                entry = (
                    self._fresh(self._entries.near(key.group, vector, self._least), wishes)
                    if vector
                    else None
                )
            if entry is not None:
                return await self._hit(passage, proceed, target, operation, entry)
        elif self._embed is not None and key.group:
            vector = await self._vector(key.question)
        return await self._miss(passage, proceed, target, key, vector, corpus)

    async def _found(self, key: Key, wishes: _Wishes, passage: Passage) -> Entry | None:
        """What is kept under a key, if need be when another's request for the same has ended."""
        while (entry := self._fresh(self._entries.get(key.exact), wishes)) is None:
            running = self._running.get(key.exact)
            if running is None:
                return None
            left_s = passage.context.time_left_s()
            try:
                async with asyncio.timeout(left_s if left_s is None else max(0.0, left_s)):
                    if await asyncio.shield(running) == UNKEPT:
                        return None  # it is not one to be kept: nobody need wait for the next
            except TimeoutError as error:
                raise DeadlineError("the time allowed for the request was up") from error
        return entry

    def _fresh(self, entry: Entry | None, wishes: _Wishes) -> Entry | None:
        if entry is None or (wishes.max_age_s is not None and self._entries.age_s(entry) > wishes.max_age_s):
            return None
        return entry

    async def _hit(
        self, passage: Passage, proceed: Proceed, target: Target, operation: Operation, entry: Entry
    ) -> Reply:
        response = again(msgspec.json.decode(entry.body, type=operation.response))
        _recording.set(Recording(target, response, None))
        passage.target = self._standing_in(target)
        self._tell(passage, HIT)
        passage.add_header("age", str(int(self._entries.age_s(entry))))
        # Past everything that keeps the target from being asked too much: it is not asked.
        return await (passage.answer or proceed)(passage)

    async def _miss(
        self,
        passage: Passage,
        proceed: Proceed,
        target: Target,
        key: Key,
        vector: Sequence[float],
        corpus: int,
    ) -> Reply:
        self._tell(passage, MISS)
        lead = _Lead(self._running, key.exact)

        def keep(response: Any) -> None:
            # An answer that is none to tell again, or from before a document changed, is not kept.
            if is_whole(response) and self._corpus.of(key.tenant) == corpus:
                group = key.group if vector else b""
                made = Entry(_encode(response), self._entries.now(), key.tenant, group, vector)
                self._entries.put(key.exact, made)
                lead.outcome = KEPT
            else:
                lead.outcome = UNKEPT

        passage.on_end(lead.end)
        _recording.set(Recording(target, None, keep))
        passage.target = self._standing_in(target)
        reply = await proceed(passage)
        if not isinstance(reply, StreamResponse):
            lead.end(reply.status)  # those who wait need not wait for its way out
        return reply

    async def _vector(self, question: str) -> Sequence[float]:
        """The question's vector; none where the embedder fails: it is then asked as if there was nothing like it."""
        assert self._embed is not None  # whoever asks has seen it
        try:
            return unit(await self._embed(question))
        except RequestError as error:
            if self._log is not None:
                self._log.failure("a question could not be embedded for the cache", cause=error)
            return ()

    def _tell(self, passage: Passage, outcome: str) -> None:
        self._count[outcome]()
        passage.add_header(HEADER, outcome)

    def _standing_in(self, target: Target) -> Target:
        """The target with what is kept in front of it; made anew when something behind it was switched."""
        made_of = (target.consumed, target.unsupported, target.component, target.build_id)
        known = self._kept.get(target)
        if known is None or known[0] != made_of:
            known = self._kept[target] = (made_of, _standing_in(target))
        return known[1]


def _standing_in(target: Target) -> Target:
    async def call(operation: str, request: Any) -> Any:
        recording = _recording.get()
        if recording is None or recording.target is not target:
            return await target.call(operation, request)
        if recording.hit is not None:
            return recording.hit
        response = await target.call(operation, request)
        if recording.keep is not None:
            recording.keep(response)
        return response

    async def stream(operation: str, request: Any) -> AsyncIterator[Any]:
        recording = _recording.get()
        is_own = recording is not None and recording.target is target
        if recording is not None and is_own and recording.hit is not None:
            for chunk in chunks_of(recording.hit):
                yield chunk
            return
        assert target.stream is not None  # it stands in for one that streams
        collect = target.operations[operation].collect
        chunks, said = target.stream(operation, request), []
        try:
            async for chunk in chunks:
                said.append(chunk)
                yield chunk
        finally:
            await close(chunks)
        if recording is not None and is_own and recording.keep is not None and collect is not None:
            recording.keep(collect(said))

    return replace(target, call=call, stream=stream if target.stream is not None else None)


class _Lead:
    """The first of those who ask the same at the same time, or one who does not wait for it.

    Attributes:
        outcome: What became of it.
    """

    __slots__ = ("_key", "_own", "_running", "outcome")

    def __init__(self, running: dict[bytes, asyncio.Future[str]], key: bytes) -> None:
        self._running, self._key = running, key
        self._own: asyncio.Future[str] | None = None
        self.outcome = FAILED
        if key not in running:
            self._own = running[key] = asyncio.get_running_loop().create_future()

    def end(self, status: int) -> None:
        """Tell those who wait; may be called again."""
        if self._own is not None and not self._own.done():
            del self._running[self._key]
            self._own.set_result(self.outcome)


class _Wishes:
    """What a caller's ``Cache-Control`` asks for.

    Attributes:
        no_store: Neither told from what is kept, nor kept.
        no_cache: Asked anew, and kept for the next.
        max_age_s: How old what is told may be.
    """

    __slots__ = ("max_age_s", "no_cache", "no_store")

    def __init__(self, header: str | None) -> None:
        self.no_store = self.no_cache = False
        self.max_age_s: int | None = None
        for part in (header or "").lower().split(","):
            name, _, value = part.strip().partition("=")
            if name == "no-store":
                self.no_store = True
            elif name == "no-cache":
                self.no_cache = True
            elif name == "max-age" and value.isdecimal():
                self.max_age_s = int(value[:9])


def _is_cacheable(passage: Passage, operation: Operation) -> bool:
    """Whether a reply can stand for another: of what only reads, and of a chat, which an operator has decided."""
    if passage.request.method != "POST" or not passage.has_json:
        return False
    if operation.chunk is not None:
        return operation.chunk is ChatChunk
    return operation.idempotent


def _nothing() -> None:
    pass
