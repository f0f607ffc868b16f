"""The stage that asks other routes' targets when a route's own fails, before the first byte of a reply has gone out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from weft.errors import RequestError
from weft.gateway.beginning import begin
from weft.gateway.passage import Passage, Proceed, Reply
from weft.http.message import StreamResponse
from weft.observe.metrics import Metrics
from weft.run.failures import may_be_answered_elsewhere
from weft.serve.streams import close
from weft.spec.gateway import RouteSpec

HEADER: Final = "x-weft-fallback"
"""Names who answered, where that is not whom the request was for."""

_TRIED: Final = "weft.gateway.fallback"
"""Where a request keeps whom it has been to: routes may name each other."""

Way = Callable[[Passage], Awaitable[Reply]]
"""Asks a route's target in another's place, through its own route's stages."""


class FallbackStage:
    """Asks in turn, until one does not fail.

    What a caller did wrong, and what limits refuse, fails everywhere and is not asked again. Each that is asked is asked
    through all of its own route's stages: whoever may not have it does not get it this way, either.

    Args:
        rule: The route; it names others.
        ways: How each target is asked; filled before the first request.
        metrics: Of the process.
    """

    def __init__(self, rule: RouteSpec, ways: Mapping[str, Way], metrics: Metrics) -> None:
        assert rule.backends is not None  # a route that names others says so there
        self._name, self._names, self._ways = rule.target, rule.backends.fallback, ways
        counted = metrics.counter(
            "weft_route_fallbacks_total",
            "Requests that another route's target was asked for.",
            ("route", "target"),
        )
        self._count = {name: counted.bind(rule.target, name).add for name in self._names}

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`.

        Raises: what the route's own target raised, if none of them does better.
        """
        own: Reply | None = None
        failure: RequestError | None = None
        try:
            own = await _begun(proceed(passage))
        except RequestError as error:
            if not may_be_answered_elsewhere(error):
                raise
            failure = error
        if own is not None and not is_trouble(own.status):
            return own
        tried = _tried(passage, self._name)
        for name in self._names:
            if name in tried or self._is_late(passage):
                continue
            tried.add(name)
            self._count[name]()
            try:
                reply = await _begun(self._ways[name](passage))
            except RequestError:
                continue  # the caller is told what was wrong with whom they asked
            if is_trouble(reply.status):
                await _end(reply)
                continue
            if own is not None:
                await _end(own)
            passage.add_header(HEADER, name)
            return reply
        if failure is not None:
            raise failure
        assert own is not None  # it has failed or answered
        return own

    def _is_late(self, passage: Passage) -> bool:
        left_s = passage.context.time_left_s()
        return left_s is not None and left_s <= 0


def is_trouble(status: int) -> bool:
    """Whether a reply says that the server is in trouble, and not that the request is wrong."""
    return status >= 500 or status == 429


def _tried(passage: Passage, name: str) -> set[str]:
    """Whom a request has been to, for everyone who sees it."""
    context = passage.context
    if context.values is None:
        context.values = {}
    found = context.values.setdefault(_TRIED, set())
    assert isinstance(found, set)  # put there by the line above
    found.add(name)
    return found


async def _begun(asking: Awaitable[Reply]) -> Reply:
    """A reply that has a first block, if it has blocks."""
    reply = await asking
    if isinstance(reply, StreamResponse):
        await begin(reply)
    return reply


async def _end(reply: Reply) -> None:
    """Give up a reply that nobody gets."""
    if isinstance(reply, StreamResponse):
        await close(reply.body)
