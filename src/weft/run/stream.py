"""A streamed reply: the chunks of a plan's output, or the bytes of the service that makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import msgspec

from weft.context import Context, current
from weft.errors import ServiceError
from weft.observe.journal import FIRST
from weft.plan import PENDING
from weft.run.group import start_task, stop_tasks
from weft.run.limit import running_task
from weft.run.state import Run
from weft.run.step import Direct
from weft.transport.base import WireStream
from weft.types import Stream, Usage

if TYPE_CHECKING:
    from weft.run.runner import Flow, Runner

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


class RunStream:
    """The chunks of one streamed reply. Nothing happens before the first is asked for.

    One reader. Ending early: :meth:`aclose`, which returns when every node, local or remote, has ended.
    """

    def __init__(self, runner: Runner, flow: Flow, request: Any) -> None:
        self._runner, self._flow, self._request = runner, flow, request
        self._run: Run | None = None
        self._own: Context | None = None
        self._walker: asyncio.Task[object] | None = None
        self._output: Any = PENDING
        self._chunks: AsyncIterator[Any] | None = None
        self._failure: BaseException | None = None
        self._observers: list[asyncio.Task[object]] = []
        self._is_done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._is_done:
            raise StopAsyncIteration
        chunks = self._chunks
        if chunks is None:
            chunks = self._chunks = self._reply()
        return await self._inside(anext(chunks))

    async def aclose(self) -> None:
        """End the reply now; may be called again."""
        if self._is_done:
            return
        if self._chunks is not None:
            await self._chunks.aclose()  # type: ignore[attr-defined]  # it is an async generator
        await self._end(GeneratorExit())

    # How it runs.

    async def _inside(self, work: Awaitable[T]) -> T:
        """Await a part of the run: under its deadline, in its context."""
        run = self._run
        if run is None:
            try:
                run = self._begin()
            except BaseException:
                self._is_done = True
                _drop(work)
                raise
        own = current.set(self._own) if self._own is not None else None
        try:
            return await self._in_time(run, work)
        finally:
            if own is not None:
                current.reset(own)

    async def _in_time(self, run: Run, work: Awaitable[T]) -> T:
        limit = run.limit
        if limit is None:
            return await work
        if limit.fired:  # the time was up while the reader did something else
            _drop(work)
            await self._fail(run.out_of_time())
        limit.enter(running_task())
        try:
            result = await work
        except asyncio.CancelledError as error:
            if limit.leave():
                await self._fail(run.out_of_time(), error)
            raise
        except BaseException:
            limit.leave()
            raise
        limit.leave()
        return result

    async def _fail(self, failure: Exception, cause: BaseException | None = None) -> NoReturn:
        self._failure = failure
        await self.aclose()
        raise failure from cause

    def _begin(self) -> Run:
        context = current.get(None)
        if context is None:
            context = self._own = Context()
        self._run = self._runner.begin(context, self._flow, self._request)
        return self._run

    async def _prepare(self) -> Any:
        """Walk the graph until the output is there: a live stream."""
        assert self._run is not None
        run, flow, runner = self._run, self._flow, self._runner
        if flow.program.background:
            self._observers = runner.launch(flow, run)
        if flow.program.aside:
            self._walker = start_task(runner.walk_aside(flow, run))
            await run.arrival(flow.output_needs)
        else:
            await runner.walk(flow, run, run.context)
        for slot in flow.output_collects:
            run.values[slot] = await run.collected(run.values[slot], slot)
        output = self._output = flow.read_output(run.values)
        return output

    async def _reply(self) -> AsyncIterator[Any]:
        failure: BaseException | None = None
        try:
            output = self._output if self._output is not PENDING else await self._prepare()
            async for chunk in self._counted(output):
                yield chunk
            if self._walker is not None:
                await self._finished()
        except BaseException as error:
            failure = error
            raise
        finally:
            await self._end(failure)

    async def _finished(self) -> None:
        """Wait for what runs beside the stream; its failure is the stream's."""
        assert self._walker is not None
        await asyncio.wait([self._walker])
        assert self._run is not None
        if self._run.beside is not None:
            raise self._run.beside

    async def _counted(self, output: Any) -> AsyncIterator[Any]:
        """The chunks, with the token counts of the whole graph in the last one."""
        assert self._run is not None
        if not isinstance(output, Stream):
            raise ServiceError("the output is no stream", node=self._flow.output_name)
        if not self._flow.counts:
            async for chunk in output:
                yield chunk
            return
        last: Any = None
        async for chunk in output:
            last = chunk
            if chunk.usage is None:
                yield chunk
            elif chunk.choices:
                yield msgspec.structs.replace(chunk, usage=None)
        total = self._run.tally.total
        if last is not None and total is not None:
            yield msgspec.structs.replace(last, choices=[], usage=total)

    async def _end(self, failure: BaseException | None) -> None:
        """Close everything and write down how it ended; once."""
        if self._is_done:
            return
        self._is_done = True
        run = self._run
        if run is None:
            return
        failure = self._failure or failure
        if isinstance(failure, asyncio.CancelledError) and run.limit is not None and run.limit.fired:
            failure = run.out_of_time()
        beside = [self._walker] if self._walker is not None else []
        try:
            try:
                await run.aclose()
            finally:
                await stop_tasks([*beside, *self._observers] if failure is not None else beside)
        finally:
            self._runner.end(run, failure)


