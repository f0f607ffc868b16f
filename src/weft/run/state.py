"""One request on its way through a plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from weft.context import Context, Tally, current
from weft.errors import DeadlineError
from weft.observe.journal import CANCELLED, FAILED, Journal
from weft.plan import PENDING
from weft.run.failures import Stopped, as_failure, is_cancelled, out_of_time
from weft.run.limit import Limit
from weft.transport.clock import Clock
from weft.types import Stream

if TYPE_CHECKING:
    from weft.run.streams import Tap


Collects: TypeAlias = Sequence[Callable[[list[Any]], Any] | None]
"""For each slot what folds its chunks into a response; None where nothing streams."""


class Run:
    """What one request has come to: its values, its deadline, what it has opened.

    Attributes:
        id: The journal's id; shared with the megaservices nested in it.
        step: The journal's id of this run's own step, the parent of its nodes.
        values: The slots; 0 is the request.
        context: The request's; nodes that run together have copies of it.
        hands_up: Whether the token counts go to whoever counts around it, because the reply cannot carry them.
        deadline_ns: When the time is up; None: never.
        stopped: Nodes that were cancelled, in that order.
        streams: Live streams, in the order in which they were opened.
        collects: Slot to what folds its chunks into a response.
        taps: Copies of streams, by the slot of the node that observes.
        arrivals: What nodes in the background wait for, by slot.
        beside: What failed beside a streamed reply.
    """

    __slots__ = (
        "_outer",
        "_waiter",
        "arrivals",
        "beside",
        "clock",
        "collects",
        "context",
        "deadline_ns",
        "hands_up",
        "id",
        "journal",
        "limit",
        "parent",
        "started_ns",
        "step",
        "stopped",
        "streams",
        "tally",
        "taps",
        "values",
    )

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        context: Context,
        request: Any,
        collects: Collects,
        *,
        hands_up: bool = False,
    ) -> None:
        self.journal, self.clock, self.context = journal, clock, context
        self.collects = collects
        self.values: list[Any] = [PENDING] * len(collects)
        self.values[0] = request
        self.parent = context.step
        self._outer = context.step, context.run, context.deadline, context.tally
        self.id = context.run or journal.new_run()
        self.step = journal.new_step()
        self.started_ns = 0
        self.deadline_ns: int | None = None
        self.limit: Limit | None = None
        self.tally = Tally()
        self.hands_up = hands_up
        # Most runs have none of these: they are made when they are needed.
        self.stopped: list[Stopped] = []
        self.streams: list[Stream[Any]] = []
        self.taps: dict[int, Tap] = {}
        self.arrivals: dict[int, asyncio.Future[Any]] = {}
        self.beside: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def begin(self, timeout_s: float | None) -> None:
        """Work out the deadline: the request's own, or the megaservice's if that is sooner.

        Raises:
            DeadlineError: It has passed.
        """
        self.started_ns = now_ns = self.clock.now_ns()
        context = self.context
        deadline_ns = None if context.deadline is None else int(context.deadline * 1e9)
        own_ns = None
        if timeout_s is not None:
            own_ns = now_ns + int(timeout_s * 1e9)
            if deadline_ns is None or own_ns < deadline_ns:
                deadline_ns = own_ns
                context.deadline = own_ns / 1e9
        self.deadline_ns = deadline_ns
        if deadline_ns is None:
            return
        if deadline_ns <= now_ns:
            raise DeadlineError("the time allowed for the request was up before it began")
        if not context.step or deadline_ns == own_ns:  # else the run around this one has a timer for it
            self.limit = Limit(self.clock, (deadline_ns - now_ns) / 1e9)

    def restore(self) -> None:
        """Put the request's context back as it was before the run."""
        context = self.context
        context.step, context.run, context.deadline, context.tally = self._outer

    def arrived(self, slot: int, value: Any) -> None:
        """A node has its value."""
        self.values[slot] = value
        self.look()

    def look(self) -> None:
        """Have whoever waits for the output look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def arrival(self, slots: Sequence[int]) -> None:
        """Return when all these slots have their values.

        Raises:
            BaseException: What failed beside, before they had.
        """
        while self.beside is None and any(self.values[slot] is PENDING for slot in slots):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.beside is not None:
            raise self.beside

    def out_of_time(self) -> DeadlineError:
        """The error for a request whose time is up; names the nodes that were running."""
        return out_of_time(self.stopped, self.elapsed_s())

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return (self.clock.now_ns() - self.started_ns) / 1e9

    def failed(
        self,
        error: BaseException,
        started: tuple[int, int, str, str, int, int, int],
        *,
        component: str,
        endpoint: str | None,
    ) -> BaseException:
        """Write down how a step ended, and say what goes up.

        Args:
            error: What was raised.
            started: Step, parent, node, service, attempt, iteration and start of the step.
            component: The component's name.
            endpoint: Where it is, if it is elsewhere.

        Returns:
            A RequestError; or ``error`` itself, when it is this task that was cancelled.
        """
        step, parent, node, service, attempt, iteration, started_ns = started
        now_ns = self.clock.now_ns()
        if is_cancelled(error):
            self.stopped.append(Stopped(node, service, component, endpoint))
            self.journal.record(
                (self.id, step, parent, CANCELLED, node, service, attempt, iteration, now_ns, None)
            )
            return error
        failure = as_failure(
            error,
            node=node,
            service=service,
            component=component,
            endpoint=endpoint,
            elapsed_s=(now_ns - started_ns) / 1e9,
        )
        self.journal.record(
            (self.id, step, parent, FAILED, node, service, attempt, iteration, now_ns, failure.code)
        )
        return failure

    async def collected(self, value: Any, slot: int) -> Any:
        """The response that a live stream adds up to; any other value as it is."""
        if not isinstance(value, Stream):
            return value
        collect = self.collects[slot]
        assert collect is not None  # the plan collects only what can be
        return collect([chunk async for chunk in value])

    async def aclose(self) -> None:
        """Close what is still open, consumers before their producers; each, even when this is cancelled meanwhile."""
        streams, self.streams = self.streams, []
        failure: BaseException | None = None
        for stream in reversed(streams):
            try:
                await stream.aclose()
            except BaseException as error:  # noqa: BLE001 - the others are closed all the same; raised below
                failure = failure or error
        if failure is not None:
            raise failure


def fork(context: Context, deadline: float | None = None) -> Context:
    """A copy of the request's context for what runs beside other things, or under a deadline of its own; made current."""
    copy = copied(context, deadline)
    current.set(copy)
    return copy


def copied(context: Context, deadline: float | None = None) -> Context:
    """A copy of the request's context."""
    copy = Context.__new__(Context)
    copy.request_id = context.request_id
    copy.deadline = context.deadline if deadline is None else deadline
    copy.tenant = context.tenant
    copy.caller = context.caller
    copy.readers = context.readers
    copy.step = context.step
    copy.run = context.run
    copy.usage = context.usage
    copy.tally = context.tally
    copy.values = context.values
    copy.trace_flags = context.trace_flags
    # The trace's ids are made when they are first asked for: by the original, so that all copies have the same.
    copy._trace_id = context.trace_id  # noqa: SLF001 - a copy of one Context, made where it is hot
    copy._span_id = context.span_id  # noqa: SLF001 - as above
    return copy
