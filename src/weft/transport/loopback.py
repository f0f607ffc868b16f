"""Encodes and decodes what goes over the wire, without a wire: for tests of everything that a socket would hide."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from weft.context import Context, current
from weft.contracts import Operation
from weft.transport.base import Call, StreamCall, Transport, bound, bound_stream, can_be_asked
from weft.transport.requests import streamed, whole
from weft.transport.usage import costed

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
        carries_usage = "usage" in asked.response.__struct_fields__

        async def ask(request: Any) -> Any:
            sent = asked.own.decode(whole(request))
            outer = current.get(None)
            inner = _as_sent(outer)
            token = current.set(inner)
            try:
                response = await call(sent)
            finally:
                current.reset(token)
            if outer is not None and inner.tally is not None and not carries_usage:
                outer.count(inner.tally.total)
            return decode(asked.own.encode(costed(response, inner, has_field=carries_usage), request))

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


def _as_sent(context: Context | None) -> Context:
    """The request as the other side of a connection knows it."""
    if context is None:
        return Context()
    return Context(
        context.request_id,
        deadline=context.deadline,
        tenant=context.tenant,
        caller=context.caller,
        readers=context.readers,
        traceparent=context.traceparent(),
    )


def _over_wire(operation: Operation, stream: StreamCall) -> StreamCall:
    decode = msgspec.json.Decoder(operation.chunk).decode

    async def ask(request: Any) -> AsyncIterator[Any]:
        inner = _as_sent(current.get(None))
        chunks = aiter(stream(operation.own.decode(streamed(request))))
        try:
            while True:
                token = current.set(inner)
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                finally:
                    current.reset(token)
                yield decode(_encode(chunk))
        finally:
            aclose = getattr(chunks, "aclose", None)
            if aclose is not None:
                await aclose()

    return ask
