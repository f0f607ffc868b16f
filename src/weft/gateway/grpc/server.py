"""The gRPC server of a gateway: each call is a request of the application, in a task that ends with the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
import msgspec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from weft.errors import BackendReplyError, PortTakenError, RequestError
from weft.gateway.grpc import messages
from weft.gateway.grpc.statuses import STREAM_CODES, status, told
from weft.http.message import Headers, Request, Response, StreamResponse
from weft.http.sse import SSEReader
from weft.serve.application import Application
from weft.serve.doors import Door
from weft.serve.health import Health
from weft.serve.operations import MAX_JSON_BYTES

SERVICES: Final = (f"{messages.PACKAGE}.Chat", f"{messages.PACKAGE}.Invocation")

MAX_CALLS: Final = 4_096
"""At a time in one process; more are refused with RESOURCE_EXHAUSTED by the server itself."""

WATCH_S: Final = 0.5
"""Between two looks at the readiness for who watches the health."""

CHAT_PATH: Final = "/v1/chat/completions"
_DONE: Final = b"[DONE]"
_FORWARDED: Final = frozenset(
    {
        "authorization",
        "x-api-key",
        "x-request-id",
        "traceparent",
        "tracestate",
        "x-weft-version",
        "idempotency-key",
    }
)
"""Metadata that is a header of the request; all else is the transport's."""


