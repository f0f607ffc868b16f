"""Calls a component of this process: what the run awaits is the component's own method."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from weft.contracts import Contract
from weft.errors import InternalError
from weft.host import Lane
from weft.transport.base import Call, StreamCall


class LocalTransport:
    """A component in this process.

    Plain ``def`` methods run in ``lane``. A component without ``stream`` whose contract streams gives its whole answer as
    one chunk, if the contract's chunks can carry one.

    Args:
        service: The service's name.
        component: The component's name.
        contract: What it fulfils.
        instance: The component, started.
        lane: Threads for methods that are not coroutines; None if it has none of these.
        backend: The server that the component talks to, for messages; None if none is configured.
        asks_others: Whether it is given a chat model that it asks: then it is none itself.
    """

    endpoint: str | None = None

    def __init__(
        self,
        service: str,
        component: str,
        contract: Contract,
        instance: Any,
        *,
        lane: Lane | None = None,
        backend: str | None = None,
        asks_others: bool = False,
    ) -> None:
        self.service, self.component, self.contract = service, component, contract
        self.backend, self.asks_others = backend, asks_others
        self.instance = instance
        self._lane = lane
        self._calls: dict[str, Call] = {}
        self.streams_wire = bool(getattr(instance, "relays", False))

    def take(self, other: LocalTransport) -> None:
        """Be the component of ``other`` from the next call on; calls under way end where they began.

        Who has bound an operation binds it anew.
        """
        self.component, self.instance, self.backend = other.component, other.instance, other.backend
        self.asks_others = other.asks_others
        self._lane, self.streams_wire = other._lane, other.streams_wire
        self._calls = {}

    def bind(self, operation: str) -> Call:
        """See :class:`weft.transport.base.Bindable`; for a coroutine method, that very method."""
        method = getattr(self.instance, operation, None)
        if method is None:
            default = self.contract.operations[operation].default
            if default is not None:
                return _answering(default, self.service)
            raise InternalError(f"component '{self.component}' has no operation '{operation}'")
        if is_async(method):
            return method  # type: ignore[no-any-return]  # a component's method is what its annotations say
        return _in_lane(method, self._lane, self.component)

    def bind_stream(self, operation: str) -> StreamCall:
        """See :class:`weft.transport.base.Bindable`."""
        method = getattr(self.instance, "stream", None)
        if method is not None and self.contract.operations[operation].chunk is not None:
            return method  # type: ignore[no-any-return]  # a component's method is what its annotations say
        return in_one_chunk(self.bind(operation), self.contract.operations[operation].chunk)

    def has(self, operation: str) -> bool:
        """Whether the component has this operation, or its contract says what is answered without it."""
        return (
            callable(getattr(self.instance, operation, None))
            or self.contract.operations[operation].default is not None
        )

    async def call(self, operation: str, request: Any) -> Any:
        """See :class:`weft.transport.base.Transport`."""
        call = self._calls.get(operation)
        if call is None:
            call = self._calls[operation] = self.bind(operation)
        return await call(request)

    def stream(self, operation: str, request: Any) -> AsyncIterator[Any]:
        """See :class:`weft.transport.base.Transport`."""
        return self.bind_stream(operation)(request)

    async def ready(self) -> bool:
        """See :class:`weft.transport.base.Transport`: what the component says, True if it says nothing."""
        check = getattr(self.instance, "ready", None)
        if check is None:
            return True
        answer = check()
        return bool(await answer if inspect.isawaitable(answer) else answer)

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.Transport`: there is no connection."""


def _answering(default: Callable[[str], Any], service: str) -> Call:
    """What a contract has a service answer that does not do an operation itself."""

    async def answer(_request: Any) -> Any:
        return default(service)

    return answer


def is_async(method: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await (``async def``, also behind a partial or a callable object)."""
    function = inspect.unwrap(getattr(method, "__func__", method))
    return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(function)


def _in_lane(method: Callable[[Any], Any], lane: Lane | None, component: str) -> Call:
    if lane is None:
        raise InternalError(f"component '{component}' blocks, and was given no threads to run in")

    async def call(request: Any) -> Any:
        return await lane.run(method, request)

    return call


def in_one_chunk(call: Call, chunk: type[Any] | None) -> StreamCall:
    """A stream of one chunk, which is the whole answer."""
    if chunk is None:
        raise InternalError("a contract that does not stream was asked for a stream")

    async def stream(request: Any) -> AsyncIterator[Any]:
        yield as_chunk(await call(request), chunk)

    return stream


def as_chunk(response: Any, chunk: type[Any]) -> Any:
    """A whole response as the only chunk of a stream.

    Raises:
        InternalError: The contract's chunks cannot carry one.
    """
    from weft.contracts.chat import ChatChunk, ChatResponse, ChunkChoice, Delta  # noqa: PLC0415 - only where it is needed

    if chunk is not ChatChunk or not isinstance(response, ChatResponse):
        raise InternalError(f"a {type(response).__name__} cannot be sent as one {chunk.__name__}")
    choices = [
        ChunkChoice(
            choice.index,
            Delta(
                role=choice.message.role,
                content=choice.message.text() or None,
                reasoning_content=choice.message.reasoning_content,
                refusal=choice.message.refusal,
                tool_calls=choice.message.tool_calls,
                annotations=choice.message.annotations,
            ),
            choice.finish_reason,
            choice.logprobs,
        )
        for choice in response.choices
    ]
    return ChatChunk(response.id, response.model, choices, response.created, response.usage)
