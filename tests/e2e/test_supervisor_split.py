"""``weft up --split``, the real command: service processes that are killed, crash and are drained under a running spec."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from serve_process import JSON, WATCHDOG_S, eventually, family_of, is_gone

from weft.errors import ServiceError
from weft.http.client import Client, Endpoint
from weft.serve import ports

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]

SPEC = """
apiVersion: weft/v1
kind: Services
services:
  left:  {component: "./parts.py:Speaker", config: {folder: FOLDER}}
  right: {component: "./parts.py:Speaker", config: {folder: FOLDER}}
---
apiVersion: weft/v1
kind: Megaservice
name: one
contract: chat
nodes:
  answer: {service: left, inputs: {messages: request.messages}}
output: answer
---
apiVersion: weft/v1
kind: Megaservice
name: two
contract: chat
nodes:
  answer: {service: right, inputs: {messages: request.messages}}
output: answer
"""

PARTS = '''
import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from weft.contracts.chat import ChatChunk, ChatRequest, ChatResponse, Choice, ChunkChoice, Delta
from weft.host import Host
from weft.types import Message


class Speaker:
    """Says which process it is; while a file 'crash' is there, it dies at its start; a stream waits for a file 'go'."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    async def start(self, host: Host) -> None:
        if host.service == "left" and (self._folder / "crash").exists():
            os._exit(7)

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        if request.messages[-1].text() == "wait":
            await asyncio.Event().wait()
        return ChatResponse("1", "m", [Choice(0, Message("assistant", str(os.getpid())), "stop")])

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        yield ChatChunk("1", "m", [ChunkChoice(0, Delta(content="one "))])
        while not (self._folder / "go").exists():
            await asyncio.sleep(0.005)
        yield ChatChunk("1", "m", [ChunkChoice(0, Delta(content="two"), "stop")])
