"""What a limiter is asked, and what it answers: the words that the stage, the ledger and the stores share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

DAY: Final = -1
"""Span of a budget that begins anew with each day of UTC."""

MONTH: Final = -2
"""Span of a budget that begins anew with each month of UTC."""

PLACES: Final = 0
"""Span of a limit on how many requests there are at a time."""

GRANTED, QUEUED, REFUSED = 0, 1, 2
"""The outcomes of a decision."""

NEVER: Final = -1
"""In place of a time: the request asks for more than the limit has when nothing of it is used."""


class Ask(NamedTuple):
    """What a request wants of one limit.

    Attributes:
        bucket: Names the limit and whose it is.
        most: What may be used in a span.
        amount: What this request may come to use: an upper bound.
        span: Milliseconds of a sliding window, :data:`DAY`, :data:`MONTH` or :data:`PLACES`.
        queue: How many may wait; of places only.
    """

    bucket: str
    most: int
    amount: int
    span: int
    queue: int = 0


class Hold:
    """What was granted to one request, until it is settled. Each store has a kind of its own."""

    __slots__ = ()


class Ticket:
    """A place in a queue. Each store has a kind of its own."""

    __slots__ = ()


class Verdict(NamedTuple):
    """A decision on all limits of a request: all of them take it, or nothing is charged.

    Attributes:
        outcome: :data:`GRANTED`, :data:`QUEUED` or :data:`REFUSED`.
        hold: What :meth:`Store.settle` is given; of what is granted.
        ticket: What :meth:`Store.take` is given when it is asked again; of what is queued.
        by: Index of the limit that refuses, or has the queue; -1: none.
        retry_ms: When that limit will have room for this request, if nobody else takes it; :data:`NEVER`.
        left: Of each limit, what may still be used.
        reset_ms: Of each limit, the time until all of it is there again.
    """

    outcome: int
    hold: Hold | None
    ticket: Ticket | None
    by: int
    retry_ms: int
    left: Sequence[int]
    reset_ms: Sequence[int]


class Store(Protocol):
    """Where what was used is kept.

    Every decision is one atomic step. What is granted counts in full from then on; :meth:`settle` gives back what was
    not needed. What is never settled, because its process died, stays charged; its places are given back when the
    process has not been heard of for a lease.
    """

    async def take(self, asks: Sequence[Ask], ticket: Ticket | None = None) -> Verdict:
        """Decide; with ``ticket`` for a request that waits already.

        Safe to cancel: nothing stays taken.
        """
        ...

    async def turn(self, ticket: Ticket) -> None:
        """Return when it is worth asking again. Safe to cancel."""
        ...

    def leave(self, ticket: Ticket) -> None:
        """Stop waiting."""
        ...

    def settle(self, hold: Hold, spent: Sequence[int | None]) -> None:
        """Say what was used of each amount: None is all of it. Places are given back. Does not wait."""
        ...

    async def start(self) -> None:
        """Read what lasts; be ready to decide."""
        ...

    async def aclose(self) -> None:
        """Write what lasts; decide nothing more."""
        ...
