"""Asking a service that has several addresses: again elsewhere where that can help, and twice where waiting is worse.

Never after the first byte of a reply, never for a request that may not be sent twice (unless nothing was done with it),
and always out of one budget for the process: a hedge is a retry that does not wait for the failure.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    OverloadedError,
    RequestError,
    UnavailableError,
    UnreachableError,
)
from weft.transport.clock import Clock
from weft.transport.replicas import Replica, Replicas

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

BACKOFF_S: Final = 0.05
"""Before an address is asked a second time, on average; doubled each time. Another address is asked at once."""

BACKOFF_MOST_S: Final = 1.0
"""The longest pause."""


class Budget(Protocol):
    """How many retries there may be; see :class:`weft.run.budget.RetryBudget`."""

    def deposit(self) -> None:
        """A first attempt was made."""
        ...

    def withdraw(self) -> bool:
        """Ask for one retry."""
        ...


class Asking(Protocol[T_co]):
    """What is asked, of one address at a time."""

    async def __call__(self, replica: Replica) -> T_co:
        """Ask one; ends the work there when it is cancelled."""
        ...


def nothing_wrong(result: object) -> RequestError | None:
    """For results that come only when all is well."""
    return None


def keep(result: object) -> None:
    """For results that hold nothing."""


Tried: TypeAlias = tuple[T, Replica, RequestError | None]
"""A result, who gave it, and what is wrong with it."""


class Attempts(Generic[T]):
    """Asks the addresses of one service.

    Args:
        replicas: The addresses, and how they are used.
        budget: Of the process.
        clock: Time.
        judge: What a result means that is none: asked elsewhere as if it had been raised, and handed up if it is the last.
        discard: Ends a result that nobody wants.
        random: Between 0 and 1, for the jitter of pauses.

    Attributes:
        budget: Of the process.
        hedges: Whether a second address is asked beside a slow one.
        retried, hedged: How often, since the start.
    """

    def __init__(
        self,
        replicas: Replicas,
        budget: Budget,
        clock: Clock,
        *,
        judge: Callable[[T], RequestError | None] = nothing_wrong,
        discard: Callable[[T], None] = keep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._replicas, self.budget, self._clock = replicas, budget, clock
        self._judge, self._discard, self._random = judge, discard, random
        spec = replicas.spec
        self._most, self._hedge_after_s = spec.attempts, spec.hedge_after_s
        self.hedges = spec.hedge_after_s is not None and len(replicas.all) > 1
        self.retried = self.hedged = 0

    async def ask(
        self, send: Asking[T], *, key: bytes = b"", repeatable: bool = False, deadline_ns: int | None = None
    ) -> tuple[T, Replica]:
        """Ask one address, and others if that fails.

        Args:
            send: Asks one.
            key: See :meth:`weft.transport.replicas.Replicas.choose`.
            repeatable: Whether asking twice is the same as asking once.
            deadline_ns: When nobody waits any more.

        Returns:
            The result and who gave it, to whom it is still counted as under way.

        Raises: what the last one raised.
        """
        self.budget.deposit()
        tried: list[Replica] = []
        hedges = repeatable and self.hedges
        try:
            if hedges:
                outcome = await self._twice(send, key, tried)
            else:
                outcome = await self._once(send, key, tried)
        except RequestError as error:
            return await self.again(
                send, error, tried, key=key, repeatable=repeatable, deadline_ns=deadline_ns
            )
        if outcome[2] is None:
            return outcome[0], outcome[1]
        return await self.again(send, outcome, tried, key=key, repeatable=repeatable, deadline_ns=deadline_ns)

    async def again(
        self,
        send: Asking[T],
        failed: RequestError | Tried[T],
        tried: list[Replica],
        *,
        key: bytes = b"",
        repeatable: bool = False,
        deadline_ns: int | None = None,
    ) -> tuple[T, Replica]:
        """What :meth:`ask` does after a first failure; for those who ask the first time themselves.

        Args:
            send: Asks one.
            failed: What was raised, and has been counted; or what came, still counted as under way.
            tried: Who was asked.
            key: As there.
            repeatable: As there.
            deadline_ns: As there.
        """
        attempt = 1
        while True:
            fault = failed if isinstance(failed, RequestError) else failed[2]
            if fault is None:
                return failed[0], failed[1]  # type: ignore[index]  # it is no error, or it were its own fault
            pause_s = self._pause(fault, attempt, tried, repeatable=repeatable, deadline_ns=deadline_ns)
            if pause_s is None:
                if isinstance(failed, RequestError):
                    raise failed
                return failed[0], failed[1]
            if not isinstance(failed, RequestError):
                self._discard(failed[0])
                self._replicas.failed(failed[1], fault)
            if pause_s:
                await self._clock.sleep(pause_s)
            self.retried += 1
            attempt += 1
            try:
                if repeatable and self.hedges:
                    failed = await self._twice(send, key, tried)
                else:
                    failed = await self._once(send, key, tried)
            except RequestError as error:
                failed = error

    async def _once(self, send: Asking[T], key: bytes, tried: list[Replica]) -> Tried[T]:
        replica = self._replicas.choose(key, tried)
        tried.append(replica)
        measures = self._replicas.measures
        started_ns = self._clock.now_ns() if measures else 0
        try:
            result = await send(replica)
        except BaseException as error:
            self._replicas.failed(replica, error)
            raise
        fault = self._judge(result)
        if fault is None and measures:
            self._replicas.measured(replica, (self._clock.now_ns() - started_ns) * 1e-9)
        return result, replica, fault

    async def _twice(self, send: Asking[T], key: bytes, tried: list[Replica]) -> Tried[T]:
        """As :meth:`_once`; if it takes long, another address is asked beside it, and the first good result counts."""
        under_way: set[asyncio.Future[Tried[T]]] = {asyncio.ensure_future(self._once(send, key, tried))}
        failed: list[asyncio.Future[Tried[T]]] = []
        try:
            done, under_way = await self._first(under_way, self._hedge_after_s)
            if not done and len(tried) < len(self._replicas.all) and self.budget.withdraw():
                self.hedged += 1
                under_way.add(asyncio.ensure_future(self._once(send, key, tried)))
            while True:
                good = next(
                    (each for each in done if each.exception() is None and not each.result()[2]), None
                )
                failed += done - {good}
                if good is not None or not under_way:
                    return (good or failed.pop()).result()
                done, under_way = await self._first(under_way, None)
        finally:
            for each in under_way:
                each.cancel()
            if under_way:
                await asyncio.wait(under_way)
            self._settle([*failed, *under_way])

    def _settle(self, lost: list[asyncio.Future[Tried[T]]]) -> None:
        """What lost a race: a result is given up, and an error has been counted already."""
        for each in lost:
            if each.cancelled() or each.exception() is not None:
                continue
            result, replica, fault = each.result()
            self._discard(result)
            self._replicas.failed(replica, fault if fault is not None else asyncio.CancelledError())

    async def _first(
        self, under_way: set[asyncio.Future[Tried[T]]], timeout_s: float | None
    ) -> tuple[set[asyncio.Future[Tried[T]]], set[asyncio.Future[Tried[T]]]]:
        """Wait for the first of them, or so long: those that are done, and those that are not."""
        waiting: set[asyncio.Future[Any]] = {*under_way}
        if timeout_s is None:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        else:
            enough = asyncio.ensure_future(self._clock.sleep(timeout_s))
            try:
                await asyncio.wait({*waiting, enough}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                enough.cancel()
        done = {each for each in under_way if each.done()}
        return done, under_way - done

    def _pause(
        self,
        fault: RequestError,
        attempt: int,
        tried: list[Replica],
        *,
        repeatable: bool,
        deadline_ns: int | None,
    ) -> float | None:
        """Seconds until it is asked again; None: it is not."""
        if attempt >= self._most or not may_help(fault, repeatable=repeatable):
            return None
        pause_s = 0.0
        if len(tried) >= len(self._replicas.all):
            tried.clear()
            if isinstance(fault, OverloadedError):
                return None  # all of them are busy: whoever asks is told when to come back
            pause_s = min(BACKOFF_MOST_S, BACKOFF_S * 2.0**attempt) * self._random()
        if deadline_ns is not None and self._clock.now_ns() + pause_s * 1e9 >= deadline_ns:
            return None
        return pause_s if self.budget.withdraw() else None


def may_help(fault: RequestError, *, repeatable: bool) -> bool:
    """Whether asking again can help: it must be the server's trouble, and safe.

    Without harm to a request that may not be sent twice, where no connection was made or the server took nothing on.
    """
    if isinstance(fault, UnreachableError):
        return repeatable or not fault.was_sent
    if isinstance(fault, BackendStatusError):
        return fault.backend_status == 503 or (repeatable and fault.backend_status in (502, 504))
    if isinstance(fault, OverloadedError | UnavailableError):
        return True
    return repeatable and isinstance(fault, BackendReplyError)