class GrpcServer:
    """Serves an application over gRPC.

    Args:
        app: Answers.
        door: Where.
        shares: Whether several processes bind the one port.
    """

    def __init__(self, app: Application, door: Door, *, shares: bool = False) -> None:
        self._app, self._door = app, door
        self._health = _HealthServicer(app)
        self._shares = shares
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        """Listen, and answer from now on.

        Raises:
            PortTakenError: Somebody else listens there.
            UsageError: The files for TLS cannot be used.
        """
        # Here and not before: it belongs to the loop that runs.
        self._server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", int(self._shares)),
                ("grpc.max_receive_message_length", MAX_JSON_BYTES),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", 32 * 1024),
            ),
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        self._server.add_generic_rpc_handlers(_handlers(self))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (
            *SERVICES,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        )
        reflection.enable_server_reflection(names, self._server, messages.POOL)
        address = f"{self._door.host or '[::]'}:{self._door.port}"
        if ":" in self._door.host:
            address = f"[{self._door.host}]:{self._door.port}"
        try:
            if self._door.tls is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, _credentials(self._door))
        except RuntimeError as error:
            raise PortTakenError(f"gRPC cannot listen on {address}: {error}") from error
        await self._server.start()

    def follow(self, app: Application) -> None:
        """Have another application answer from the next call on."""
        self._app = app
        self._health.follow(app)

    async def drain(self, timeout_s: float) -> None:
        """Take no more calls; those under way may end until ``timeout_s``."""
        if self._server is not None:
            await self._server.stop(timeout_s)

    async def aclose(self) -> None:
        """End it with every call under way."""
        if self._server is not None:
            await self._server.stop(None)

    # Calls.

    async def complete(self, request: Any, context: Any) -> Any:
        """``Chat.Complete``."""
        body = msgspec.json.encode(messages.chat_body(request, stream=False))
        reply = await self._whole(CHAT_PATH, body, context)
        return await self._read(messages.chat_response, reply, context)

    async def stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """``Chat.Stream``."""
        body = msgspec.json.encode(messages.chat_body(request, stream=True))
        async for data in self._events(CHAT_PATH, body, context):
            yield await self._read(messages.chat_chunk, data, context)

    async def invoke(self, request: Any, context: Any) -> Any:
        """``Invocation.Invoke``."""
        path, body = await self._target(request, context)
        return messages.InvokeResponse(json=await self._whole(path, body, context))

    async def invoke_stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """``Invocation.InvokeStream``."""
        path, body = await self._target(request, context, stream=True)
        async for data in self._events(path, body, context):
            yield messages.InvokeResponse(json=data)

    async def _target(self, request: Any, context: Any, *, stream: bool = False) -> tuple[str, bytes]:
        """The path and the body for an ``InvokeRequest``."""
        try:
            fields = msgspec.json.decode(request.json or b"{}", type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            await _abort(context, 400, f"'json' is no JSON object: {error}", "invalid_request")
        try:
            path, by_model = self._app.path_of(request.target, request.operation)
        except RequestError as error:
            await _abort(context, error.status, str(error), error.code)
        if by_model:
            fields["model"] = msgspec.Raw(msgspec.json.encode(request.target))
        if stream:
            fields["stream"] = msgspec.Raw(b"true")
        return path, msgspec.json.encode(fields)

    async def _whole(self, path: str, body: bytes, context: Any) -> bytes:
        request = _request(path, body, context, self._door)
        reply = await self._app(request)
        await _metadata(reply, context)
        if isinstance(reply, StreamResponse):
            content = b"".join([block async for block in self._blocks(reply, request, context)])
        else:
            content = reply.body
        if reply.status >= 400:
            await _fail(reply.status, content, context)
        return content

    async def _events(self, path: str, body: bytes, context: Any) -> AsyncIterator[bytes]:
        """The data of each event of a streamed reply; an error in the middle ends the call with its status."""
        request = _request(path, body, context, self._door)
        reply = await self._app(request)
        await _metadata(reply, context)
        if isinstance(reply, Response):
            if reply.status >= 400:
                await _fail(reply.status, reply.body, context)
            await _abort(context, 501, "this target does not stream", "unsupported_parameter")
        if reply.status >= 400:
            content = b"".join([block async for block in self._blocks(reply, request, context)])
            await _fail(reply.status, content, context)
        reader = SSEReader()
        async for block in self._blocks(reply, request, context):
            for event in reader.feed(block):
                if event.event != "message" or event.data == _DONE:
                    continue
                if event.data.startswith(b'{"error":'):
                    message, code = told(msgspec.json.decode(event.data))
                    await _abort(context, STREAM_CODES.get(code, 500), message, code)
                yield event.data

    async def _blocks(self, reply: StreamResponse, request: Request, context: Any) -> AsyncIterator[bytes]:
        """What a streamed reply sends; one that fails without words of its own ends the call as its error's reply would."""
        blocks = _sent(reply)
        while True:
            try:
                block = await anext(blocks)
            except StopAsyncIteration:
                return
            except Exception as error:  # noqa: BLE001 - the application makes the reply of it, and logs what is not on purpose
                failed = self._app.on_error(error, request)
                await _fail(failed.status, failed.body, context)
            yield block

    async def _read(self, make: Callable[[Mapping[str, Any]], Any], data: bytes, context: Any) -> Any:
        try:
            return make(msgspec.json.decode(data))
        except (ValueError, TypeError, AttributeError, msgspec.DecodeError) as error:
            # A route's transformation may have made something else of it.
            await _abort(context, 502, f"the reply is no chat reply: {error}", BackendReplyError.code)


async def _sent(reply: StreamResponse) -> AsyncIterator[bytes]:
    """What a streamed reply sends, block by block, as the HTTP server would send it."""
    failure: Exception | None = None
    try:
        async for block in reply.body:
            if block and reply.pass_on is not None:
                block = reply.pass_on(block)  # noqa: PLW2901 - what is sent of it
            if block:
                yield block
    except Exception as error:  # noqa: BLE001 - finish decides what it becomes
        failure = error
    finally:
        close = getattr(reply.body, "aclose", None)
        if close is not None:
            await close()
    last = reply.finish(failure) if reply.finish is not None else None
    if last is None and failure is not None:
        raise failure
    if last:
        yield last


def _request(path: str, body: bytes, context: Any, door: Door) -> Request:
    """The call as a request of the application."""
    raw = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    for name, value in context.invocation_metadata() or ():
        if name in _FORWARDED and isinstance(value, str):
            raw.append((name.encode(), value.encode("latin-1", "replace")))
    left = context.time_remaining()
    if left is not None:
        raw.append((b"x-weft-timeout-ms", b"%d" % max(1, int(left * 1000))))
    kind, _, peer = context.peer().partition(":")
    address = peer.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind
    return Request(
        "POST", path, path, "", Headers(raw), body, address.replace("%5B", "").replace("%5D", ""),
        "http" if door.tls is None else "https", certificate=_certificate(context),
    )  # fmt: skip


def _certificate(context: Any) -> dict[str, Any] | None:
    """The client's certificate in the form of :meth:`ssl.SSLSocket.getpeercert`, as far as gRPC tells of it."""
    found: Mapping[str, Any] = context.auth_context()
    if not found.get("x509_pem_cert"):
        return None
    names = [name.decode("utf-8", "replace") for name in found.get("x509_subject_alternative_name", ())]
    common = [name.decode("utf-8", "replace") for name in found.get("x509_common_name", ())]
    return {
        "subject": tuple(((("commonName", name),)) for name in common),
        "subjectAltName": tuple((_kind_of(name), name) for name in names),
    }


def _kind_of(name: str) -> str:
    if "://" in name:
        return "URI"
    return "email" if "@" in name else "DNS"


async def _metadata(reply: Response | StreamResponse, context: Any) -> None:
    """The reply's own headers, as metadata that comes before it; what belongs to HTTP is left out."""
    sent = [
        (name, value)
        for name, value in reply.headers
        if name.startswith(("x-", "ratelimit", "retry-after", "deprecation", "sunset")) and value.isascii()
    ]
    await context.send_initial_metadata(tuple(sent))


async def _fail(http_status: int, content: bytes, context: Any) -> NoReturn:
    try:
        body = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        body = {}
    await _abort(context, http_status, *told(body))


async def _abort(context: Any, http_status: int, message: str, code: str) -> NoReturn:
    await context.abort(status(http_status), message, (("weft-code", code),) if code else ())
    raise AssertionError("abort raises")


def _handlers(server: GrpcServer) -> tuple[Any, ...]:
    """Method by method; a call's exception that is no abort is logged by gRPC and told as UNKNOWN."""
    chat = {
        "Complete": _unary(server.complete, messages.ChatRequest),
        "Stream": _streamed(server.stream, messages.ChatRequest),
    }
    invocation = {
        "Invoke": _unary(server.invoke, messages.InvokeRequest),
        "InvokeStream": _streamed(server.invoke_stream, messages.InvokeRequest),
    }
    return tuple(
        grpc.method_handlers_generic_handler(name, methods)
        for name, methods in zip(SERVICES, (chat, invocation), strict=True)
    )


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _unary(call: Callable[[Any, Any], Awaitable[Any]], kind: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(call, kind.FromString, _serialized)


def _streamed(call: Callable[[Any, Any], AsyncIterator[Any]], kind: Any) -> Any:
    return grpc.unary_stream_rpc_method_handler(call, kind.FromString, _serialized)


class _HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """``grpc.health.v1``: the server as a whole, and each of its services, are as ready as the gateway is."""

    def __init__(self, app: Application) -> None:
        self._health = Health(app)

    def follow(self, app: Application) -> None:
        """Tell of another application."""
        self._health = Health(app)

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        if request.service not in ("", *SERVICES):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service '{request.service}'")
        return await self._status()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - gRPC's name
        known = request.service in ("", *SERVICES)
        last = None
        while True:
            now = (
                await self._status()
                if known
                else health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            )
            if last is None or now.status != last.status:
                yield now
            last = now
            await asyncio.sleep(WATCH_S)

    async def _status(self) -> Any:
        is_ready = (await self._health.readiness()).status == "ready"
        kinds = health_pb2.HealthCheckResponse
        return kinds(status=kinds.SERVING if is_ready else kinds.NOT_SERVING)


def _credentials(door: Door) -> Any:
    """The server's credentials; files that were renewed are read again for the connections after it."""
    files = door.tls
    assert files is not None
    read: dict[str, Any] = {"stamp": None}

    def load() -> Any:
        authorities = Path(files.client_ca).read_bytes() if files.client_ca is not None else None
        pair = (Path(files.key).read_bytes(), Path(files.cert).read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)

    def fetch() -> Any:
        stamp = tuple(Path(path).stat().st_mtime_ns for path in (files.cert, files.key))
        if stamp == read["stamp"]:
            return None
        read["stamp"] = stamp
        return load()

    required = files.client_ca is not None and files.is_client_required
    return grpc.dynamic_ssl_server_credentials(load(), fetch, require_client_authentication=required)
