"""A contract's operations as routes, over anything that can be called: a component, a transport, a megaservice.

A request is decoded in the form that its fields have, and answered in that form; a streamed one becomes
server-sent events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec

from weft.context import Context, scope
from weft.contracts import Contract, Form, Operation, Route
from weft.contracts.base import decoded
from weft.contracts.chat import ChatChunk, ChatRequest
from weft.contracts.dataprep import IngestRequest
from weft.errors import DeadlineError, InvalidRequestError, ServiceError
from weft.http.message import Request, Response, StreamResponse
from weft.serve.addresses import BODILESS, from_address, parameters
from weft.serve.application import Application
from weft.serve.problems import Place
from weft.serve.routing import JSON, RouteDoc, RouteHandler
from weft.serve.streams import Overtime, chat_events, events, relay_reply, stream_reply
from weft.serve.uploads import FORM_SCHEMA, accepted, prefers_async, received, refused
from weft.transport.base import WireStream
from weft.transport.usage import costed, header_of

Call = Callable[[str, Any], Awaitable[Any]]
"""``(operation's name, request) -> response``, as ``Transport.call``."""

StreamCall = Callable[[str, Any], AsyncIterator[Any]]
"""``(operation's name, request) -> chunks``, as ``Transport.stream``."""

MAX_JSON_BYTES: Final = 32 * 1024 * 1024
"""Of a JSON body: a long conversation with images fits, and decoding it cannot stall the process for long."""


CONTRACT_PATH: Final = "/v1/contract"
"""Where a service says which contract it fulfils."""


class StatedContract(msgspec.Struct):
    """Which contract a service fulfils.

    Attributes:
        digest: Equal digests: the two sides fit.
        required: The required fields of each operation's request and reply, ``name: type``.
    """

    contract: str
    digest: str
    required: dict[str, list[str]]


class _StreamFlag(msgspec.Struct):
    stream: bool = False


_decode_flag = msgspec.json.Decoder(_StreamFlag).decode


def operation_routes(
    app: Application,
    contract: Contract,
    call: Call,
    stream: StreamCall | None = None,
    *,
    service: str = "",
    component: str = "",
    tags: tuple[str, ...] = (),
    path: str | None = None,
    prefix: str = "",
) -> None:
    """Route every operation of ``contract`` to ``call`` and ``stream``, and ``/v1/contract`` to what it promises.

    Args:
        app: Where the routes go.
        contract: Its operations' own routes are taken, in all their forms.
        call: Answers an operation whole.
        stream: Answers one in chunks; None: none of them streams.
        service: Whose operations these are, for errors and documentation.
        component: What it is, for errors.
        tags: The groups that OpenAPI lists them under; the contract's name if empty.
        path: Where the primary operation answers as well (``/v1/chatqna``).
        prefix: Put before every path (several services of one contract on one private address).
    """
    call = scoped(contract, call)
    if not prefix and CONTRACT_PATH not in app.router.exact:
        contract_route(app, contract)
    for operation in contract.operations.values():
        routes = operation.routes
        if operation is contract.primary:
            if not routes:
                routes = (Route("/v1/invoke"),)
            if path is not None:
                routes = (*routes, Route(path))
        for route in routes:
            place = Place(service or app.name, component)
            answer = Answer(app, operation, route, call=call, stream=stream, place=place)
            doc = RouteDoc(
                summary=operation_summary(contract, operation),
                request=operation.request,
                response=operation.response,
                chunk=operation.chunk if stream is not None else None,
                tags=tags or (contract.name,),
                opea=route.opea,
            )
            add_route(app, operation, route, answer, doc, prefix=prefix)


def operation_summary(contract: Contract, operation: Operation) -> str:
    """What an operation does, in a line: the contract's own words, and its Protocol's for what it has beside."""
    if operation.name == contract.primary.name:
        return contract.description
    method = getattr(contract.protocol, operation.name, None)
    said = (getattr(method, "__doc__", None) or "").strip().partition("\n")[0]
    return said or f"{contract.name}: {operation.name}"


def scoped(contract: Contract, call: Call) -> Call:
    """``call`` on behalf of the request's caller: what a body claims of tenant and readers is overwritten.

    For a contract that keeps data; any other is called as it is.
    """
    if contract.scope is None:
        return call
    target = contract.scope(_Callable(call), scope)

    async def for_caller(operation: str, request: Any) -> Any:
        return await getattr(target, operation)(request)

    return for_caller


class _Callable:
    """An implementation whose methods are one callable."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __getattr__(self, operation: str) -> Any:
        return partial(self._call, operation)


def contract_route(app: Application, contract: Contract) -> None:
    """Route ``/v1/contract``: what a registry compares before it takes the service in."""
    stated = msgspec.json.encode(StatedContract(contract.name, contract.digest(), contract.required()))

    async def state(request: Request, context: Context) -> Response:
        return Response(200, (), stated)

    doc = RouteDoc(
        summary="The contract that this service fulfils.", response=StatedContract, tags=("about",)
    )
    app.route("GET", CONTRACT_PATH, state, doc=doc)


def add_route(
    app: Application,
    operation: Operation,
    route: Route,
    handler: RouteHandler,
    doc: RouteDoc,
    *,
    prefix: str = "",
) -> None:
    """Route one operation, with the content types, bounds and form of errors that it has everywhere."""
    takes_forms = operation.request is IngestRequest
    doc = formed(doc, operation, route)
    if route.method in BODILESS:
        example = doc.examples.get("request", {})
        doc = replace(doc, request=None, **parameters(operation.request, route.path, example))
    app.route(
        route.method,
        prefix + route.path,
        handler,
        errors="openai" if operation.openai and not route.opea else "problem",
        doc=replace(doc, form=FORM_SCHEMA) if takes_forms else doc,
        max_body_bytes=None if takes_forms else MAX_JSON_BYTES,
        reads=(*JSON, "multipart/form-data") if takes_forms else JSON,
        needs="",  # in a gateway the stages of the target's route say who may
    )


def formed(doc: RouteDoc, operation: Operation, route: Route) -> RouteDoc:
    """The documentation of a route, with the forms that its bodies and replies may have."""
    form = route.form
    if form is not None:
        return replace(doc, request=form.asks or doc.request, response=form.answers or doc.response)
    return replace(doc, forms=tuple((f.asks, f.answers) for f in operation.forms if f.asks is not None))


class Answer:
    """The handler of one route of one operation."""

    __slots__ = (
        "_app",
        "_call",
        "_carries_usage",
        "_forms",
        "_has_flag",
        "_is_plain",
        "_name",
        "_operation",
        "_place",
        "_route",
        "_stream",
    )

    def __init__(
        self,
        app: Application,
        operation: Operation,
        route: Route,
        *,
        call: Call,
        stream: StreamCall | None,
        place: Place,
    ) -> None:
        self._app, self._operation, self._route = app, operation, route
        self._call, self._place = call, place
        self._name = operation.name
        self._stream = stream if operation.chunk is not None else None
        # A request that does not declare `stream` is asked to stream by its caller all the same.
        self._has_flag = "stream" in operation.request.__struct_fields__
        self._forms = operation.request is IngestRequest
        self._carries_usage = "usage" in operation.response.__struct_fields__
        # Whether a request is nothing but JSON in the operation's own form, which says itself whether to stream.
        self._is_plain = (
            not operation.forms
            and not self._forms
            and route.form is None
            and route.method not in BODILESS
            and (self._stream is None or self._has_flag)
        )

    def __call__(self, request: Request, context: Context) -> Awaitable[Response | StreamResponse]:
        """Decode, call, encode."""
        if self._is_plain:
            own = self._operation.own
            return self.reply(decoded(own, _whole(request)), own, context)
        return self._read(request, context)

    async def _read(self, request: Request, context: Context) -> Response | StreamResponse:
        """Find out how the request is written, and answer it."""
        # In the own form what became of each file is data, which one service hands on to another; an upload that was
        # refused is its sender's error.
        is_upload = self._forms and request.headers.get("content-type", "").startswith("multipart/")
        if is_upload:
            async with received(request, self._app.spool) as upload:
                upload.wait = not (is_async := prefers_async(request))
                return await self.reply(
                    upload, self._operation.own, context, is_upload=True, is_async=is_async
                )
        form: Any = self._route.form
        if self._route.method in BODILESS:
            asked: Any = from_address(request, self._operation.request)
            return await self.reply(asked, self._operation.own, context)
        if form is not None:
            asked = decoded(form, _whole(request))
        else:
            asked, form = self._operation.decode(_whole(request))
        if self._forms and prefers_async(request):
            asked.wait = False
            return await self.reply(asked, form, context, is_async=True)
        is_streamed = self._stream is not None and not self._has_flag and _wants_stream(_whole(request))
        return await self.reply(asked, form, context, is_streamed=is_streamed)

    async def reply(
        self,
        asked: Any,
        form: Form,
        context: Context,
        *,
        is_streamed: bool = False,
        is_upload: bool = False,
        is_async: bool = False,
    ) -> Response | StreamResponse:
        """Answer a request that has been decoded, in the form it was written in."""
        try:
            if self._stream is not None and (asked.stream if self._has_flag else is_streamed):
                return await self._streamed(self._stream(self._name, asked), asked, context)
            if context.deadline is None:
                response = await self._call(self._name, asked)
            else:
                response = await self._in_time(asked, context)
        except ServiceError as error:
            self._place.name(error)
            raise
        if is_async and response.job is not None:
            return accepted(response.job)
        if is_upload and any(file.outcome == "refused" for file in response.files):
            return refused(response)
        response = costed(response, context, has_field=self._carries_usage)
        return Response(200, () if self._carries_usage else header_of(context), form.encode(response, asked))

    async def _in_time(self, asked: Any, context: Context) -> Any:
        left = context.time_left_s() or 0.0
        if left <= 0:
            raise DeadlineError("the time allowed for the request was up before it began")
        try:
            async with Overtime(left) as overtime:
                return await self._call(self._name, asked)
        except TimeoutError as error:
            if overtime.is_over:
                raise DeadlineError("the time allowed for the request was up", elapsed_s=left) from error
            raise

    async def _streamed(self, chunks: AsyncIterator[Any], asked: Any, context: Context) -> StreamResponse:
        if isinstance(chunks, WireStream):
            drops_usage = isinstance(asked, ChatRequest) and not wants_usage(asked)
            return await relay_reply(
                chunks, log=self._app.log, context=context, place=self._place, drops_usage=drops_usage
            )
        if self._operation.chunk is ChatChunk:
            body = chat_events(chunks, context, include_usage=wants_usage(asked))
        else:
            body = events(chunks, context)
        return stream_reply(body, log=self._app.log, context=context, place=self._place)


def wants_usage(asked: Any) -> bool:
    """Whether ``stream_options.include_usage`` is set."""
    return (
        isinstance(asked, ChatRequest)
        and asked.stream_options is not None
        and asked.stream_options.include_usage
    )


def _whole(request: Request) -> bytes:
    body = request.body
    if body is None:
        raise InvalidRequestError("this route reads JSON", hint="send Content-Type: application/json")
    return body


def _wants_stream(body: bytes) -> bool:
    try:
        return _decode_flag(body or b"{}").stream
    except (ValueError, RecursionError):
        return False
