"""A store in another process, as its users see it: what they ask, until when they are known there, what is told later.

Whatever is asked may get lost, on its way or on its way back, so everything that changes something may be asked twice:
each grant and each place in a queue has an id, and is given back once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from msgspec import Struct

from weft.gateway.limits.batches import Batches, StoreDownError
from weft.gateway.limits.terms import GRANTED, PLACES, QUEUED, Ask, Hold, Ticket, Verdict
from weft.gateway.limits.waiting import Line, Lines

TIMEOUT_S: Final = 0.1
"""How long a store may take: a hundred times what it takes on a local network, and less than anybody notices. Only those
wait for so long that were waiting when it went away."""

LEASE_S: Final = 50.0
"""A process that is not heard of for so long is taken for dead; what it held is gone within a minute."""

BEATS: Final = 5
"""Signs of life in a lease: some may get lost."""

CLOSE_S: Final = 1.0
"""What a process that ends takes to say what it has not said."""

LATE: Final = 10_000
"""Settlements that are kept while the store is away; of more, what was reserved stays charged."""

LOST: Final = -1
"""What a store says to a process that it took for dead."""


class Take(Struct, array_like=True, tag=0):
    """Decide on ``asks``; what is granted or queued is known as ``hold``; ``ticket`` is the hold of one that waits."""

    me: str
    hold: str
    ticket: str
    lease_ms: int
    asks: list[Ask]


class Settle(Struct, array_like=True, tag=1):
    """Give back what a hold has not used: of each part bucket, span, amount, and what was used (-1: all)."""

    me: str
    hold: str
    parts: list[tuple[str, int, int, int]]


class Beat(Struct, array_like=True, tag=2):
    """A sign of life."""

    me: str
    is_new: bool
    lease_ms: int


class Charge(Struct, array_like=True, tag=3):
    """Count what was used while nobody could ask, as pairs of period and amount."""

    me: str
    bucket: str
    span: int
    used: list[tuple[int, int]]


Question = Take | Settle | Beat | Charge

Answer = Any
"""Of a Take: outcome, by, retry, then left and reset of each limit; or :data:`LOST` alone. Of the others: a number."""


class Link(Protocol):
    """The way to a store in another process."""

    async def send(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Ask, and give the answers in order; after an error the next call begins afresh."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class RemoteHold(Hold):
    """What one request was granted: by whom, under which id, and of each limit bucket, span and amount."""

    __slots__ = ("id", "me", "parts")

    def __init__(self, me: str, id: str, parts: list[tuple[str, int, int]]) -> None:
        self.me, self.id, self.parts = me, id, parts


class RemoteStore:
    """See :class:`weft.gateway.limits.terms.Store`.

    Args:
        link: The way there.
        timeout_s: How long an answer may take.
        lease_s: See :data:`LEASE_S`.
        on_down: Called when there was none.
    """

    def __init__(
        self,
        link: Link,
        *,
        timeout_s: float = TIMEOUT_S,
        lease_s: float = LEASE_S,
        on_down: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        self._link, self._lease_ms = link, int(lease_s * 1000)
        self._me = secrets.token_hex(6)
        self._count = 0
        self._lines = Lines()
        self._late: list[Settle] = []
        self._batches: Batches[Question] = Batches(link.send, timeout_s=timeout_s, on_down=on_down)
        self._beating: asyncio.Task[None] | None = None
        self._renewing: asyncio.Future[Any] | None = None

    async def take(self, asks: Sequence[Ask], ticket: Ticket | None = None) -> Verdict:
        """See :class:`weft.gateway.limits.terms.Store`.

        Raises:
            StoreDownError: The store does not answer.
        """
        assert ticket is None or isinstance(ticket, Line)  # it is this store's own
        while True:
            self._count += 1
            me, hold = self._me, f"{self._count:x}"
            waits = ticket.hold if ticket is not None and ticket.me == me else ""
            try:
                reply = await self._batches.ask(Take(me, hold, waits, self._lease_ms, list(asks)))
            except StoreDownError:
                self._undo(me, hold, asks, now=False)
                raise
            except asyncio.CancelledError:
                self._undo(me, hold, asks, now=True)
                raise
            if reply[0] != LOST:
                return self._verdict(reply, me, hold, asks, ticket)
            await self._renew(me)

    def _verdict(
        self, reply: Answer, me: str, hold: str, asks: Sequence[Ask], ticket: Line | None
    ) -> Verdict:
        outcome, by, retry_ms = reply[:3]
        held = None
        if outcome == GRANTED:
            held = RemoteHold(me, hold, [(ask.bucket, ask.span, ask.amount) for ask in asks])
        if outcome == QUEUED:
            ticket = ticket or Line()
            if ticket.bucket != asks[by].bucket or ticket.me != me:
                self._lines.leave(ticket)
                ticket.me, ticket.hold = me, hold
                self._lines.join(ticket, asks[by].bucket)
            return Verdict(outcome, None, ticket, by, retry_ms, reply[3::2], reply[4::2])
        if ticket is not None:
            self._lines.leave(ticket)
        return Verdict(outcome, held, None, by, retry_ms, reply[3::2], reply[4::2])

    def _undo(self, me: str, hold: str, asks: Sequence[Ask], *, now: bool) -> None:
        """Nobody knows whether it was granted or queued, and nobody wants it any more."""
        question = Settle(me, hold, [(ask.bucket, ask.span, ask.amount, 0) for ask in asks])
        if now:
            self._tell(question)
        else:
            self._keep(question)

    def settle(self, hold: Hold, spent: Sequence[int | None]) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        self._tell(self._settling(hold, spent))

    def defer(self, hold: Hold, spent: Sequence[int | None]) -> None:
        """Settle it when the store is there again."""
        self._keep(self._settling(hold, spent))

    def _settling(self, hold: Hold, spent: Sequence[int | None]) -> Settle:
        assert isinstance(hold, RemoteHold)  # it is this store's own
        parts = []
        for (bucket, span, amount), used in zip(hold.parts, spent, strict=True):
            parts.append((bucket, span, amount, -1 if used is None else used))
            if span == PLACES:
                self._lines.call(bucket)
        return Settle(hold.me, hold.id, parts)

    async def turn(self, ticket: Ticket) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        assert isinstance(ticket, Line)  # it is this store's own
        await self._lines.turn(ticket)

    def leave(self, ticket: Ticket) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        assert isinstance(ticket, Line)  # it is this store's own
        if ticket.bucket:
            self._lines.leave(ticket)
            self._tell(Settle(ticket.me, ticket.hold, []))

    async def charge(self, bucket: str, span: int, used: Sequence[tuple[int, int]]) -> None:
        """Count what was used while the store was away, as pairs of period and amount.

        Raises:
            StoreDownError: It still is.
        """
        await self._batches.ask(Charge(self._me, bucket, span, list(used)))

    def _tell(self, question: Settle) -> asyncio.Future[Any]:
        """Say it; what gets lost is kept, and said again."""

        def told(future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is not None:
                self._keep(question)

        asked = self._batches.tell(question)
        asked.add_done_callback(told)
        return asked

    def _keep(self, question: Settle) -> None:
        if len(self._late) < LATE:
            self._late.append(question)

    # Being known there.

    async def look(self) -> None:
        """Ask the store for a sign of life, be known to it, and tell what could not be told.

        Raises:
            StoreDownError: There is none.
        """
        me = self._me
        if await self._batches.ask(Beat(me, is_new=False, lease_ms=self._lease_ms)) == LOST:
            await self._renew(me)
        late, self._late = self._late, []
        await asyncio.gather(*(self._tell(question) for question in late), return_exceptions=True)

    async def _renew(self, lost: str) -> None:
        """Be somebody else after having been taken for dead, once for all who notice."""
        if self._me == lost:
            self._me = secrets.token_hex(6)
            self._renewing = self._batches.asked(Beat(self._me, is_new=True, lease_ms=self._lease_ms))
        if self._renewing is not None:
            await asyncio.shield(self._renewing)

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 1000 / BEATS)
            with suppress(StoreDownError):  # whoever asks next is told
                await self.look()

    async def start(self) -> None:
        """See :class:`weft.gateway.limits.terms.Store`: nothing is contacted, for the store may come later."""
        self._beating = asyncio.create_task(self._beats())

    async def aclose(self) -> None:
        """See :class:`weft.gateway.limits.terms.Store`: what is under way is told."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._batches.drain()
        await self._batches.aclose()
        await self._link.aclose()
