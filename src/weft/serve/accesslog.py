"""One line for each request that has ended, written in batches and by a thread: requests wait for no reader of the log.

A pipe that nobody reads takes 64 KB and then holds up who writes to it. Here that holds up the thread only; what comes
meanwhile is dropped beyond a bound, counted, and told once somebody reads again.
"""

from __future__ import annotations

import asyncio
import queue
import threading
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
"""Lines that wait for their time; with more they are handed to the thread at once."""

MAX_WAITING: Final = 64
"""Batches that wait for the thread; with more, batches are dropped."""

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
        self._batches: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._written = threading.Condition()
        self._waiting = self._dropped = 0
        self._thread: threading.Thread | None = None

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
        """Have what is held written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, []
        if not held:
            return
        with self._written:
            if self._waiting >= MAX_WAITING:
                self._dropped += len(held)
                return
            self._waiting += 1
        self._batches.put(self._text(held))
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="access log", daemon=True)
            self._thread.start()

    def drain(self, timeout_s: float) -> bool:
        """Wait until all is written, for at most so long; whether it is."""
        self.flush()
        with self._written:
            return self._written.wait_for(lambda: not self._waiting, timeout_s)

    def _write(self) -> None:
        while True:
            text = self._batches.get()
            self._log.write(text)
            with self._written:
                self._waiting -= 1
                dropped, self._dropped = self._dropped, 0
                self._written.notify_all()
            if dropped:
                message = f"{dropped} requests have no line in this log: nobody was reading it"
                self._log.warning(message)

    def _text(self, held: list[Line]) -> str:
        if self._log.pretty:
            now = time.strftime("%H:%M:%S")
            return "".join(f"{now} {self._name}: {_for_people(line)}\n" for line in held)
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        for line in held:
            line.time = stamp
        return (b"\n".join(map(_encode, held)) + b"\n").decode()


def _for_people(line: Line) -> str:
    who = line.caller or line.key
    tokens = f" {line.tokens} tokens" if line.tokens else ""
    return f"{line.method} {line.route} {line.status} {line.ms:.0f} ms{tokens}{f' {who}' if who else ''} {line.request_id}"
