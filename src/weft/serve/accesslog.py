"""One line for each request that has ended, written in batches: a request pays for noting it, and not for writing it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.serve.log import Log
from weft.serve.routing import Route

FLUSH_S: Final = 0.05
"""Between a request's end and its line: nobody who reads along notices."""

MAX_HELD: Final = 10_000
"""Lines that wait; with more they are written at once."""

_encode = msgspec.json.Encoder().encode


class Line(Struct, omit_defaults=True):
    """One request. It has the route and not the path, which may hold what is nobody's business.

    Attributes:
        time: When it ended.
        status: 499: the client left.
        ms: From its head to the end of its reply.
        tenant, caller, key: Who asked; the key by its public id.
        tokens: Read and written.
    """

    time: str
    level: str
    process: str
    message: str
    method: str
    route: str
    status: int
    ms: float
    request_id: str
    tenant: str = "default"
    caller: str = ""
    key: str = ""
    tokens: int = 0


class AccessLog:
    """Notes requests, and writes them.

    Args:
        log: Where to.
        name: Of this process.
    """

    def __init__(self, log: Log, *, name: str) -> None:
        self._log, self._name = log, name
        self._held: list[Line] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(self, route: Route | None, status: int, seconds: float, context: Context) -> None:
        """A request has ended."""
        method, name = (route.method, route.name) if route is not None else ("", "unrouted")
        counted = context.tally.total if context.tally is not None else None
        tokens = counted.total_tokens if counted is not None else sum(context.usage or ())
        self._held.append(
            Line(
                "", "info", self._name, "request", method, name, status, round(seconds * 1000, 3),
                context.request_id, context.tenant, context.caller, context.identity.key,
                tokens,
            )
        )  # fmt: skip
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        elif len(self._held) >= MAX_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, []
        if not held:
            return
        if self._log.pretty:
            now = time.strftime("%H:%M:%S")
            self._log.write("".join(f"{now} {self._name}: {_for_people(line)}\n" for line in held))
            return
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        for line in held:
            line.time = stamp
        self._log.write((b"\n".join(map(_encode, held)) + b"\n").decode())


def _for_people(line: Line) -> str:
    who = line.caller or line.key
    tokens = f" {line.tokens} tokens" if line.tokens else ""
    return f"{line.method} {line.route} {line.status} {line.ms:.0f} ms{tokens}{f' {who}' if who else ''} {line.request_id}"
