"""The stage of a route that has limits: take what the request may come to use, and settle when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from weft.errors import RateLimitError
from weft.gateway.limits.expected import Expected, Expecting
from weft.gateway.limits.headers import LimitHeaders
from weft.gateway.limits.meters import Meter
from weft.gateway.limits.terms import GRANTED, NEVER, PLACES, QUEUED, Ask, Hold, Store, Verdict
from weft.gateway.limits.wire import Wire, asking
from weft.gateway.passage import Passage, Proceed, Reply

QUEUE_S: Final = 60.0
"""Seconds that a request without a deadline waits for a place: clients of HTTP seldom wait longer for a first byte."""


class LimitStage:
    """See :class:`weft.gateway.passage.Stage`.

    Args:
        meters: The route's limits.
        store: Where what was used is kept.
        expecting: Knows what a request may use; None: no limit counts that.
        refused: Told of each refusal by which limit it was; one for each.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        store: Store,
        *,
        expecting: Expecting | None = None,
        refused: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._meters, self._store, self._expecting = tuple(meters), store, expecting
        self._refused = refused
        self._headers = LimitHeaders(meters)

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`.

        Raises:
            RateLimitError: A limit is reached, or the queue before it is full.
        """
        expected = self._expecting(passage) if self._expecting is not None else None
        asks = self._asks(passage, expected)
        verdict = await self._store.take(asks)
        if verdict.outcome == QUEUED:
            verdict = await self._queued(passage, asks, verdict)
        passage.add_headers(self._headers.of(verdict))
        if verdict.outcome != GRANTED:
            if self._refused:
                self._refused[verdict.by]()
            raise self._refusal(verdict, asks)
        assert verdict.hold is not None  # what is granted has one
        if expected is None:
            passage.on_end(partial(self._left, verdict.hold))
            return await proceed(passage)
        passage.context.counting()
        wire = asking(passage) if passage.target is None else None
        passage.on_end(partial(self._used, passage, verdict.hold, expected, wire))
        try:
            reply = await proceed(passage)
            return reply if wire is None else wire.watch(reply)
        except BaseException as error:
            expected.refused(error)
            raise

    def _asks(self, passage: Passage, expected: Expected | None) -> list[Ask]:
        asks = []
        for meter in self._meters:
            amount = 1
            if expected is not None:
                if meter.kind == "tokens":
                    amount = expected.tokens
                elif meter.kind == "cost":
                    amount = expected.cost
            bucket = f"{meter.prefix}|{meter.subject(passage)}"
            asks.append(Ask(bucket, meter.most, amount, meter.span, meter.queue))
        return asks

    def _left(self, hold: Hold, status: int) -> None:
        self._store.settle(hold, [None] * len(self._meters))

    def _used(self, passage: Passage, hold: Hold, expected: Expected, wire: Wire | None, status: int) -> None:
        # What a stream has said before it broke off is not all that it cost.
        usage = passage.usage if wire is None or wire.is_whole else None
        used = expected.used(usage, status)
        spent = [
            used.tokens if meter.kind == "tokens" else used.cost if meter.kind == "cost" else None
            for meter in self._meters
        ]
        self._store.settle(hold, spent)

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
                    ticket = verdict.ticket or ticket
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


def _spoken(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{-(-seconds // 60)} minutes"
    return f"{-(-seconds // 3600)} hours"
