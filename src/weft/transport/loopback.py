"""Encodes and decodes what goes over the wire, without a wire: for tests of everything that a socket would hide."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from weft.contracts import Operation
from weft.transport.base import Call, StreamCall, Transport, bound, bound_stream, can_be_asked
from weft.transport.requests import streamed, whole

_encode = msgspec.json.Encoder().encode


class LoopbackTransport:
    """A service behind its own wire form: what does not survive encoding is lost here too.

    Args:
        inner: Where the service really is.
    """

    endpoint: str | None = None

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.service, self.component, self.contract = inner.service, inner.component, inner.contract

    def bind(self, operation: str) -> Call:
        """See :class:`weft.transport.base.Bindable`."""
        asked = self.contract.operations[operation]
        call = bound(self._inner, operation)
        decode = msgspec.json.Decoder(asked.response).decode

        async def ask(request: Any) -> Any:
            response = await call(asked.own.decode(whole(request)))
            return decode(asked.own.encode(response, request))

        return ask

    def bind_stream(self, operation: str) -> StreamCall:
        """See :class:`weft.transport.base.Bindable`."""
        return _over_wire(self.contract.operations[operation], bound_stream(self._inner, operation))

    def has(self, operation: str) -> bool:
        """Whether the service behind it has this operation."""
        return can_be_asked(self._inner, operation)

    async def call(self, operation: str, request: Any) -> Any:
        """See :class:`weft.transport.base.Transport`."""
        return await self.bind(operation)(request)

    def stream(self, operation: str, request: Any) -> AsyncIterator[Any]:
        """See :class:`weft.transport.base.Transport`."""
        return self.bind_stream(operation)(request)

    async def ready(self) -> bool:
        """See :class:`weft.transport.base.Transport`."""
        return await self._inner.ready()

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.Transport`."""
        await self._inner.aclose()


def _over_wire(operation: Operation, stream: StreamCall) -> StreamCall:
    decode = msgspec.json.Decoder(operation.chunk).decode

    async def ask(request: Any) -> AsyncIterator[Any]:
        chunks = stream(operation.own.decode(streamed(request)))
        try:
            async for chunk in chunks:
                yield decode(_encode(chunk))
        finally:
            aclose = getattr(chunks, "aclose", None)
            if aclose is not None:
                await aclose()

    return ask
