"""``grpc``: a service that speaks only gRPC, mapped to a contract by config: paths in, paths out.

What its messages look like is asked from the service itself by reflection, or read from a descriptor set (``protoc
--descriptor_set_out --include_imports``). To the templates (see :mod:`weft.components.any.templates`) a message is JSON
with the names that its ``.proto`` has; bytes are base64 and enums their names, as protobuf's own JSON has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from weft.components.any.http import Http, as_response, compile_mapping
from weft.components.any.promises import ASKABLE, as_chunk, new_id, summed
from weft.components.any.templates import Fault, ReplyMismatchError
from weft.contracts import Contract
from weft.contracts.chat import ChatChunk, ChunkChoice, Delta
from weft.errors import (
    BackendReplyError,
    ComponentError,
    DeadlineError,
    InvalidRequestError,
    MissingExtraError,
    OverloadedError,
    RequestError,
    ServiceError,
    UnreachableError,
    did_you_mean,
)
from weft.host import Host
from weft.types import Usage

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""Of a reply, as of an HTTP service's."""

_PREFIXES: Final = {"grpc://": False, "grpcs://": True}


class Messages(Struct, forbid_unknown_fields=True):
    """How a chat streams: a method whose reply is a stream of messages, of which each has some of the text.

    Attributes:
        method: ``package.Service/Method``.
        text: Path to the text in a message.
        finish_reason: Path to why the answer ended, in the message that says so; ``stop`` where none does.
        usage: Template of the token counts, in the message that has them.
        request: Merged into the request's template.
    """

    method: str
    text: str
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    request: dict[str, Any] = {}


class _Method(NamedTuple):
    """One method of the service, ready to be called."""

    call: Any
    request: Any


