"""One node bound to its service: conditions, attempts, fallbacks, lists, repetition, streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import random
from typing import Any, Final, TypeAlias

import msgspec

from weft.context import current
from weft.errors import DeadlineError, OverloadedError, RequestError, ServiceError
from weft.observe.journal import CANCELLED, FIRST, OK, SKIPPED, STARTED, Journal
from weft.observe.metrics import Metrics
from weft.plan import SKIPPED as ABSENT
from weft.plan import PlanNode
from weft.run.breaker import Breaker, Breakers
from weft.run.budget import RetryBudget
from weft.run.failures import Stopped, is_transient, may_be_answered_elsewhere
from weft.run.group import Group
from weft.run.limit import Limit, running_task
from weft.run.meters import NodeMeters
from weft.run.spending import is_model, spending, spending_stream
from weft.run.state import Run, fork
from weft.run.streams import Pump, Tap, close
from weft.transport.base import Call, StreamCall, Transport, WireStream, bound, bound_stream
from weft.transport.clock import Clock
from weft.types import Stream

BACKOFF_S: Final = 0.05
"""Before the first retry, on average; doubled for each further one. A connection is re-made in less."""

BACKOFF_MOST_S: Final = 2.0
"""The longest pause: whoever asks is waiting."""

RETRY_AFTER_MOST_S: Final = 30.0
"""A service that asks to be left alone for longer is not waited for: the caller is told, and knows better whether to wait."""


Where: TypeAlias = tuple[int, int, str, str, int, int, int]
"""Step, parent, node, service, attempt, iteration and start of an attempt."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the steps of one process share.

    Attributes:
        metrics: Where durations and outcomes go; None: nowhere.
        random: Between 0 and 1, for the jitter of pauses.
    """

    journal: Journal
    clock: Clock
    budget: RetryBudget
    breakers: Breakers
    metrics: Metrics | None = None
    random: Callable[[], float] = field(default=random)


@dataclass(frozen=True, slots=True)
class Target:
    """A service as one node calls it.

    Attributes:
        endpoint: Where it is, or the server that it talks to, for messages.
    """

    service: str
    component: str
    endpoint: str | None
    call: Call
    stream: StreamCall | None
    breaker: Breaker | None
    is_wire: bool


def target(transport: Transport, operation: str, tools: Tools, *, stream: bool) -> Target:
    """Look a service's operation up, once."""
    endpoint = transport.endpoint
    call = bound(transport, operation)
    stream_call = bound_stream(transport, operation) if stream else None
    if is_model(transport, operation):
        call = spending(call, transport.service)
        if stream_call is not None:
            stream_call = spending_stream(stream_call, transport.service)
    return Target(
        transport.service,
        transport.component,
        endpoint or getattr(transport, "backend", None),
        call,
        stream_call,
        tools.breakers.of(f"service '{transport.service}'") if endpoint is not None else None,
        bool(getattr(transport, "streams_wire", False)),
    )


