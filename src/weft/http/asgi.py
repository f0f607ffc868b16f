"""Both ways between our handlers and ASGI: Weft on any ASGI server, and an ASGI application inside Weft."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, cast

from weft.errors import InternalError
from weft.http.body import BodyBuffer
from weft.http.message import (
    ErrorHandler,
    Handler,
    Headers,
    ProtocolError,
    Request,
    Response,
    StreamResponse,
    too_large,
)
from weft.http.server import ServerLimits, default_error_response
from weft.http.wire import encode_headers

_LOG = logging.getLogger("weft.http")

_IS_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def to_asgi(
    handler: Handler, *, limits: ServerLimits | None = None, on_error: ErrorHandler | None = None
) -> ASGIApp:
    """``handler`` as an ASGI application, for uvicorn, hypercorn or a test client.

    Bodies are bounded as ``limits`` says; heads, times and framing are the ASGI server's to bound. A client that goes
    away cancels the handler. An error after the first block is raised, so that the server cuts the connection.
    """
    max_bytes = (limits or ServerLimits()).max_body_bytes

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await _Exchange(handler, on_error, max_bytes, scope, receive, send).run()
        else:
            raise RuntimeError(f"{scope['type']} is not served")

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


class _Intake:
    """A request's body, received ahead of its reader as far as its buffer goes.

    So the client's going is noticed while the handler reads nothing; only a client that is held back goes unnoticed.
    """

    def __init__(self, receive: Receive, *, length: int | None, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._may_receive = asyncio.Event()
        self._may_receive.set()
        self.body = BodyBuffer(asyncio.get_running_loop(), self, length=length)

    def pause_body(self) -> None:
        """Called by the body."""
        self._may_receive.clear()

    def resume_body(self) -> None:
        """Called by the body."""
        self._may_receive.set()

    def drop(self) -> None:
        """Never called: only a reply's body drops its connection."""

    async def run(self) -> None:
        """Receive; returns when the client has closed."""
        size = 0
        while True:
            await self._may_receive.wait()
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.body.fail(ProtocolError("the client closed the connection"))
                return
            if self.body.is_ended:
                continue
            block = bytes(message.get("body", b""))
            size += len(block)
            if size > self._max_bytes:
                self.body.fail(too_large(self._max_bytes))
            else:
                self.body.feed(block, ended=not message.get("more_body", False))


class _Exchange:
    def __init__(
        self,
        handler: Handler,
        on_error: ErrorHandler | None,
        max_bytes: int,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._handler, self._on_error, self._send = handler, on_error or default_error_response, send
        headers = Headers([(name.lower(), value) for name, value in scope["headers"]])
        declared = headers.get("content-length", "")
        length = int(declared) if _IS_LENGTH(declared) is not None else None
        has_body = length not in (None, 0) or "transfer-encoding" in headers
        self._intake = _Intake(receive, length=length, max_bytes=max_bytes)
        self._max_bytes = max_bytes
        client = scope.get("client")
        raw_path = cast("bytes", scope.get("raw_path") or scope["path"].encode("utf-8"))
        self._request = Request(
            scope["method"],
            scope["path"],
            raw_path.partition(b"?")[0].decode("latin-1"),
            scope.get("query_string", b"").decode("latin-1"),
            headers,
            None if has_body else b"",
            client[0] if client else None,
            scope.get("scheme", "http"),
            self._intake.body,
        )
        self._has_begun = False

    async def run(self) -> None:
        work = asyncio.ensure_future(self._serve())
        intake = asyncio.ensure_future(self._intake.run())
        try:
            await asyncio.wait((work, intake), return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            intake.cancel()
            await asyncio.wait((work, intake))
        for task in (work, intake):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _serve(self) -> None:
        try:
            length = self._intake.body.length
            if length is not None and length > self._max_bytes:
                raise too_large(self._max_bytes)  # noqa: TRY301 - answered below like any other failure
            response = await self._handler(self._request)
            if isinstance(response, Response):
                await self._reply(response)
            else:
                await self._stream(response)
        except Exception as error:
            if self._has_begun:
                raise
            await self._reply(self._on_error(error, self._request))

    def _has_body(self, status: int) -> bool:
        return self._request.method != "HEAD" and status not in (204, 304)

    async def _start(self, response: Response | StreamResponse, length: int | None) -> None:
        fields = [*response.headers]
        if response.content_type:
            fields.append(("content-type", response.content_type))
        # Refuses what could break out of its line: not every ASGI server does.
        encode_headers(fields)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        if length is not None and response.status not in (204, 304):
            headers.append((b"content-length", b"%d" % length))
        self._has_begun = True
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})

    async def _reply(self, response: Response) -> None:
        await self._start(response, len(response.body))
        body = response.body if self._has_body(response.status) else b""
        await self._send({"type": "http.response.body", "body": body})

    async def _stream(self, response: StreamResponse) -> None:
        error: Exception | None = None
        tail = b""
        try:
            if self._has_body(response.status):
                await self._pump(response)
        except Exception as raised:  # noqa: BLE001 - finish decides what it becomes
            error = raised
        finally:
            close = getattr(response.body, "aclose", None)
            if close is not None:
                await close()
        if self._has_body(response.status):
            last = response.finish(error) if response.finish is not None else None
            if error is not None and (last is None or not self._has_begun):
                raise error
            tail = last or b""
        if not self._has_begun:
            await self._start(response, None)
        await self._send({"type": "http.response.body", "body": tail})

    async def _pump(self, response: StreamResponse) -> None:
        pass_on = response.pass_on
        async for block in response.body:
            if block and pass_on is not None:
                block = pass_on(block)  # noqa: PLW2901 - what is sent of it
            if not block:
                continue
            if not self._has_begun:
                await self._start(response, None)
            await self._send({"type": "http.response.body", "body": block, "more_body": True})


