"""A real ``weft up chatqna`` with a data folder of its own, and what the measurements here ask of it over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START = "from weft.cli.main import main; main()"

LINKS = (
    "from weft.serve import egress\n"
    "from weft.errors import UnreachableError\n"
    "def guard(addresses, refuse=egress.public_guard):\n"
    "    if set(addresses) != {'127.0.0.1'}: refuse(addresses)\n"
    "egress.public_guard = guard\n"
)
"""Links may lead to public addresses only. The pages of this benchmark are on this machine, so its server, and nothing else,
is let to 127.0.0.1; the guard itself has its own tests."""


@dataclass
class Reply:
    """What came back for one question, and when."""

    text: str = ""
    citations: list[dict[str, Any]] = field(default_factory=list)
    first_s: float = 0.0
    whole_s: float = 0.0
    error: str = ""


class Server:
    """A running gateway."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1800)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"content-type": "application/json"} | (headers or {}))
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read() or b"null")
        finally:
            connection.close()

    def ingest(
        self,
        files: list[tuple[str, bytes]],
        links: list[str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Hand files and links over as a browser does, in one request."""
        boundary = secrets.token_hex(12)
        parts = []
        for name, content in files:
            parts += [
                f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n".encode(),
                content,
                b"\r\n",
            ]
        if links:
            parts.append(
                f'--{boundary}\r\nContent-Disposition: form-data; name="link_list"\r\n\r\n{json.dumps(links)}\r\n'.encode()
            )
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        return self.request("POST", "/v1/dataprep/ingest", body, kind | (headers or {}))

    def ask(self, question: str, *, max_tokens: int | None = None) -> Reply:
        """A question over ``/v1/chat/completions``, streamed."""
        body: dict[str, Any] = {
            "model": "chatqna",
            "messages": [{"role": "user", "content": question}],
            "stream": True,
            "temperature": 0,
            "seed": 1,
        }
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        began = time.monotonic()
        reply = Reply()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"}
            )
            stream = connection.getresponse()
            if stream.status != 200:
                raise SystemExit(f"'{question}' was answered with {stream.status}: {stream.read()[:500]!r}")
            for line in stream:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    reply.error = str(event["error"].get("message"))
                    break
                for choice in event.get("choices", []):
                    words = choice["delta"].get("content")
                    if words and not reply.text:
                        reply.first_s = time.monotonic() - began
                    reply.text += words or ""
                    reply.citations += choice["delta"].get("annotations") or []
        finally:
            connection.close()
        reply.whole_s = time.monotonic() - began
        return reply

    def passage(self, citation: dict[str, Any], question: str) -> str:
        """The whole passage that a citation is of, by its id."""
        body = {"name": citation.get("source"), "around": citation["document_id"], "limit": 3}
        status, found = self.request("POST", "/v1/dataprep/document", body)
        passages = found["passages"] if status == 200 else []
        if not passages:
            status, found = self.request("POST", "/v1/retrieval", {"query": question, "k": 50})
            passages = found["documents"] if status == 200 else []
        return next(
            (p["text"] for p in passages if p["id"] == citation["document_id"]), citation.get("quote") or ""
        )

    def memory(self) -> int:
        """Bytes of this server's processes, all together: the sum of their proportional shares."""
        total = 0
        for process in descendants(self.process.pid):
            try:
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return total


def descendants(process: int) -> list[int]:
    """A process and all that came of it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, left = [], [process]
    while left:
        found.append(left.pop())
        left += parents.get(found[-1], [])
    return found


@contextmanager
def running(*, links: bool = False, data: Path | None = None) -> Iterator[Server]:
    """A server that is ready, and stopped at the end.

    Args:
        links: Whether links to 127.0.0.1 are followed.
        data: Its data folder; None: a temporary one.
    """
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        code = (LINKS if links else "") + START
        command = [
            sys.executable,
            "-c",
            code,
            "up",
            "chatqna",
            "--port",
            str(port),
            "--data",
            str(data or folder),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ.copy()
        )
        assert process.stdout is not None
        said = b""
        for line in process.stdout:
            said += line
            if b"is ready" in line:
                break
        else:
            raise SystemExit(f"weft up did not start:\n{said.decode()}")
        drain = subprocess.Popen(
            ["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL
        )  # its log may not fill up
        try:
            yield Server(process, port)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            drain.wait(10)
