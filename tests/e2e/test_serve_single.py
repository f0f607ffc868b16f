"""One process from its start to its end: signals, draining, the port."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

import msgspec
import pytest
from serve_process import JSON, Running, eventually, program

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]


def chat(words: str) -> bytes:
    return msgspec.json.encode({"messages": [{"role": "user", "content": words}], "stream": True})


async def is_draining(running: Running) -> bool:
    """Whether new connections are refused already."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    except OSError:
        return True
    writer.close()
    return False


async def test_ctrl_c_lets_a_stream_end(tmp_path: Path) -> None:
    """No new work is taken, the one in flight is answered whole, the status is the documented one."""
    gate = tmp_path / "gate"
    gate.write_bytes(b"")
    async with program("single", tmp_path, gate=str(gate)) as running:
        await running.until("ready")
        stream = await running.server.stream(
            "POST", "/v1/chat/completions", chat("one two three"), headers=JSON
        )
        blocks = aiter(stream.body)
        text = await anext(blocks)
        running.signal(signal.SIGINT)
        await eventually(lambda: is_draining(running))
        gate.write_bytes(b"xxx")
        async for block in blocks:
            text += block
        assert b"three" in text
        assert text.endswith(b"data: [DONE]\n\n")
        assert await running.ended() == 130


async def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    """Whatever is in flight."""
    gate = tmp_path / "gate"
    gate.write_bytes(b"")
    async with program("single", tmp_path, gate=str(gate)) as running:
        await running.until("ready")
        stream = await running.server.stream("POST", "/v1/chat/completions", chat("one two"), headers=JSON)
        await anext(aiter(stream.body))
        running.signal(signal.SIGINT)
        await eventually(lambda: is_draining(running))
        running.signal(signal.SIGINT)
        assert await running.ended() == 130
        await stream.aclose()


async def test_sigterm_ends_with_0(tmp_path: Path) -> None:
    """As process managers want it."""
    async with program("single", tmp_path) as running:
        await running.until("ready")
        running.signal(signal.SIGTERM)
        await running.until("ended 0")
        assert await running.ended() == 0


async def test_work_beyond_the_drain_timeout_is_cut(tmp_path: Path) -> None:
    """The process does not wait for ever."""
    gate = tmp_path / "gate"
    gate.write_bytes(b"")
    async with program("single", tmp_path, gate=str(gate), drain_timeout_s=0.05) as running:
        await running.until("ready")
        stream = await running.server.stream("POST", "/v1/chat/completions", chat("one two"), headers=JSON)
        await anext(aiter(stream.body))
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0
        await stream.aclose()


async def test_a_taken_port_has_its_exit_code(tmp_path: Path) -> None:
    """And nothing was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for kind in ("single", "supervised"):
            async with program(kind, tmp_path, port=port) as running:
                assert f"port {port}" in await running.until("error")
                assert await running.ended() == 9


async def test_the_access_token_is_asked_for(tmp_path: Path) -> None:
    """But not for health."""
    async with program("single", tmp_path, token="secret") as running:
        await running.until("ready")
        assert (await running.server.request("GET", "/health/ready")).status == 200
        refused = await running.server.request("POST", "/v1/chat/completions", chat("one"), headers=JSON)
        assert refused.status == 401
        token = ("authorization", "Bearer secret")
        answered = await running.server.request(
            "POST", "/v1/chat/completions", chat("one"), headers=[*JSON, token]
        )
        assert answered.status == 200


async def test_an_error_in_mid_stream_is_told(tmp_path: Path) -> None:
    """Over the wire, as the last event."""
    async with program("single", tmp_path) as running:
        await running.until("ready")
        reply = await running.server.request("POST", "/v1/chat/completions", chat("one fail"), headers=JSON)
        assert b'data: {"error":{' in reply.body
        assert b"[DONE]" not in reply.body