class Step:
    """A node, ready to run.

    Attributes:
        plain: Whether running it is nothing but ``call(build(values))``: the runner does that itself.
        direct: Whether it is the output of a streamed reply, read by nobody else: its stream is handed up as it is.
        observers: Slots of the nodes that watch its stream.
        announced: Whether a node in the background waits for it.
        counts: Whether its responses (or chunks) can carry token counts.
        observe: Takes the node's seconds, when it ended well.
    """

    __slots__ = (
        "_fallback",
        "_meters",
        "_target",
        "_tools",
        "announced",
        "build",
        "call",
        "component",
        "counts",
        "direct",
        "name",
        "node",
        "observe",
        "observers",
        "plain",
        "service",
        "slot",
    )

    def __init__(
        self,
        node: PlanNode,
        tools: Tools,
        transport: Transport,
        fallback: Transport | None,
        *,
        megaservice: str,
        direct: bool = False,
        observers: tuple[int, ...] = (),
        announced: bool = False,
    ) -> None:
        operation = node.operation
        self.node, self.slot, self.name, self.build = node, node.slot, node.name, node.build
        self._tools = tools
        self._target = target(transport, operation.name, tools, stream=node.stream)
        self._fallback = (
            target(fallback, operation.name, tools, stream=node.stream) if fallback is not None else None
        )
        self.service, self.component = node.service, transport.component
        self.call = self._target.call
        self.direct, self.observers, self.announced = direct, observers, announced
        answer = operation.chunk if node.stream else operation.response
        self.counts = answer is not None and "usage" in getattr(answer, "__struct_fields__", ())
        self._meters = (
            NodeMeters(tools.metrics, megaservice, node.name, node.service)
            if tools.metrics is not None
            else None
        )
        self.observe = self._meters.seconds if self._meters is not None else None
        self.plain = (
            not node.stream
            and not announced
            and self._fallback is None
            and not node.retries
            and node.when is None
            and node.on_error == "fail"
            and node.each is None
            and node.repeat is None
            and node.timeout_s is None
            and not node.collects
            and node.observes is None
        )

    @property
    def breaker(self) -> Breaker | None:
        """The circuit to its service; None for one in this process."""
        return self._target.breaker

    @property
    def place(self) -> Stopped:
        """Where it is, for messages."""
        return Stopped(self.name, self.service, self.component, self._target.endpoint)

    @property
    def is_relayable(self) -> bool:
        """Whether its stream can go to whoever asked as the bytes that the service sends."""
        node = self.node
        return (
            self.direct
            and self._target.is_wire
            and not self.observers
            and not self.announced
            and self._fallback is None
            and not node.retries
            and node.timeout_s is None
            and node.on_error == "fail"
        )

    async def perform(self, run: Run) -> Any:
        """Run the node: its response, its live stream, or :data:`weft.plan.SKIPPED`.

        Raises:
            RequestError: It failed, and that is not to be skipped.
        """
        node = self.node
        try:
            if node.when is not None and not self._is_wanted(run):
                self._skipped(run, None)
                value: Any = ABSENT
            else:
                value = await self._value(run)
        except RequestError as error:
            if node.on_error == "fail":
                raise
            self._skipped(run, error.code)
            value = ABSENT
        if self.announced and not run.arrivals[self.slot].done():
            run.arrivals[self.slot].set_result(value)
        return value

    async def _value(self, run: Run) -> Any:
        node = self.node
        values = run.values
        if node.observes is not None and (tap := run.taps.get(self.slot)) is not None:
            values = list(values)
            values[node.observes] = Stream(tap)
        for slot in node.collects:
            values[slot] = await run.collected(values[slot], slot)
        if node.each is not None:
            return await self._each(run, values)
        request = self._built(run, values)
        if node.stream:
            return await self._open(run, request)
        if node.repeat is not None:
            return await self._repeat(run, request)
        return await self._ask(run, request)

    def _is_wanted(self, run: Run) -> bool:
        assert self.node.when is not None
        try:
            answer = self.node.when(run.values)
        except Exception as error:
            raise self._fault("its condition cannot be evaluated", error) from error
        return bool(answer) and answer is not ABSENT

    def _built(self, run: Run, values: list[Any]) -> Any:
        try:
            return self.build(values)
        except Exception as error:
            raise self._fault("its request cannot be made", error) from error

    def _fault(self, what: str, error: Exception) -> ServiceError:
        return ServiceError(
            f"{what}: {error}", node=self.name, service=self.service, component=self.component
        )

    def _skipped(self, run: Run, code: str | None) -> None:
        tools = self._tools
        now_ns = tools.clock.now_ns()
        step = tools.journal.new_step()
        tools.journal.record((run.id, step, run.step, SKIPPED, self.name, self.service, 0, 0, now_ns, code))
        if self._meters is not None:
            self._meters.count("skipped")

    # Asking.

    async def _ask(self, run: Run, request: Any, iteration: int = 0) -> Any:
        """One response, with retries and the fallback service."""
        retries = self.node.retries
        if retries:
            self._tools.budget.deposit()
        attempt = 0
        while True:
            try:
                return await self._once(run, self._target, request, attempt, iteration)
            except RequestError as error:
                pause_s = self._pause(run, error, attempt) if attempt < retries else None
                if pause_s is None:
                    if self._fallback is None or not may_be_answered_elsewhere(error):
                        raise
                    return await self._once(run, self._fallback, request, attempt + 1, iteration)
            await self._tools.clock.sleep(pause_s)
            attempt += 1

    def _pause(self, run: Run, error: RequestError, attempt: int) -> float | None:
        """Seconds to wait before asking again; None: it is not worth it, or not allowed."""
        if not is_transient(error):
            return None
        tools = self._tools
        # Full jitter: clients that failed together must not come back together.
        pause_s = min(BACKOFF_MOST_S, BACKOFF_S * 2.0 ** (attempt + 1)) * tools.random()
        if isinstance(error, OverloadedError):
            if error.retry_after_s > RETRY_AFTER_MOST_S:
                return None
            pause_s = max(pause_s, error.retry_after_s)
        if run.deadline_ns is not None and tools.clock.now_ns() + pause_s * 1e9 >= run.deadline_ns:
            return None
        return pause_s if tools.budget.withdraw() else None

    async def _once(self, run: Run, target: Target, request: Any, attempt: int, iteration: int) -> Any:
        """One attempt, written down."""
        tools, name, breaker = self._tools, self.name, target.breaker
        record, now = tools.journal.record, tools.clock.now_ns
        context = current.get()
        started_ns = now()
        self.check_time(run, started_ns)
        parent = run.step
        step = context.step = tools.journal.new_step()
        where = parent, name, target.service, attempt, iteration
        record((run.id, step, parent, STARTED, name, target.service, attempt, iteration, started_ns, None))
        admitted = False
        try:
            if breaker is not None:
                breaker.admit()
                admitted = True
            if self.node.timeout_s is None:
                response = await target.call(request)
            else:
                response = await self._limited(target.call, request, started_ns)
        except BaseException as error:
            failure = self.ended_with(run, error, (step, *where, started_ns), target)
            if breaker is not None and admitted:
                settle(breaker, failure)
            if failure is error:
                raise
            raise failure from failure.__cause__
        if breaker is not None:
            breaker.succeeded()
        ended_ns = now()
        record((run.id, step, parent, OK, name, target.service, attempt, iteration, ended_ns, None))
        if self.observe is not None:
            self.observe((ended_ns - started_ns) * 1e-9)
        if self.counts:
            run.tally.add(response.usage)
        return response

    def ended_with(
        self, run: Run, error: BaseException, where: Where, target: Target | None = None
    ) -> BaseException:
        """Write down that an attempt failed or was cancelled; what goes up."""
        target = target or self._target
        failure = run.failed(error, where, component=target.component, endpoint=target.endpoint)
        if self._meters is not None:
            self._meters.failed(failure)
        return failure

    def check_time(self, run: Run, now_ns: int) -> None:
        """Let nothing start past the deadline.

        Raises:
            DeadlineError: It has passed.
        """
        if run.deadline_ns is not None and now_ns >= run.deadline_ns:
            run.stopped.append(self.place)
            raise run.out_of_time()

    async def _limited(self, call: Call, request: Any, now_ns: int) -> Any:
        """``call`` under the node's own time limit, which it sees as its deadline."""
        timeout_s = self.node.timeout_s
        assert timeout_s is not None
        context = current.get()
        deadline = now_ns / 1e9 + timeout_s
        if context.deadline is not None:
            deadline = min(deadline, context.deadline)
        fork(context, deadline)
        try:
            with Limit(self._tools.clock, timeout_s):
                return await call(request)
        finally:
            current.set(context)

    # Lists and repetition.

    async def _each(self, run: Run, values: list[Any]) -> list[Any]:
        """One response for each element, in their order."""
        each = self.node.each
        assert each is not None
        try:
            items = each.items(values)
            elements = [] if items is ABSENT else list(items)
        except Exception as error:
            raise self._fault("what it maps over cannot be read", error) from error
        results: list[Any] = [None] * len(elements)
        todo = iter(enumerate(elements))

        async def work(group: Group) -> None:
            fork(current.get())
            try:
                for index, element in todo:
                    request = self._built(run, values)
                    setattr(request, each.field, element)
                    results[index] = await self._ask(run, request, index)
            except BaseException as error:  # noqa: BLE001 - handed to the waiting task, whatever it is
                group.fail(error)
            group.done()

        workers = min(each.at_once, len(elements))
        group = Group(workers)
        for _ in range(workers):
            group.spawn(work(group))
        await group.wait()
        return results

    async def _repeat(self, run: Run, request: Any) -> Any:
        """The response of the last run; each run's request has the response of the one before in it."""
        repeat = self.node.repeat
        assert repeat is not None
        for iteration in range(repeat.at_most):
            response = await self._ask(run, request, iteration)
            try:
                if repeat.until([response]):
                    return response
            except Exception as error:
                raise self._fault("the condition that ends it cannot be evaluated", error) from error
            request = msgspec.structs.replace(
                request, **{name: getattr(response, name) for name in repeat.carry}
            )
        if repeat.on_limit == "last":
            return response
        raise ServiceError(
            f"it ran {repeat.at_most} times, which is the most it may, and its condition did not become true",
            node=self.name,
            service=self.service,
            component=self.component,
        )

    # Streams.

    async def _open(self, run: Run, request: Any) -> Stream[Any]:
        """Call the node's stream. It is there when this returns; only ``on_error: skip`` waits for its first chunk."""
        taps = []
        for slot in self.observers:
            tap = run.taps[slot] = Tap()
            taps.append(tap)
        if self.direct and self.node.on_error == "fail":
            stream: Stream[Any] = Direct(self, run, request, taps)
        else:
            pump = Pump(self.chunks(run, request, taps))
            stream = Stream(pump)
            if self.node.on_error == "skip":
                try:
                    await pump.first()
                except BaseException:
                    await pump.aclose()
                    raise
        run.streams.append(stream)
        return stream

    async def chunks(self, run: Run, request: Any, taps: list[Tap]) -> AsyncIterator[Any]:
        """The chunks of one stream, written down and counted; retries and fallback before the first."""
        if self.node.retries:
            self._tools.budget.deposit()
        attempt, aim = 0, self._target
        while True:
            begun = False
            try:
                async for chunk in self._chunks_once(run, aim, request, attempt):
                    begun = True
                    for tap in taps:
                        tap.put(chunk)
                    yield chunk
            except GeneratorExit:
                _end(taps, ServiceError("the stream was closed before its end", node=self.name))
                raise
            except BaseException as error:
                pause_s = None
                if not begun and isinstance(error, RequestError) and aim is self._target:
                    pause_s = self._pause(run, error, attempt) if attempt < self.node.retries else None
                    if pause_s is None and self._fallback is not None and may_be_answered_elsewhere(error):
                        aim, pause_s = self._fallback, 0.0
                if pause_s is None:
                    _end(taps, error)
                    raise
            else:
                _end(taps, None)
                return
            if pause_s:
                await self._tools.clock.sleep(pause_s)
            attempt += 1

    async def _chunks_once(self, run: Run, aim: Target, request: Any, attempt: int) -> AsyncIterator[Any]:
        tools, name, breaker = self._tools, self.name, aim.breaker
        record, now = tools.journal.record, tools.clock.now_ns
        context = current.get()
        started_ns = now()
        self.check_time(run, started_ns)
        parent = run.step
        step = context.step = tools.journal.new_step()
        record((run.id, step, parent, STARTED, name, aim.service, attempt, 0, started_ns, None))
        chunks: AsyncIterator[Any] | None = None
        usage, begun, admitted = None, False, False
        limit = Limit(tools.clock, self.node.timeout_s) if self.node.timeout_s is not None else None
        try:
            if breaker is not None:
                breaker.admit()
                admitted = True
            assert aim.stream is not None
            chunks = aiter(aim.stream(request))
            async for chunk in chunks if limit is None else _limited_chunks(chunks, limit):
                if not begun:
                    begun = True
                    first_ns = now()
                    record((run.id, step, parent, FIRST, name, aim.service, attempt, 0, first_ns, None))
                    if self._meters is not None:
                        self._meters.first_seconds((first_ns - started_ns) * 1e-9)
                    if breaker is not None:
                        breaker.succeeded()
                if self.counts and chunk.usage is not None:
                    usage = chunk.usage
                yield chunk
        except GeneratorExit:
            record((run.id, step, parent, CANCELLED, name, aim.service, attempt, 0, now(), None))
            if breaker is not None and not begun:
                breaker.abandoned()
            raise
        except BaseException as error:
            where = step, parent, name, aim.service, attempt, 0, started_ns
            failure = self.ended_with(run, error, where, aim)
            if breaker is not None and admitted:
                settle(breaker, failure)
            if failure is error:
                raise
            raise failure from failure.__cause__
        finally:
            if limit is not None:
                limit.cancel()
            run.tally.add(usage)
            await close(chunks)
        ended_ns = now()
        record((run.id, step, parent, OK, name, aim.service, attempt, 0, ended_ns, None))
        if self.observe is not None:
            self.observe((ended_ns - started_ns) * 1e-9)

    # A stream that is relayed instead of read.

    def begin_wire(self, run: Run, request: Any) -> tuple[WireStream, Where]:
        """Call the service for its bytes; :meth:`end_wire` is told how that ended."""
        target, tools = self._target, self._tools
        started_ns = tools.clock.now_ns()
        self.check_time(run, started_ns)
        step = current.get().step = tools.journal.new_step()
        where = step, run.step, self.name, target.service, 0, 0, started_ns
        tools.journal.record((run.id, *where[:2], STARTED, *where[2:], None))
        if target.breaker is not None:
            try:
                target.breaker.admit()
            except RequestError as error:
                raise self.ended_with(run, error, where) from None
        assert target.stream is not None
        try:
            stream = target.stream(request)
        except BaseException as error:  # noqa: BLE001 - raised again, with its place
            # There may be nobody to ask (no service is registered): what was admitted must end here as well.
            failure = self.end_wire(run, where, error)
            assert failure is not None  # an error stays one
            raise failure from failure.__cause__
        assert isinstance(stream, WireStream)  # its transport said so
        return stream, where

    def end_wire(self, run: Run, where: Where, error: BaseException | None) -> BaseException | None:
        """Write down how it ended; the failure as the caller should see it."""
        breaker = self._target.breaker
        if error is not None:
            failure = self.ended_with(run, error, where)
            if breaker is not None:
                settle(breaker, failure)
            return failure
        if breaker is not None:
            breaker.succeeded()
        now_ns = self._tools.clock.now_ns()
        run.journal.record((run.id, *where[:2], OK, *where[2:6], now_ns, None))
        if self.observe is not None:
            self.observe((now_ns - where[6]) * 1e-9)
        return None


