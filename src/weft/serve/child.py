"""One child process as its supervisor sees it: started, told, listened to, restarted, ended."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import msgspec

from weft.errors import NotReadyError, WeftError
from weft.serve.log import Log
from weft.serve.orders import Answer, Command, OrderName
from weft.serve.renewal import ReloadStatus
from weft.serve.worker import Report, WorkerConfig

MAX_REPORT_BYTES: Final = 1 << 20
"""Of one line of a child's reports."""

_decode_report = msgspec.json.Decoder(Report).decode
_decode_answer = msgspec.json.Decoder(Answer).decode
_ANSWERS: Final = (b'{"event":"done"', b'{"event":"reload"')


def _decode(line: bytes) -> Report | Answer:
    return _decode_answer(line) if line.startswith(_ANSWERS) else _decode_report(line)


class WorkerError(WeftError):
    """A worker could not start, in its own words and with its own exit code."""

    def __init__(self, name: str, report: Report) -> None:
        super().__init__(report.message or f"process '{name}' could not start", hint=report.hint)
        self.code = report.code  # type: ignore[misc]  # the worker's error, not a class of ours, has the code
        self.exit_code = report.exit_code  # type: ignore[misc]  # the same


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart: doubled with each crash, from the start again after a healthy time."""

    first_s: float = 0.2
    longest_s: float = 30.0
    healthy_s: float = 10.0

    def delay_s(self, crashes: int) -> float:
        """Before the restart after so many crashes in a row."""
        return float(min(self.first_s * 2 ** min(crashes - 1, 16), self.longest_s))


class Child:
    """A process that is kept running.

    Args:
        config: What it is told.
        inherit: Sockets that it inherits, in the order of the addresses in ``config``.
        log: Where its crashes and restarts are written.
        backoff: Between them.

    Attributes:
        started: Set while its components have started and it answers.
        ready: Set while it is ready, and stays unset from a crash to the next readiness.
        restarts: How often it was started again.
        crash: How it ended the last time that nobody had asked it to; empty: it has not.
        pid: Of the process that runs now.
        on_reload: Called with a number when the process asks for what the files say to be taken in.
    """

    def __init__(
        self, config: WorkerConfig, *, inherit: Sequence[socket.socket], log: Log, backoff: Backoff
    ) -> None:
        self.config = config
        self.started = asyncio.Event()
        self.ready = asyncio.Event()
        self.restarts = 0
        self.crash = ""
        self._inherit, self._log, self._backoff = inherit, log, backoff
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._failure: asyncio.Future[WorkerError] = asyncio.get_running_loop().create_future()
        self._is_ending = False
        self._has_been_ready = False
        self._numbers = count(1)
        self._orders: dict[int, asyncio.Future[Answer]] = {}
        self.on_reload: Callable[[int], object] | None = None

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def is_kept(self) -> bool:
        """Whether it was started: what it needs was ready."""
        return self._keeper is not None

    def start(self) -> None:
        """Run the process from now on, again and again."""
        if self._keeper is None and not self._is_ending:
            self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.config.name}")

    async def failed(self) -> None:
        """Wait until it is clear that it cannot start at all.

        Raises:
            WorkerError: Why not.
        """
        raise await asyncio.shield(self._failure)

    async def _keep(self) -> None:
        crashes = 0
        while not self._is_ending:
            begun = time.monotonic()
            try:
                report = await self._once()
            except (OSError, msgspec.DecodeError) as error:
                self._log.failure(f"process '{self.config.name}' cannot be run", cause=error)
                report = None
            self.started.clear()
            self.ready.clear()
            if self._is_ending:
                return
            process = self._process
            status = process.returncode if process is not None else None
            if report is not None and not self._has_been_ready:
                # It says itself why it cannot start, and has never been able to: a restart changes nothing.
                if not self._failure.done():
                    self._failure.set_result(WorkerError(self.config.name, report))
                return
            crashes = 1 if time.monotonic() - begun > self._backoff.healthy_s else crashes + 1
            delay_s = self._backoff.delay_s(crashes)
            self.crash = _status(status)
            self._log.warning(
                f"process '{self.config.name}' ended with {self.crash}; restarting it in {delay_s:g} s",
                **({"said": report.message} if report is not None else {}),
            )
            await asyncio.sleep(delay_s)
            self.restarts += 1

    async def _once(self) -> Report | None:
        """Run the process to its end; what it said of its failure, if it did."""
        self._process = process = await self._spawn()
        assert process.stdin is not None
        assert process.stdout is not None
        failure: Report | None = None
        try:
            with suppress(ConnectionError):  # it died before it read: its status says so
                process.stdin.write(msgspec.json.encode(self._config(process)) + b"\n")
                await process.stdin.drain()
            while line := await process.stdout.readline():
                report = _decode(line)
                if isinstance(report, Answer):
                    self._answered(report)
                elif report.event == "failed":
                    failure = report
                elif report.event == "started":
                    self.started.set()
                elif report.event == "ready":
                    self._has_been_ready = True
                    self.started.set()
                    self.ready.set()
            await process.wait()
        finally:
            for order in self._orders.values():
                if not order.done():
                    order.set_exception(NotReadyError(f"process '{self.config.name}' has ended"))
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await asyncio.shield(process.wait())
        return failure

    async def _spawn(self) -> Process:
        extra: dict[str, Any] = {}
        if sys.platform == "win32":
            extra["creationflags"] = (
                0x00000200  # CREATE_NEW_PROCESS_GROUP: Ctrl-C is the supervisor's to answer
            )
        else:
            extra["start_new_session"] = True  # the same
            extra["pass_fds"] = tuple(listener.fileno() for listener in self._inherit)
        # -P: the folder that weft was started in is no place to import modules from.
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "weft.serve.worker",
            stdin=PIPE,
            stdout=PIPE,
            limit=MAX_REPORT_BYTES,
            **extra,
        )

    def _config(self, process: Process) -> WorkerConfig:
        if sys.platform == "win32" and self._inherit:
            public = [
                msgspec.structs.replace(listen, fd=None, share=listener.share(process.pid))
                for listen, listener in zip(self.config.public, self._inherit, strict=True)
            ]
            return msgspec.structs.replace(self.config, public=public)
        return self.config

    async def end(self, *, timeout_s: float) -> None:
        """Let it drain and end; kill it after ``timeout_s``. It has ended when this returns."""
        self._is_ending = True
        keeper, process = self._keeper, self._process
        if keeper is None:
            return
        if process is None or process.returncode is not None:
            keeper.cancel()  # it waits for the next restart
        else:
            self._tell(b"drain\n")
        done, _ = await asyncio.wait((keeper,), timeout=timeout_s)
        if not done:
            self._log.warning(
                f"process '{self.config.name}' did not end within {timeout_s:g} s and is killed"
            )
            self.kill()
            await asyncio.wait((keeper,))

    def kill(self) -> None:
        """End it at once."""
        self._is_ending = True
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        elif self._keeper is not None:
            self._keeper.cancel()

    def _answered(self, answer: Answer) -> None:
        if answer.event == "reload":
            if self.on_reload is not None:
                self.on_reload(answer.number)
            return
        order = self._orders.get(answer.number)
        if order is not None and not order.done():
            order.set_result(answer)

    async def order(
        self, order: OrderName, *, timeout_s: float, config: WorkerConfig | None = None
    ) -> Answer:
        """Have the process do something, and wait for what becomes of it.

        Raises:
            NotReadyError: It does not answer in time, or has ended.
        """
        if self.pid is None:
            raise NotReadyError(f"process '{self.config.name}' is not running")
        number = next(self._numbers)
        self._orders[number] = asyncio.get_running_loop().create_future()
        try:
            self._tell(msgspec.json.encode(Command(order, number, config)) + b"\n")
            async with asyncio.timeout(timeout_s):
                return await self._orders[number]
        except TimeoutError:
            message = f"process '{self.config.name}' has not done it within {timeout_s:g} s: {order}"
            raise NotReadyError(message) from None
        finally:
            del self._orders[number]

    def inform(self, status: ReloadStatus, *, number: int = 0) -> None:
        """Let the process know how the reloads stand; with a number, as the answer to what it has asked for."""
        order: OrderName = "answer" if number else "status"
        self._tell(msgspec.json.encode(Command(order, number, status=status)) + b"\n")

    def restart(self) -> None:
        """End the process at once; it is started again, with the configuration that it has by then."""
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()

    def _tell(self, command: bytes) -> None:
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            with suppress(ConnectionError):
                process.stdin.write(command)


def _status(status: int | None) -> str:
    if status is not None and status < 0:
        with suppress(ValueError):
            return f"signal {signal.Signals(-status).name}"
    return f"status {status}"
