"""Runs a plan. What it costs in process is measured in ``benchmarks/``: about a microsecond for a node."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from weft.context import Context, current
from weft.errors import DeadlineError, RequestError, ServiceError
from weft.observe.journal import CANCELLED, FAILED, OK, STARTED, Journal
from weft.observe.metrics import Metrics
from weft.plan import SKIPPED, Getter, Plan, PlanNode, Values, Variant
from weft.run.breaker import Breaker, Breakers
from weft.run.budget import RetryBudget
from weft.run.failures import is_cancelled
from weft.run.group import Group, start_task, stop_tasks
from weft.run.limit import Limit, running_task
from weft.run.program import Block, Program, schedule
from weft.run.state import Collects, Run, fork
from weft.run.step import Step, Tools, settle
from weft.run.stream import RunRelay, RunStream
from weft.transport.base import Call, Transport
from weft.transport.clock import Clock, SystemClock
from weft.types import Stream

BACKGROUND_S: Final = 300.0
"""Seconds that an observer may take: as long as the longest usual answer, for it must end some time."""


Line: TypeAlias = tuple[
    bool,
    str,
    str,
    Callable[[Values], Any],
    Breaker | None,
    Call,
    bool,
    Callable[[float], None] | None,
    int,
    "Step | Block[Step]",
]
"""Whether it is a plain step; its name, service, build, breaker, call, counts, observe and slot; the step, or a block of them.

