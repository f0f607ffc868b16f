"""The guide on mapping a service, followed to the letter: its files, its commands, its report."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from weft.registry.components import Components, check_config

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "map-a-service.md"
BLOCK = re.compile(
    r"^```(?P<kind>\w+) (?P<role>\w+)=(?P<name>[\w.-]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCKS = {(m["role"], m["name"]): m["text"] for m in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))}
BIN = Path(sys.executable).parent


class Ports:
    """The guide's ports as free ones, so that two runs of this test do not meet."""

    def __init__(self) -> None:
        self._free: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        return re.sub(r"\b(7070|8090|6070)\b", lambda match: self._port(match[0]), text)

    def _port(self, written: str) -> str:
        if written not in self._free:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._free[written] = str(probe.getsockname()[1])
        return self._free[written]


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, Ports]:
    """A folder with the guide's files."""
    ports = Ports()
    for (role, name), text in BLOCKS.items():
        if role == "file":
            (tmp_path / name).write_text(ports(text))
    return tmp_path, ports


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
    }


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command of the guide, in a shell."""
    return subprocess.run(
        ["bash", "-c", command],
        check=False,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextmanager
def running(folder: Path, command: str, url: str) -> Iterator[None]:
    """A command that goes on until it is stopped; entered when its server answers."""
    log = (folder / "log").open("a+")
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command.strip()}"], cwd=folder, env=environment(folder), stdout=log, stderr=log
    )
    try:
        deadline = time.monotonic() + 60
        while not answers(url):
            log.seek(0)
            assert process.poll() is None, log.read()
            assert time.monotonic() < deadline, f"{command} did not answer"
            time.sleep(0.05)  # another program starts: there is no event to wait for
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 501
    except OSError:
        return False
    return True


@pytest.mark.e2e
@pytest.mark.slow
def test_the_guide_is_right_word_for_word(folder: tuple[Path, Ports]) -> None:
    """The service, the check, the megaservice, the call, the microservice and the curl line do what the guide says."""
    path, ports = folder
    commands = {name: ports(text) for (role, name), text in BLOCKS.items() if role == "run"}
    checked = run(path, commands["check"])
    assert checked.returncode == 0, checked.stderr + checked.stdout
    with ExitStack() as stack:
        stack.enter_context(running(path, commands["service"], ports("http://127.0.0.1:7070/")))
        stack.enter_context(running(path, commands["up"], ports("http://127.0.0.1:8090/health/ready")))
        called = run(path, commands["call"])
        assert called.returncode == 0, called.stderr
        documents = json.loads(called.stdout)["documents"]
        assert [(d["id"], d["score"]) for d in documents] == [("2", 1.0)]
        stack.enter_context(running(path, commands["serve"], ports("http://127.0.0.1:6070/health/ready")))
        asked = shlex.split(commands["curl"])
        request = urllib.request.Request(
            next(word for word in asked if word.startswith("http")),
            asked[asked.index("-d") + 1].encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            assert json.load(reply)["documents"] == [{"text": "a red apple", "score": 1.0}]


def test_the_report_in_the_guide_is_the_real_one(folder: tuple[Path, Ports]) -> None:
    """The misspelt path is reported as the guide shows it."""
    path, ports = folder
    spec = path / "ranked.yaml"
    spec.write_text(spec.read_text().replace("documents.*.text ", "documents.*.txt "))
    checked = run(path, "weft check ranked.yaml")
    assert checked.returncode == 3
    assert ports(BLOCKS["expect", "check"]).strip() in checked.stdout + checked.stderr


@pytest.mark.parametrize("name", [name for role, name in BLOCKS if role == "config"])
def test_the_configs_in_the_guide_are_right(name: str) -> None:
    """The embedding and the chat service of the guide can be configured as they stand."""
    config: dict[str, Any] = json.loads(BLOCKS["config", name])
    info = Components().get("http")
    assert check_config(info, config) == []
    assert Components().contract_of(info, config).name == name
