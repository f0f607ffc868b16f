"""Taking documents in survives being killed: 20 times, at random points, with the real store and embedder."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from chatqna_process import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FILES, KILLS, SEED = 150, 20, 20_261

SPEC = """
apiVersion: weft/v1
kind: Services
services:
  embedder:  {component: onnx-embedder}
  store:     {component: qdrant-edge}
  documents: {component: document-ingest, uses: {store: store, embedder: embedder}}
expose: [documents, store]
---
apiVersion: weft/v1
kind: Megaservice
name: vectors
version: "1.0.0"
contract: embedding
nodes:
  embed: {service: embedder, inputs: {texts: request.texts}}
output: embed
"""


class Server:
    """A process of ``weft up``, in a session of its own: what it started is killed with it, as by the kernel."""

    def __init__(self, spec: Path, data: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-c", "from weft.cli.main import main; main()", "up", str(spec)]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), "--data", str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        output = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            output += line
            if "is ready" in line:
                return
        raise AssertionError(f"it did not start:\n{output}")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)


def contents() -> dict[str, str]:
    """Small files, each with words of its own, and some that are many passages long."""
    return {
        f"note-{n:03}.txt": f"Note number {n} speaks of the subject s{n}x. "
        + f"It says more about s{n}x in a second sentence. " * (60 if n % 5 == 0 else 1)
        for n in range(FILES)
    }


def hand_in(server: Server, files: dict[str, str]) -> str:
    body = b"".join(
        f'--B\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in files.items()
    )
    headers = {"content-type": "multipart/form-data; boundary=B", "prefer": "respond-async"}
    request = urllib.request.Request(f"{server.url}/v1/dataprep/ingest", body + b"--B--\r\n", headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert reply.status == 202
        return str(json.load(reply)["id"])


def test_nothing_is_lost_nothing_twice_and_no_file_half_in(tmp_path: Path) -> None:
    """A process that is killed at 20 random points of an ingestion leaves to the last one what is left to do, and no more."""
    chance, port, files = random.Random(SEED), free_port(), contents()
    spec, data = tmp_path / "spec.yaml", tmp_path / "data"
    spec.write_text(SPEC)
    server = Server(spec, data, port)
    seen: list[int] = []
    try:
        job = hand_in(server, files)
        for _ in range(KILLS):
            wait_for(server, job, (seen or [0])[-1] + chance.randint(0, 8))
            time.sleep(chance.uniform(0, 0.05))  # the moment is the test's subject: any is right
            server.kill()
            server = Server(spec, data, port)
            seen.append(server.ask(f"/v1/dataprep/jobs/{job}")["ended"])
        assert seen == sorted(seen), "files that had ended have to be done again"
        assert seen[-1] < FILES, f"the kills came too late to tell anything: {seen}"
        assert len(set(seen)) > KILLS / 2, f"the kills came too early to tell anything: {seen}"
        state = server.ask(f"/v1/dataprep/jobs/{job}")
        while state["state"] in ("waiting", "running"):
            state = server.ask(f"/v1/dataprep/jobs/{job}?wait_s=30&since={state['revision']}")
        assert (state["state"], state["counts"]["ingested"], state["files"]) == ("done", FILES, FILES)
        assert sorted(outcome["name"] for outcome in state["outcomes"]) == sorted(files)
        listed = server.ask("/v1/dataprep/files", {})["files"]
        assert {f["name"]: f["digest"] for f in listed} == {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()
        }
        for name, text in files.items():
            assert whole(server, name) == text.strip(), name
        # The vector index has each passage once, too: asked for more than there are, it gives all.
        passages = sum(file["chunks"] for file in listed)
        (vector,) = server.ask("/v1/embeddings", {"texts": ["notes"]})["embeddings"]
        search = {"mode": "dense", "embedding": vector, "k": 2 * passages}
        found = [hit["document"]["id"] for hit in server.ask("/v1/store/search", search)["hits"]]
        assert len(found) == len(set(found)) == passages
        left = [path for path in (data / "ingest").rglob("*") if path.is_file() and "jobs" not in path.name]
        assert left == []
    finally:
        server.kill()


def wait_for(server: Server, job: str, ended: int) -> None:
    """Return when so many files have ended."""
    state = server.ask(f"/v1/dataprep/jobs/{job}?limit=0")
    while state["ended"] < ended:
        state = server.ask(f"/v1/dataprep/jobs/{job}?limit=0&wait_s=30&since={state['revision']}")


def whole(server: Server, name: str) -> str:
    """The text of a document put together from its passages, which must join without a gap."""
    text = ""
    for passage in server.ask("/v1/dataprep/document", {"name": name, "limit": 200})["passages"]:
        start = passage.get("start") or 0
        assert start <= len(text) + 2
        text = text[:start] + " " * (start - len(text)) + passage["text"]
    return text
