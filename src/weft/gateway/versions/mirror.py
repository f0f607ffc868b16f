"""Copies of requests for a version that is being tried out: nobody waits for their replies, and nobody pays for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import Final

from weft.context import Context, current
from weft.gateway.passage import Passage, Proceed, Reply
from weft.gateway.targets import Target
from weft.gateway.versions.stage import Version
from weft.http.message import Request, StreamResponse
from weft.observe.metrics import Metrics
from weft.serve.application import Era, Exchange
from weft.serve.log import Log
from weft.spec.gateway import RouteSpec

MAX_AT_ONCE: Final = 32
"""Copies of a route under way in one process: a version that hangs must not fill the memory. Beyond, none are made."""

TIMEOUT_S: Final = 120.0
"""Of a copy, where the route has none: as long as a long generation takes."""


TELL_EVERY_S: Final = 60.0
"""Between two failures that are told: a version that fails each time does not fill the log."""


class MirrorStage:
    """Sends a copy of some requests to versions that are asked for it. Innermost: only what is admitted is copied.

    A copy is a request of its own in everything but name: its tokens count for nobody, its failure is counted, and when
    the process ends or its route is replaced, it is cancelled.

    Args:
        rule: The route.
        versions: Of the route.
        metrics: Count what became of the copies.
        log: Told of failures, now and then.
        draw: Gives a number from 0 to 1: a version with ``mirror: N`` gets the copy below N / 100.
    """

    def __init__(
        self,
        rule: RouteSpec,
        versions: Sequence[Version],
        metrics: Metrics,
        *,
        log: Log,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._versions = [
            (version.target, version.spec.mirror / 100) for version in versions if version.spec.mirror
        ]
        self._log, self._draw = log, draw
        self._timeout_s = rule.timeout_s or TIMEOUT_S
        self._silent_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        counted = metrics.counter(
            "weft_gateway_mirrored_total",
            "Copies of requests for a version that is tried out, by what became of them.",
            ("route", "version", "outcome"),
        )
        self._counts = {
            (target, outcome): counted.bind(rule.target, target.version, outcome)
            for target, _ in self._versions
            for outcome in ("ok", "failed", "dropped")
        }

    async def __call__(self, passage: Passage, proceed: Proceed) -> Reply:
        """See :class:`weft.gateway.passage.Stage`."""
        for target, share in self._versions:
            if target is not passage.target and self._draw() < share and passage.request.body is not None:
                self._copy(passage, target, proceed)
        return await proceed(passage)

    def _copy(self, passage: Passage, target: Target, proceed: Proceed) -> None:
        if len(self._tasks) >= MAX_AT_ONCE:
            self._counts[target, "dropped"].add()
            return
        task = asyncio.get_running_loop().create_task(
            self._send(_copied(passage, target), target, proceed),
            name=f"mirror {target.name} {target.version}",
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, passage: Passage, target: Target, proceed: Proceed) -> None:
        current.set(passage.context)
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await proceed(passage)
                if isinstance(reply, StreamResponse):
                    await _discard(reply)
        except Exception as error:  # noqa: BLE001 - whatever a version that is tried out does, it is only counted
            self._counts[target, "failed"].add()
            self._tell(error, passage, target)
        else:
            self._counts[target, "ok" if reply.status < 400 else "failed"].add()

    def _tell(self, error: Exception, passage: Passage, target: Target) -> None:
        now = monotonic()
        if now >= self._silent_until:
            self._silent_until = now + TELL_EVERY_S
            self._log.warning(
                f"a copy for {target.name} {target.version} failed: {type(error).__name__}: {error}",
                request_id=passage.context.request_id,
            )

    async def stop(self) -> None:
        """Cancel what is under way, and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _copied(passage: Passage, target: Target) -> Passage:
    """The request as it is now, for another target; nothing that happens to it happens to the first."""
    asked = passage.request
    request = Request(
        asked.method,
        asked.path,
        asked.raw_path,
        asked.query,
        asked.headers,
        asked.body,
        asked.peer,
        asked.scheme,
    )
    context = Context(f"{passage.context.request_id}-mirror", traceparent=passage.context.traceparent())
    context.identify(passage.identity)
    context.tenant, context.caller = passage.context.tenant, passage.context.caller
    context.readers = passage.context.readers
    # An era of its own: no reload and no end of the process waits for a copy.
    request.scope = Exchange(context, perf_counter(), Era())
    return Passage(
        request,
        context,
        passage.rule,
        target=target,
        operation=passage.operation,
        wire=passage.wire,
        model=passage.model,
    )


async def _discard(reply: StreamResponse) -> None:
    """Take a stream to its end."""
    body, failure = reply.body, None
    try:
        async for block in body:
            if reply.pass_on is not None:
                reply.pass_on(block)
    except Exception as error:
        failure = error
        raise
    finally:
        if (aclose := getattr(body, "aclose", None)) is not None:
            await aclose()
        if reply.finish is not None:
            reply.finish(failure)
