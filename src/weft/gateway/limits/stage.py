"""The stage of a route that has limits: take what the request may come to use, and settle when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from weft.errors import RateLimitError
from weft.gateway.limits.headers import LimitHeaders
from weft.gateway.limits.meters import Meter
from weft.gateway.limits.terms import GRANTED, NEVER, PLACES, QUEUED, Ask, Hold, Store, Verdict
from weft.gateway.passage import Passage, Proceed, Reply
from weft.types import Usage

QUEUE_S: Final = 60.0
"""Seconds that a request without a deadline waits for a place: clients of HTTP seldom wait longer for a first byte."""

Bound = Callable[[Passage], int]
"""The most tokens that a request may come to use."""

Cost = Callable[[Passage, Usage], int]
"""What tokens cost, in units of :data:`weft.gateway.limits.meters.COST_UNITS`."""


class LimitStage:
    """See :class:`weft.gateway.passage.Stage`.

    Args:
        meters: The route's limits.
        store: Where what was used is kept.
        bound: Of a request's tokens; None: nothing counts them.
    """

    def __init__(self, meters: Sequence[Meter], store: Store, *, bound: Bound | None = None) -> None:
        self._meters, self._store, self._bound = tuple(meters), store, bound
        self._headers = LimitHeaders(meters)

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`.

        Raises:
            RateLimitError: A limit is reached, or the queue before it is full.
        """
        asks = self._asks(passage)
        verdict = await self._store.take(asks)
        if verdict.outcome == QUEUED:
            verdict = await self._queued(passage, asks, verdict)
        for name, value in self._headers.of(verdict):
            passage.add_header(name, value)
        if verdict.outcome != GRANTED:
            raise self._refusal(verdict, asks)
        assert verdict.hold is not None  # what is granted has one
        passage.context.counting()
        passage.on_end(partial(self._ended, passage, verdict.hold))
        return await proceed(passage)

    def _asks(self, passage: Passage) -> list[Ask]:
        bound = self._bound(passage) if self._bound is not None else 0
        asks = []
        for meter in self._meters:
            kind = meter.kind
            amount = bound if kind == "tokens" else 1
            bucket = f"{meter.prefix}|{meter.subject(passage)}"
            asks.append(Ask(bucket, meter.most, amount, meter.span, meter.queue))
        return asks

    async def _queued(self, passage: Passage, asks: Sequence[Ask], verdict: Verdict) -> Verdict:
        store = self._store
        ticket = verdict.ticket
        assert ticket is not None  # what is queued has one
        left_s = passage.context.time_left_s()
        is_waiting = True
        try:
            async with asyncio.timeout(QUEUE_S if left_s is None else max(0.0, left_s)):
                while verdict.outcome == QUEUED:
                    await store.turn(ticket)
                    verdict = await store.take(asks, ticket)
            is_waiting = False
        except TimeoutError:
            words = self._meters[verdict.by].words
            raise RateLimitError(
                f"no place became free in time: the limit is {words}", retry_after_s=1
            ) from None
        finally:
            if is_waiting:
                store.leave(ticket)
        return verdict

    def _refusal(self, verdict: Verdict, asks: Sequence[Ask]) -> RateLimitError:
        meter, ask = self._meters[verdict.by], asks[verdict.by]
        if meter.span == PLACES:
            full = ", and the queue is full" if meter.queue else ""
            return RateLimitError(f"too many requests at once: the limit is {meter.words}{full}")
        if verdict.retry_ms == NEVER:
            return RateLimitError(
                f"this request may use {ask.amount:,} {meter.kind}, more than the limit ever has: {meter.words}",
                hint="shorten the messages, or ask for fewer max_tokens",
                retry_after_s=max(1, -(-verdict.reset_ms[verdict.by] // 1000)),
            )
        seconds = max(1, -(-verdict.retry_ms // 1000))
        return RateLimitError(
            f"the limit is reached: {meter.words}; try again in {_spoken(seconds)}", retry_after_s=seconds
        )

    def _ended(self, passage: Passage, hold: Hold, status: int) -> None:
        usage = passage.usage
        spent: list[int | None] = [
            usage.total_tokens if meter.kind == "tokens" and usage is not None else None
            for meter in self._meters
        ]
        self._store.settle(hold, spent)


def _spoken(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{-(-seconds // 60)} minutes"
    return f"{-(-seconds // 3600)} hours"
