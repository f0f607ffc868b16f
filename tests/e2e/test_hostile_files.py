"""Hostile files, handed to a whole server: each is refused with its reason, and the server is as before."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Self

import psutil
import pytest
from chatqna_process import Gateway

from hostile_files import HOSTILE, MB

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MAY_GROW = 50 * MB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """ChatQnA that has taken a document in and answered for it: what it loads once is loaded."""
    folder = tmp_path_factory.mktemp("data")
    running = Gateway(folder)
    try:
        for name in ("one.txt", "two.txt"):
            (folder / name).write_text("The ferry to the island leaves at noon.")
            running.run("ingest", str(folder / name))
            assert retrieved(running)
        yield running
    finally:
        running.stop()


def retrieved(server: Gateway) -> list[Any]:
    body = json.dumps({"query": "When does the ferry leave?", "k": 1}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{server.url}/v1/retrieval", body, headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        found: list[Any] = json.load(reply)["documents"]
        return found


class Watched:
    """The most memory that a process has at any time; its children do not count."""

    def __init__(self, pid: int) -> None:
        self._process, self._ended = psutil.Process(pid), threading.Event()
        self.before = self.most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.most = max(self.most, self._process.memory_info().rss)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def hand_in(server: Gateway, files: Iterator[tuple[str, bytes]]) -> tuple[int, Any]:
    body = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n%b\r\n'
        % (name.encode(), content)
        for name, content in files
    )
    headers = {"content-type": "multipart/form-data; boundary=B"}
    request = urllib.request.Request(f"{server.url}/v1/dataprep/ingest", body + b"--B--\r\n", headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.status or 0, json.load(error)


def test_each_is_refused_and_the_server_is_as_before(server: Gateway) -> None:
    """Every reason is the file's own; the server grows by at most 50 MB meanwhile, and goes on answering."""
    with Watched(server.process.pid) as watched:
        status, reply = hand_in(server, ((hostile.name, hostile.make()) for hostile in HOSTILE))
        assert retrieved(server)
    assert status == 400
    outcomes: dict[str, list[dict[str, Any]]] = {}
    for file in reply["files"]:
        outcomes.setdefault(file["name"].partition("/")[0], []).append(file)
    for hostile in HOSTILE:
        found = outcomes.pop(hostile.name)
        assert len(found) == (hostile.members or 1), found
        for file in found:
            assert file["outcome"] == "refused", file
            assert re.search(hostile.reason, file["reason"]), file
    assert outcomes == {}
    assert watched.most - watched.before <= MAY_GROW, f"{(watched.most - watched.before) / MB:.0f} MB"
    with urllib.request.urlopen(f"{server.url}/v1/dataprep/files", timeout=60) as listed:
        assert {file["name"] for file in json.load(listed)["files"]} == {"one.txt", "two.txt"}
    for spooled in (server.folder / "uploads", server.folder / "ingest" / "documents" / "files"):
        assert spooled.is_dir()
        assert [path for path in spooled.rglob("*") if path.is_file()] == [], (
            "something of them is left on disk"
        )