def _drop(work: Awaitable[object]) -> None:
    """Work that is not going to be awaited."""
    if asyncio.iscoroutine(work):
        work.close()


class RunRelay(RunStream, WireStream):
    """A streamed reply whose output is a service's own stream: chunks for whoever reads, bytes for whoever relays.

    The bytes go up untouched unless nodes before the last have used tokens, which the reply's usage must have in it: then
    the events are written anew.
    """

    def __init__(self, runner: Runner, flow: Flow, request: Any) -> None:
        super().__init__(runner, flow, request)
        self._wire: WireStream | None = None
        self._anew: AsyncIterator[bytes] | None = None
        self._where: tuple[int, int, str, str, int, int, int] | None = None
        self._has_begun = False
        self._drops_usage = False

    async def open(self) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._wire is not None or self._anew is not None:
            return
        try:
            output = await self._inside(self._prepare())
            assert self._run is not None
            if self._run.tally.total is not None or not isinstance(output, Direct):
                self._anew = self._events()
                return
            await self._inside(self._open(output))
        except BaseException as error:
            await self._end(error)
            raise

    async def _open(self, output: Direct) -> None:
        assert self._run is not None
        run, step = self._run, output.step
        wire, self._where = step.begin_wire(run, output.request)
        self._wire = wire
        try:
            await wire.open()
        except BaseException as error:
            await wire.aclose()
            failure = step.end_wire(run, self._where, error)
            if failure is None or failure is error:
                raise
            raise failure from failure.__cause__
        if run.limit is not None:
            run.limit.outside = lambda: wire.abort(run.out_of_time())
        # A client that goes away cancels the task that relays: it is what tells us.
        running_task().add_done_callback(lambda _task: self.abandon())

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self:
                if chunk.choices or chunk.usage is None or not self._drops_usage:
                    yield b"data: %b\n\n" % _encode(chunk)
        finally:
            await self.aclose()

    @property
    def body(self) -> AsyncIterable[bytes]:
        """See :class:`weft.transport.base.WireStream`."""
        body = self._anew if self._anew is not None else self._wire.body if self._wire is not None else None
        assert body is not None  # it is there once the stream is open
        return body

    @property
    def usage(self) -> Usage | None:
        """See :class:`weft.transport.base.WireStream`."""
        return self._run.tally.total if self._run is not None else None

    @property
    def has_begun(self) -> bool:
        """See :class:`weft.transport.base.WireStream`."""
        return self._wire.has_begun if self._wire is not None else self._has_begun

    @property
    def has_said_end(self) -> bool:
        """See :class:`weft.transport.base.WireStream`."""
        return self._wire is not None and self._wire.has_said_end

    def relays(
        self, *, drops_usage: bool, on_first: Callable[[], None] | None = None
    ) -> Callable[[bytes], bytes]:
        """See :class:`weft.transport.base.WireStream`."""

        def first() -> None:
            self._first()
            if on_first is not None:
                on_first()

        if self._wire is not None:
            relayed = self._wire.relays(drops_usage=drops_usage, on_first=first)
            self.alike = self._wire.alike
            return relayed
        self._drops_usage = drops_usage

        def pass_on(event: bytes) -> bytes:
            self._has_begun = True
            return event

        return pass_on

    def _first(self) -> None:
        run, where = self._run, self._where
        assert run is not None
        assert where is not None
        step, parent, node, service, attempt, iteration, _ = where
        run.journal.record(
            (run.id, step, parent, FIRST, node, service, attempt, iteration, run.clock.now_ns(), None)
        )

    def finish(self, error: Exception | None) -> Exception | None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._wire is None:
            return error
        failure = self._wire.finish(error)
        if self._run is not None:
            self._run.tally.add(self._wire.usage)
        settled = self._settle(failure)
        return settled if isinstance(settled, Exception) else None

    def abort(self, error: Exception) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._wire is not None:
            self._wire.abort(error)

    def abandon(self) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._wire is not None:
            self._wire.abandon()
            self._settle(GeneratorExit())

    def _settle(self, failure: BaseException | None) -> BaseException | None:
        """Write down how a relay ended; the failure as the caller should see it."""
        if self._is_done or self._run is None or self._where is None:
            return failure
        self._is_done = True
        assert isinstance(self._output, Direct)
        failure = self._output.step.end_wire(self._run, self._where, failure)
        self._runner.end(self._run, failure)
        return failure

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.WireStream`."""
        if self._wire is not None:
            await self._wire.aclose()
            self._settle(GeneratorExit())
            return
        await super().aclose()
