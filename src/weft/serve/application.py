"""The application: routes behind one pass of checks. It is the handler that the HTTP server calls.

One pass, because a request's whole budget is some tens of microseconds: id, route, Host, Origin, token, content type,
context; then the route's handler; then the headers that every reply carries, and the metrics.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final, Literal, Protocol, TypeVar

from weft.context import Context, current
from weft.errors import (
    ForbiddenError,
    InvalidRequestError,
    MethodNotAllowedError,
    ModelNotFoundError,
    NotFoundError,
    RequestError,
    ServiceError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from weft.http.message import Request, Response, StreamResponse
from weft.observe.journal import Journal
from weft.observe.metrics import Metrics
from weft.serve.access import Access
from weft.serve.accesslog import AccessLog
from weft.serve.compression import compressed
from weft.serve.log import Log
from weft.serve.meters import RequestMeters
from weft.serve.pages import PAGE_HEADERS, token_page
from weft.serve.problems import ErrorForm, as_request_error, error_response
from weft.serve.routing import JSON, Route, RouteDoc, RouteHandler, Router
from weft.serve.routing import Path as RoutePath

__all__ = ["Access", "Application", "Exchange", "Route", "RouteDoc", "RouteHandler"]

T = TypeVar("T")

State = Literal["created", "starting", "running", "draining", "stopped"]

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}").fullmatch
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})

DONE_POLL_S: Final = 0.05
"""Between two looks whether the requests that were in flight have ended: nobody is kept waiting by it."""

CLIENT_GONE: Final = 499
"""The status under which requests are counted whose client went away before the reply (nginx's number)."""


class Verifier(Protocol):
    """Reads a signed ``x-weft-context``."""

    def verify(self, header: str) -> tuple[str, str, list[str] | None] | None:
        """Tenant, caller and readers; None when the signature does not hold."""
        ...


class Authenticator(Protocol):
    """Finds out who asks, in place of the access token."""

    async def __call__(self, request: Request, context: Context, route: Route | None) -> Response | None:
        """Let the context know the caller, by :meth:`Context.identify`.

        Asked for every request but those of open routes and preflights, also where there is no route, so that a
        stranger learns nothing of the paths.

        Args:
            request: Its headers and address; the body may not be there yet.
            context: Of the request.
            route: What was asked for; None: there is no such path or method.

        Returns:
            None to go on; else the reply, such as the page on which a person logs in.

        Raises:
            UnauthorizedError: Nothing, or nothing valid, was shown.
            ForbiddenError: The caller may not have the route.
        """
        ...


class Drained(Protocol):
    """A server that ends when the work in flight has."""

    async def drain(self, timeout_s: float) -> None:
        """Take no new work; what is under way may end until ``timeout_s``."""
        ...

    async def aclose(self) -> None:
        """End now."""
        ...


class Beside(Drained, Protocol):
    """A server of another protocol in front of an application."""

    async def start(self) -> None:
        """Listen, and answer from now on."""
        ...

    def follow(self, app: Application) -> None:
        """Have another application answer from the next call on."""
        ...


class Era:
    """The requests that came in between two changes of what serves them.

    Attributes:
        in_flight: Those whose reply is not done.
    """

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0


@dataclass(eq=False, slots=True)
class Exchange:
    """What the application knows of one request beside the request itself; it is ``request.scope``.

    Attributes:
        route: None until it is found; where the path has another method only, that one, for the form of errors.
        asked: The route that will answer; None: there is none.
        path: All methods of its path.
        named: The path's named segments.
        headers: Go onto the reply, whatever it is.
        endings: Called with the status when the request has ended, in whatever way: 499 is a client that left.
        heartbeat_s: After so long a silence a comment is sent on the reply, if it is an event stream. 0: never.
        build_id: Of what answers, where the application has several; None: the application's own.
    """

    context: Context
    begun: float
    era: Era
    route: Route | None = None
    asked: Route | None = None
    path: RoutePath | None = None
    named: dict[str, str] | None = None
    headers: list[tuple[str, str]] | None = None
    endings: list[Callable[[int], None]] | None = None
    heartbeat_s: float = 0.0
    build_id: str | None = None


class Application:
    """Routes, checks, lifespan and readiness of one gateway or one service.

    Args:
        name: Its title in OpenAPI, health and logs.
        version: Of what it serves.
        access: Who may talk to it.
        journal: Kept for the handlers; the application writes nothing to it itself.
        metrics: Where request counts and durations go; None counts nothing.
        build_id: On every reply as ``x-weft-build``; may be set later, before ``start``.
        description: For OpenAPI.
        verifier: Reads ``x-weft-context``; None: nobody's is believed. One that does not hold is refused.
        only_signed: Whether every route but the open ones is for those only who can sign ``x-weft-context``.
        log: Where unexpected errors are written, each once.

    Attributes:
        on_start: Awaited in order by :meth:`start`; while they run, only open routes are served.
        access_log: Where each request is noted that has ended; None: nowhere.
        compress_from: Whole replies of so many bytes and more are compressed for who takes them; None: none is.
        always, over_tls: Headers of every reply, and of every reply over TLS.
        beside: Servers of other protocols in front of it, started after it and drained with its own.
        on_stop: Awaited in reverse order by :meth:`stop`, each whatever became of the others.
        ready_checks: Service name to a check: True is ready; False, or why not, is not.
        era: Counts the requests that come in now.
        private: What siblings reach on this process's private address; None: this application itself.
        path_of: ``(target, operation)`` to the path that answers it in its contract's own form, and whether the body's
            ``model`` names the target there; raises ModelNotFoundError.
        authenticator: Finds out who asks, instead of the access token; None: the token holds.
        schemes: OpenAPI's security schemes, each of which will do, by name; where there are none, the access token is.
        lets_anonymous: Whether some routes answer one who shows nothing.
        spool: Where uploads are kept until whoever takes them has them; None: in memory.
        notes: Each says, when health is asked, what a person should know although requests are served; or nothing.
        lasting: What outlives this application in its process, by name: the one that takes its place has the same.
        predecessor: The one whose place it took, while requests that began there are under way.
        on_succeed: Called when it takes the place of another, between two requests.
        changing: None while something of it is being changed at run time, such as a model: none takes its place then,
            for it would not have that. Else a number, another one after each change.
        state: Where it is in its life.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        access: Access,
        journal: Journal | None = None,
        metrics: Metrics | None = None,
        build_id: str = "",
        description: str = "",
        verifier: Verifier | None = None,
        only_signed: bool = False,
        log: Log | None = None,
    ) -> None:
        self.name, self.version, self.description = name, version, description
        self.access, self.journal, self.metrics = access, journal, metrics
        self.build_id = build_id
        self.log = log or Log(name=name)
        self.router = Router()
        self.on_start: list[Callable[[], Awaitable[object]]] = []
        self.on_stop: list[Callable[[], Awaitable[object]]] = []
        self.ready_checks: dict[str, Callable[[], Awaitable[bool | str]]] = {}
        self.private: Application | None = None
        self.authenticator: Authenticator | None = None
        self.beside: list[Beside] = []
        self.access_log: AccessLog | None = None
        self.compress_from: int | None = None
        self.always: list[tuple[str, str]] | None = None
        self.over_tls: list[tuple[str, str]] | None = None
        self.path_of: Callable[[str, str], tuple[str, bool]] = _nowhere
        self.schemes: dict[str, dict[str, Any]] = {}
        self.lets_anonymous = False
        self.spool: Path | None = None
        self.notes: list[Callable[[], str | None]] = []
        self.lasting: dict[str, Any] = {}
        self.predecessor: Application | None = None
        self.on_succeed: list[Callable[[], object]] = []
        self.changing: Callable[[], int | None] = lambda: 0
        self.state: State = "created"
        self.era = Era()
        self._eras = [self.era]
        self._verifier, self._only_signed = verifier, only_signed
        self._meters = RequestMeters(metrics, lambda: self.in_flight)
        self._ids = count(1)
        self._id_prefix = os.urandom(8).hex()

    # Routes.

    def route(
        self,
        method: str,
        path: str,
        handler: RouteHandler,
        *,
        errors: ErrorForm = "problem",
        open: bool = False,
        doc: RouteDoc | None = None,
        max_body_bytes: int | None = None,
        reads: Sequence[str] = JSON,
        needs: str = "admin",
    ) -> None:
        """Answer ``method path`` with ``handler``.

        Args:
            method: ``GET`` answers ``HEAD`` too.
            path: Exact, or with ``{name}`` segments (:func:`named` gives their values).
            handler: See :data:`RouteHandler`.
            errors: How its errors are written.
            open: Served without the access token, and while the application starts (health).
            doc: For OpenAPI; None: the route is not in it.
            max_body_bytes: A longer body is refused with 413, before it is read where its length is declared.
            reads: Content types of the body; any other is refused with 415.
            needs: The role that a caller needs where an authenticator finds out who asks. Empty: it is for every
                caller, or checks by itself. Said for each route that is not for administrators, so that none is
                open because nobody thought of it.

        Raises:
            UsageError: It is routed already.
        """
        doc = doc if doc is not None else RouteDoc(hidden=True)
        self.router.add(Route(method, path, handler, errors, open, tuple(reads), max_body_bytes, doc, needs))

    # Requests.

    async def __call__(self, request: Request) -> Response | StreamResponse:
        """Answer one request; the only exception that leaves is cancellation."""
        get = request.headers.get
        request_id = get("x-request-id")
        if request_id is None or _SANE_ID(request_id) is None:
            request_id = self._new_id()
        context = Context(request_id, traceparent=get("traceparent"))
        era = self.era
        exchange = request.scope = Exchange(context, perf_counter(), era)
        if self.over_tls is not None and request.scheme == "https":
            exchange.headers = self.over_tls
        era.in_flight += 1
        status, is_streaming = CLIENT_GONE, False
        try:
            try:
                response = self._find(request, exchange, get)
                if response is None and self.authenticator is not None:
                    response = await self._authenticate(request, exchange, self.authenticator)
                if response is None:
                    response = self._admit(request, exchange, get)
                if response is None:
                    current.set(context)
                    route = exchange.route
                    assert route is not None  # what admits without a reply has found the route
                    body = request.body
                    limit = route.max_body_bytes
                    if body is None or (limit is not None and len(body) > limit):
                        await self._read(request, route)
                    if (body := request.body) is not None and not body.isascii():
                        _check_text(body, get("content-type"))
                    response = await route.handler(request, context)
            except Exception as error:  # noqa: BLE001 - the one place where errors become replies
                response = self._error_reply(error, request)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody has cancelled this request: a component waited for something that was, which is its fault.
                failure = RuntimeError("something that the request waited for was cancelled")
                failure.__cause__ = error
                response = self._error_reply(failure, request)
            status = response.status
            if isinstance(response, StreamResponse):
                is_streaming = True
                return self._streamed(response, exchange)
            if self.compress_from is not None and len(response.body) >= self.compress_from:
                response = compressed(response, get("accept-encoding"), from_bytes=self.compress_from)
            return Response(status, self._headers(exchange, response), response.body, response.content_type)
        finally:
            if not is_streaming:
                self._end(exchange, status)

    @property
    def in_flight(self) -> int:
        """Requests whose reply is not done, those that began in the application before this one included."""
        before = self.predecessor
        return sum(era.in_flight for era in self._eras) + (before.in_flight if before is not None else 0)

    async def until_done(self) -> None:
        """Return when all requests that are in flight now have their replies; those that come meanwhile do not count."""
        era, self.era = self.era, Era()
        self._eras.append(self.era)
        try:
            # Asked now and then, so that no request has to look whether somebody waits for it.
            while era.in_flight or self._has_older():  # noqa: ASYNC110
                await asyncio.sleep(DONE_POLL_S)
        finally:
            if not era.in_flight:
                self._eras.remove(era)

    def _has_older(self) -> bool:
        return self.predecessor is not None and self.predecessor.in_flight > 0

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` makes, once for all applications that follow each other in this process."""
        if name not in self.lasting:
            self.lasting[name] = make()
        found: T = self.lasting[name]
        return found

    def on_error(self, error: Exception, request: Request | None) -> Response:
        """The reply for an error: the server's own ``on_error``, for what fails before and after the handler."""
        reply = self._error_reply(error, request)
        if request is not None and isinstance(request.scope, Exchange):
            headers = self._headers(request.scope, reply)
        else:
            headers = [("x-request-id", self._new_id()), *reply.headers]
        return Response(reply.status, headers, reply.body, reply.content_type)

    def _error_reply(self, error: Exception, request: Request | None) -> Response:
        """What was not raised on purpose is logged here, once, with the request's id."""
        exchange = request.scope if request is not None and isinstance(request.scope, Exchange) else None
        request_id = exchange.context.request_id if exchange is not None else ""
        if isinstance(error, ServiceError) and exchange is not None:
            error.at(elapsed_s=perf_counter() - exchange.begun)
        if not isinstance(error, RequestError):
            path = request.path if request is not None else ""
            self.log.failure("a request failed unexpectedly", cause=error, request_id=request_id, path=path)
        route = exchange.route if exchange is not None else None
        form: ErrorForm = route.errors if route is not None else "problem"
        reply = error_response(as_request_error(error), form=form, request_id=request_id)
        if (
            request is not None
            and isinstance(error, UnauthorizedError)
            and "text/html" in request.headers.get("accept", "")
        ):
            return token_page(reply)
        return reply

    def _find(
        self, request: Request, exchange: Exchange, get: Callable[[str], str | None]
    ) -> Response | StreamResponse | None:
        """Find the route, and check Host and Origin.

        Returns:
            None to go on; the reply of a preflight.
        """
        path = self.router.exact.get(request.path)
        if path is None and (match := self.router.match(request.path)) is not None:
            path, exchange.named = match
        if "%" in request.raw_path and "%2f" in request.raw_path.lower():
            # A slash that was encoded is none between segments, and part of none: what a proxy in front holds back by its
            # path must not be had by another way to write that path.
            path = exchange.named = None
        method = request.method
        route = None
        if path is not None:
            route = path.methods.get(method) or (path.methods.get("GET") if method == "HEAD" else None)
            # Errors below are written as this path writes its errors, also when the method is wrong.
            exchange.route = route or next(iter(path.methods.values()))
            exchange.path, exchange.asked = path, route
        access = self.access
        host = get("host") or ""
        if host not in access.good_hosts and not access.allows_host(host):
            raise ForbiddenError(
                f"this server is not called '{host}'",
                hint="add the name to the hosts that it may be reached under",
            )
        if (origin := get("origin")) is not None and (
            reply := self._check_origin(request, exchange, origin, host)
        ):
            return reply
        return None

    async def _authenticate(
        self, request: Request, exchange: Exchange, authenticator: Authenticator
    ) -> Response | None:
        if exchange.asked is not None and exchange.asked.is_open:
            return None
        return await authenticator(request, exchange.context, exchange.asked)

    def _admit(
        self, request: Request, exchange: Exchange, get: Callable[[str], str | None]
    ) -> Response | StreamResponse | None:
        """Check that this request may have its route.

        Returns:
            None to go on; a reply that needs no handler (a redirect).
        """
        path, route, method, access = exchange.path, exchange.asked, request.method, self.access
        if (
            access.token is not None
            and self.authenticator is None
            and (route is None or not route.is_open)
            and not access.has_token(get("authorization"), get("cookie"), get("x-api-key"))
        ):
            return self._enter(request)
        # An authenticator has seen to it already: what it takes for an identity is its own concern.
        if self.authenticator is None and (route is None or not route.is_open):
            signed = get("x-weft-context")
            if signed is not None or self._only_signed:
                self._identify(exchange.context, signed)
        if path is None:
            close = self.router.nearest(request.path)
            raise NotFoundError(
                f"there is nothing at {request.path}",
                hint=f"did you mean {close}? all routes: /docs" if close else None,
            )
        if route is None:
            exchange.headers = [*(exchange.headers or ()), ("allow", path.allow())]
            raise MethodNotAllowedError(f"{path.name} answers {path.allow()}, not {method}")
        if self.state != "running" and not route.is_open and self.state != "draining":
            raise UnavailableError(f"{self.name} is {'starting' if self.state != 'stopped' else 'stopping'}")
        if method in _BODY_METHODS and (content_type := get("content-type")) != "application/json":
            self._check_content_type(request, route, content_type)
        if method in _BODY_METHODS and (coding := get("content-encoding")) is not None:
            _check_coding(coding, route)
        if (timeout := get("x-weft-timeout-ms")) is not None and timeout.isdecimal():
            exchange.context.deadline = monotonic() + int(timeout[:12]) / 1000
        return None

    def _check_origin(self, request: Request, exchange: Exchange, origin: str, host: str) -> Response | None:
        access = self.access
        if access.is_same_origin(origin, host):
            return None
        if not access.allows_cross_origin(origin):
            raise ForbiddenError(
                f"pages of '{origin}' may not call this server", hint="add it to the origins that may"
            )
        exchange.headers = [*(exchange.headers or ()), *access.cross_origin(origin)]
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return Response(204, access.preflight, content_type="")
        return None

    def _enter(self, request: Request) -> Response:
        """Without a token: the printed link is answered with the cookie, anything else is refused."""
        if request.method == "GET":
            for pair in request.query.split("&"):
                name, _, value = pair.partition("=")
                if name == "token" and self.access.is_token(value):
                    cookie = self.access.set_cookie(secure=request.scheme == "https")
                    # It begins with one slash on purpose: "//host" would lead to another server, and to a browser
                    # a backslash is a slash.
                    target = "/" + request.raw_path.lstrip("/\\")
                    headers = [
                        ("set-cookie", cookie),
                        ("location", target),
                        ("referrer-policy", "no-referrer"),
                        ("cache-control", "no-store"),
                    ]
                    return Response(303, headers, content_type="")
        raise UnauthorizedError(
            "this server asks for its access token",
            hint="send it as 'Authorization: Bearer TOKEN', or open the link that the server printed at its start",
        )

    def _check_content_type(self, request: Request, route: Route, content_type: str | None) -> None:
        if content_type is None or request.body == b"":
            return  # browsers cannot send a body without a type across origins; nothing was sent otherwise
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type in route.reads or "*/*" in route.reads:
            return
        if (
            "application/json" in route.reads
            and media_type.startswith("application/")
            and media_type.endswith("+json")
        ):
            return
        raise UnsupportedMediaTypeError(
            f"{route.name} reads {' or '.join(route.reads)}, not '{media_type}'",
            hint="set the header Content-Type" if media_type else None,
        )

    def _identify(self, context: Context, signed: str | None) -> None:
        """Take over whose request it is from whoever has the key to say so.

        Nothing that is shown is passed over: a request that was signed for one tenant must not be served for another.
        """
        if signed is None:
            if self._only_signed:
                raise UnauthorizedError(
                    "this service answers only who signs x-weft-context with its key",
                    hint="give both sides the same secret WEFT_SERVICE_KEY",
                )
            return
        known = self._verifier.verify(signed) if self._verifier is not None else None
        if known is None:
            raise UnauthorizedError(
                "x-weft-context is not signed with the key of this service, or no longer holds",
                hint="give both sides the same secret WEFT_SERVICE_KEY, and look at their clocks",
            )
        context.tenant, context.caller, context.readers = known

    async def _read(self, request: Request, route: Route) -> None:
        """Have the body whole before the handler runs; forms are left to be read part by part."""
        if not request.headers.get("content-type", "").startswith("multipart/"):
            await request.read(route.max_body_bytes)

    # Replies.

    def _headers(self, exchange: Exchange, response: Response | StreamResponse) -> list[tuple[str, str]]:
        headers = [("x-request-id", exchange.context.request_id), *response.headers]
        if self.build_id:
            headers.append(("x-weft-build", exchange.build_id or self.build_id))
        if exchange.headers is not None:
            headers += exchange.headers
        if self.always is not None:
            headers += self.always
        if response.content_type.startswith("text/html"):
            given = {name for name, _ in headers}
            headers += [header for header in PAGE_HEADERS if header[0] not in given]
        return headers

    def _new_id(self) -> str:
        return f"{self._id_prefix}{next(self._ids):08x}"

    def _streamed(self, response: StreamResponse, exchange: Exchange) -> StreamResponse:
        """The stream with our headers; it counts until its task has ended, however that comes about."""
        task = asyncio.current_task()
        assert task is not None  # the server runs each handler in a task of its own
        status = response.status
        finish = response.finish

        def finished(error: Exception | None) -> bytes | None:
            nonlocal status
            try:
                return finish(error) if finish is not None else None
            except Exception as failure:
                error = failure
                raise
            finally:
                if error is not None:
                    status = as_request_error(error).status

        def ended(task: asyncio.Task[Any]) -> None:
            gone = task.cancelled() or task.exception() is not None
            self._end(exchange, CLIENT_GONE if gone else status)

        task.add_done_callback(ended)
        return StreamResponse(
            response.body,
            response.status,
            self._headers(exchange, response),
            response.content_type,
            response.pass_on,
            finished,
            response.alike,
            exchange.heartbeat_s,
            response.begin,
        )

    def _end(self, exchange: Exchange, status: int) -> None:
        exchange.era.in_flight -= 1
        # What is called knows the request, and the request the exchange: the ring is opened, or each would wait for the
        # collector, which then had more to do than the request.
        endings, exchange.endings = exchange.endings, None
        if endings is not None:
            for ending in endings:
                ending(status)
        seconds = perf_counter() - exchange.begun
        self._meters.done(exchange.route, status, seconds)
        if self.access_log is not None:
            self.access_log.note(exchange.route, status, seconds, exchange.context)

    # Lifespan.

    async def start(self) -> None:
        """Run the start hooks; from then on every route is served.

        Raises: what a hook raised; the application is then stopped again.
        """
        self.state = "starting"
        try:
            for hook in self.on_start:
                await hook()
        except BaseException:
            await self.stop()
            raise
        self.state = "running"

    async def drain(self) -> None:
        """Be no longer ready, so that no new work is sent here; what comes is still served."""
        if self.state in ("running", "starting"):
            self.state = "draining"

    async def stop(self) -> None:
        """Run the stop hooks in reverse order; a hook's error is logged and keeps no other from running."""
        if self.state == "stopped":
            return
        self.state = "stopped"
        for hook in reversed(self.on_stop):
            try:
                await hook()
            except Exception as error:  # noqa: BLE001 - the others must still be stopped; it is not lost
                self.log.failure("stopping failed", cause=error)


def _nowhere(target: str, operation: str) -> tuple[str, bool]:
    raise ModelNotFoundError(f"there is no target '{target}' here", param="target")


def _check_coding(coding: str, route: Route) -> None:
    """Only upstreams are handed what is encoded; nothing of ours decodes a body.

    Raises:
        UnsupportedMediaTypeError: It is encoded.
    """
    if coding.lower() != "identity" and "*/*" not in route.reads:
        raise UnsupportedMediaTypeError(
            f"{route.name} reads no encoded body, such as '{coding}'", hint="send it without Content-Encoding"
        )


def _check_text(body: bytes, content_type: str | None) -> None:
    """JSON is UTF-8 (RFC 8259, 8.1): asked here once, since decoders say it in another way than that it is no JSON.

    Raises:
        InvalidRequestError: It is not.
    """
    if content_type is None or content_type.partition(";")[0].rstrip().lower().endswith("json"):
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequestError(f"the body is no JSON: byte {error.start} is not UTF-8") from error


def named(request: Request) -> dict[str, str]:
    """The values of the ``{name}`` segments of the request's route."""
    exchange = request.scope
    assert isinstance(exchange, Exchange)
    return exchange.named or {}
