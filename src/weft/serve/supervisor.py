"""One supervisor for all processes of an installation: starts them, restarts what crashes, drains, leaves nothing.

Each process is ``python -m weft.serve.worker``, reached by its siblings on a private Unix socket in a folder that only
this user may enter (on Windows: a loopback port). The supervisor holds the write end of each child's stdin: when the
supervisor ends, however it ends, the pipes close and the children end.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from weft.errors import NotReadyError, UsageError
from weft.serve import ports
from weft.serve.child import Backoff, Child
from weft.serve.doors import Door
from weft.serve.log import Log
from weft.serve.serving import DRAIN_TIMEOUT_S, Stop, run_loop
from weft.serve.worker import Listen, WorkerConfig

KILL_AFTER_S: Final = 3.0
"""What a child gets beyond its drain timeout before it is killed: time to close its components."""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One kind of process.

    Attributes:
        name: Of the service, or ``gateway``.
        factory: ``package.module:function``, see :class:`weft.serve.worker.WorkerConfig`.
        arguments: For the factory; anything that JSON can say. Secrets may be in it.
        replicas: How many of them.
        needs: Names of processes that must be ready before this one is started the first time.
        public: Whether it answers on the public address.
        serves: Services that siblings reach in it, each with the path that is put before its routes there;
            None: the one service of its own name, at the root.
    """

    name: str
    factory: str
    arguments: Any = None
    replicas: int = 1
    needs: tuple[str, ...] = ()
    public: bool = False
    serves: Mapping[str, str] | None = None


@dataclass(kw_only=True)
class SupervisorOptions:
    """How a supervisor behaves."""

    drain_timeout_s: float = DRAIN_TIMEOUT_S
    """How long work in flight may take to end."""

    ready_timeout_s: float = 600.0
    """How long the first start may take: models may have to be loaded from a slow disk, or be fetched."""

    backoff: Backoff = field(default_factory=Backoff)
    """Between a crash and the restart."""

    on_listening: Callable[[int], object] | None = None
    """Called with the public port once a process answers on it."""

    on_ready: Callable[[], object] | None = None
    """Called when every process is ready for the first time."""


