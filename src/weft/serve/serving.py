"""One application on its addresses, from its start to its end: listen, start, be ready, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final, TypeVar

from weft.http.server import Server, ServerLimits
from weft.serve import ports
from weft.serve.application import Application
from weft.serve.doors import Certificates, Door, TlsFiles
from weft.serve.health import Health

R = TypeVar("R")

DRAIN_TIMEOUT_S: Final = 30.0
"""How long work in flight may take to end after the first signal; Kubernetes waits as long before it kills."""

RETIRE_TIMEOUT_S: Final = 600.0
"""How long requests may go on that began before another application took the place: as long as a remote service may take."""

GRACE_S: Final = 1.0
"""How long a connection that was not told to part is kept for one more request: a client that goes on with the one where a
stream has just ended does so within milliseconds."""

STOP_TIMEOUT_S: Final = 5.0
"""How long components may take to close, once nothing is in flight."""

READY_POLL_S: Final = 0.05
"""How often readiness is asked for until it is there the first time."""

STOPPED_BY_CTRL_C: Final = 130
"""The exit status that says so."""


GC_THRESHOLDS: Final = (20_000, 20, 50)
"""Python's own (700, 10, 10) are for programs with little memory: under load the collector then runs every few requests, and
its pauses make the slowest hundredth of the requests wait twice as long. Cycles are rare here; 20,000 objects are some MB."""


class Stop:
    """How this process is asked to end: once is politely, twice is now.

    Attributes:
        by: The signal that came first; None: none.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.now = asyncio.Event()
        self.by: int | None = None

    def ask(self, by: int | None = None) -> None:
        """Ask once more."""
        if self.asked.is_set():
            self.now.set()
        else:
            self.by = by
            self.asked.set()

    def on_signals(self) -> None:
        """Have SIGINT and SIGTERM ask; in the main thread, within its loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            if sys.platform != "win32":
                loop.add_signal_handler(number, self.ask, number)
            else:

                def handle(number: int, frame: FrameType | None) -> None:
                    loop.call_soon_threadsafe(self.ask, number)

                signal.signal(number, handle)

    @property
    def exit_status(self) -> int:
        """What the process ends with: 130 after Ctrl-C, else 0."""
        return STOPPED_BY_CTRL_C if self.by == signal.SIGINT else 0


class Serving:
    """Runs an application and the servers in front of it.

    Args:
        app: What to serve.
        limits: Of its servers.
        drain_timeout_s: How long work in flight may take to end.
        drain_delay_s: How long the application is served on after it says that it is not ready, so that load
            balancers that only ask now and then stop sending first.

    Attributes:
        app: What is served now.
        servers: All that are drained: further ones may be put in.
        private: The one of these, if any, that serves what siblings reach (:attr:`Application.private`).
        retiring: What was served before and has requests under way.
        on_drain: Awaited when it is asked to stop, before anything else.
    """

    def __init__(
        self,
        app: Application,
        *,
        limits: ServerLimits | None = None,
        drain_timeout_s: float = DRAIN_TIMEOUT_S,
        drain_delay_s: float = 0.0,
    ) -> None:
        self.app = app
        self.servers: list[Server] = []
        self.private: Server | None = None
        self.retiring: set[asyncio.Task[None]] = set()
        self.on_drain: list[Callable[[], Awaitable[object]]] = []
        self._limits = limits
        self._certificates = Certificates(app.log)
        self._watch_certificates: asyncio.Task[None] | None = None
        self._drain_timeout_s, self._drain_delay_s = drain_timeout_s, drain_delay_s

    async def listen(self, listener: socket.socket, tls: TlsFiles | None = None) -> None:
        """Serve the application on a bound socket.

        Raises:
            UsageError: The files for TLS cannot be used.
        """
        context = self._certificates.context(tls)
        if context is not None and self._watch_certificates is None:
            self._watch_certificates = asyncio.create_task(self._certificates.watch())
        server = Server(self.app, on_error=self.app.on_error, limits=self._limits, ssl=context)
        self.servers.append(server)
        await server.listen_socket(listener)

    def replace(self, app: Application) -> None:
        """Have another application, which has started, answer from the next request on.

        The one before it goes on until its requests have ended.
        """
        old, self.app = self.app, app
        for server in self.servers:
            served = app.private or app if server is self.private else app
            server.serve(served, served.on_error)
        app.beside = old.beside
        for beside in app.beside:
            beside.follow(app)
        app.predecessor = old
        for hook in app.on_succeed:
            hook()
        task = asyncio.create_task(self._retire(old, app), name="end what was served before")
        self.retiring.add(task)
        task.add_done_callback(self.retiring.discard)

    async def settled(self) -> None:
        """Return when nothing that was served before has requests under way, and all of it has ended."""
        while self.retiring:
            await asyncio.wait(self.retiring)

    async def _retire(self, old: Application, app: Application) -> None:
        try:
            async with asyncio.timeout(RETIRE_TIMEOUT_S):
                await old.until_done()
        except TimeoutError:
            message = f"{old.in_flight} requests that began before the reload are cut off now"
            app.log.warning(message)
        finally:
            await self._stop(old)
            app.predecessor = None
        # What was there at the start is not looked at by the collector; now much of it is gone.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    async def _stop(self, app: Application) -> None:
        inner = app.private
        if inner is not None:
            await inner.stop()
        await app.stop()

    async def run(
        self,
        stop: Stop,
        *,
        on_started: Callable[[], Awaitable[object]] | None = None,
        on_ready: Callable[[], object] | None = None,
    ) -> None:
        """Start the application, serve until asked to stop, drain, and stop it.

        Args:
            stop: Asks.
            on_started: Awaited when the start hooks are done (to listen only now, say).
            on_ready: Called once, when readiness is there for the first time.

        Raises: what a start hook raised.
        """
        try:
            if not await _unless(stop.asked, self._start(on_started)):
                return
            watch = asyncio.create_task(self._watch(on_ready))
            await stop.asked.wait()
            watch.cancel()
            await self._drain(stop)
        finally:
            if self._watch_certificates is not None:
                self._watch_certificates.cancel()
            for server in (*self.servers, *self.app.beside):
                await server.aclose()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5 if stop.now.is_set() else STOP_TIMEOUT_S):
                    # Nothing is in flight any more: these end by themselves, but for what they wait between two looks.
                    await self.settled()
                    await self.app.stop()

    async def _start(self, on_started: Callable[[], Awaitable[object]] | None) -> None:
        await self.app.start()
        for beside in self.app.beside:
            await beside.start()
        if on_started is not None:
            await on_started()
        # What is there now stays: the collector need not walk through models and routes again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    async def _watch(self, on_ready: Callable[[], object] | None) -> None:
        if on_ready is None:
            return
        health = Health(self.app)
        while (await health.readiness()).status != "ready":  # noqa: ASYNC110 - services have no event for 'ready'
            await asyncio.sleep(READY_POLL_S)
        on_ready()

    async def _drain(self, stop: Stop) -> None:
        for hook in self.on_drain:
            await hook()
        await self.app.drain()
        if count := self.app.in_flight:
            what = "a request" if count == 1 else f"{count} requests"
            message = f"waiting for {what} under way; Ctrl-C again ends at once"
            self.app.log.info(message)
        if self._drain_delay_s:
            # Who keeps a connection open makes another, elsewhere: none of them is closed as a request comes in.
            for server in self.servers:
                if server is not self.private:
                    server.leave(GRACE_S)
            if not await _unless(stop.now, asyncio.sleep(self._drain_delay_s)):
                return
        await _unless(stop.now, self._drain_servers())

    async def _drain_servers(self) -> None:
        servers = (*self.servers, *self.app.beside)
        await asyncio.gather(*(server.drain(self._drain_timeout_s) for server in servers))


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Await ``work``, unless ``event`` comes first: then it is cancelled. Whether it was done."""
    task = asyncio.ensure_future(work)
    watch = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return True
        return False
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


