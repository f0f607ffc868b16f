"""The seam between running a plan and where its services live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from weft.contracts import Contract
from weft.http.body import Alike
from weft.types import Usage

Call: TypeAlias = Callable[[Any], Awaitable[Any]]
"""One operation of a service: request in, response out."""

StreamCall: TypeAlias = Callable[[Any], AsyncIterator[Any]]
"""One streaming operation: request in, chunks out."""


class Transport(Protocol):
    """One service as the run calls it, wherever it is.

    Both calls raise :class:`weft.errors.RequestError` for what went wrong, with the service's name, component and
    endpoint filled in where they are known, and end the work behind them when they are cancelled or closed.
    """

    service: str
    component: str
    endpoint: str | None
    contract: Contract

    async def call(self, operation: str, request: Any) -> Any:
        """Ask once; the response Struct."""
        ...

    def stream(self, operation: str, request: Any) -> AsyncIterator[Any]:
        """Ask once; the chunks as they come. Close it to end the work early."""
        ...

    async def ready(self) -> bool:
        """Whether a request would be served now; contacts the service, never raises for 'no'."""
        ...

    async def aclose(self) -> None:
        """Give up connections; the service itself goes on."""
        ...


@runtime_checkable
class Bindable(Protocol):
    """A transport that can look an operation up once, so that each call looks nothing up."""

    def bind(self, operation: str) -> Call:
        """What :meth:`Transport.call` does for this operation."""
        ...

    def bind_stream(self, operation: str) -> StreamCall:
        """What :meth:`Transport.stream` does for this operation."""
        ...


def bound(transport: Transport, operation: str) -> Call:
    """``transport.call`` for one operation."""
    if isinstance(transport, Bindable):
        return transport.bind(operation)
    return partial(transport.call, operation)


def bound_stream(transport: Transport, operation: str) -> StreamCall:
    """``transport.stream`` for one operation."""
    if isinstance(transport, Bindable):
        return transport.bind_stream(operation)
    return partial(transport.stream, operation)


def can_be_asked(transport: Transport, operation: str) -> bool:
    """Whether a service has an operation of its contract: a component need not have them all.

    A transport that knows says so with a method ``has(operation)``; a service elsewhere is taken to have them.
    """
    has: Callable[[str], bool] | None = getattr(transport, "has", None)
    return has is None or has(operation)


class WireStream(ABC):
    """A stream that still is the bytes that a backend sends: read as chunks, or relayed, not both.

    To relay: :meth:`open`, hand :attr:`body` on with each block as what :meth:`relays` returned makes of it, and call
    :meth:`finish` at the end.

    Attributes:
        alike: Blocks that may go out without having been shown; None: there are none.
    """

    alike: Alike | None = None

    @abstractmethod
    async def open(self) -> None:
        """Have the backend's reply head; raises what was wrong with it. May be called again."""

    @property
    @abstractmethod
    def body(self) -> AsyncIterable[bytes]:
        """Server-sent events as they arrive (a ``weft.http`` ReplyBody where nothing has to be changed); once open."""

    @property
    @abstractmethod
    def usage(self) -> Usage | None:
        """Token counts, once they were seen."""

    @property
    @abstractmethod
    def has_begun(self) -> bool:
        """Whether an event has arrived that is the caller's to have."""

    @property
    @abstractmethod
    def has_said_end(self) -> bool:
        """Whether the backend's own end of the stream, ``[DONE]`` or an error, was passed on; known once finished."""

    @abstractmethod
    def relays(
        self, *, drops_usage: bool, on_first: Callable[[], None] | None = None
    ) -> Callable[[bytes], bytes]:
        """What to show each block to before it goes out; it returns the bytes to send, nearly always the block itself.

        Args:
            drops_usage: Leave the event out that only has the usage.
            on_first: Called when the first block has come.
        """

    @abstractmethod
    def finish(self, error: Exception | None) -> Exception | None:
        """The body has ended, or failed with ``error``: the failure as the caller should see it, None if it is whole.

        A body that ends before the answer does is a failure, unless the backend's own error was its last event: the
        caller has seen that one.
        """

    @abstractmethod
    def abort(self, error: Exception) -> None:
        """End the body with ``error`` now, whoever is reading or relaying it."""

    @abstractmethod
    def abandon(self) -> None:
        """Whoever relayed it is gone (its client was): it was cancelled, unless it has been finished."""

    def __aiter__(self) -> Self:
        return self

    @abstractmethod
    async def __anext__(self) -> Any:
        """The next chunk, decoded."""

    @abstractmethod
    async def aclose(self) -> None:
        """End the backend's work; may be called again."""
