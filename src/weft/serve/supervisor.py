"""One supervisor for all processes of an installation: starts them, restarts what crashes, drains, leaves nothing.

Each process is ``python -m weft.serve.worker``, reached by its siblings on a private Unix socket in a folder that only
this user may enter (on Windows: a loopback port). The supervisor holds the write end of each child's stdin: when the
supervisor ends, however it ends, the pipes close and the children end.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from weft.errors import NotReadyError
from weft.serve import ports
from weft.serve.child import Backoff, Child
from weft.serve.doors import Door
from weft.serve.household import Household, ProcessSpec
from weft.serve.household import check as check_specs
from weft.serve.log import Log
from weft.serve.renewal import ReloadStatus, Renewal
from weft.serve.replacement import Replacement
from weft.serve.serving import DRAIN_TIMEOUT_S, Stop, run_loop
from weft.serve.worker import Listen

__all__ = ["ProcessSpec", "Supervisor", "SupervisorOptions", "run_supervised"]

KILL_AFTER_S: Final = 3.0
"""What a child gets beyond its drain timeout before it is killed: time to close its components."""


@dataclass(kw_only=True)
class SupervisorOptions:
    """How a supervisor behaves."""

    drain_timeout_s: float = DRAIN_TIMEOUT_S
    """How long work in flight may take to end."""

    drain_delay_s: float = 0.0
    """How long the public address is served on after it says that it is not ready."""

    ready_timeout_s: float = 600.0
    """How long the first start may take: models may have to be loaded from a slow disk, or be fetched."""

    backoff: Backoff = field(default_factory=Backoff)
    """Between a crash and the restart."""

    on_listening: Callable[[int], object] | None = None
    """Called with the public port once a process answers on it."""

    on_ready: Callable[[], object] | None = None
    """Called when every process is ready for the first time."""

    renewal: Callable[[Supervisor], Renewal[Any]] | None = None
    """Makes what takes in files that change; it begins when every process is ready. None: nothing does."""


class Supervisor:
    """Runs processes until it is told to stop.

    Args:
        processes: What to run.
        doors: The public addresses.
        options: See :class:`SupervisorOptions`.
        log: Where starts, crashes and restarts are written.

    Attributes:
        port: The first public one, known once constructed.
        log: See above.
        children: By the name of their kind.

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
        check_specs(self._specs)
        self._doors = doors
        self._options = options or SupervisorOptions()
        self.log = self._log = log or Log(name="supervisor")
        self._shares = False
        self._public = self._bind() if any(spec.public for spec in self._specs) else []
        self.port: int = self._public[0].getsockname()[1] if self._public else 0
        self.children: dict[str, list[Child]] = {}
        self._household: Household | None = None
        self._renewal: Renewal[Any] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._leaving: list[Child] = []

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
        folder = Path(tempfile.mkdtemp(prefix="weft-")) if sys.platform != "win32" else None
        self._household = Household(
            folder=folder,
            listen=self._listen(),
            inherit=[] if self._shares else self._public,
            drain_timeout_s=self._options.drain_timeout_s,
            drain_delay_s=self._options.drain_delay_s,
            backoff=self._options.backoff,
            log=self._log,
        )
        try:
            configs = self._household.configs(self._specs, {})
            self.children = {
                name: [self._household.child(config) for config in found] for name, found in configs.items()
            }
            await self._until_stopped(stop)
        finally:
            if self._renewal is not None:
                await self._renewal.stop()
            await self._end_all(stop)
            for listener in self._public:
                listener.close()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

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
        if self._options.renewal is not None:
            self._renewal = self._options.renewal(self)
            self._renewal.begin()
            self.inform(self._renewal.status)

    # Other processes in the place of these.

    async def replace(self, specs: Sequence[ProcessSpec]) -> None:
        """Have other processes run, without a request being lost; what is the same goes on.

        Raises:
            WeftError: Something of it cannot run; then everything is as it was.
        """
        assert self._household is not None  # it runs
        replacement = Replacement(
            self._household,
            self._specs,
            self.children,
            specs,
            log=self._log,
            ready_timeout_s=self._options.ready_timeout_s,
        )
        await replacement.make()
        self._specs, self.children = list(specs), replacement.children
        self._listen_to_reloads()
        self._leaving += replacement.retired
        timeout_s = self._options.drain_timeout_s + KILL_AFTER_S
        task = asyncio.create_task(replacement.settle(timeout_s=timeout_s), name="end what is not needed")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def inform(self, status: ReloadStatus) -> None:
        """Let the public processes know how the reloads stand."""
        for child in self._public_children():
            child.inform(status)

    def _listen_to_reloads(self) -> None:
        for child in self._public_children():
            child.on_reload = partial(self._asked, child)

    def _asked(self, child: Child, number: int) -> None:
        task = asyncio.create_task(self._reload_for(child, number), name="reload")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _reload_for(self, child: Child, number: int) -> None:
        if self._renewal is None:
            status = ReloadStatus("", 0, error="not every process is ready yet; ask again in a moment")
        else:
            status = await self._renewal.reload()
        child.inform(status, number=number)

    def _public_children(self) -> list[Child]:
        return [child for spec in self._specs if spec.public for child in self.children.get(spec.name, [])]

    async def _start_one(self, spec: ProcessSpec) -> None:
        for needed in spec.needs:
            for child in self.children[needed]:
                await child.ready.wait()
        if spec.public:
            self._listen_to_reloads()
        for child in self.children[spec.name]:
            child.start()
        if spec.public and self._options.on_listening is not None:
            await self.children[spec.name][0].started.wait()
            self._options.on_listening(self.port)
        for child in self.children[spec.name]:
            await child.ready.wait()

    def _listen(self) -> list[Listen]:
        return [
            Listen(door.host, listener.getsockname()[1], tls=door.tls)
            if self._shares
            else Listen(fd=listener.fileno(), tls=door.tls)
            for door, listener in zip(self._doors, self._public, strict=True)
        ]

    def _all(self) -> list[Child]:
        return [child for children in self.children.values() for child in children]

    async def _end_all(self, stop: Stop) -> None:
        """The public processes first, for they use the others; each drains before those after it."""
        for task in self._retiring:
            task.cancel()
        public = self._public_children()
        others = [
            c for spec in reversed(self._specs) if not spec.public for c in self.children.get(spec.name, [])
        ]
        others += [child for child in self._leaving if child not in others]
        timeout_s = self._options.drain_delay_s + self._options.drain_timeout_s + KILL_AFTER_S
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
