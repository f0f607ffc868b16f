"""Taking in files that change: only what can be read and run takes the place of what runs, and the rest is told."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from weft.errors import ConflictError, UsageError
from weft.serve import renewal
from weft.serve.log import Log
from weft.serve.renewal import ReloadStatus, Renewal


@dataclass(frozen=True)
class Text:
    """What a file said."""

    digest: str
    notes: tuple[str, ...] = ()


class Installation:
    """Runs what its one file says; ``bad`` cannot be read, ``busy`` and ``faulty`` cannot be taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("first")
        self.log = io.StringIO()
        self.taken: list[str] = []
        self.statuses: list[ReloadStatus] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.renewal = Renewal(
            Text("first"),
            read=self.read,
            take=self.take,
            files=lambda _: [path],
            log=Log(self.log, name="test", pretty=False),
        )

    def read(self) -> Text:
        text = self.path.read_text()
        if text == "bad":
            raise UsageError("it is bad")
        return Text(text)

    async def take(self, text: Text) -> None:
        await self.gate.wait()
        if text.digest == "busy":
            raise ConflictError("it is busy")
        if text.digest == "faulty":
            raise RuntimeError("a fault of ours")
        self.taken.append(text.digest)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds, looking whenever the status has changed."""
        changed = asyncio.Event()
        listener = lambda _: changed.set()  # noqa: E731 - taken away again below
        self.renewal.listeners.append(listener)
        async with asyncio.timeout(10):
            while not holds():
                await changed.wait()
                changed.clear()
        self.renewal.listeners.remove(listener)


@pytest.fixture
async def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    monkeypatch.setattr(renewal, "POLL_S", 0.005)
    monkeypatch.setattr(renewal, "SETTLED_S", 0.005)
    found = Installation(tmp_path / "front.yaml")
    found.renewal.begin()
    yield found
    await found.renewal.stop()


async def test_a_file_that_changes_is_taken_in(installation: Installation) -> None:
    """By itself, soon after nobody writes any more."""
    installation.path.write_text("second")
    await installation.until(lambda: installation.renewal.status.running == "second")
    assert installation.taken == ["second"]
    assert installation.renewal.status.number == 1
    assert not installation.renewal.status.drifted


@pytest.mark.parametrize("text", ["bad", "faulty"])
async def test_what_cannot_be_taken_changes_nothing(installation: Installation, text: str) -> None:
    """What runs goes on; the status, and the log once, say why; a good file makes good again."""
    installation.path.write_text(text)
    await installation.until(lambda: bool(installation.renewal.status.error))
    status = installation.renewal.status
    assert (status.running, status.drifted, installation.taken) == ("first", True, [])
    assert status.failed
    await installation.renewal.reload()
    assert installation.log.getvalue().count("what ran before goes on") == 1
    installation.path.write_text("third")
    await installation.until(lambda: installation.renewal.status.running == "third")
    assert installation.renewal.status.error == ""


async def test_what_says_the_same_is_not_taken_again(installation: Installation) -> None:
    """And a file that says again what runs is no drift."""
    installation.path.write_text("bad")
    assert (await installation.renewal.reload()).drifted
    installation.path.write_text("first")
    assert not (await installation.renewal.reload()).drifted
    assert installation.taken == []


async def test_a_file_that_was_missing_is_noticed_when_it_is_there(installation: Installation) -> None:
    """The folder tells, though no file that is known has changed."""
    installation.path.unlink()
    await installation.until(lambda: bool(installation.renewal.status.error))
    part = installation.path.with_suffix(".part")
    part.write_text("second")
    part.rename(installation.path)
    await installation.until(lambda: installation.renewal.status.running == "second")


async def test_who_asks_during_a_reload_gets_what_the_files_say_then(installation: Installation) -> None:
    """One after the other, each whole."""
    installation.gate.clear()
    installation.path.write_text("second")
    first = asyncio.create_task(installation.renewal.reload())
    await installation.until(lambda: installation.renewal.status.is_reloading)
    second = asyncio.create_task(installation.renewal.reload())
    installation.path.write_text("third")
    installation.gate.set()
    await first
    assert (await second).running == "third"


async def test_a_hang_up_takes_the_files_in(tmp_path: Path) -> None:
    """SIGHUP, as servers have it, also where the files are not looked at."""
    found = Installation(tmp_path / "front.yaml")
    found.renewal._watches = False
    found.renewal.begin()
    found.path.write_text("second")
    os.kill(os.getpid(), signal.SIGHUP)
    await found.until(lambda: found.renewal.status.running == "second")
    await found.renewal.stop()


async def test_what_was_in_the_way_is_tried_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is being switched at that moment delays a reload, and does not lose it."""
    monkeypatch.setattr(renewal, "AGAIN_S", 0.01)
    reads = iter(["busy", "second"])
    monkeypatch.setattr(installation.renewal, "_read", lambda: Text(next(reads)))
    installation.path.write_text("second")
    await installation.until(lambda: installation.renewal.status.running == "second")
