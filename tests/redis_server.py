"""A real Redis for tests: in memory, on a Unix socket of its own, ended with the test."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Self


class RedisServer:
    """One process of ``redis-server``.

    Args:
        folder: Where its socket is; the path of a socket may have some 100 characters only.
    """

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty; returns when it answers."""
        command = ["redis-server", "--port", "0", "--unixsocket", str(self._socket), "--save", ""]
        self._process = subprocess.Popen([*command, "--appendonly", "no"], stdout=subprocess.DEVNULL)
        ends = time.monotonic() + 10
        while not self._socket.exists():
            assert time.monotonic() < ends, "redis-server did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Have it answer nothing, and keep its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
