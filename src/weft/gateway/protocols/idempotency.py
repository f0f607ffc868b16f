"""``Idempotency-Key``: a request that is sent again is answered as it was answered, and does nothing a second time.

The key is its caller's own: of the same tenant, caller and route. It stands for one body: with another it is refused. While
the first request is being answered, a second is told to come back; when it has failed, or its caller has left, the key is
free, for nothing was done that could be told. A streamed reply is kept and told again as the same events, all at once.

Source: IETF draft "The Idempotency-Key HTTP Header Field".
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Coroutine
from dataclasses import replace
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.errors import ConflictError, IdempotencyKeyError, InvalidRequestError
from weft.gateway.passage import Passage, Proceed, Reply
from weft.gateway.protocols.asking import owner_of
from weft.gateway.protocols.shelf import Bounds, Shelf
from weft.http.message import Response, StreamResponse
from weft.serve.log import Log

HEADER: Final = "idempotency-key"
REPLAYED: Final = ("idempotent-replayed", "true")

BOUNDS: Final = Bounds(entries=100_000, owner_entries=10_000, owner_size=32 * 1024 * 1024, ttl_s=24 * 3600)
"""Of the replies that are kept: a day, as others do."""

MAX_REPLY_BYTES: Final = 1024 * 1024
"""Of a reply that is kept; after a longer one the key is free again."""

MAX_KEY_CHARACTERS: Final = 255

CLAIMED_S: Final = 900.0
"""How long a key is held for a request whose process may have died."""

_METHODS: Final = frozenset({"POST", "PATCH"})
"""The others do the same when they are sent twice."""


class Kept(Struct, omit_defaults=True):
    """What is known of a key.

    Attributes:
        digest: Of the request that it stands for.
        status: Of the reply; 0: it is being made.
        body: Of the reply.
        is_stream: Whether the body is events.
    """

    digest: str
    status: int = 0
    content_type: str = ""
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    is_stream: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Kept).decode


class IdempotencyStage:
    """Answers a request with a key once. See :class:`weft.gateway.passage.Stage`.

    It is no coroutine of its own for requests without a key.

    Args:
        route: Of which keys are: one key on two routes is two.
        shelf: Where replies are kept.
        log: Told when one could not be kept.
    """

    def __init__(self, route: str, shelf: Shelf, log: Log) -> None:
        self._route, self._shelf, self._log = route, shelf, log
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, passage: Passage, proceed: Proceed) -> Awaitable[Reply]:
        """See :class:`weft.gateway.passage.Stage`.

        Raises:
            InvalidRequestError: The key is none.
            IdempotencyKeyError: It stands for another request.
            ConflictError: The request that it stands for is being answered.
        """
        key = passage.request.headers.get(HEADER)
        if key is None or passage.request.method not in _METHODS:
            return proceed(passage)
        return self._once(key, passage, proceed)

    async def stop(self) -> None:
        """Have what is to be kept kept."""
        await asyncio.gather(*self._tasks)

    async def _once(self, key: str, passage: Passage, proceed: Proceed) -> Reply:
        key = key.strip().strip('"')  # the draft has it as a quoted string, its users as they like
        if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
            raise InvalidRequestError(
                f"Idempotency-Key is 1 to {MAX_KEY_CHARACTERS} printable characters", param="Idempotency-Key"
            )
        body = passage.request.body
        if body is None:
            return await proceed(passage)  # an upload, which is the same file when it is sent twice
        owner, name = owner_of(passage.context), f"{self._route} {key}"
        digest = hashlib.sha256(passage.request.path.encode() + b"\0" + body).hexdigest()
        known = await self._shelf.claim(owner, name, _encode(Kept(digest)), CLAIMED_S)
        if known is not None:
            return self._again(_decode(known), digest, key, passage)
        claim = _Claim(self, owner, name, digest)
        passage.on_end(claim.ended)
        reply = await proceed(passage)
        if isinstance(reply, StreamResponse):
            return claim.recorded(reply)
        if 200 <= reply.status < 300 and len(reply.body) <= MAX_REPLY_BYTES:
            await self._shelf.put(owner, name, _encode(_kept(reply, digest, reply.body)))
            claim.is_kept = True
        return reply

    def _again(self, kept: Kept, digest: str, key: str, passage: Passage) -> Reply:
        if kept.digest != digest:
            raise IdempotencyKeyError(
                f"the Idempotency-Key '{key}' was used for another request",
                param="Idempotency-Key",
                hint="send a new key with a new request; the same key only with the same path and body",
            )
        if not kept.status:
            passage.add_header("retry-after", "1")
            raise ConflictError(
                f"the request with the Idempotency-Key '{key}' is still being answered",
                param="Idempotency-Key",
                hint="send it again in a moment",
            )
        headers = (*kept.headers, REPLAYED)
        if kept.is_stream:
            return StreamResponse(_all(kept.body), kept.status, headers, kept.content_type)
        return Response(kept.status, headers, kept.body, kept.content_type)

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something that the request need not wait for, and cannot."""

        async def done() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - nobody waits for it; the key is free when its time is up
                self._log.failure("a reply could not be kept for its Idempotency-Key", cause=error)

        task = asyncio.ensure_future(done())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def keep(self, owner: str, name: str, kept: Kept) -> None:
        """Keep a reply that has gone out."""
        self.later(self._shelf.put(owner, name, _encode(kept)))

    def release(self, owner: str, name: str) -> None:
        """Let the key be used again."""
        self.later(self._shelf.remove(owner, name))


class _Claim:
    """A key that is held for a request while it is answered.

    Attributes:
        is_kept: Whether there is a reply to be told again.
    """

    def __init__(self, stage: IdempotencyStage, owner: str, name: str, digest: str) -> None:
        self._stage, self._owner, self._name, self._digest = stage, owner, name, digest
        self._blocks: list[bytes] | None = []
        self._size = 0
        self.is_kept = False

    def ended(self, status: int) -> None:
        """The request has ended."""
        if not self.is_kept:
            self._stage.release(self._owner, self._name)

    def recorded(self, reply: StreamResponse) -> StreamResponse:
        """The same stream, of which a copy is kept when it has ended well."""
        pass_on, finish = reply.pass_on, reply.finish

        def passed(block: bytes) -> bytes:
            if pass_on is not None:
                block = pass_on(block)
            self._note(block)
            return block

        def finished(error: Exception | None) -> bytes | None:
            tail = finish(error) if finish is not None else None
            if error is None and 200 <= reply.status < 300 and not _tells_an_error(tail):
                self._note(tail or b"")
                if self._blocks is not None:
                    kept = _kept(reply, self._digest, b"".join(self._blocks), is_stream=True)
                    self._stage.keep(self._owner, self._name, kept)
                    self.is_kept = True
            return tail

        return replace(reply, pass_on=passed, finish=finished, alike=None)

    def _note(self, block: bytes) -> None:
        if self._blocks is None:
            return
        self._blocks.append(block)
        self._size += len(block)
        if self._size > MAX_REPLY_BYTES:
            self._blocks = None


def _tells_an_error(tail: bytes | None) -> bool:
    """Whether the last event of a stream says that it failed: a backend's may end well and have failed all the same."""
    return tail is not None and tail.lstrip().startswith(b'data: {"error"')


def _kept(reply: Reply, digest: str, body: bytes, *, is_stream: bool = False) -> Kept:
    return Kept(digest, reply.status, reply.content_type, [*reply.headers], body, is_stream)


async def _all(body: bytes) -> AsyncIterator[bytes]:
    yield body