Unpacked in one go: ten attributes of a step are a tenth of what a node costs.
"""


@dataclass(frozen=True, slots=True)
class Flow:
    """One variant, ready to run.

    Attributes:
        lines: The work of the program, a line each, as :meth:`Runner.walk` reads it.
        is_straight: Whether nothing streams in it and nothing runs in the background.
        counts: Whether the replies can carry the token counts of the whole graph.
        output_name: The node that makes the output, for messages.
    """

    program: Program[Step]
    lines: tuple[Line, ...]
    collects: Collects
    output: Getter
    output_slot: int | None
    output_needs: tuple[int, ...]
    output_collects: tuple[int, ...]
    counts: bool
    output_name: str | None
    is_relayable: bool
    is_straight: bool

    def read_output(self, values: Values) -> Any:
        """The reply, out of the slots.

        Raises:
            ServiceError: What makes it was skipped.
        """
        output = self.output(values)
        if output is SKIPPED:
            raise ServiceError(
                "there is no output: the node that makes it was skipped", node=self.output_name
            )
        return output


class Runner:
    """Runs one plan, any number of requests at a time.

    Args:
        plan: What to run.
        transports: The services by key.
        journal: Where steps are written down.
        budget: Retries of this process; shared by all its runners.
        breakers: Circuits of this process; shared by all its runners.
        metrics: Where durations and outcomes go; None: nowhere.
        clock: Time, for tests to replace.
        random: Between 0 and 1, for the jitter of pauses.
    """

    def __init__(
        self,
        plan: Plan,
        transports: Mapping[str, Transport],
        journal: Journal,
        *,
        budget: RetryBudget | None = None,
        breakers: Breakers | None = None,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        clock = clock or SystemClock()
        self.plan, self.journal = plan, journal
        self._clock = clock
        self._tools = Tools(
            journal, clock, budget or RetryBudget(), breakers or Breakers(clock), metrics, random
        )
        self._transports = transports
        self._whole = self._flow(plan.whole)
        self._streamed = self._flow(plan.streamed) if plan.streamed is not None else None
        self._background: set[asyncio.Task[object]] = set()

    # Putting it together, once.

    def rebind(self, plan: Plan) -> None:
        """Run ``plan``, and what the transports call now, from the next request on; requests under way end as they began."""
        whole = self._flow(plan.whole)
        streamed = self._flow(plan.streamed) if plan.streamed is not None else None
        self.plan, self._whole, self._streamed = plan, whole, streamed

    def _flow(self, variant: Variant) -> Flow:
        watched = _observed(variant)
        program = schedule(variant, lambda node: self._step(node, variant, watched))
        announced = {slot for step in program.background for slot in step.node.needs}
        if announced:
            program = schedule(variant, lambda node: self._step(node, variant, watched, announced))
        collects: list[Any] = [None] * (len(variant.nodes) + 1)
        for node in variant.nodes:
            collects[node.slot] = node.operation.collect
        operation = self.plan.operation
        answer = operation.chunk if variant.stream else operation.response
        by_slot = {node.slot: node for node in variant.nodes}
        output_node = by_slot.get(variant.output_slot or 0)
        only = program.work[-1] if program.work else None
        return Flow(
            program=program,
            lines=tuple(_line(item) for item in program.work),
            collects=collects,
            output=variant.output,
            output_slot=variant.output_slot,
            output_needs=variant.output_needs or ((variant.output_slot,) if variant.output_slot else ()),
            output_collects=variant.output_collects,
            counts=_carries_usage(answer, is_chunk=variant.stream),
            output_name=output_node.name if output_node is not None else None,
            is_relayable=isinstance(only, Step)
            and only.slot == variant.output_slot
            and only.is_relayable
            and not program.aside
            and not program.background
            and sum(node.stream for node in variant.nodes) == 1,
            is_straight=not program.background
            and not variant.output_collects
            and not any(node.stream for node in variant.nodes),
        )

    def _step(
        self,
        node: PlanNode,
        variant: Variant,
        watched: Mapping[int, tuple[int, ...]],
        announced: set[int] = frozenset(),  # type: ignore[assignment]  # never changed
    ) -> Step:
        return Step(
            node,
            self._tools,
            self._transports[node.service],
            self._transports[node.fallback] if node.fallback is not None else None,
            megaservice=self.plan.name,
            direct=variant.stream and node.stream and node.slot == variant.output_slot,
            observers=watched.get(node.slot, ()) if node.stream else (),
            announced=node.slot in announced,
        )

    # Whole replies.

    async def invoke(self, request: Any) -> Any:
        """Answer a request whole.

        Cancelling it cancels every node, and returns when all have ended.

        Raises:
            RequestError: The first failure.
        """
        context = current.get(None)
        own = None
        if context is None:
            context = Context()
            own = current.set(context)
        flow = self._whole
        failure: BaseException | None = None
        run = self.begin(context, flow, request)
        limit = run.limit
        if limit is not None:
            limit.enter(running_task())
        try:
            if flow.is_straight:
                await self.walk(flow, run, context)
                response = flow.read_output(run.values)
            else:
                response = await self._respond(flow, run)
        except BaseException as error:
            failure = error
            if limit is not None and limit.leave() and isinstance(error, asyncio.CancelledError):
                failure = run.out_of_time()
                raise failure from error
            raise
        else:
            if limit is not None:
                limit.leave()
        finally:
            self.end(run, failure)
            if own is not None:
                current.reset(own)
        total = run.tally.total
        if total is not None and flow.counts and response.usage is not total:
            response = msgspec.structs.replace(response, usage=total)
        return response

    async def _respond(self, flow: Flow, run: Run) -> Any:
        values = run.values
        tasks = self.launch(flow, run) if flow.program.background else None
        try:
            await self.walk(flow, run, run.context)
            for slot in flow.output_collects:
                values[slot] = await run.collected(values[slot], slot)
            response = flow.read_output(values)
            if isinstance(response, Stream) and flow.output_slot is not None:
                response = await run.collected(response, flow.output_slot)
        except BaseException:
            if tasks:
                await stop_tasks(tasks)
            raise
        finally:
            if run.streams:
                await run.aclose()
        return response

    # Streamed replies.

    def stream(self, request: Any) -> AsyncIterator[Any]:
        """Answer a request in chunks.

        Returns:
            The chunks, with ``aclose()``; a :class:`weft.transport.base.WireStream` where a service's own bytes may be
            relayed.

        Raises:
            ServiceError: The plan has no streamed variant.
        """
        flow = self._streamed
        if flow is None:
            raise ServiceError(f"megaservice '{self.plan.name}' does not stream")
        return RunRelay(self, flow, request) if flow.is_relayable else RunStream(self, flow, request)

    async def aclose(self) -> None:
        """End what observers still do in the background; before the services are closed."""
        await stop_tasks(list(self._background))

    # The parts of a run, for both kinds.

    def begin(self, context: Context, flow: Flow, request: Any) -> Run:
        """Start a run.

        Raises:
            DeadlineError: There is no time left.
        """
        run = Run(self.journal, self._clock, context, request, flow.collects, hands_up=not flow.counts)
        try:
            run.begin(self.plan.timeout_s)
        except DeadlineError as error:
            self.end(run, error)
            raise
        name, request_id = self.plan.name, context.request_id
        run.journal.record(
            (run.id, run.step, run.parent, STARTED, name, "", 0, 0, run.started_ns, request_id)
        )
        context.run, context.step, context.tally = run.id, run.step, run.tally
        return run

    def end(self, run: Run, failure: BaseException | None) -> None:
        """Write down how a run ended, and put its context back as it was before it."""
        run.restore()
        if run.limit is not None:
            run.limit.cancel()
        total = run.tally.total
        if total is not None:
            if run.hands_up:
                run.context.counting().merge(run.tally)
            run.context.usage = total.prompt_tokens, total.completion_tokens
        status, detail = OK, None
        if failure is not None:
            status = CANCELLED if is_cancelled(failure) else FAILED
            detail = failure.code if isinstance(failure, RequestError) else None
        now_ns = self._clock.now_ns()
        self.journal.record((run.id, run.step, run.parent, status, self.plan.name, "", 0, 0, now_ns, detail))

    async def walk(self, flow: Flow, run: Run, context: Context) -> None:
        """Run every node but those in the background; return when all have their values."""
        values, journal = run.values, self.journal
        record, new_step, now, deadline_ns = (
            journal.record,
            journal.new_step,
            self._clock.now_ns,
            run.deadline_ns,
        )
        run_id, parent = run.id, run.step
        now_ns = run.started_ns
        for is_plain, name, service, build, breaker, call, counts, observe, slot, step in flow.lines:
            if not is_plain:
                if isinstance(step, Block):
                    await self._together(step, run)
                else:
                    run.arrived(slot, await step.perform(run))
                now_ns = now()
                continue
            # What Step.perform does for a node without any of its options, without its calls.
            if deadline_ns is not None and now_ns >= deadline_ns:
                assert isinstance(step, Step)  # a block is never plain
                run.stopped.append(step.place)
                raise run.out_of_time()
            number = context.step = new_step()
            record((run_id, number, parent, STARTED, name, service, 0, 0, now_ns, None))
            admitted_by = None
            try:
                request = build(values)
                if breaker is not None:
                    if not breaker.is_calm:
                        breaker.admit()
                    admitted_by = breaker
                response = await call(request)
            except BaseException as error:
                if admitted_by is not None:
                    settle(admitted_by, error)
                assert isinstance(step, Step)
                failure = step.ended_with(run, error, (number, parent, name, service, 0, 0, now_ns))
                if failure is error:
                    raise
                raise failure from failure.__cause__
            if breaker is not None and not breaker.is_calm:
                breaker.succeeded()
            started_ns, now_ns = now_ns, now()
            record((run_id, number, parent, OK, name, service, 0, 0, now_ns, None))
            if observe is not None:
                observe((now_ns - started_ns) * 1e-9)
            if counts:
                run.tally.add(response.usage)
            values[slot] = response

    async def _together(self, block: Block[Step], run: Run) -> None:
        """Run nodes each as soon as what it needs is there."""
        group = Group(len(block.steps))
        waits = dict(block.waits)
        for step in block.starts:
            if group.error is None:
                group.spawn(self._strand(block, group, waits, run, step))
        await group.wait()

    async def _strand(
        self, block: Block[Step], group: Group, waits: dict[int, int], run: Run, step: Step
    ) -> None:
        """Run a node, and then what it was the last to hold back: one of these here, the others in tasks."""
        try:
            fork(run.context)
            while True:
                run.arrived(step.slot, await step.perform(run))
                following: Step | None = None
                for other in block.next.get(step.slot, ()):
                    waits[other.slot] -= 1
                    if waits[other.slot]:
                        continue
                    if following is None:
                        following = other
                    else:
                        group.spawn(self._strand(block, group, waits, run, other))
                group.done()
                if following is None:
                    return
                step = following
        except BaseException as error:  # noqa: BLE001 - handed to the waiting task, whatever it is
            group.fail(error)

    async def walk_aside(self, flow: Flow, run: Run) -> None:
        """Walk the graph beside a streamed reply, which begins when its output is there."""
        try:
            await self.walk(flow, run, fork(run.context))
        except BaseException as error:  # noqa: BLE001 - handed to whoever reads the stream, whatever it is
            run.beside = error
        run.look()

    def launch(self, flow: Flow, run: Run) -> list[asyncio.Task[object]]:
        """Start the nodes that only observe; what becomes of them is written down, and nobody waits for it."""
        loop = asyncio.get_running_loop()
        for step in flow.program.background:
            for slot in step.node.needs:
                if slot and slot not in run.arrivals:
                    run.arrivals[slot] = loop.create_future()
        tasks = [start_task(self._observe(run, step)) for step in flow.program.background]
        self._background.update(tasks)
        for task in tasks:
            task.add_done_callback(self._background.discard)
        return tasks

    async def _observe(self, run: Run, step: Step) -> None:
        context = fork(run.context)
        context.run = run.id
        for slot in step.node.needs:
            if slot:
                await asyncio.wait([run.arrivals[slot]])
        try:
            with Limit(self._clock, step.node.timeout_s or BACKGROUND_S):
                await step.perform(run)
        except RequestError:
            return  # it is in the journal and in the metrics; the request must not know


def _line(item: Step | Block[Step]) -> Line:
    if isinstance(item, Block):
        first = item.steps[0]
        return (False, "", "", first.build, None, first.call, False, None, 0, item)
    step = item
    return (
        step.plain,
        step.name,
        step.service,
        step.build,
        step.breaker,
        step.call,
        step.counts,
        step.observe,
        step.slot,
        step,
    )


def _carries_usage(answer: Any, *, is_chunk: bool) -> bool:
    """Whether a response can carry the sum of the graph; a chunk only if one can be sent that has nothing else in it."""
    fields = getattr(answer, "__struct_fields__", ())
    return "usage" in fields and ("choices" in fields or not is_chunk)


def _observed(variant: Variant) -> dict[int, tuple[int, ...]]:
    """Slot to the slots of the nodes that observe it."""
    found: dict[int, tuple[int, ...]] = {}
    for node in variant.nodes:
        if node.observes is not None:
            found[node.observes] = (*found.get(node.observes, ()), node.slot)
    return found
