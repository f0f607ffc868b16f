"""Limits of one process: the ledger in its memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from weft.gateway.limits.keeper import Keeper
from weft.gateway.limits.ledger import Held, Ledger, Waiting
from weft.gateway.limits.terms import Ask, Hold, Ticket, Verdict
from weft.serve.log import Log
from weft.store import Database


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class _Caller(Waiting):
    """One that waits in this process, until it is called."""

    __slots__ = ("called",)

    def __init__(self) -> None:
        super().__init__(self._call)
        self.called = asyncio.Event()

    def _call(self) -> None:
        self.called.set()


class MemoryStore:
    """See :class:`weft.gateway.limits.terms.Store`.

    Args:
        ledger: Where what was used is written down.
        now_ms: Since 1970.
        database: Where days and months are written down; None: they are forgotten with the process.
        log: Where it is said that writing fails.
    """

    def __init__(
        self,
        ledger: Ledger | None = None,
        *,
        now_ms: Callable[[], int] = wall_ms,
        database: Database | None = None,
        log: Log | None = None,
    ) -> None:
        self.ledger = ledger or Ledger()
        self._now_ms = now_ms
        self._keeper = None
        if database is not None:
            self._keeper = Keeper(database, self.ledger, now_ms=now_ms, log=log or Log(name="limits"))

    async def take(self, asks: Sequence[Ask], ticket: Ticket | None = None) -> Verdict:
        """See :class:`weft.gateway.limits.terms.Store`."""
        assert ticket is None or isinstance(ticket, _Caller)  # it is this store's own
        if ticket is not None:
            ticket.called.clear()
        return self.ledger.take(asks, self._now_ms(), ticket, _Caller)

    async def turn(self, ticket: Ticket) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        assert isinstance(ticket, _Caller)  # it is this store's own
        await ticket.called.wait()

    def leave(self, ticket: Ticket) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        assert isinstance(ticket, _Caller)  # it is this store's own
        self.ledger.leave(ticket)

    def settle(self, hold: Hold, spent: Sequence[int | None]) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        assert isinstance(hold, Held)  # it is this store's own
        self.ledger.settle(hold, spent, self._now_ms())

    async def start(self) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        if self._keeper is not None:
            await self._keeper.start()

    async def aclose(self) -> None:
        """See :class:`weft.gateway.limits.terms.Store`."""
        if self._keeper is not None:
            await self._keeper.aclose()
