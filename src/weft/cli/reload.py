"""``weft up --reload``: start again when a spec or a component's file has changed and is fine.

The gateway runs in a process of its own. Files are looked at a few times a second; what has changed is checked in
another process first, so that neither an invalid spec nor a half-written file ever replaces what runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import click

from weft.plan import Plans

POLL_S = 0.25
"""How often files are looked at: quicker than a person changes windows, and too seldom to be noticed."""

WEFT = (sys.executable, "-c", "from weft.cli.main import main; main()")

Stamps = dict[Path, tuple[int, int]]


def stamps(files: Sequence[Path]) -> Stamps:
    """Each file's time and size; a file that is not there has neither."""
    found: Stamps = {}
    for path in files:
        try:
            status = path.stat()
        except OSError:
            found[path] = (0, 0)
        else:
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


class Reload:
    """Keeps one child running and replaces it by another when the files have changed.

    Args:
        start: The arguments of the child's ``weft``.
        check: The arguments of the ``weft`` that checks.
        files: Gives the files to look at; asked again after each change.
        environment: Of the child.
    """

    def __init__(
        self,
        start: Sequence[str],
        check: Sequence[str],
        files: Callable[[], list[Path]],
        environment: dict[str, str],
    ) -> None:
        self._start, self._check, self._files, self._environment = start, check, files, environment
        self._stop = threading.Event()
        self._by: int | None = None

    def run(self) -> int:
        """Until Ctrl-C or SIGTERM; the exit status."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._by = number
            self._stop.set()

        before = [signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            self._watch()
        finally:
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
                signal.signal(number, handler)
        return 130 if self._by == signal.SIGINT else 0

    def _watch(self) -> None:
        files = self._files()
        seen = stamps(files)
        child: subprocess.Popen[bytes] | None = self._started()
        while not self._stop.wait(POLL_S):
            if child is not None and (status := child.poll()) is not None:
                child = None
                click.echo(f"It ended with status {status}; a changed file starts it again.", err=True)
            if stamps(files) == seen:
                continue
            now = self._settled(files)
            names = ", ".join(str(path) for path in files if now[path] != seen[path])
            seen = now
            click.echo(f"Changed: {names}", err=True)
            done = subprocess.run([*WEFT, *self._check], stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - ourselves
            if done.returncode:
                click.echo("Not reloaded: what ran before goes on.", err=True)
                continue
            files = self._files()
            seen = stamps(files)
            if child is not None:
                self._end(child)
            child = self._started()
        if child is not None:
            self._end(child)

    def _settled(self, files: Sequence[Path]) -> Stamps:
        """The files' stamps once nobody writes any more."""
        found = stamps(files)
        while True:
            time.sleep(POLL_S / 2)
            now = stamps(files)
            if now == found:
                return now
            found = now

    def _started(self) -> subprocess.Popen[bytes]:
        # Its stdin is a pipe that closes when this process ends, however it ends: then it ends too.
        return subprocess.Popen([*WEFT, *self._start], stdin=subprocess.PIPE, env=self._environment)  # noqa: S603 - ourselves

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Let it drain; Ctrl-C reaches it by itself, a second one too."""
        if child.stdin is not None:
            child.stdin.close()
        child.wait()


def ends_with_stdin() -> None:
    """Have this process end politely when its stdin closes: the end of the process that has the other side."""

    def watch() -> None:
        while sys.stdin.buffer.read(1 << 16):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def watched(files: Sequence[str], plans: Plans) -> list[Path]:
    """The spec's files, and Python files beside each component that the spec names by its file."""
    found = [Path(name) for name in files]
    for placed in plans.placed.values():
        name, colon, _ = placed.component.rpartition(":")
        if colon and name.endswith(".py"):
            found += sorted((placed.folder / name).resolve().parent.glob("*.py"))
    return list(dict.fromkeys(found))