class Grpc:
    """Maps a service that speaks gRPC to a contract: paths in, paths out.

    Args:
        contract: What it fulfils: ``reranker``, ``embedding``, ``chat``, ... any contract with one operation.
        url: ``grpc://HOST:PORT``, or ``grpcs://HOST:PORT`` with TLS.
        method: ``package.Service/Method``, which takes one message and gives one.
        request: What is sent: an object whose values are paths into the contract's request (``documents.*.text``).
        response: The contract's response, field by field: paths into the service's reply.
        metadata: Sent with each call; a value may be a secret.
        api_key: Sent as a bearer token.
        timeout_s: Until the reply; of a stream, the longest silence.
        descriptors: File with a descriptor set; None: the service is asked by reflection.
        ca_file: The authority of its certificate; None: those of the system.
        stream: For ``chat``, if the service streams.
    """

    def __init__(
        self,
        contract: Contract,
        url: str,
        method: str,
        request: dict[str, Any],
        response: dict[str, Any],
        *,
        metadata: dict[str, str] | None = None,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        descriptors: str | None = None,
        ca_file: str | None = None,
        stream: Messages | None = None,
    ) -> None:
        mapping = compile_mapping(contract, request, response, stream)
        if mapping.faults:
            raise ValueError("; ".join(fault.message for fault in mapping.faults))
        prefix = next((prefix for prefix in _PREFIXES if url.startswith(prefix)), None)
        if prefix is None:
            raise ValueError(
                f"'{url}' is no address of gRPC: grpc://HOST:PORT, or grpcs://HOST:PORT with TLS"
            )
        for name in (method, *([stream.method] if stream else [])):
            if name.count("/") != 1 or not all(name.split("/")):
                raise ValueError(f"'{name}' is no method: package.Service/Method")
        self._contract, self._mapping, self._events = contract, mapping, stream
        self._address, self._secure = url.removeprefix(prefix), _PREFIXES[prefix]
        self._url, self._method, self._timeout_s = url, method, timeout_s
        self._metadata = tuple((name.lower(), value) for name, value in (metadata or {}).items())
        if api_key:
            self._metadata = (*self._metadata, ("authorization", f"Bearer {api_key}"))
        self._descriptors, self._ca_file = descriptors, ca_file
        self._read = msgspec.json.Decoder(contract.primary.response).decode
        self._channel: Any = None
        self._methods: dict[str, _Method] = {}

    @classmethod
    def faults(
        cls,
        contract: Contract,
        *,
        request: dict[str, Any],
        response: dict[str, Any],
        stream: Messages | None = None,
        **_others: Any,
    ) -> Iterator[Fault]:
        """What is wrong with the mapping, as far as the contract's side of it says."""
        yield from Http.faults(contract, request=request, response=response, stream=stream)

    @classmethod
    def ignores(
        cls,
        contract: Contract,
        *,
        request: dict[str, Any],
        response: dict[str, Any],
        stream: Messages | None = None,
        **_others: Any,
    ) -> set[str]:
        """The fields of a request that the mapping does not read: a caller who sets one is told."""
        return Http.ignores(contract, request=request, response=response, stream=stream)

    async def start(self, host: Host) -> None:
        """Make the channel; the service is asked for its messages with the first request.

        Raises:
            MissingExtraError: The package for gRPC is not installed.
            ComponentError: A file cannot be read.
        """
        try:
            import grpc
        except ImportError as error:
            raise MissingExtraError("grpc", package="grpcio", extra="grpc") from error
        options = (
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", -1),
        )
        if self._secure:
            authority = _file(self._ca_file) if self._ca_file else None
            credentials = grpc.ssl_channel_credentials(authority)
            self._channel = grpc.aio.secure_channel(self._address, credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(self._address, options)

    async def aclose(self) -> None:
        """Close the channel; calls under way end."""
        if self._channel is not None:
            await self._channel.close()

    async def ready(self) -> bool:
        """Whether the service has the methods.

        Raises: as :meth:`invoke`.
        """
        for name in (self._method, *([self._events.method] if self._events else [])):
            await self._find(name)
        return True

    async def invoke(self, request: Any) -> Any:
        """Ask the service.

        Raises:
            InvalidRequestError: It refused the request (INVALID_ARGUMENT, OUT_OF_RANGE).
            OverloadedError: It is busy (RESOURCE_EXHAUSTED).
            UnreachableError: There is no connection.
            DeadlineError: It took longer than ``timeout_s``.
            ServiceError: It answered any other status.
            BackendReplyError: Its reply is not as the mapping says.
        """
        import grpc

        if (check := ASKABLE.get(self._contract.name)) is not None:
            check(request)
        method = await self._find(self._method)
        message = self._message(method, self._mapping.request(request, request))
        try:
            reply = _plain(await method.call(message, metadata=self._metadata, timeout=self._timeout_s))
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        try:
            return as_response(self._contract, self._mapping.response(reply, request), request, self._read)
        except (ReplyMismatchError, msgspec.MsgspecError, ValueError) as error:
            name = self._contract.primary.response.__name__
            has = ", ".join(reply) or "nothing"
            raise BackendReplyError(
                f"the reply does not make a {name}: {error}; the reply has: {has}", endpoint=self._url
            ) from error

    async def stream(self, request: Any) -> AsyncIterator[Any]:
        """A chat's answer in chunks; closing it cancels the call. One that does not stream is one chunk.

        Raises: as :meth:`invoke`.
        """
        import grpc

        if self._events is None:
            yield as_chunk(await self.invoke(request))
            return
        method = await self._find(self._events.method)
        message = self._message(method, self._mapping.streamed_request(request, request))
        call = method.call(message, metadata=self._metadata)
        usage: Usage | None = None
        name, finish = new_id(), "stop"
        try:
            while (reply := await self._next(call)) is not None:
                event = self._mapping.chat_event(reply, request)
                usage, finish = event.usage or usage, event.finish_reason or finish
                if event.text:
                    yield ChatChunk(name, "", [ChunkChoice(0, Delta(content=event.text))])
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        except (ReplyMismatchError, msgspec.MsgspecError) as error:
            raise BackendReplyError(
                f"a message is not as the mapping says: {error}", endpoint=self._url
            ) from error
        finally:
            call.cancel()
        yield ChatChunk(name, "", [ChunkChoice(0, Delta(), finish)], usage=summed(usage) if usage else None)

    async def _next(self, call: Any) -> dict[str, Any] | None:
        """The next message of a stream; None at its end."""
        import grpc

        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await call.read()
        except TimeoutError as error:
            raise DeadlineError(f"nothing was said for {self._timeout_s:g} s", endpoint=self._url) from error
        return None if reply is grpc.aio.EOF else _plain(reply)

    def _message(self, method: _Method, fields: Any) -> Any:
        from google.protobuf import json_format

        try:
            return json_format.ParseDict(msgspec.to_builtins(fields), method.request())
        except json_format.ParseError as error:
            raise ComponentError(
                f"'request' does not make a {method.request.DESCRIPTOR.full_name}: {error}",
                hint="the names are those of the service's .proto",
            ) from error

    async def _find(self, name: str) -> _Method:
        """A method of the service.

        Raises:
            ComponentError: It has none of that name.
        """
        import grpc

        if (found := self._methods.get(name)) is not None:
            return found
        if self._channel is None:
            raise ServiceError("it was not started", component="grpc")
        from weft.components.any import reflection

        service, _, method = name.partition("/")
        try:
            if self._descriptors is not None:
                pool = reflection.from_file(_file(self._descriptors))
            else:
                pool = await reflection.asked(
                    self._channel, service, timeout_s=self._timeout_s, metadata=self._metadata
                )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise ComponentError(
                    f"the service at {self._url} tells nothing of itself (no reflection)",
                    hint="descriptors: FILE, made by protoc --descriptor_set_out=FILE --include_imports",
                ) from error
            raise self._failure(error) from error
        described = reflection.method(pool, service, method)
        if described is None:
            known = reflection.methods(pool, service)
            hint = did_you_mean(method, known, what="methods") if known else None
            raise ComponentError(f"the service at {self._url} has no method '{name}'", hint=hint)
        is_streamed = self._events is not None and name == self._events.method
        if described.server_streaming != is_streamed or described.client_streaming:
            raise ComponentError(
                f"'{name}' {'takes' if described.client_streaming else 'gives'} "
                f"{'a stream' if not is_streamed or described.client_streaming else 'one message'}",
                hint="method takes and gives one message; stream.method gives a stream",
            )
        request, reply = reflection.messages(described)
        make = self._channel.unary_stream if is_streamed else self._channel.unary_unary
        call = make(f"/{name}", request_serializer=_serialized, response_deserializer=reply.FromString)
        self._methods[name] = found = _Method(call, request)
        return found

    def _failure(self, error: Any) -> RequestError:
        """What a status of the service is here."""
        import grpc

        code, words = error.code(), str(error.details() or "nothing said")[:500]
        if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
            return InvalidRequestError(f"the service refused the request: {words} (at {self._url})")
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return OverloadedError(f"the service is busy: {words} (at {self._url})")
        if code is grpc.StatusCode.UNAVAILABLE:
            return UnreachableError(f"no connection: {words}", endpoint=self._url)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(f"no reply within {self._timeout_s:g} s", endpoint=self._url)
        return ServiceError(f"it answered {code.name}: {words}", endpoint=self._url)


def _plain(message: Any) -> dict[str, Any]:
    """A message as JSON: every field that has a value or is none of several, by the names of the .proto."""
    from google.protobuf import json_format

    found: dict[str, Any] = json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        unquote_int64_if_possible=True,
    )
    return found


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ComponentError(f"{path} cannot be read: {error.strerror}") from error
