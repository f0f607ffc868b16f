"""A running program of the end-to-end tests of serving, and what they look at from outside."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from weft.http.client import Client, Endpoint

PROGRAM = Path(__file__).with_name("serve_program.py")
WATCHDOG_S = 10.0
JSON = [("content-type", "application/json")]


class Running:
    """A program that was started, and a client for it."""

    def __init__(self, process: asyncio.subprocess.Process, client: Client) -> None:
        self.process, self._client = process, client
        self.lines: list[str] = []
        self.port = 0

    async def until(self, word: str) -> str:
        """Read what it prints until a line begins with ``word``."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WATCHDOG_S):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.strip())
                if line.startswith("listening"):
                    self.port = int(line.split()[1])
                if line.startswith(word):
                    return line.strip()
        raise AssertionError(f"it ended without '{word}': {self.lines}")

    @property
    def server(self) -> Endpoint:
        return self._client.endpoint(f"http://127.0.0.1:{self.port}", timeout_s=WATCHDOG_S)

    def family(self) -> list[psutil.Process]:
        """Its children, and theirs."""
        return family_of(self.process)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(WATCHDOG_S):
            return await self.process.wait()


async def eventually(check: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait until ``check`` holds."""
    async with asyncio.timeout(WATCHDOG_S):
        while True:
            answer = check()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)


def family_of(process: asyncio.subprocess.Process) -> list[psutil.Process]:
    """The children of a program, and theirs; none of one that has ended, which asyncio may not have noticed yet."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended (one that nobody has reaped yet has)."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@asynccontextmanager
async def program(kind: str, temp: Path, **options: Any) -> AsyncIterator[Running]:
    """Start it with ``temp`` as its folder for temporary files; when the test is done, nothing of it is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        kind,
        json.dumps(options),
        stdout=asyncio.subprocess.PIPE,
        env=_environment(temp),
    )
    client = Client()
    running = Running(process, client)
    try:
        yield running
    finally:
        await client.aclose()
        family = running.family() if process.returncode is None else []
        if process.returncode is None:
            process.kill()
        await process.wait()
        for child in family:
            if not is_gone(child):
                child.kill()


def _environment(temp: Path) -> dict[str, str]:
    import os

    return os.environ | {"TMPDIR": str(temp)}
