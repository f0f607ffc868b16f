"""A service that was registered under a name: looked up at each call, so that it may come, go and move meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from weft.contracts import Contract
from weft.errors import UnavailableError
from weft.transport.base import Call, StreamCall
from weft.transport.http import HttpTransport


class RegisteredTransport:
    """Calls whatever service is registered under a name now.

    Args:
        service: The service's name in the spec.
        component: What it is, for messages.
        contract: What it fulfils.
        name: As it is registered.
        address: Gives the address that is registered under a name; None: none is.
        make: Makes the transport for an address.
    """

    streams_wire = True

    def __init__(
        self,
        service: str,
        component: str,
        contract: Contract,
        name: str,
        *,
        address: Callable[[str], str | None],
        make: Callable[[str], HttpTransport],
    ) -> None:
        self.service, self.component, self.contract = service, component, contract
        self.endpoint: str | None = f"registry:{name}"
        self._name, self._address, self._make = name, address, make
        self._url = ""
        self._found: HttpTransport | None = None
        self._calls: dict[str, Call] = {}
        self._streams: dict[str, StreamCall] = {}

    def bind(self, operation: str) -> Call:
        """See :class:`weft.transport.base.Bindable`."""

        async def ask(request: Any) -> Any:
            found = self._now()
            call = self._calls.get(operation)
            if call is None:
                call = self._calls[operation] = found.bind(operation)
            return await call(request)

        return ask

    def bind_stream(self, operation: str) -> StreamCall:
        """See :class:`weft.transport.base.Bindable`."""

        def ask(request: Any) -> AsyncIterator[Any]:
            found = self._now()
            stream = self._streams.get(operation)
            if stream is None:
                stream = self._streams[operation] = found.bind_stream(operation)
            return stream(request)

        return ask

    async def call(self, operation: str, request: Any) -> Any:
        """See :class:`weft.transport.base.Transport`."""
        return await self.bind(operation)(request)

    def stream(self, operation: str, request: Any) -> AsyncIterator[Any]:
        """See :class:`weft.transport.base.Transport`."""
        return self.bind_stream(operation)(request)

    async def ready(self) -> bool:
        """See :class:`weft.transport.base.Transport`."""
        return await self._now().ready()

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.Transport`: the connections belong to the client."""

    def _now(self) -> HttpTransport:
        """The transport for the address that is registered now.

        Raises:
            UnavailableError: None is.
        """
        url = self._address(self._name)
        if url is None:
            raise UnavailableError(
                f"no service is registered as '{self._name}'",
                service=self.service,
                component=self.component,
                endpoint=self.endpoint,
            )
        if self._found is None or url != self._url:
            self._url, self._found = url, self._make(url)
            self._calls.clear()
            self._streams.clear()
        return self._found