class Direct(Stream[Any]):
    """The stream of the output node, read by nobody but whoever asked: chunks, or the backend's own bytes."""

    __slots__ = ("request", "run", "step", "taps")

    def __init__(self, step: Step, run: Run, request: Any, taps: list[Tap]) -> None:
        super().__init__(step.chunks(run, request, taps))
        self.step, self.run, self.request, self.taps = step, run, request, taps


def settle(breaker: Breaker, failure: BaseException) -> None:
    """Tell a breaker how a request that it had admitted ended."""
    breaker.settle(failure)


def _end(taps: list[Tap], error: BaseException | None) -> None:
    for tap in taps:
        tap.end(error)


async def _limited_chunks(chunks: AsyncIterator[Any], limit: Limit) -> AsyncIterator[Any]:
    """The chunks, until the node's own time is up; only waiting for a chunk counts as being inside."""
    while True:
        if limit.fired:
            raise DeadlineError("the time allowed for this node was up")
        limit.enter(running_task())
        try:
            chunk = await anext(chunks)
        except StopAsyncIteration:
            limit.leave()
            return
        except asyncio.CancelledError as error:
            if limit.leave():
                raise DeadlineError("the time allowed for this node was up") from error
            raise
        except BaseException:
            limit.leave()
            raise
        limit.leave()
        yield chunk