class Supervisor:
    """Runs processes until it is told to stop.

    Args:
        processes: What to run.
        doors: The public addresses.
        options: See :class:`SupervisorOptions`.
        log: Where starts, crashes and restarts are written.

    Attributes:
        port: The first public one, known once constructed.

    Raises:
        PortTakenError: Somebody else listens on the public port.
        UsageError: The processes do not fit together.
    """

    def __init__(
        self,
        processes: Sequence[ProcessSpec],
        *,
        doors: Sequence[Door] = (Door("127.0.0.1", 0),),
        options: SupervisorOptions | None = None,
        log: Log | None = None,
    ) -> None:
        self._specs = list(processes)
        self._check()
        self._doors = doors
        self._options = options or SupervisorOptions()
        self._log = log or Log(name="supervisor")
        self._public = self._bind() if any(spec.public for spec in self._specs) else []
        self.port: int = self._public[0].getsockname()[1] if self._public else 0
        self._folder: Path | None = None
        self.children: dict[str, list[Child]] = {}

    def _check(self) -> None:
        names = [spec.name for spec in self._specs]
        if len(set(names)) != len(names):
            raise UsageError("two processes have one name")
        started: set[str] = set()
        for spec in self._specs:
            if unknown := set(spec.needs) - started:
                raise UsageError(
                    f"process '{spec.name}' needs {', '.join(sorted(unknown))}, which is not before it"
                )
            started.add(spec.name)

    def _bind(self) -> list[socket.socket]:
        """Hold the public ports from now on.

        Where the system spreads connections over several sockets, each worker binds its own, and these only keep the
        ports; elsewhere the workers inherit these.
        """
        workers = sum(spec.replicas for spec in self._specs if spec.public)
        self._shares = workers > 1 and ports.shares_ports()
        listeners = ports.bind_all(self._doors, shared=self._shares)
        if not self._shares:
            for listener in listeners:
                listener.listen(ports.BACKLOG)
        return listeners

    async def run(self, stop: Stop) -> None:
        """Start everything, keep it running until asked to stop, and end it.

        Raises:
            WeftError: A process cannot start, for a reason that a restart would not cure; or is not ready in time.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="weft-")) if sys.platform != "win32" else None
        try:
            self.children = self._children()
            await self._until_stopped(stop)
        finally:
            await self._end_all(stop)
            for listener in self._public:
                listener.close()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    async def _until_stopped(self, stop: Stop) -> None:
        asked: asyncio.Task[Any] = asyncio.create_task(stop.asked.wait())
        start: asyncio.Task[Any] = asyncio.create_task(self._start())
        failed = [asyncio.create_task(child.failed()) for child in self._all()]
        try:
            while not asked.done():
                running = [task for task in (asked, start, *failed) if not task.done()]
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in (start, *failed):
                    if task.done():
                        task.result()  # raises what keeps it from starting
        finally:
            for task in (asked, start, *failed):
                task.cancel()
            await asyncio.gather(asked, start, *failed, return_exceptions=True)

    async def _start(self) -> None:
        """Start each process when what it needs is ready."""
        try:
            async with asyncio.timeout(self._options.ready_timeout_s), asyncio.TaskGroup() as group:
                for spec in self._specs:
                    group.create_task(self._start_one(spec))
        except TimeoutError as error:
            # Those that wait for others are not what is wrong, and the public ones are ready only when all others are.
            late = [child for child in self._all() if child.is_kept and not child.ready.is_set()]
            late = [child for child in late if not child.config.public] or late
            listed = ", ".join(
                f"{child.config.name} (it ended with {child.crash}, again and again)"
                if child.crash
                else child.config.name
                for child in late
            )
            raise NotReadyError(
                f"not ready within {self._options.ready_timeout_s:g} s: {listed}",
                hint="what each of them said is in the log above",
            ) from error
        if self._options.on_ready is not None:
            self._options.on_ready()

    async def _start_one(self, spec: ProcessSpec) -> None:
        for needed in spec.needs:
            for child in self.children[needed]:
                await child.ready.wait()
        for child in self.children[spec.name]:
            child.start()
        if spec.public and self._options.on_listening is not None:
            await self.children[spec.name][0].started.wait()
            self._options.on_listening(self.port)
        for child in self.children[spec.name]:
            await child.ready.wait()

    def _children(self) -> dict[str, list[Child]]:
        addresses = {
            spec.name: [self._private(spec.name, n) for n in range(spec.replicas)] for spec in self._specs
        }
        endpoints: dict[str, list[str]] = {}
        for spec in self._specs:
            for service, prefix in (spec.serves if spec.serves is not None else {spec.name: ""}).items():
                endpoints.setdefault(service, []).extend(
                    _with_path(address, prefix) for address in addresses[spec.name]
                )
        peers = {
            _child_name(spec, n): address
            for spec in self._specs
            for n, address in enumerate(addresses[spec.name])
        }
        key = secrets.token_bytes(32)
        return {
            spec.name: [
                Child(
                    WorkerConfig(
                        name=_child_name(spec, n),
                        factory=spec.factory,
                        arguments=spec.arguments,
                        private=address,
                        public=self._listen() if spec.public else [],
                        endpoints=endpoints,
                        peers=peers,
                        signing_key=key,
                        path=sys.path,
                        pretty_log=self._log.pretty,
                        drain_timeout_s=self._options.drain_timeout_s,
                    ),
                    inherit=self._public if spec.public and not self._shares else [],
                    log=self._log,
                    backoff=self._options.backoff,
                )
                for n, address in enumerate(addresses[spec.name])
            ]
            for spec in self._specs
        }

    def _listen(self) -> list[Listen]:
        return [
            Listen(door.host, listener.getsockname()[1], tls=door.tls)
            if self._shares
            else Listen(fd=listener.fileno(), tls=door.tls)
            for door, listener in zip(self._doors, self._public, strict=True)
        ]

    def _private(self, name: str, number: int) -> str:
        if self._folder is not None:
            # A socket's path may have some 100 characters only.
            return f"unix:{self._folder}/{name.replace('/', '-')[:32]}-{number}.sock"
        with ports.bind("127.0.0.1", 0) as found:
            return f"http://127.0.0.1:{found.getsockname()[1]}"

    def _all(self) -> list[Child]:
        return [child for children in self.children.values() for child in children]

    async def _end_all(self, stop: Stop) -> None:
        """The public processes first, for they use the others; each drains before those after it."""
        public = [c for spec in self._specs if spec.public for c in self.children.get(spec.name, [])]
        others = [
            c for spec in reversed(self._specs) if not spec.public for c in self.children.get(spec.name, [])
        ]
        timeout_s = self._options.drain_timeout_s + KILL_AFTER_S
        for group in (public, others):
            ending = [asyncio.create_task(child.end(timeout_s=timeout_s)) for child in group]
            if not ending:
                continue
            now = asyncio.create_task(stop.now.wait())
            await asyncio.wait((now, asyncio.gather(*ending)), return_when=asyncio.FIRST_COMPLETED)
            now.cancel()
            if stop.now.is_set():
                for child in group:
                    child.kill()
            await asyncio.gather(*ending)


def _child_name(spec: ProcessSpec, number: int) -> str:
    return spec.name if spec.replicas == 1 else f"{spec.name}-{number + 1}"


def _with_path(address: str, path: str) -> str:
    if not path:
        return address
    return f"{address}:{path}" if address.startswith("unix:") else address + path


def run_supervised(
    processes: Sequence[ProcessSpec],
    doors: Sequence[Door],
    *,
    options: SupervisorOptions | None = None,
    log: Log | None = None,
) -> int:
    """Run ``processes`` until SIGTERM or Ctrl-C; a second one ends everything at once.

    Returns:
        The exit status: 0 after SIGTERM, 130 after Ctrl-C.

    Raises: what :class:`Supervisor` and its ``run`` raise.
    """
    supervisor = Supervisor(processes, doors=doors, options=options, log=log)

    async def main() -> int:
        stop = Stop()
        stop.on_signals()
        await supervisor.run(stop)
        return stop.exit_status

    return run_loop(main())