def from_asgi(app: ASGIApp, *, root_path: str = "") -> Handler:
    """An ASGI application (of Starlette, say) as a handler.

    Its replies are streamed as it sends them, and it waits in ``send`` as long as the client does not read. A reply ends
    when the application returns. Its lifespan is not run. When the client goes away it is cancelled.

    Args:
        app: The application.
        root_path: The path that it is mounted under.
    """

    async def handler(request: Request) -> Response | StreamResponse:
        return await _Mounted(app, request, root_path).reply()

    return handler


class _Mounted:
    """One request to a mounted application, and the body of its reply.

    Its task produces messages, one at a time, as they are taken. Closing ends the task, whether or not anything of the
    body was taken.
    """

    def __init__(self, app: ASGIApp, request: Request, root_path: str) -> None:
        self._request = request
        self._message: Message | None = None
        self._has_message = asyncio.Event()
        self._has_room = asyncio.Event()
        self._first: Message = {}
        self._blocks: AsyncGenerator[bytes, None] | None = None
        self._is_read = False
        self._is_joined = False
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.raw_path.encode("ascii"),
            "query_string": request.query.encode("ascii"),
            "root_path": root_path,
            "headers": request.headers.raw,
            "client": (request.peer, 0) if request.peer and request.peer != "unix" else None,
            "server": None,
            "state": {},
        }
        self._task = asyncio.ensure_future(app(scope, self._receive, self._put))
        self._task.add_done_callback(lambda _task: self._has_message.set())

    # The application's side.

    async def _receive(self) -> Message:
        if self._is_read:
            # Nothing more comes; the client's going cancels the task.
            await asyncio.Event().wait()
        if self._blocks is None:
            self._blocks = cast("AsyncGenerator[bytes, None]", self._request.chunks())
        async for block in self._blocks:
            return {"type": "http.request", "body": block, "more_body": True}
        self._is_read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _put(self, message: Message) -> None:
        while self._message is not None:
            self._has_room.clear()
            await self._has_room.wait()
        self._message = message
        self._has_message.set()

    # The reply's side.

    async def _next(self) -> Message | None:
        """The next message; None when the application has returned. Raises what it raised."""
        await self._has_message.wait()
        message, self._message = self._message, None
        self._has_room.set()
        if message is None:
            await self._join()
        elif not self._task.done():
            self._has_message.clear()
        return message

    async def _join(self) -> None:
        self._is_joined = True
        await self._task

    async def reply(self) -> Response | StreamResponse:
        """The reply, as soon as its first block is there."""
        try:
            return await self._reply()
        except BaseException:
            await self.aclose()
            raise

    async def _reply(self) -> Response | StreamResponse:
        start = await self._next()
        first = await self._next() if start is not None else None
        if start is None or first is None:
            raise InternalError("the application ended without a reply")
        if start["type"] != "http.response.start" or first["type"] != "http.response.body":
            raise InternalError(f"the application sent {start['type']} and {first['type']} for a reply")
        status, headers, content_type, length = start["status"], [], "", None
        for name, value in start.get("headers", ()):
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            if key == "content-type":
                content_type = text
            elif key == "content-length":
                length = text
            elif key not in ("connection", "transfer-encoding", "date"):
                headers.append((key, text))
        if not first.get("more_body", False):
            await self._join()
            body = bytes(first.get("body", b""))
            if length is None or int(length) == len(body):
                return Response(status, headers, body, content_type)
        self._first = first
        return StreamResponse(self, status, headers, content_type)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        message: Message | None = self._first
        while message is not None:
            yield bytes(message.get("body", b""))
            if not message.get("more_body", False):
                if not self._is_joined:
                    await self._join()
                return
            message = await self._next()
        raise InternalError("the application ended in mid-reply")

    async def aclose(self) -> None:
        """End the application's task, and wait until it has ended."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._blocks is not None:
            await self._blocks.aclose()
        if (
            not self._is_joined
            and not self._task.cancelled()
            and (error := self._task.exception()) is not None
        ):
            _LOG.error("a mounted application failed after its reply was given up", exc_info=error)
