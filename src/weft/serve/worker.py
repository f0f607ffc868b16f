"""One child of the supervisor: ``python -m weft.serve.worker``.

Its configuration comes over stdin as one line of JSON (it may hold secrets, which a command line must not), its
commands after it; what it reports goes back over stdout, one JSON object a line. When stdin ends, the supervisor is
gone, however it went, and the worker ends too.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.errors import ComponentError, RequestError, UsageError, WeftError
from weft.http.server import Server
from weft.serve import ports
from weft.serve.application import Application
from weft.serve.doors import TlsFiles
from weft.serve.log import Log
from weft.serve.orders import Answer, AskedReloads, Orders
from weft.serve.renewal import Reloads
from weft.serve.scrape import snapshot_route
from weft.serve.serving import DRAIN_TIMEOUT_S, Serving, Stop, run_loop

ORPHAN_GRACE_S: Final = 3.0
"""How long a worker whose supervisor is gone may take to close its components; then it ends as it is."""


class Listen(Struct, omit_defaults=True):
    """A public address, as this worker gets at it.

    Attributes:
        host, port: Bound by the worker itself, shared with its siblings.
        fd: An inherited listening socket instead.
        share: The same on Windows: what ``socket.share`` gave.
        tls: None: plain HTTP.
    """

    host: str = ""
    port: int = 0
    fd: int | None = None
    share: bytes | None = None
    tls: TlsFiles | None = None


class WorkerConfig(Struct, omit_defaults=True):
    """What one worker is told.

    Attributes:
        name: In logs and errors: ``gateway-1``, ``llm``.
        factory: ``package.module:function``: ``async (arguments, worker) -> Application``.
        arguments: For the factory.
        private: Where it answers its siblings: ``unix:/path`` or ``http://127.0.0.1:port``.
        public: Where it answers everybody.
        endpoints: Service name to the private addresses of its processes.
        peers: Name of each process of this installation to its private address.
        signing_key: With which tenant, caller and readers are signed between the processes; new at each start.
        path: ``sys.path`` of the supervisor.
        pretty_log: Whether the supervisor's stderr is a terminal.
        drain_timeout_s, drain_delay_s: As for :class:`weft.serve.serving.Serving`; the delay is the public address's.
    """

    name: str
    factory: str
    arguments: Any
    private: str
    public: list[Listen] = []
    endpoints: dict[str, list[str]] = {}
    peers: dict[str, str] = {}
    signing_key: bytes = b""
    path: list[str] = []
    pretty_log: bool = False
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    drain_delay_s: float = 0.0


class Report(Struct, omit_defaults=True):
    """What a worker says of itself: ``started``, ``ready``, ``failed`` (with the error's words and exit code)."""

    event: str
    message: str = ""
    hint: str | None = None
    code: str = ""
    exit_code: int = 1


class Worker:
    """What a factory is given beside its arguments.

    Attributes:
        reloads: Has the supervisor take in the files.
        kept: What the factory left when it made what is served now, for what takes its place; empty at the start.
        left: What it leaves now.
    """

    def __init__(
        self,
        config: WorkerConfig,
        log: Log,
        *,
        reloads: Reloads | None = None,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        self.reloads, self.kept = reloads, kept or {}
        self.left: dict[str, Any] = {}
        self.name = config.name
        self.endpoints = config.endpoints
        self.peers = config.peers
        self.private = config.private
        self.signing_key = config.signing_key
        self.log = log


Factory = Callable[[Any, Worker], Awaitable[Application]]
"""Makes the application of a worker; its start hooks do the heavy work."""


def main() -> None:
    """Run until told to stop."""
    if sys.platform != "win32":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a component prints goes to the log's stream, not between the reports
    commands = _Lines(os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    line = commands.next()
    if line is None:
        return
    config = msgspec.json.decode(line, type=WorkerConfig)
    sys.path[:] = config.path or sys.path

    def report(what: Report | Answer) -> None:
        with suppress(OSError):  # the supervisor is gone: stdin says so too
            reports.write(msgspec.json.encode(what) + b"\n")

    try:
        run_loop(_run(config, commands, report))
    except RequestError as error:
        # What it needs is not there yet, perhaps: the supervisor tries again.
        Log(name=config.name, pretty=config.pretty_log).warning(f"could not start: {error}")
        _exit(error.exit_code)
    except WeftError as error:
        report(Report("failed", error.message, error.hint, error.code, error.exit_code))
        _exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - a component's own fault: the supervisor tells it, with its name
        Log(name=config.name, pretty=config.pretty_log).failure("could not start", cause=error)
        message = f"process '{config.name}' could not start: {type(error).__name__}: {error}"
        report(Report("failed", message, None, ComponentError.code, ComponentError.exit_code))
        _exit(ComponentError.exit_code)
    # Threads of components that are still in native code are not waited for.
    _exit(0)


def _exit(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Lines:
    """Lines from a pipe, read without buffering objects whose locks would outlive the thread that reads."""

    def __init__(self, fd: int) -> None:
        self._fd, self._held = fd, b""

    def next(self) -> bytes | None:
        """The next line; None at the end. Blocks."""
        while b"\n" not in self._held:
            block = os.read(self._fd, 1 << 16)
            if not block:
                return None
            self._held += block
        line, _, self._held = self._held.partition(b"\n")
        return line


async def _run(config: WorkerConfig, commands: _Lines, report: Callable[[Report | Answer], None]) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGTERM, stop.ask, signal.SIGTERM)
    log = Log(name=config.name, pretty=config.pretty_log)
    reloads, given = AskedReloads(report), Given()
    threading.Thread(
        target=_obey, args=(commands, loop, stop, config, given), name="commands", daemon=True
    ).start()
    kept: dict[str, Any] = {}

    async def make(config: WorkerConfig) -> tuple[Application, Callable[[], None]]:
        worker = Worker(config, log, reloads=reloads, kept=dict(kept))
        app = await _factory(config.factory)(config.arguments, worker)
        if app.metrics is not None:
            snapshot_route(app.private or app, app.metrics)
        return app, lambda: kept.update(worker.left)

    app, serves = await make(config)
    serves()
    serving = Serving(
        app,
        drain_timeout_s=config.drain_timeout_s,
        drain_delay_s=config.drain_delay_s if config.public else 0,
    )
    inner = app.private or app
    private = serving.private = Server(inner, on_error=inner.on_error)
    serving.servers.append(private)
    await _listen_private(private, config.private)
    orders = Orders(
        serving,
        reloads,
        make=lambda found: make(msgspec.convert(found, WorkerConfig)),
        tell=report,
        log=log,
    )
    serving.on_drain.append(orders.stop)

    async def on_started() -> None:
        if inner is not app:
            await inner.start()
        for listen in config.public:
            await serving.listen(_public_socket(listen), listen.tls)
        given.to(orders.take)
        report(Report("started"))

    try:
        await serving.run(stop, on_started=on_started, on_ready=lambda: report(Report("ready")))
    finally:
        _remove_socket(config.private)


class Given:
    """Lines for somebody who is not there yet."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._take: Callable[[bytes], object] = self._waiting.append

    def take(self, line: bytes) -> None:
        """Hand on a line; on the loop."""
        self._take(line)

    def to(self, take: Callable[[bytes], object]) -> None:
        """Hand on what has waited, and what comes."""
        self._take = take
        for line in self._waiting:
            take(line)


def _obey(
    commands: _Lines, loop: asyncio.AbstractEventLoop, stop: Stop, config: WorkerConfig, given: Given
) -> None:
    """Pass on what the supervisor says; without a supervisor, end."""
    with suppress(RuntimeError):  # the loop is closed: this process is ending already
        while (line := commands.next()) is not None:
            if line == b"drain":
                loop.call_soon_threadsafe(stop.ask)
            elif line == b"stop":
                loop.call_soon_threadsafe(stop.ask)
                loop.call_soon_threadsafe(stop.ask)
            elif line.startswith(b"{"):
                loop.call_soon_threadsafe(given.take, line)
        loop.call_soon_threadsafe(stop.ask)
        loop.call_soon_threadsafe(stop.ask)
    # The loop may be stuck in a component: this thread ends the process in any case.
    threading.Event().wait(ORPHAN_GRACE_S)
    _remove_socket(config.private)
    os._exit(1)


def _factory(reference: str) -> Factory:
    module, _, name = reference.partition(":")
    try:
        found: Factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"there is no worker factory '{reference}': {error}") from error
    return found


async def _listen_private(server: Server, address: str) -> None:
    if address.startswith("unix:"):
        await server.listen_unix(
            address.removeprefix("unix:")
        )  # replaces that of the process before this one
    else:
        host, _, port = address.removeprefix("http://").rpartition(":")
        await server.listen(host, int(port))


def _remove_socket(address: str) -> None:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        with suppress(OSError):
            path.unlink(missing_ok=True)
            # The supervisor removes the folder; should it be gone, the last worker does.
            path.parent.rmdir()


def _public_socket(listen: Listen) -> socket.socket:
    if listen.fd is not None:
        inherited = socket.socket(fileno=listen.fd)
        inherited.setblocking(False)
        return inherited
    if listen.share is not None and sys.platform == "win32":
        return socket.fromshare(listen.share)
    return ports.bind_shared(listen.host, listen.port)


if __name__ == "__main__":
    main()
