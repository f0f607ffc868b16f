"""Taking in files that have changed while requests are served: when they change, on SIGHUP, or when somebody asks.

What the files say is read and compiled whole, off the loop; only then is anything started, and only when all of it is
ready do requests go to it. Whatever fails on the way, what runs goes on running, and the failure is told: in the log, in
the status, in health and in the metrics, together with the fact that the files say something else than what runs.
"""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from msgspec import Struct

from weft.errors import ConflictError, SpecError, WeftError
from weft.serve.log import Log

POLL_S: Final = 0.5
"""How often the files are looked at: a person does not wait for it, and a look at a dozen files takes microseconds."""

SETTLED_S: Final = 0.2
"""For so long nobody may have written, or half of a file would be read."""


AGAIN_S: Final = 5.0
"""After so long another attempt is made where something else was being changed just then."""


class ReloadStatus(Struct, omit_defaults=True):
    """What runs, and whether the files say the same.

    Attributes:
        running: Digest of what runs.
        since: Since when, in seconds since 1970.
        number: How often another took the place of the first.
        is_reloading: Whether another is being made ready.
        drifted: Whether the files say something else than what runs.
        error: Why what the files say does not run; empty: nothing is wrong with it.
        failed: When that was.
        notes: What of the files takes a restart.
    """

    running: str
    since: int
    number: int = 0
    is_reloading: bool = False
    drifted: bool = False
    error: str = ""
    failed: int = 0
    notes: list[str] = []


class Reloads(Protocol):
    """How a process has what it serves taken in anew.

    Attributes:
        listeners: Called with the status whenever it has changed.
    """

    listeners: list[Callable[[ReloadStatus], object]]

    @property
    def status(self) -> ReloadStatus:
        """What is known now."""
        ...

    async def reload(self) -> ReloadStatus:
        """Take in what the files say now, and say what has become of it; never raises for what is wrong with them."""
        ...


class Edition(Protocol):
    """What the files said at one moment, compiled.

    Attributes:
        digest: The same for what runs the same.
        notes: What of it takes a restart.
    """

    @property
    def digest(self) -> str:
        """See above."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """See above."""
        ...


E = TypeVar("E", bound=Edition)

Stamps = dict[Path, tuple[int, int, int]]


def stamps(files: Sequence[Path]) -> Stamps:
    """Of each file what differs once it is written or replaced; of one that is not there, zeros."""
    found: Stamps = {}
    for path in files:
        try:
            status = path.stat()
        except OSError:
            found[path] = (0, 0, 0)
        else:
            found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


class Renewal(Generic[E]):
    """Keeps one installation at what its files say. Implements :class:`Reloads`.

    Args:
        running: What runs.
        read: Reads and compiles what the files say; in a thread.
        take: Has an edition take the place of what runs, or raises and leaves everything as it was.
        files: The files of an edition.
        log: Where reloads are told.
        watches: Whether the files are looked at; else only who asks has them taken in.
    """

    def __init__(
        self,
        running: E,
        *,
        read: Callable[[], E],
        take: Callable[[E], Awaitable[None]],
        files: Callable[[E], list[Path]],
        log: Log,
        watches: bool = True,
    ) -> None:
        self._running, self._read, self._take, self._files = running, read, take, files
        self._log, self._watches = log, watches
        self.listeners: list[Callable[[ReloadStatus], object]] = []
        self._status = ReloadStatus(running.digest, int(time.time()), notes=list(running.notes))
        self._lock = asyncio.Lock()
        self._again_at = math.inf
        self._seen = stamps(files(running))
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def status(self) -> ReloadStatus:
        """See :class:`Reloads`."""
        return self._status

    def begin(self) -> None:
        """Look at the files from now on, and answer SIGHUP; within the loop."""
        if self._watches:
            self._watching = asyncio.create_task(self._watch(), name="watch the Gateway file")
        if sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        task = asyncio.create_task(self.reload(), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Take in nothing more; what is being made ready is given up."""
        if sys.platform != "win32":
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        tasks = [task for task in (self._watching, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            now = stamps(list(self._seen))
            if now == self._seen and time.monotonic() < self._again_at:
                continue
            await asyncio.sleep(SETTLED_S)
            if stamps(list(self._seen)) == now:
                await self.reload()

    async def reload(self) -> ReloadStatus:
        """See :class:`Reloads`. One at a time: who asks meanwhile waits, and gets what the files say then."""
        async with self._lock:
            self._seen, self._again_at = stamps(list(self._seen)), math.inf
            self._say(is_reloading=True)
            try:
                edition = await asyncio.to_thread(self._read)
                files = self._files(edition)
                self._seen = stamps(files)
                if edition.digest != self._running.digest:
                    self._log.info("reloading: the files have changed")
                    await self._take(edition)
                    self._succeeded(edition)
                else:
                    self._say(
                        is_reloading=False, drifted=False, error="", failed=0, notes=list(edition.notes)
                    )
            except WeftError as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, what runs goes on, and it is told
                self._log.failure("a reload failed unexpectedly", cause=error)
                self._failed(error)
            except asyncio.CancelledError:
                self._say(is_reloading=False)
                raise
            return self._status

    def _succeeded(self, edition: E) -> None:
        self._running = edition
        for note in edition.notes:
            self._log.warning(note)
        self._log.info("reloaded: the files' new state is served", digest=edition.digest)
        self._status = ReloadStatus(
            edition.digest, int(time.time()), self._status.number + 1, notes=list(edition.notes)
        )
        self._tell()

    def _failed(self, error: Exception) -> None:
        words = str(error) if isinstance(error, WeftError) else f"{type(error).__name__}: {error}"
        if words != self._status.error:
            is_spec = isinstance(error, SpecError)
            what = "the files are not valid" if is_spec else "what the files say cannot run"
            message = f"not reloaded, what ran before goes on: {what}"
            self._log.warning(message, detail=words)
        if isinstance(error, ConflictError):
            self._again_at = time.monotonic() + AGAIN_S
        # A file that is missing may be put there without any of the others being touched.
        self._seen |= stamps(list({path.parent for path in self._seen}))
        self._say(is_reloading=False, drifted=True, error=words, failed=int(time.time()))

    def _say(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self._status, name, value)
        self._tell()

    def _tell(self) -> None:
        for listener in self.listeners:
            listener(self._status)
