"""A Gateway file that changes under a running ``weft up`` of several processes, and the commands that change it."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest
from chatqna_process import Gateway
from click.testing import CliRunner, Result

from frontkit import CHAT, ask
from weft.cli.main import group
from weft.cli.remote import RemoteError
from weft.errors import ConflictError
from weft.http.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TALK = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: "./chat.py:Chat", config: {reply: "I am VERSION."}}
  shared: {component: "./chat.py:Chat", config: {reply: "the same"}}
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "VERSION"
contract: chat
nodes:
  answer: {service: llm, fallback: shared, fill_from: request, inputs: {messages: request.messages}}
output: answer
"""

FRONT = """\
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - path: /v1/greet
    megaservice: talk
    versions:
      - {version: "1.0.0", from: one.yaml, weight: 1}  # the one that we know
      - {version: "2.0.0", from: two.yaml, weight: 0}
"""


class Running(Gateway):
    """A gateway whose output is read as it comes; what it has printed is in ``output``."""

    def __init__(self, folder: Path, *arguments: str, spec: str) -> None:
        super().__init__(folder, *arguments, spec=spec)
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
                self.output += line
                self._said.notify_all()

    def until(self, words: str, times: int = 1) -> None:
        """Wait until it has printed these words so many times."""
        with self._said:
            assert self._said.wait_for(lambda: self.output.count(words) >= times, 20), self.output

    def workers(self) -> dict[int, psutil.Process]:
        """Its processes."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return {process.pid: process for process in found}

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(20)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def weft(*arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "chat.py").write_text(CHAT)
    for name, version in (("one", "1.0.0"), ("two", "2.0.0")):
        (tmp_path / f"{name}.yaml").write_text(TALK.replace("VERSION", version))
    (tmp_path / "front.yaml").write_text(FRONT)
    running = Running(tmp_path / "data", "--split", "--workers", "2", spec=str(tmp_path / "front.yaml"))
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end()


class Asking:
    """Asks again and again, each time on a connection of its own and on ones that stay open; nothing may fail."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.versions: list[str] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask()))

    async def _ask(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for is_new in (False, False, True, True):
                tasks.create_task(self._keep_asking(is_new=is_new))

    async def _keep_asking(self, *, is_new: bool) -> None:
        client = Client()
        while not self._stop.is_set():
            try:
                status, body, headers = await ask(client.endpoint(self._url, timeout_s=20), stream=True)
                whole = status == 200 and body.endswith(b"data: [DONE]\n\n")
                self.versions.append(headers["x-weft-version"] if whole else "")
                self.failures += [] if whole else [f"{status}: {body!r}"]
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a lost request
                self.failures.append(repr(error))
            if is_new:
                await client.aclose()
                client = Client()
            await asyncio.sleep(0.01)
        await client.aclose()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def test_a_changed_file_is_taken_in_by_all_processes_and_no_request_is_lost(
    gateway: Running, tmp_path: Path
) -> None:
    """By SIGHUP, by itself and by command; what is the same goes on in the very process, what is gone ends."""
    before = gateway.workers()
    with Asking(gateway.url) as asking:
        (tmp_path / "two.yaml").write_text(TALK.replace("am VERSION", "am new").replace("VERSION", "2.0.0"))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.until("reloaded:")
        (tmp_path / "front.yaml").write_text(FRONT.replace("weight: 1", "wait: 1"))
        gateway.until("'wait' is not a key of a version")
        shown = weft("gateway", "status", "--url", gateway.url)
        assert shown.exit_code == 3, shown.output
        assert "could not be taken in" in shown.output
        (tmp_path / "front.yaml").write_text(FRONT)
        assert weft("gateway", "reload", "--url", gateway.url).exit_code == 0
        promoted = weft("gateway", "promote", "talk", "2", "--url", gateway.url)
        assert promoted.exit_code == 0, promoted.output
        assert "talk 2.0.0: 0 -> 100" in promoted.output
        asked = len(asking.versions)
        while len(asking.versions) < asked + 20 and not asking.failures:
            threading.Event().wait(0.01)
    assert asking.failures == []
    assert set(asking.versions) == {"1.0.0", "2.0.0"}
    assert set(asking.versions[asked + 4 :]) == {"2.0.0"}
    # One service was changed: its process is another, once the requests of the one before have ended.
    settled(gateway, len(before))
    after = gateway.workers()
    assert len(before.keys() & after.keys()) == len(before) - 1
    text = (tmp_path / "front.yaml").read_text()
    assert text == FRONT.replace("two.yaml, weight: 0", "two.yaml, weight: 100").replace(
        "weight: 1}", "weight: 0}"
    )
    assert weft("gateway", "rollback", "/v1/greet", "--url", gateway.url).exit_code == 0
    assert (tmp_path / "front.yaml").read_text() == FRONT
    state = json.loads(weft("gateway", "status", "--json", "--url", gateway.url).output)
    assert not state["reload"].get("drifted")
    assert gateway.end() == 130
    assert not [process for process in (before | after).values() if process.is_running()]


def test_what_goes_on_goes_on_by_another_name_and_comes_back_as_it_was(
    gateway: Running, tmp_path: Path
) -> None:
    """A version that is taken out takes its process with it; one that crashes later comes back as what was taken in."""
    before = gateway.workers()
    only_two = FRONT.replace("weight: 0", "weight: 1")
    only_two = "".join(line for line in only_two.splitlines(keepends=True) if "one.yaml" not in line)
    (tmp_path / "front.yaml").write_text(only_two)
    assert weft("gateway", "reload", "--url", gateway.url).exit_code == 0
    settled(gateway, len(before) - 1)
    assert gateway.workers().keys() < before.keys()
    assert answer(gateway) == "I am 2.0.0."
    # What runs is no longer what the file says: it is what was taken in.
    (tmp_path / "front.yaml").write_text("nothing")
    (tmp_path / "two.yaml").write_text("nothing")
    gateway.until("not reloaded")
    for process in gateway.workers().values():
        process.kill()
        gateway.until("restarting it in", times=1)
    settled(gateway, len(before) - 1)
    for _ in range(100):
        if weft("gateway", "status", "--url", gateway.url).exit_code == 3:
            break
        threading.Event().wait(0.1)
    assert answer(gateway) == "I am 2.0.0."


def settled(gateway: Running, processes: int) -> None:
    """Wait until it has so many processes."""
    for _ in range(200):
        if len(gateway.workers()) == processes:
            return
        threading.Event().wait(0.05)
    raise AssertionError(gateway.output)


def answer(gateway: Running) -> str:
    """What is said to a question that names no version."""

    async def asked() -> str:
        client = Client()
        try:
            status, body, _ = await ask(client.endpoint(gateway.url, timeout_s=20), stream=False)
        finally:
            await client.aclose()
        assert status == 200, body
        words: str = body["choices"][0]["message"]["content"]
        return words

    return asyncio.run(asked())


def test_what_cannot_start_leaves_every_process_as_it_was(gateway: Running, tmp_path: Path) -> None:
    """A service whose process does not come up is given up, and with it all that was started."""
    before = gateway.workers().keys()
    (tmp_path / "broken.py").write_text(
        CHAT + "\n    async def start(self, host):\n        raise RuntimeError('it has no weights')\n"
    )
    (tmp_path / "two.yaml").write_text(TALK.replace("VERSION", "2.0.0").replace("./chat.py", "./broken.py"))
    refused = weft("gateway", "reload", "--url", gateway.url)
    assert isinstance(refused.exception, RemoteError), refused.output
    assert "it has no weights" in str(refused.exception)
    assert gateway.workers().keys() == before
    promoted = weft("gateway", "promote", "talk", "2", "--url", gateway.url)
    assert isinstance(promoted.exception, RemoteError), promoted.output


def test_a_file_is_changed_without_a_gateway(tmp_path: Path) -> None:
    """With --spec nothing has to run."""
    path, data = tmp_path / "front.yaml", str(tmp_path / "data")
    path.write_text(FRONT)
    promoted = weft(
        "gateway", "promote", "talk", "2.0", "--weight", "20", "--spec", str(path), "--data", data
    )
    assert promoted.exit_code == 0, promoted.output
    assert path.read_text() == FRONT.replace("weight: 1}", "weight: 80}").replace("weight: 0}", "weight: 20}")
    assert weft("gateway", "rollback", "talk", "--spec", str(path), "--data", data).exit_code == 0
    assert path.read_text() == FRONT
    again = weft("gateway", "rollback", "talk", "--spec", str(path), "--data", data)
    assert isinstance(again.exception, ConflictError), again.output
