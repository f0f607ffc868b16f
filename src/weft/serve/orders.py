"""What the supervisor has a worker do while it serves: make another application ready, swap to it, end the one before.

An order is a line of JSON on the worker's stdin, and is answered by a report of the same number. The other way, a worker
asks the supervisor to take in what the files say, for only that knows all processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Literal

import msgspec
from msgspec import Struct

from weft.errors import NotReadyError, WeftError
from weft.serve.application import Application
from weft.serve.log import Log
from weft.serve.renewal import ReloadStatus
from weft.serve.serving import Serving
from weft.serve.succession import Succession

OrderName = Literal["prepare", "commit", "abandon", "settle", "status", "answer"]


class Command(Struct, omit_defaults=True):
    """One order.

    Attributes:
        order: ``prepare`` another application by ``config``; ``commit`` to it or ``abandon`` it; ``settle``: answer when
            what was served before has ended; ``status``: know this; ``answer``: the reload that was asked for is done.
        number: Of the order, in the answer too; with ``answer``, of what was asked for.
        config: What a worker is told at its start, see :class:`weft.serve.worker.WorkerConfig`.
        status: Of the reloads.
    """

    order: OrderName
    number: int = 0
    config: Any = None
    status: ReloadStatus | None = None


class Answer(Struct, omit_defaults=True):
    """What became of an order; an empty error: it is done.

    Attributes:
        event: ``done``, or ``reload``: the supervisor is asked to take in the files.
        number: Of the order, or of what is asked for.
        error: What went wrong.
        code: Of the error.
    """

    event: Literal["done", "reload"]
    number: int
    error: str = ""
    code: str = ""


decode_command = msgspec.json.Decoder(Command).decode


class AskedReloads:
    """Has the supervisor take in the files. Implements :class:`weft.serve.renewal.Reloads`.

    Args:
        tell: Sends a report to the supervisor.
    """

    def __init__(self, tell: Callable[[Answer], object]) -> None:
        self._tell = tell
        self._status = ReloadStatus("", 0)
        self.listeners: list[Callable[[ReloadStatus], object]] = []
        self._asked: dict[int, asyncio.Future[ReloadStatus]] = {}
        self._numbers = count(1)

    @property
    def status(self) -> ReloadStatus:
        """See :class:`weft.serve.renewal.Reloads`."""
        return self._status

    async def reload(self) -> ReloadStatus:
        """See :class:`weft.serve.renewal.Reloads`."""
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._tell(Answer("reload", number))
            return await self._asked[number]
        finally:
            del self._asked[number]

    def know(self, status: ReloadStatus, number: int = 0) -> None:
        """Be told how the reloads stand, and, with a number, that what was asked for is done."""
        self._status = status
        for listener in self.listeners:
            listener(status)
        asked = self._asked.get(number)
        if asked is not None and not asked.done():
            asked.set_result(status)


class Orders:
    """Obeys the supervisor.

    Args:
        serving: What this process serves.
        reloads: Is told how the reloads stand.
        make: Makes another application from a worker's configuration; what it gives beside it is called once that is
            served.
        tell: Sends a report to the supervisor.
        log: Of the process.
    """

    def __init__(
        self,
        serving: Serving,
        reloads: AskedReloads,
        *,
        make: Callable[[Any], Awaitable[tuple[Application, Callable[[], None]]]],
        tell: Callable[[Answer], object],
        log: Log,
    ) -> None:
        self._serving, self._reloads, self._make, self._tell, self._log = serving, reloads, make, tell, log
        self._succession = Succession(serving)
        self._then: Callable[[], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, line: bytes) -> None:
        """Begin with what a line says."""
        command = decode_command(line)
        if command.status is not None:
            self._reloads.know(command.status, command.number if command.order == "answer" else 0)
        if command.order in ("status", "answer"):
            return
        task = asyncio.create_task(self._obey(command), name=command.order)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _obey(self, command: Command) -> None:
        answer = Answer("done", command.number)
        try:
            await self._do(command)
        except WeftError as error:
            answer.error, answer.code = str(error), error.code
        except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor is told
            self._log.failure(f"{command.order} failed", cause=error)
            answer.error = f"{type(error).__name__}: {error}"
        self._tell(answer)

    async def _do(self, command: Command) -> None:
        if command.order == "prepare":

            async def make() -> Application:
                app, self._then = await self._make(command.config)
                return app

            await self._succession.prepare(make)
        elif command.order == "commit":
            if not self._succession.commit():
                raise NotReadyError("nothing was prepared")
            if self._then is not None:
                self._then()
        elif command.order == "abandon":
            await self._succession.abandon()
        elif command.order == "settle":
            await self._serving.settled()

    async def stop(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._succession.abandon()
