"""A running ``weft up`` as a person starts it, and what tests ask of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import openai
from click.testing import CliRunner

from weft.cli.main import group
from weft.serve import ports

HANDBOOK = (
    "Weft is an orchestration framework for GenAI. It was founded in 2024 by Ada Muster in Heidelberg.\n\n"
    "New employees have 30 days of leave per year.\n"
)
QUESTION = "How many days of leave do new employees have?"

_offsets = count()


def free_port() -> int:
    """A port that nobody listens on, another one at each call."""
    return ports.next_free("127.0.0.1", 20_000 + os.getpid() % 20_000 + 20 * next(_offsets))


class Gateway:
    """A process of ``weft up``; made, it is ready."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        spec: str = "chatqna",
        env: dict[str, str] | None = None,
        ready: str = "is ready",
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-c", "from weft.cli.main import main; main()", "up", spec]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--data", str(folder), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | (env or {}),
        )
        self.output = ""
        if not self.read_until(ready):
            raise AssertionError(f"it did not start:\n{self.output}")

    def read_until(self, words: str) -> bool:
        """Read what it prints until a line has ``words``; False: it ended before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if words in line:
                return True
        return False

    def client(self) -> openai.OpenAI:
        """The SDK, pointed at it."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def run(self, *arguments: str) -> str:
        """A command against it that succeeds; what it printed."""
        result = CliRunner().invoke(group, [*arguments, "--url", self.url])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    def stop(self) -> int:
        """Ctrl-C, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(20)
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        self.process.stdout.close()
        return status