'''


class Up:
    """A running ``weft up --split``."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path, client: Client) -> None:
        self.process, self.port, self._log, self._client = process, port, log, client

    @property
    def server(self) -> Endpoint:
        return self._client.endpoint(f"http://127.0.0.1:{self.port}", timeout_s=WATCHDOG_S)

    def body(self, model: str, text: str = "hi", *, stream: bool = False) -> bytes:
        messages = [{"role": "user", "content": text}]
        return msgspec.json.encode({"model": model, "messages": messages, "stream": stream})

    async def ask(self, model: str, text: str = "hi") -> tuple[int, Any]:
        reply = await self.server.request(
            "POST", "/v1/chat/completions", self.body(model, text), headers=JSON
        )
        return reply.status, msgspec.json.decode(reply.body)

    async def pid(self, model: str) -> int:
        status, answer = await self.ask(model)
        assert status == 200
        return int(answer["choices"][0]["message"]["content"])

    async def readiness(self) -> tuple[int, list[str]]:
        reply = await self.server.request("GET", "/health/ready")
        return reply.status, msgspec.json.decode(reply.body)["degraded"]

    async def is_ready(self) -> bool:
        return await self.readiness() == (200, [])

    async def answers(self, model: str) -> bool:
        return (await self.ask(model))[0] == 200

    def family(self) -> list[psutil.Process]:
        return family_of(self.process)

    def log(self) -> str:
        return self._log.read_text()

    async def ended(self) -> int:
        async with asyncio.timeout(WATCHDOG_S):
            return await self.process.wait()


@asynccontextmanager
async def up(folder: Path) -> AsyncIterator[Up]:
    """Start it; whatever happens, nothing of it is left."""
    (folder / "parts.py").write_text(PARTS)
    spec = folder / "spec.yaml"
    spec.write_text(SPEC.replace("FOLDER", str(folder)))
    temp = folder / "temp"
    temp.mkdir()
    port = ports.next_free("127.0.0.1", 40_000 + os.getpid() % 10_000)
    arguments = ["up", str(spec), "--split", "--port", str(port), "--data", str(folder / "data")]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from weft.cli.main import main; main()",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=os.environ | {"TMPDIR": str(temp)},
        )
    client = Client()
    running = Up(process, port, folder / "log", client)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(6 * WATCHDOG_S):
            while b"is ready" not in (line := await process.stdout.readline()):
                assert line, running.log()
        yield running
    finally:
        await client.aclose()
        family = running.family() if process.returncode is None else []
        if process.returncode is None:
            process.kill()
        await process.wait()
        for child in family:
            if not is_gone(child):
                child.kill()


async def test_kill_9_of_a_service_is_its_nodes_error_only(tmp_path: Path) -> None:
    """Who asks it is told node, service and component; the other megaservice goes on; readiness says which; it comes back."""
    async with up(tmp_path) as running:
        left, right = await running.pid("one"), await running.pid("two")
        waiting = asyncio.create_task(running.ask("one", "wait"))
        await eventually(lambda: in_flight(running, "left"))
        os.kill(left, signal.SIGKILL)
        status, answer = await waiting
        error = answer["error"]
        assert (status, error["code"]) == (502, "unreachable")
        assert (error["node"], error["service"], error["component"]) == (
            "answer",
            "left",
            "./parts.py:Speaker",
        )
        assert "left" in error["endpoint"]
        assert error["elapsed_s"] > 0
        assert await running.readiness() == (503, ["left"])
        assert await running.pid("two") == right
        await eventually(running.is_ready)
        assert await running.pid("one") != left
        assert await running.pid("two") == right


async def in_flight(running: Up, process: str) -> bool:
    text = (await running.server.request("GET", "/metrics")).body.decode()
    found = re.search(rf'weft_http_requests_in_flight{{process="{process}"}} (\d+)', text)
    # The request for that process's own figures is one of them where it is counted.
    return found is not None and int(found[1]) >= 1


async def test_kill_9_of_a_service_in_mid_stream(tmp_path: Path) -> None:
    """What it said stands, then comes the error that names its node, and no ``[DONE]``."""
    async with up(tmp_path) as running:
        left = await running.pid("one")
        stream = await running.server.stream(
            "POST", "/v1/chat/completions", running.body("one", stream=True), headers=JSON
        )
        text = b""
        async for block in stream.body:
            if b"one " in block and not text:
                os.kill(left, signal.SIGKILL)
            text += block
        assert stream.status == 200
        last = text.strip().rpartition(b"data: ")[2]
        error = msgspec.json.decode(last)["error"]
        assert (error["code"], error["node"], error["service"]) == ("backend_reply", "answer", "left")
        assert b"[DONE]" not in text


async def test_a_crash_in_a_loop_backs_off_and_recovers(tmp_path: Path) -> None:
    """Each restart waits longer, readiness stays degraded, the others answer; when the cause is gone, all is well again."""
    async with up(tmp_path) as running:
        left, right = await running.pid("one"), await running.pid("two")
        (tmp_path / "crash").touch()
        os.kill(left, signal.SIGKILL)
        await eventually(lambda: running.log().count("restarting it in") >= 3)
        assert re.findall(r"'left' ended with (.*?); restarting it in ([\d.]+) s", running.log())[:3] == [
            ("signal SIGKILL", "0.2"),
            ("status 7", "0.4"),
            ("status 7", "0.8"),
        ]
        assert await running.readiness() == (503, ["left"])
        status, answer = await running.ask("one")
        assert (status, answer["error"]["service"]) == (502, "left")
        assert await running.pid("two") == right
        (tmp_path / "crash").unlink()
        await eventually(running.is_ready)
        await eventually(lambda: running.answers("one"))


async def test_kill_9_of_the_supervisor_in_mid_stream_leaves_nothing(tmp_path: Path) -> None:
    """Every process ends, the client's connection too, and the folder of sockets is gone."""
    async with up(tmp_path) as running:
        stream = await running.server.stream(
            "POST", "/v1/chat/completions", running.body("one", stream=True), headers=JSON
        )
        assert b"one " in await anext(aiter(stream.body))
        family = running.family()
        assert len(family) == 3
        running.process.kill()
        await eventually(lambda: all(is_gone(child) for child in family))
        await eventually(lambda: list((tmp_path / "temp").glob("weft-*")) == [])
        await stream.aclose()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_a_stream_through_two_processes_is_drained(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Asked to end in mid-stream, no new work is taken, the stream is answered whole, and everything ends."""
    async with up(tmp_path) as running:
        stream = await running.server.stream(
            "POST", "/v1/chat/completions", running.body("one", stream=True), headers=JSON
        )
        blocks = aiter(stream.body)
        text = await anext(blocks)
        family = running.family()
        running.process.send_signal(number)
        await eventually(lambda: refuses(running.port))
        (tmp_path / "go").touch()
        async for block in blocks:
            text += block
        assert b'"two"' in text
        assert text.endswith(b"data: [DONE]\n\n")
        assert await running.ended() == status
        assert all(is_gone(child) for child in family)
        assert list((tmp_path / "temp").glob("weft-*")) == []


async def refuses(port: int) -> bool:
    """Whether new work is refused: no connection, or one that ends without an answer."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    try:
        writer.write(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(0.2):
            return not await reader.read(1)
    except (TimeoutError, ConnectionError):
        return True  # nobody takes it
    finally:
        writer.close()


async def test_kill_9_of_the_gateway_is_survived(tmp_path: Path) -> None:
    """It is restarted on the same port, and the services have not noticed."""
    async with up(tmp_path) as running:
        left = await running.pid("one")
        services = {left, await running.pid("two")}
        (gateway,) = [child for child in running.family() if child.pid not in services]
        gateway.kill()

        async def is_back() -> bool:
            try:
                status, answer = await running.ask("one")
            except ServiceError:
                return False  # it is restarting
            return status == 200 and answer["choices"][0]["message"]["content"] == str(left)

        await eventually(is_back)
