"""MCP at ``/mcp``: each megaservice a tool, over streamable HTTP.

A request is answered whole, or as an event stream where its caller asks to hear of the progress. No state lies between two
requests: a session's id, which older revisions have, only says whose request a cancellation means. A caller that closes its
connection has cancelled what it asked for, in every revision.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from weft.context import Context, current
from weft.errors import OverloadedError, RequestError, UnavailableError, did_you_mean
from weft.gateway.protocols import mcp_wire
from weft.gateway.protocols.asking import apart, asking, at_end, owner_of, shown
from weft.gateway.protocols.mcp_tools import ProgressTeller, Tool, event, failed
from weft.gateway.protocols.mcp_wire import META, Id, Message, Refusal
from weft.gateway.protocols.telling import Telling
from weft.http.heartbeat import COMMENT
from weft.http.message import Request, Response, StreamResponse
from weft.serve.application import CLIENT_GONE, Application, RouteDoc
from weft.serve.operations import MAX_JSON_BYTES
from weft.serve.problems import STARTING_RETRY_S, as_request_error, members, openai_error
from weft.serve.routing import RouteHandler
from weft.serve.streams import close

if TYPE_CHECKING:
    from weft.gateway.app import Gateway

Reply = Response | StreamResponse

SESSION: Final = "mcp-session-id"
TOOLS_TTL_MS: Final = 60_000
"""How long a client may go on with the list of tools that it has."""

_PROTOCOL_STATUS: Final = frozenset({401, 403, 409, 429, 503})
"""Errors of the protocol: whoever wrote the client has to see them. All others are results that the model can read."""

_STREAM_HEADERS: Final = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))

_encode = msgspec.json.Encoder().encode

_DESCRIPTION: Final = (
    "JSON-RPC 2.0: `tools/list` and `tools/call`, with `server/discover` (revision 2026-07-28) or `initialize` and `ping` "
    "(2025-11-25, 2025-06-18, 2025-03-26). Each megaservice is a tool. A call with `_meta.progressToken` is answered as "
    "an event stream."
)


class _Running:
    """A call that is being worked on.

    Attributes:
        task: In which.
    """

    __slots__ = ("_is_cancelled", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task, self._is_cancelled = task, False

    def cancel(self) -> None:
        """End the work: its caller no longer wants it."""
        self._is_cancelled = True
        self.task.cancel()

    def was_cancelled(self) -> bool:
        """Whether a cancellation that was just seen is that, and not the end of the connection; it is then over with."""
        if self._is_cancelled:
            self.task.uncancel()
        return self._is_cancelled


class Mcp:
    """The route of the Model Context Protocol.

    Args:
        gateway: Whose megaservices are the tools.
        app: Tells name and version; its log gets what fails unexpectedly.
    """

    def __init__(self, gateway: Gateway, app: Application) -> None:
        self._gateway, self._app = gateway, app
        self._tools: dict[str, Tool] = {}
        self._doors: dict[str, RouteHandler] = {}
        self._running: dict[tuple[str, str, Id], _Running] = {}

    def add_routes(self) -> None:
        """Serve ``/mcp``."""
        for target in self._gateway.megaservices():
            front = self._gateway.front
            tool = Tool(target, front.rule(target.name) if front is not None else None)
            self._tools[tool.name] = tool
            self._doors[tool.name] = self._gateway.door(target)
        doc = RouteDoc(
            summary="The Model Context Protocol: each megaservice a tool.",
            description=_DESCRIPTION,
            request=mcp_wire.Message | list[mcp_wire.Message],
            response=dict[str, Any] | list[dict[str, Any]],
            chunk=dict[str, Any],
            others={202: {"description": "A notification, or a reply, was taken."}},
            tags=("mcp",),
            examples={"list": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}},
        )
        self._app.route(
            "POST",
            "/mcp",
            self.answer,
            errors="jsonrpc",
            doc=doc,
            max_body_bytes=MAX_JSON_BYTES,
            needs="",  # the stages of each tool's route say who may call it
        )

    async def answer(self, request: Request, context: Context) -> Reply:
        """Answer ``POST /mcp``."""
        value: Any = None
        try:
            value = mcp_wire.decode(request.body or b"")
            if isinstance(value, list):
                return await self._batch(value, request, context)
            if mcp_wire.is_response(value):
                return _accepted()
            return await self._one(mcp_wire.message_of(value), request, context)
        except Refusal as refusal:
            return mcp_wire.refused(mcp_wire.id_of(value), refusal)

    async def _batch(self, values: list[Any], request: Request, context: Context) -> Response:
        """Several messages in one body, which only the oldest revision has: answered at the same time, in their order."""
        version = request.headers.get("mcp-protocol-version", mcp_wire.WITHOUT_HEADER)
        if version != mcp_wire.WITHOUT_HEADER:
            raise Refusal(
                mcp_wire.INVALID_REQUEST, f"the revision {version} has no batches: send one message"
            )
        if not 0 < len(values) <= mcp_wire.MAX_BATCH:
            raise Refusal(mcp_wire.INVALID_REQUEST, f"a batch has 1 to {mcp_wire.MAX_BATCH} messages")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._of_batch(value, request, context)) for value in values]
        answers = [task.result() for task in tasks if not task.cancelled() and task.result() is not None]
        return Response(200, (), _encode(answers)) if answers else _accepted()

    async def _of_batch(self, value: Any, request: Request, context: Context) -> Any:
        if mcp_wire.is_response(value):
            return None
        with apart(request, context) as own:
            current.set(own.context)
            try:
                message = mcp_wire.message_of(value)
                reply = await self._one(message, own.request, own.context, whole=True)
            except Refusal as refusal:
                own.status = refusal.status
                return mcp_wire.error_of(mcp_wire.id_of(value), refusal)
            own.status = reply.status
            assert isinstance(reply, Response)  # it was asked for whole
            return msgspec.Raw(reply.body) if reply.body else None

    async def _one(
        self, message: Message, request: Request, context: Context, *, whole: bool = False
    ) -> Reply:
        version = mcp_wire.version_of(message, request.headers)
        if message.id is UNSET:
            if message.method == "notifications/cancelled":
                self._cancel(message, request, context)
            return _accepted()
        is_modern = version in mcp_wire.MODERN
        if message.method == "tools/call":
            return await self._call(message, message.id, version, request, context, whole=whole)
        answers = self._modern if is_modern else self._legacy
        method = answers.get(message.method)
        if method is None:
            raise Refusal(
                mcp_wire.METHOD_NOT_FOUND,
                f"there is no method '{message.method}' in the revision {version} here",
                status=404 if is_modern else 200,
                data={"hint": did_you_mean(message.method, [*answers, "tools/call"], what="methods")},
            )
        return method(self, message, message.id, version, context)

    # Methods.

    def _initialize(self, message: Message, id_: Id, version: str, context: Context) -> Response:
        wanted = message.arguments.get("protocolVersion")
        result: dict[str, Any] = {
            "protocolVersion": wanted if wanted in mcp_wire.LEGACY else mcp_wire.LEGACY[0],
            "capabilities": {"tools": {}},
            "serverInfo": self._info(),
            **self._instructions(),
        }
        headers = ((SESSION, secrets.token_hex(16)),)
        return Response(200, headers, _encode(mcp_wire.reply_of(id_, result)))

    def _discover(self, message: Message, id_: Id, version: str, context: Context) -> Response:
        result: dict[str, Any] = {"supportedVersions": list(mcp_wire.VERSIONS), "capabilities": {"tools": {}}}
        return self._result(id_, version, result | self._instructions() | self._lasting())

    def _ping(self, message: Message, id_: Id, version: str, context: Context) -> Response:
        return self._result(id_, version, {})

    def _list(self, message: Message, id_: Id, version: str, context: Context) -> Response:
        if (cursor := message.arguments.get("cursor")) is not None:
            raise Refusal(
                mcp_wire.INVALID_PARAMS, f"there is no page '{shown(cursor)}': all tools are in the first"
            )
        front = self._gateway.front
        tools = [
            tool.described
            for tool in self._tools.values()
            if front is None or front.lets_in(tool.name, context.identity)
        ]
        result: dict[str, Any] = {"tools": tools}
        return self._result(id_, version, result | (self._lasting() if version in mcp_wire.MODERN else {}))

    def _listen(self, message: Message, id_: Id, version: str, context: Context) -> StreamResponse:
        """Lists say how long they hold: a subscription is acknowledged as one to nothing, and ends."""
        params = {"_meta": {META + "subscriptionId": id_}, "notifications": {}}
        said = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}
        ended = mcp_wire.reply_of(id_, self._dressed(version)({}))

        async def body() -> AsyncIterator[bytes]:
            yield event(said) + event(ended)

        return StreamResponse(body(), 200, _STREAM_HEADERS)

    _legacy: Final[dict[str, Callable[[Mcp, Message, Id, str, Context], Reply]]] = {
        "initialize": _initialize,
        "ping": _ping,
        "tools/list": _list,
    }
    _modern: Final[dict[str, Callable[[Mcp, Message, Id, str, Context], Reply]]] = {
        "server/discover": _discover,
        "tools/list": _list,
        "subscriptions/listen": _listen,
    }

    def _info(self) -> dict[str, str]:
        return {"name": self._app.name, "version": self._app.version or "0"}

    def _instructions(self) -> dict[str, str]:
        return {"instructions": self._app.description} if self._app.description else {}

    def _lasting(self) -> dict[str, Any]:
        return {"ttlMs": TOOLS_TTL_MS, "cacheScope": "private"}

    def _dressed(self, version: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """What a result has beside its own: the newest revision says of each what it is, and whose."""
        if version not in mcp_wire.MODERN:
            return lambda result: result
        beside = {"resultType": "complete", "_meta": {META + "serverInfo": self._info()}}
        return lambda result: result | beside

    def _result(self, id_: Id, version: str, result: dict[str, Any]) -> Response:
        return Response(200, (), _encode(mcp_wire.reply_of(id_, self._dressed(version)(result))))

    # Calls.

    async def _call(
        self, message: Message, id_: Id, version: str, request: Request, context: Context, *, whole: bool
    ) -> Reply:
        name, arguments = message.arguments.get("name"), message.arguments.get("arguments")
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise Refusal(
                mcp_wire.INVALID_PARAMS,
                f"there is no tool '{shown(name)}'",
                status=200 if version in mcp_wire.LEGACY else 400,
                data={"hint": did_you_mean(shown(name), list(self._tools), what="tools")},
            )
        if not isinstance(arguments, dict | None):
            raise Refusal(mcp_wire.INVALID_PARAMS, "the arguments of a tool are an object")
        token = message.meta.get("progressToken")
        is_streamed = (
            not whole
            and isinstance(token, (str, int))
            and tool.is_chat
            and tool.target.stream is not None
            and "text/event-stream" in request.headers.get("accept", "")
        )
        running = self._note(id_, request, context)
        try:
            reply = await self._ask(tool, arguments or {}, request, context, streamed=is_streamed)
        except RequestError as error:
            return self._failed(error, id_, version, context)
        except asyncio.CancelledError:
            if running.was_cancelled():
                raise _cancelled() from None
            raise
        if isinstance(reply, Response):
            return self._result(id_, version, tool.result(reply, version))
        assert isinstance(token, (str, int))
        teller = ProgressTeller(id_, token, version, self._dressed(version))
        body = self._events(Telling(reply, teller), reply, running, id_, context)
        return StreamResponse(body, 200, (*_STREAM_HEADERS, *_without(reply.headers, _STREAM_HEADERS)))

    async def _ask(
        self, tool: Tool, arguments: dict[str, Any], request: Request, context: Context, *, streamed: bool
    ) -> Reply:
        body = tool.body(arguments)
        if not tool.is_chat:
            return await self._doors[tool.name](asking(request, body), context)
        if streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        else:
            body.pop("stream", None)
        return await self._gateway.ask("chat", asking(request, body), context)

    def _failed(self, error: RequestError, id_: Id, version: str, context: Context) -> Response:
        """What went wrong: for the model where it can make something of it, else for its client."""
        if error.status not in _PROTOCOL_STATUS:
            return self._result(id_, version, failed(str(error)))
        headers: tuple[tuple[str, str], ...] = ()
        data = {"code": error.code} | members(error, context.request_id)
        if isinstance(error, OverloadedError):
            headers = (("retry-after", str(max(1, round(error.retry_after_s)))),)
            data["retry_after_s"] = error.retry_after_s
        elif isinstance(error, UnavailableError):
            headers = (("retry-after", str(STARTING_RETRY_S)),)
        refusal = Refusal(error.status, str(error), status=error.status, data=data, headers=headers)
        return mcp_wire.refused(id_, refusal)

    async def _events(
        self, telling: Telling, reply: StreamResponse, running: _Running, id_: Id, context: Context
    ) -> AsyncIterator[bytes]:
        """The call's events: whatever goes wrong is said in them, with the request's id."""
        try:
            # A comment at once: the head goes out, and from here on every error has an event.
            yield COMMENT
            async for block in reply.body:
                if passed := telling.pass_on(block):
                    yield passed
            yield telling.finish(None) or b""
        except Exception as error:  # noqa: BLE001 - said in the last event, and logged where it is unexpected
            yield self._last(telling, error, context)
        except asyncio.CancelledError:
            if not running.was_cancelled():
                raise
            yield event(mcp_wire.error_of(id_, _cancelled()))
        finally:
            await close(reply.body)

    def _last(self, telling: Telling, error: Exception, context: Context) -> bytes:
        try:
            tail = telling.finish(error)
        except Exception as failure:  # noqa: BLE001 - the same error, as the reply sees it
            error, tail = failure, None
        if tail is not None:
            return tail
        if not isinstance(error, RequestError):
            self._app.log.failure("a stream failed unexpectedly", cause=error, request_id=context.request_id)
        return telling.teller.fail(openai_error(as_request_error(error), context.request_id)["error"])

    def _note(self, id_: Id, request: Request, context: Context) -> _Running:
        """Know this request by its id while it lasts, so that its caller can cancel it."""
        key, task = (owner_of(context), request.headers.get(SESSION, ""), id_), asyncio.current_task()
        assert task is not None  # each request has one
        running = self._running[key] = _Running(task)

        def forget(status: int) -> None:
            if self._running.get(key) is running:
                del self._running[key]

        at_end(request, forget)
        return running

    def _cancel(self, message: Message, request: Request, context: Context) -> None:
        """End a caller's own request of its own session, as if it had left; of any other it is as if there were none."""
        id_ = message.arguments.get("requestId")
        if isinstance(id_, (str, int)):
            running = self._running.get((owner_of(context), request.headers.get(SESSION, ""), id_))
            if running is not None:
                running.cancel()


def _cancelled() -> Refusal:
    """The older clients' connection must live on: what they have cancelled is answered, in so many words."""
    return Refusal(CLIENT_GONE, "the caller has cancelled this request", status=CLIENT_GONE)


def _accepted() -> Response:
    return Response(202, (), b"", content_type="")


def _without(headers: Any, names: Any) -> list[tuple[str, str]]:
    taken = {name for name, _ in names}
    return [header for header in headers if header[0] not in taken]
