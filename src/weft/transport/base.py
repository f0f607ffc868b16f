"""The seam between running a plan and where its services live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from weft.contracts import Contract


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
