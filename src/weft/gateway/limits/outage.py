"""What holds while the limits' store is away: everything that is limited is refused, or each gateway has its share.

The first question that is not answered in time opens the circuit: from then on nobody waits for the store, and one
question of our own, now and then, finds out whether it is there again. So an outage costs the few requests that were
waiting when it began some milliseconds, and all later ones nothing.

A share is a gateway's part of each limit, counted in its own memory from the beginning of the outage, empty: what was
used before the store knows. When it is back, what was used of the shares is charged there; requests that hold places of
a share keep them until they end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from weft.gateway.limits.batches import StoreDownError
from weft.gateway.limits.buckets import Places
from weft.gateway.limits.ledger import Held
from weft.gateway.limits.memory import MemoryStore, wall_ms
from weft.gateway.limits.terms import Ask, Hold, Store, Ticket, Verdict
from weft.gateway.limits.waiting import Line
from weft.serve.log import Log

PROBE_S: Final = 0.05
"""Before the store is first asked whether it is there again, should it only have been slow; doubled each time that it is
not."""

PROBE_MOST_S: Final = 4.0
"""A store that is back is noticed within so long."""


class Elsewhere(Store, Protocol):
    """A store in another process."""

    async def look(self) -> None:
        """Ask it for a sign of life.

        Raises:
            StoreDownError: There is none.
        """
        ...

    def defer(self, hold: Hold, spent: Sequence[int | None]) -> None:
        """Settle when it is there again."""
        ...

    async def charge(self, bucket: str, span: int, used: Sequence[tuple[int, int]]) -> None:
        """Count what was used while it was away, as pairs of period and amount.

        Raises:
            StoreDownError: It still is.
        """
        ...


class GuardedStore:
    """See :class:`weft.gateway.limits.terms.Store`: one elsewhere, and what holds without it.

    Args:
        store: Makes the one elsewhere, from what it is to call when it does not answer.
        share: Among how many gateways the limits are divided while it is away; None: everything limited is refused.
        log: Where its going and coming is told.
        now_ms: Since 1970.
    """

    def __init__(
        self,
        store: Callable[[Callable[[BaseException], None]], Elsewhere],
        *,
        share: int | None,
        log: Log,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._store, self._share, self._log, self._now_ms = store(self.went), share, log, now_ms
        self._local = MemoryStore(now_ms=now_ms)
        self._probing: asyncio.Task[None] | None = None
        self.is_away = False

    def went(self, error: BaseException) -> None:
        """The store has not answered."""
        if self.is_away:
            return
        self.is_away = True
        self._local = MemoryStore(now_ms=self._now_ms)
        what = "everything limited is refused" if self._share is None else "each gateway has its share"
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        self._log.warning(f"the limits' store does not answer ({reason}): until it does, {what}")
        self._probing = asyncio.get_running_loop().create_task(self._probe())

    async def take(self, asks: Sequence[Ask], ticket: Ticket | None = None) -> Verdict:
        """See :class:`weft.gateway.limits.terms.Store`.

        Raises:
            StoreDownError: The store is away, and nobody has a share.
        """
        if not self.is_away:
            if ticket is not None and not isinstance(ticket, Line):
                self._local.leave(ticket)  # whoever waited here waits there now
                ticket = None
            try:
                return await self._store.take(asks, ticket)
            except StoreDownError as error:
                self.went(error)
        if isinstance(ticket, Line):
            self._store.leave(ticket)  # whoever waited there waits here now
            ticket = None
        if self._share is None:
            raise StoreDownError("the limits cannot be counted now: their store does not answer")
        return await self._local.take([ask._replace(most=ask.most // self._share) for ask in asks], ticket)

    async def turn(self, ticket: Ticket) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        await (self._store if isinstance(ticket, Line) else self._local).turn(ticket)

    def leave(self, ticket: Ticket) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        (self._store if isinstance(ticket, Line) else self._local).leave(ticket)

    def settle(self, hold: Hold, spent: Sequence[int | None]) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        if isinstance(hold, Held):
            self._local.settle(hold, spent)
        elif self.is_away:
            self._store.defer(hold, spent)
        else:
            self._store.settle(hold, spent)

    async def _probe(self) -> None:
        pause_s = PROBE_S
        while True:
            await asyncio.sleep(pause_s * (0.5 + random.random()))  # noqa: S311 - so that gateways do not come all at once
            pause_s = min(PROBE_MOST_S, pause_s * 2)
            with suppress(StoreDownError):
                await self._store.look()
                await self._hand_over()
                break
        self.is_away = False
        self._log.warning("the limits' store answers again")

    async def _hand_over(self) -> None:
        """Charge there what was used of the shares; what is charged is not charged again if this fails half-way."""
        ledger = self._local.ledger
        now_ms = self._now_ms()
        for name, bucket in list(ledger.buckets.items()):
            if isinstance(bucket, Places) or not (used := bucket.charges(now_ms)):
                continue
            await self._store.charge(name, bucket.span, used)
            ledger.buckets.pop(name, None)

    async def start(self) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        await self._store.start()
        try:
            await self._store.look()
        except StoreDownError as error:
            self.went(error)

    async def aclose(self) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])
        await self._store.aclose()
