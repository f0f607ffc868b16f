"""Both ways between our handlers and ASGI: Weft on any ASGI server, and an ASGI application inside Weft."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any, TypeAlias, cast

from weft.errors import RequestError
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


class _AsgiBody:
    """A request's body as ASGI messages; notices the client's going while nobody reads."""

    def __init__(self, receive: Receive, *, length: int | None, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._size = 0
        self._is_ended = False
        self._is_read = asyncio.Event()
        self._is_gone = False
        self.length = length

    async def take(self) -> bytes:
        while not self._is_ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._is_ended = self._is_gone = True
                self._is_read.set()
                raise ProtocolError("the client closed the connection")
            block = bytes(message.get("body", b""))
            self._is_ended = not message.get("more_body", False)
            if self._is_ended:
                self._is_read.set()
            self._size += len(block)
            if self._size > self._max_bytes:
                raise too_large(self._max_bytes)
            if block:
                return block
        return b""

    async def wait_until_gone(self) -> None:
        """Returns when the client has closed; takes over ``receive`` once the body is complete."""
        # While the handler is still reading, it is the one to notice.
        await self._is_read.wait()
        while not self._is_gone:
            message = await self._receive()
            self._is_gone = message["type"] == "http.disconnect"


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
        length = int(declared) if declared.isdigit() else None
        has_body = length not in (None, 0) or "transfer-encoding" in headers
        self._body = _AsgiBody(receive, length=length, max_bytes=max_bytes)
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
            self._body,
        )
        self._has_body = has_body
        self._has_begun = False

    async def run(self) -> None:
        work = asyncio.ensure_future(self._serve())
        watch = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.wait((work, watch))
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _watch(self) -> None:
        if not self._has_body:
            await self._body.take()
        await self._body.wait_until_gone()

    async def _serve(self) -> None:
        try:
            if self._body.length is not None and self._body.length > self._max_bytes:
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

    async def _start(self, response: Response | StreamResponse, length: int | None) -> None:
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers
        ]
        if response.content_type:
            headers.append((b"content-type", response.content_type.encode("latin-1")))
        if length is not None and response.status not in (204, 304):
            headers.append((b"content-length", b"%d" % length))
        self._has_begun = True
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})

    async def _reply(self, response: Response) -> None:
        await self._start(response, len(response.body))
        body = b"" if self._request.method == "HEAD" or response.status in (204, 304) else response.body
        await self._send({"type": "http.response.body", "body": body})

    async def _stream(self, response: StreamResponse) -> None:
        error: Exception | None = None
        async with aclosing(_blocks(response)) as blocks:
            try:
                if self._request.method != "HEAD":
                    async for block in blocks:
                        if not self._has_begun:
                            await self._start(response, None)
                        await self._send({"type": "http.response.body", "body": block, "more_body": True})
            except Exception as raised:  # noqa: BLE001 - finish decides what it becomes
                error = raised
        tail = response.finish(error) if response.finish is not None else None
        if error is not None and (tail is None or not self._has_begun):
            raise error
        if not self._has_begun:
            await self._start(response, None)
        await self._send({"type": "http.response.body", "body": tail or b""})


async def _blocks(response: StreamResponse) -> AsyncGenerator[bytes, None]:
    body = response.body
    try:
        async for block in body:
            if block and response.pass_on is not None:
                block = response.pass_on(block)  # noqa: PLW2901 - what is sent of it
            if block:
                yield block
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()


def from_asgi(app: ASGIApp, *, root_path: str = "") -> Handler:
    """An ASGI application (of Starlette, say) as a handler.

    Its replies are streamed as it sends them, and it waits in ``send`` as long as the client does not read. Its lifespan
    is not run. When the client goes away it is cancelled.

    Args:
        app: The application.
        root_path: The path that it is mounted under.
    """

    async def handler(request: Request) -> Response | StreamResponse:
        return await _Mounted(app, request, root_path).reply()

    return handler


class _Mounted:
    """One request to a mounted application: its task produces messages, one at a time, as they are taken."""

    def __init__(self, app: ASGIApp, request: Request, root_path: str) -> None:
        self._request = request
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=1)
        self._blocks: AsyncIterator[bytes] | None = None
        self._is_read = False
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
        self._task = asyncio.ensure_future(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._messages.put)
        finally:
            # The end must reach a reader that waits, and must not wait for one that is gone.
            if self._messages.full():
                await self._messages.join()
            self._messages.put_nowait(None)

    async def _receive(self) -> Message:
        if self._is_read:
            # Nothing more comes; the client's going cancels the task.
            await asyncio.Event().wait()
        if self._blocks is None:
            self._blocks = self._request.chunks()
        async for block in self._blocks:
            return {"type": "http.request", "body": block, "more_body": True}
        self._is_read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _next(self) -> Message | None:
        message = await self._messages.get()
        self._messages.task_done()
        return message

    async def _stop(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def reply(self) -> Response | StreamResponse:
        try:
            start = await self._next()
            first = await self._next() if start is not None else None
        except BaseException:
            await self._stop()
            raise
        if start is None or first is None:
            await self._task
            raise RequestError("the application ended without a reply")
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
            await self._task
            body = bytes(first.get("body", b""))
            if length is None or int(length) == len(body):
                return Response(status, headers, body, content_type)
            if self._request.method == "HEAD":
                return Response(status, headers, bytes(int(length)), content_type)
        return StreamResponse(self._rest(first), status, headers, content_type)

    async def _rest(self, first: Message) -> AsyncIterator[bytes]:
        try:
            message: Message | None = first
            while message is not None:
                yield bytes(message.get("body", b""))
                if not message.get("more_body", False):
                    break
                message = await self._next()
            else:
                await self._task
                raise RequestError("the application ended in mid-reply")
            await self._task
        finally:
            await self._stop()
