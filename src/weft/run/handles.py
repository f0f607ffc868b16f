"""What a component is given for a service that it uses: the contract's operations, wherever the service is.

Each call is a step of the request in the journal, starts only while there is time, counts its tokens to the request, and
goes through the circuit breaker of a service elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import Token
from typing import Any

from weft.context import Context, current
from weft.errors import DeadlineError
from weft.observe.journal import CANCELLED, FAILED, FIRST, OK, STARTED
from weft.run.failures import as_failure, is_cancelled
from weft.run.state import copied
from weft.run.step import Target, Tools, settle, target
from weft.run.streams import close
from weft.transport.base import Call, StreamCall, Transport, can_be_asked
from weft.types import Usage


def handle(transport: Transport, slot: str, tools: Tools) -> Any:
    """An object with the methods of the service's contract.

    Args:
        transport: The service.
        slot: The constructor parameter that it is given as; the name of its steps in the journal.
        tools: Of this process.
    """
    made = Handle(transport.service)
    bind(made, transport, slot, tools)
    return made


def bind(made: Handle, transport: Transport, slot: str, tools: Tools) -> None:
    """Have a handle ask ``transport`` from its next call on; calls under way end where they began."""
    for name in transport.contract.operations.keys() | {"stream"}:
        vars(made).pop(name, None)
    contract = transport.contract
    for operation in contract.operations.values():
        if not can_be_asked(transport, operation.name):
            continue
        streams = operation.chunk is not None
        aim = target(transport, operation.name, tools, stream=streams)
        counts = "usage" in operation.response.__struct_fields__
        setattr(made, operation.name, _asking(aim, slot, tools, counts=counts))
        if streams and operation is contract.primary:
            counts = "usage" in getattr(operation.chunk, "__struct_fields__", ())
            made.stream = _streaming(aim, slot, tools, counts=counts)


class Handle:
    """A service that a component uses; its methods are those of the contract's Protocol."""

    def __init__(self, service: str) -> None:
        self._service = service

    # Set by `handle`, if its contract streams.
    stream: StreamCall

    def __getattr__(self, operation: str) -> Any:
        # Only what was not set comes here.
        raise AttributeError(f"{self!r} cannot be asked to '{operation}'")

    def __repr__(self) -> str:
        return f"<service '{self._service}'>"


class _Begun:
    """One call under way."""

    __slots__ = ("_admitted", "_aim", "_inner", "_outer", "_slot", "_started_ns", "_step", "_tools")

    def __init__(self, aim: Target, slot: str, tools: Tools) -> None:
        self._aim, self._slot, self._tools = aim, slot, tools
        self._outer = outer = current.get(None) or Context()
        self._started_ns = tools.clock.now_ns()
        self._admitted = False
        if outer.deadline is not None and self._started_ns >= outer.deadline * 1e9:
            raise DeadlineError("the time allowed for the request was up", service=aim.service)
        self._step = tools.journal.new_step()
        self._inner: Context | None = None
        self._write(STARTED, None, self._started_ns)

    def enter(self) -> Token[Context]:
        """Give the call a context of its own, so that what it calls in turn is a step below it; reset it afterwards."""
        if self._inner is None:
            self._outer.counting()  # made here if nobody counts yet, so that both have the same
            self._inner = copied(self._outer)
            self._inner.step = self._step
        return current.set(self._inner)

    def admit(self) -> None:
        """Ask the circuit breaker."""
        if self._aim.breaker is not None:
            self._aim.breaker.admit()
            self._admitted = True

    def count(self, usage: Usage | None) -> None:
        """Count what it cost."""
        self._outer.count(usage)

    def first(self) -> None:
        """The first chunk is there."""
        if self._aim.breaker is not None:
            self._aim.breaker.succeeded()
        self._write(FIRST, None, self._tools.clock.now_ns())

    def ended(self) -> None:
        """It ended well."""
        if self._aim.breaker is not None:
            self._aim.breaker.succeeded()
        self._write(OK, None, self._tools.clock.now_ns())

    def failed(self, error: BaseException) -> BaseException:
        """It failed or was cancelled; what goes up."""
        aim, now_ns = self._aim, self._tools.clock.now_ns()
        failure = error
        if is_cancelled(error):
            self._write(CANCELLED, None, now_ns)
        else:
            failure = as_failure(
                error,
                node=None,
                service=aim.service,
                component=aim.component,
                endpoint=aim.endpoint,
                elapsed_s=(now_ns - self._started_ns) / 1e9,
            )
            self._write(FAILED, failure.code, now_ns)
        if aim.breaker is not None and self._admitted:
            settle(aim.breaker, failure)
        return failure

    def _write(self, status: str, detail: str | None, now_ns: int) -> None:
        outer = self._outer
        where = self._step, outer.step, status, self._slot, self._aim.service
        self._tools.journal.record((outer.run, *where, 0, 0, now_ns, detail))


def _asking(aim: Target, slot: str, tools: Tools, *, counts: bool) -> Call:
    async def ask(request: Any) -> Any:
        begun = _Begun(aim, slot, tools)
        token = begun.enter()
        try:
            begun.admit()
            response = await aim.call(request)
        except BaseException as error:
            failure = begun.failed(error)
            if failure is error:
                raise
            raise failure from failure.__cause__
        finally:
            current.reset(token)
        begun.ended()
        if counts:
            begun.count(response.usage)
        return response

    return ask


def _streaming(aim: Target, slot: str, tools: Tools, *, counts: bool) -> StreamCall:
    async def ask(request: Any) -> AsyncIterator[Any]:
        assert aim.stream is not None
        begun = _Begun(aim, slot, tools)
        chunks: AsyncIterator[Any] | None = None
        usage, is_first = None, True
        try:
            begun.admit()
            while True:
                # Entered for each chunk: between them it is the reader's own context that must be current.
                token = begun.enter()
                try:
                    if chunks is None:
                        chunks = aiter(aim.stream(request))
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
                finally:
                    current.reset(token)
                if is_first:
                    is_first = False
                    begun.first()
                if counts and chunk.usage is not None:
                    usage = chunk.usage
                yield chunk
        except BaseException as error:
            failure = begun.failed(error)
            if failure is error:
                raise
            raise failure from failure.__cause__
        finally:
            begun.count(usage)
            await close(chunks)
        begun.ended()

    return ask
