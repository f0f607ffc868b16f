"""Questions to a store in another process, many in one message: what is asked while one is under way goes with the next.

So a busy gateway sends few messages with many questions, an idle one sends each at once, and nobody waits for a timer.
The first message that fails, or takes longer than it may, fails every question at once, those that wait too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from weft.errors import UnavailableError

Q = TypeVar("Q")

MAX_BATCH: Final = 256
"""Questions in one message: more would keep the other side busy for milliseconds, and its other callers waiting."""


class StoreDownError(UnavailableError):
    """The store of the limits does not answer."""

    code = "limits_unavailable"


TOLD_WITHIN_S: Final = 0.005
"""What need not be answered waits so long for a question that it can go with: half of the messages are saved so."""

GRACE_S: Final = 0.01
"""After the time is up: a loop that was busy sees the timer and the answer at once, and the answer comes first."""


TIMEOUT_MOST: Final = 10
"""Times the least that a message may take."""


class _Patience:
    """A timeout that begins to count its last :data:`GRACE_S` when the loop gets to it."""

    __slots__ = ("_handle", "_timeout")

    def __init__(self, timeout_s: float) -> None:
        self._timeout = asyncio.timeout(None)
        self._handle = asyncio.get_running_loop().call_later(timeout_s, self._nearly)

    def _nearly(self) -> None:
        self._timeout.reschedule(asyncio.get_running_loop().time() + GRACE_S)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        await self._timeout.__aexit__(kind, error, trace)


class Timing:
    """How long an answer may take, by how long they took: TCP's estimate for the loss of a segment (RFC 6298).

    A store that has become slow with its machine is waited for a little longer, and one that has gone is not.

    Args:
        least_s: However fast it was.

    Attributes:
        timeout_s: For the next one.
    """

    __slots__ = ("_least_s", "_mean_s", "_spread_s", "timeout_s")

    def __init__(self, least_s: float) -> None:
        self._least_s = self.timeout_s = least_s
        self._mean_s = self._spread_s = 0.0

    def took(self, seconds: float) -> None:
        """An answer has come."""
        self._spread_s += 0.25 * (abs(seconds - self._mean_s) - self._spread_s)
        self._mean_s += 0.125 * (seconds - self._mean_s)
        self.timeout_s = min(
            TIMEOUT_MOST * self._least_s, max(self._least_s, self._mean_s + 4 * self._spread_s)
        )


class Batches(Generic[Q]):
    """Asks in batches.

    Args:
        send: Sends some questions; gives their answers in order.
        timeout_s: How long a message may take at least; see :class:`Timing`.
        on_down: Called when one has failed.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Q]], Awaitable[Sequence[Any]]],
        *,
        timeout_s: float,
        on_down: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        self._send, self._on_down = send, on_down
        self._timing = Timing(timeout_s)
        self._waiting: list[tuple[Q, asyncio.Future[Any]]] = []
        self._flight: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None

    async def ask(self, question: Q) -> Any:
        """The answer to one.

        Cancelled, it is asked all the same if it is under way already.

        Raises:
            StoreDownError: There is none.
        """
        return await self.asked(question)

    def asked(self, question: Q) -> asyncio.Future[Any]:
        """The answer to one, for several to wait for."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        self._start()
        return future

    def tell(self, question: Q) -> asyncio.Future[Any]:
        """Ask one for whose answer nobody waits: it goes with the next, within :data:`TOLD_WITHIN_S`.

        What it fails with is in the future.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((question, future))
        if self._later is None and self._flight is None:
            self._later = loop.call_later(TOLD_WITHIN_S, self._start)
        return future

    def _start(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._flight is None and self._waiting:
            self._flight = asyncio.get_running_loop().create_task(self._fly())

    async def _fly(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._ask(batch)
        finally:
            self._flight = None
            self._fail(StoreDownError("this gateway is stopping"), [])

    async def _ask(self, batch: list[tuple[Q, asyncio.Future[Any]]]) -> None:
        timing, begun = self._timing, monotonic()
        try:
            async with _Patience(timing.timeout_s):
                answers = await self._send([question for question, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody has an answer; it goes to all who asked
            self._on_down(error)
            failure = StoreDownError("the limits cannot be counted now: their store does not answer")
            failure.__cause__ = error
            self._fail(failure, batch)
            return
        timing.took(monotonic() - begun)
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    def _fail(self, failure: StoreDownError, batch: list[tuple[Q, asyncio.Future[Any]]]) -> None:
        waiting, self._waiting = self._waiting, []
        for _, future in [*batch, *waiting]:
            if not future.done():
                future.set_exception(failure)

    async def drain(self) -> None:
        """Say what there is to be said; return when nothing is under way."""
        self._start()
        while self._flight is not None:
            await asyncio.wait([self._flight])

    async def aclose(self) -> None:
        """Give up what is under way."""
        if self._later is not None:
            self._later.cancel()
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])