def run_loop(main: Coroutine[Any, Any, R]) -> R:
    """Run ``main`` on uvloop, or on plain asyncio where uvloop does not exist."""
    if sys.platform == "win32":
        with asyncio.Runner() as runner:
            return runner.run(main)
    import uvloop  # noqa: PLC0415 - not on Windows

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def run_single(
    app: Application,
    doors: Sequence[Door],
    *,
    on_listening: Callable[[int], object] | None = None,
    on_started: Callable[[], object] | None = None,
    on_ready: Callable[[], object] | None = None,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
    drain_delay_s: float = 0.0,
    limits: ServerLimits | None = None,
    on_serving: Callable[[Serving], Callable[[], Awaitable[object]]] | None = None,
) -> int:
    """Serve ``app`` in this process until SIGTERM or Ctrl-C; a second one ends at once.

    The ports are taken before anything is started; while the application starts, it answers its health.

    Args:
        app: What to serve.
        doors: Its addresses, one at least.
        on_listening: Called with the first one's port once all are bound and answered.
        on_started: Called when the start hooks are done; services elsewhere may not be ready.
        on_ready: Called when everything is ready for the first time.
        drain_timeout_s: As for :class:`Serving`.
        drain_delay_s: As for :class:`Serving`.
        limits: As for :class:`Serving`.
        on_serving: Called when the start hooks are done, to have other applications take the place of this one; what
            it gives is awaited before the end.

    Returns:
        The exit status: 0 after SIGTERM, 130 after Ctrl-C.

    Raises:
        PortTakenError: Somebody else listens there.
        UsageError: The files for TLS cannot be used.
        WeftError: The application cannot start.
    """
    listeners: list[socket.socket] = []

    async def main() -> int:
        stop = Stop()
        stop.on_signals()
        serving = Serving(app, limits=limits, drain_timeout_s=drain_timeout_s, drain_delay_s=drain_delay_s)
        for door, listener in zip(doors, listeners, strict=True):
            await serving.listen(listener, door.tls)
        if on_listening is not None:
            on_listening(listeners[0].getsockname()[1])

        async def started() -> None:
            if on_serving is not None:
                serving.on_drain.append(on_serving(serving))
            if on_started is not None:
                on_started()

        await serving.run(stop, on_started=started, on_ready=on_ready)
        if stop.now.is_set():
            # Threads of components may still be in native code; twice asked, the process does not wait for them.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(STOPPED_BY_CTRL_C)
        return stop.exit_status

    try:
        listeners.extend(ports.bind_all(doors))
        return run_loop(main())
    finally:
        for listener in listeners:
            listener.close()
