"""The journal of one request as the last event of its streamed reply, for a caller that asks for it.

``x-weft-journal: on`` adds one event, named ``weft.journal``, after ``data: [DONE]`` or the error: OpenAI's clients
have stopped reading there, and they do not know the header. It has the caller's own run and no other: the run's number
is given out here, before the request goes in, and nothing that a caller sends can name another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from weft.context import Context
from weft.http.message import Request, Response, StreamResponse
from weft.observe.journal import Event, Journal

HEADER: Final = "x-weft-journal"

MAX_EVENTS: Final = 1_000
"""Of one reply, about 60 KB: a list of hundreds of elements is shown by its first ones."""


class RunJournal(msgspec.Struct, omit_defaults=True):
    """The event's data.

    Attributes:
        events: ``[step, parent, status, name, service, attempt, iteration, at_ms, detail]``, oldest first, as
            :data:`weft.observe.journal.Event` explains them; ``at_ms`` counts from the first event.
        left_off: How many are not here.
    """

    events: list[tuple[int, int, str, str, str, int, int, float, Any]]
    left_off: int = 0
    object: str = msgspec.field(default_factory=lambda: "weft.journal")  # a factory: always written


def is_wanted(request: Request) -> bool:
    """Whether the caller asks for it."""
    return request.headers.get(HEADER) == "on"


async def journalled(
    answer: Callable[[Request, Context], Awaitable[Response | StreamResponse]],
    request: Request,
    context: Context,
    journal: Journal,
) -> Response | StreamResponse:
    """The reply of ``answer``; where it is streamed, with the journal behind its end."""
    run = context.run = journal.new_run()
    reply = await answer(request, context)
    if isinstance(reply, StreamResponse):
        finish = reply.finish

        def finished(error: Exception | None) -> bytes | None:
            tail = finish(error) if finish is not None else None
            if tail is None and error is not None:
                return None  # nothing has gone out: the reply becomes an error with a status
            return (tail or b"") + event_of(journal.events(run))

        reply.finish = finished
    return reply


def event_of(events: Iterable[Event]) -> bytes:
    """The events of one run as a server-sent event."""
    known = list(events)
    begun_ns = known[0][8] if known else 0
    told = RunJournal(
        [
            (step, parent, status, name, service, attempt, iteration, round((at - begun_ns) / 1e6, 3), detail)
            for _, step, parent, status, name, service, attempt, iteration, at, detail in known[:MAX_EVENTS]
        ],
        max(0, len(known) - MAX_EVENTS),
    )
    return b"event: weft.journal\ndata: " + msgspec.json.encode(told) + b"\n\n"
