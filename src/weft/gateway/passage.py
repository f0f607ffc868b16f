"""One request on its way through a route's stages, and the stages as one handler.

A stage is what every stage is: ``async (passage, proceed) -> reply``. It may look at the passage, change it, answer by
itself, or ``await proceed(passage)`` and change the reply. Whatever it holds for the request (a reservation, a place in
a queue) it gives back in :meth:`Passage.on_end`, which is called once, in whatever way the request ends: a streamed
reply has only begun when ``proceed`` returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from weft.context import Context, Identity
from weft.contracts import Operation, Route
from weft.errors import InvalidRequestError
from weft.http.message import Request, Response, StreamResponse
from weft.serve.application import Exchange
from weft.types import Usage

if TYPE_CHECKING:
    from weft.gateway.targets import Target
    from weft.spec.gateway import RouteSpec

Reply = Response | StreamResponse

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Passage:
    """One request in a route.

    Attributes:
        request: As it came; a changed body replaces ``request.body``.
        context: Who asks, until when.
        rule: What holds: the route of the Gateway file.
        target: What will answer; a stage may choose another. None: an upstream.
        operation: Of the contract; None: an upstream.
        wire: The contract's route by which it came, which decides the form of body and reply; None: an upstream.
        model: As the caller wrote it: ``chatqna``, ``chatqna@2``; empty: by path alone.
        answer: What answers behind all stages, for a stage whose reply costs the target nothing.
    """

    __slots__ = (
        "_body",
        "_exchange",
        "answer",
        "context",
        "model",
        "operation",
        "request",
        "rule",
        "target",
        "wire",
    )

    def __init__(
        self,
        request: Request,
        context: Context,
        rule: RouteSpec,
        *,
        target: Target | None = None,
        operation: Operation | None = None,
        wire: Route | None = None,
        model: str = "",
        answer: Proceed | None = None,
    ) -> None:
        self.request, self.context, self.rule, self.answer = request, context, rule, answer
        self.target, self.operation, self.wire, self.model = target, operation, wire, model
        self._body: dict[str, Any] | None = None
        exchange = request.scope
        assert isinstance(exchange, Exchange)
        self._exchange = exchange
        exchange.heartbeat_s = rule.heartbeat_s

    @property
    def identity(self) -> Identity:
        """Who asks."""
        return self.context.identity

    @property
    def usage(self) -> Usage | None:
        """Tokens counted so far; complete when the request has ended."""
        return self.context.tally.total if self.context.tally is not None else None

    @property
    def has_json(self) -> bool:
        """Whether the body is an object of JSON; an upload is not."""
        body = self.request.body
        return body is not None and body.lstrip()[:1] == b"{"

    def body(self) -> dict[str, Any]:
        """The body, decoded once; to change it, give a new one to :meth:`replace`.

        Raises:
            InvalidRequestError: It is no JSON object.
        """
        if self._body is None:
            try:
                self._body = _decode(self.request.body or b"{}")
            except (ValueError, RecursionError) as error:  # it may be no UTF-8, too
                raise InvalidRequestError(f"the body is no JSON object: {error}") from error
        return self._body

    def replace(self, body: dict[str, Any]) -> None:
        """Let the request have another body."""
        self._body = body
        self.request.body = msgspec.json.encode(body)

    def on_end(self, ending: Callable[[int], None]) -> None:
        """Call ``ending`` with the reply's status when the request has ended: 499, when the client left."""
        exchange = self._exchange
        if exchange.endings is None:
            exchange.endings = []
        exchange.endings.append(ending)

    def add_headers(self, fields: Sequence[tuple[str, str]]) -> None:
        """Put headers on the reply, whatever it is; an error's too."""
        exchange = self._exchange
        exchange.headers = [*(exchange.headers or ()), *fields]

    def add_header(self, name: str, value: str) -> None:
        """Put a header on the reply, whatever it is; an error's too."""
        exchange = self._exchange
        exchange.headers = [*(exchange.headers or ()), (name, value)]

    def answered_by(self, target: Target, headers: Sequence[tuple[str, str]]) -> None:
        """Have another target answer, and say on the reply what is to be said of it."""
        exchange = self._exchange
        self.target, exchange.build_id = target, target.build_id
        exchange.headers = [*exchange.headers, *headers] if exchange.headers is not None else list(headers)


Proceed = Callable[[Passage], Awaitable[Reply]]


class Stage(Protocol):
    """One thing that a route does with its requests."""

    def __call__(self, passage: Passage, proceed: Proceed) -> Awaitable[Reply]:
        """Answer, or have the next stage answer.

        Safe to cancel at any point.

        Raises: what refuses the request, as an error with its status.
        """
        ...


def through(stages: Sequence[Stage], answer: Proceed) -> Proceed:
    """The stages around ``answer``, the first outermost."""
    handler = answer
    for stage in reversed(stages):
        handler = partial(_enter, stage, handler)
    return handler


def _enter(stage: Stage, proceed: Proceed, passage: Passage) -> Awaitable[Reply]:
    return stage(passage, proceed)
