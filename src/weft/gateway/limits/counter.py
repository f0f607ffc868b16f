"""The one process that counts for all workers: it answers what they ask on its private address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from weft.context import Context
from weft.errors import InvalidRequestError
from weft.gateway.limits.ledger import Held, Waiting
from weft.gateway.limits.memory import MemoryStore, wall_ms
from weft.gateway.limits.remote import LOST, Answer, Beat, Question, Settle, Take
from weft.gateway.limits.terms import GRANTED, QUEUED
from weft.http.client import Endpoint
from weft.http.message import Request, Response
from weft.serve.application import Application
from weft.transport.http import failure_of

PATH: Final = "/weft/limits"
TYPE: Final = "application/msgpack"
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of a message: 256 questions about ten limits each are a tenth of it."""

_encode = msgspec.msgpack.Encoder().encode
_decode_questions = msgspec.msgpack.Decoder(list[Question]).decode
_decode_answers = msgspec.msgpack.Decoder(list[Answer]).decode


GONE_MS: Final = 1_000
"""The first of a queue asks fifty times a second. One that has not for so long is gone: its process has died."""


class _Line(Waiting):
    """One that waits in another process.

    Attributes:
        asked_ms: When it last asked.
        first_ms: When it was first seen as the first of its queue; 0: not yet.
    """

    __slots__ = ("asked_ms", "first_ms")

    def __init__(self) -> None:
        super().__init__(_nothing)
        self.asked_ms = self.first_ms = 0

    def is_gone(self, now_ms: int) -> bool:
        """Whether it has had its turn and has not asked."""
        self.first_ms = self.first_ms or now_ms
        return now_ms - max(self.asked_ms, self.first_ms) > GONE_MS


class _Asker:
    """A process that asks.

    Attributes:
        ends_ms: When it is taken for dead, unless it is heard of before.
        holds: What it was granted and has not settled, and what waits.
    """

    __slots__ = ("ends_ms", "holds")

    def __init__(self, ends_ms: int) -> None:
        self.ends_ms = ends_ms
        self.holds: dict[str, Held | _Line] = {}


class Counter:
    """Answers the questions of other processes out of a store in this one.

    Args:
        store: Where what was used is kept.
        now_ms: Since 1970.
    """

    def __init__(self, store: MemoryStore, *, now_ms: Callable[[], int] = wall_ms) -> None:
        self._ledger, self._now_ms = store.ledger, now_ms
        self._askers: dict[str, _Asker] = {}

    @property
    def reserved(self) -> int:
        """How many requests there are that have not been settled."""
        return sum(isinstance(hold, Held) for asker in self._askers.values() for hold in asker.holds.values())

    def answer(self, questions: Iterable[Question]) -> list[Answer]:
        """Answer each in its turn."""
        now_ms = self._now_ms()
        for me, asker in list(self._askers.items()):
            if asker.ends_ms <= now_ms:
                self._forget(me, now_ms)
        return [self._one(question, now_ms) for question in questions]

    def _one(self, question: Question, now_ms: int) -> Answer:
        asker = self._askers.get(question.me)
        if isinstance(question, Beat):
            if asker is None:
                if not question.is_new:
                    return LOST
                asker = self._askers[question.me] = _Asker(0)
            asker.ends_ms = now_ms + question.lease_ms
            return 1
        if isinstance(question, Take):
            return [LOST] if asker is None else self._take(question, asker, now_ms)
        if isinstance(question, Settle):
            return LOST if asker is None else self._settle(question, asker, now_ms)
        self._ledger.charge(question.bucket, question.span, question.used, now_ms)
        return 1

    def _take(self, question: Take, asker: _Asker, now_ms: int) -> Answer:
        asker.ends_ms = now_ms + question.lease_ms
        waits = asker.holds.get(question.ticket) if question.ticket else None
        ticket = waits if isinstance(waits, _Line) else None
        places = ticket.places if ticket is not None else None
        if ticket is not None:
            ticket.asked_ms = now_ms
        if places is not None and isinstance(first := places.waiting[0], _Line) and first.is_gone(now_ms):
            self._ledger.leave(first)
        verdict = self._ledger.take(question.asks, now_ms, ticket, _Line)
        if ticket is not None and ticket.places is not places:
            del asker.holds[question.ticket]
        if verdict.outcome == GRANTED:
            assert isinstance(verdict.hold, Held)  # a ledger's own
            asker.holds[question.hold] = verdict.hold
        elif verdict.outcome == QUEUED and (ticket is None or ticket.places is not places):
            assert isinstance(verdict.ticket, _Line)  # made above
            verdict.ticket.asked_ms, verdict.ticket.first_ms = now_ms, 0
            asker.holds[question.hold] = verdict.ticket
        reply: list[int] = [verdict.outcome, verdict.by, verdict.retry_ms]
        for left, reset_ms in zip(verdict.left, verdict.reset_ms, strict=True):
            reply += (left, reset_ms)
        return reply

    def _settle(self, question: Settle, asker: _Asker, now_ms: int) -> Answer:
        hold = asker.holds.pop(question.hold, None)
        if hold is None:
            return 0
        if isinstance(hold, _Line):
            self._ledger.leave(hold)
        else:
            used = [None if part[3] < 0 else part[3] for part in question.parts]
            self._ledger.settle(hold, used, now_ms)
        return 1

    def _forget(self, me: str, now_ms: int) -> None:
        """A process is dead: its places are free, and what it was granted stays charged."""
        for hold in self._askers.pop(me).holds.values():
            if isinstance(hold, _Line):
                self._ledger.leave(hold)
            else:
                self._ledger.settle(hold, [None] * len(hold.parts), now_ms)

    def add_route(self, app: Application) -> None:
        """Answer on the private address of this process."""

        async def answer(request: Request, context: Context) -> Response:
            try:
                questions = _decode_questions(await request.read(MAX_BYTES))
            except msgspec.DecodeError as error:
                raise InvalidRequestError(f"these are no questions about limits: {error}") from error
            return Response(200, (), _encode(self.answer(questions)), TYPE)

        app.route("POST", PATH, answer, max_body_bytes=MAX_BYTES, reads=(TYPE,))


def _nothing() -> None:
    """One in another process asks again by itself."""


class CounterLink:
    """See :class:`weft.gateway.limits.remote.Link`: the way to the process that counts.

    Args:
        endpoint: Its private address.
        signed: Headers that show that a process of this installation asks.
    """

    def __init__(self, endpoint: Endpoint, signed: Callable[[], Sequence[tuple[str, str]]]) -> None:
        self._endpoint, self._signed = endpoint, signed

    async def send(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """See :class:`weft.gateway.limits.remote.Link`."""
        headers = [("content-type", TYPE), *self._signed()]
        reply = await self._endpoint.request("POST", PATH, _encode(questions), headers=headers)
        if reply.status != 200:
            raise failure_of("POST", PATH, reply.status, reply.headers, reply.body)
        return _decode_answers(reply.body)

    async def aclose(self) -> None:
        """See :class:`weft.gateway.limits.remote.Link`: the connections belong to the client."""
