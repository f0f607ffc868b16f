"""Processes that crash, are killed, are drained: what goes on, what is said, and that nothing is left."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from serve_process import JSON, Running, eventually, is_gone, program

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]


def question(text: str) -> bytes:
    return msgspec.json.encode({"messages": [{"role": "user", "content": text}]})


async def ask(running: Running, text: str) -> tuple[int, Any]:
    reply = await running.server.request("POST", "/ask", question(text), headers=JSON)
    return reply.status, msgspec.json.decode(reply.body)


async def readiness(running: Running) -> tuple[int, Any]:
    reply = await running.server.request("GET", "/health/ready")
    return reply.status, msgspec.json.decode(reply.body)


async def llm_pid(running: Running) -> int:
    _, answer = await ask(running, "who")
    return int(answer["choices"][0]["message"]["content"].split()[1])


def no_folder_left(temp: Path) -> bool:
    return list(temp.glob("weft-*")) == []


async def test_a_crashed_service_is_restarted(tmp_path: Path) -> None:
    """Meanwhile readiness names it, its error is an unreachable service, the others go on; then all is as before."""
    async with program("supervised", tmp_path) as running:
        await running.until("ready")
        first = await llm_pid(running)
        status, error = await ask(running, "die")
        assert (status, error["code"]) == (502, "unreachable")
        status, found = await readiness(running)
        assert (status, found["degraded"]) == (503, ["llm"])
        assert (await running.server.request("GET", "/who")).status == 200

        async def is_ready() -> bool:
            return (await readiness(running))[0] == 200

        await eventually(is_ready)
        assert await llm_pid(running) != first


async def test_kill_9_of_the_supervisor_leaves_nothing(tmp_path: Path) -> None:
    """No process, no socket, no folder."""
    async with program("supervised", tmp_path, workers=2) as running:
        await running.until("ready")
        family = running.family()
        assert len(family) == 4
        assert not no_folder_left(tmp_path)
        running.process.kill()
        await eventually(lambda: all(is_gone(child) for child in family))
        await eventually(lambda: no_folder_left(tmp_path))


async def test_ctrl_c_drains_and_ends_everything_and_nothing_else(tmp_path: Path) -> None:
    """A request in flight through two processes is answered; a process that it did not start lives on."""
    bystander = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    try:
        async with program("supervised", tmp_path, workers=2) as running:
            await running.until("ready")
            family = running.family()
            assert (await ask(running, "hi"))[0] == 200
            running.signal(signal.SIGINT)
            await running.until("ended 130")
            assert await running.ended() == 130
            assert all(is_gone(child) for child in family)
            assert no_folder_left(tmp_path)
            assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_second_ctrl_c_ends_everything_at_once(tmp_path: Path) -> None:
    """Also a child that does not react any more."""
    async with program("supervised", tmp_path, drain_timeout_s=60) as running:
        await running.until("ready")
        family = running.family()
        stuck = psutil.Process(await llm_pid(running))
        stuck.suspend()
        running.signal(signal.SIGINT)
        await eventually(lambda: any(is_gone(child) for child in family))
        running.signal(signal.SIGINT)
        await running.ended()
        assert all(is_gone(child) for child in family)
        assert no_folder_left(tmp_path)


async def test_a_stuck_child_is_killed_after_the_drain_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor does not wait for ever."""
    async with program("supervised", tmp_path, drain_timeout_s=0.05) as running:
        await running.until("ready")
        family = running.family()
        psutil.Process(await llm_pid(running)).suspend()
        running.signal(signal.SIGTERM)
        assert await running.ended() == 0
        assert all(is_gone(child) for child in family)


async def test_a_service_that_refuses_to_start_is_the_supervisors_error(tmp_path: Path) -> None:
    """In its own words and with its own exit code; what was started is ended."""
    async with program("supervised", tmp_path, refuse=True) as running:
        assert await running.until("error") == "error the component refuses"
        assert await running.ended() == 4
        assert no_folder_left(tmp_path)


async def test_a_child_that_never_becomes_ready_is_named(tmp_path: Path) -> None:
    """When its time is up the start fails with the documented exit code, names it, and leaves nothing."""
    async with program("supervised", tmp_path, never_ready=True, ready_timeout_s=2) as running:
        assert await running.until("error") == "error not ready within 2 s: llm"
        assert await running.ended() == 10
        assert no_folder_left(tmp_path)


async def test_a_child_that_crashes_at_once_is_tried_until_the_time_is_up(tmp_path: Path) -> None:
    """It is restarted again and again, ever more slowly; then the start fails and names it."""
    async with program("supervised", tmp_path, crash=True, ready_timeout_s=2) as running:
        said = await running.until("error")
        assert said == "error not ready within 2 s: llm (it ended with status 7, again and again)"
        assert await running.ended() == 10
        assert no_folder_left(tmp_path)


async def test_a_start_that_does_not_get_on_can_be_stopped(tmp_path: Path) -> None:
    """Ctrl-C ends it at once, while a child is loading and while one waits to be restarted."""
    for why in ("never_ready", "crash"):
        async with program("supervised", tmp_path, **{why: True}) as running:
            await eventually(lambda running=running: bool(running.family()))
            running.signal(signal.SIGINT)
            await running.until("ended 130")
            assert await running.ended() == 130
            assert no_folder_left(tmp_path)


async def test_workers_share_the_port_and_their_metrics(tmp_path: Path) -> None:
    """Each takes connections; any answers for all, and says which figures are one worker's own."""
    async with program("supervised", tmp_path, workers=2) as running:
        await running.until("ready")
        names: set[str] = set()
        asked = 0

        async def both() -> bool:
            nonlocal asked
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(b"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            body = (await reader.read()).rpartition(b"\r\n\r\n")[2]
            writer.close()
            names.add(msgspec.json.decode(body)["name"])
            asked += 1
            return len(names) == 2

        await eventually(both)
        text = (await running.server.request("GET", "/metrics")).body.decode()
        assert f'weft_http_requests_total{{route="/who",method="GET",status="200"}} {asked}\n' in text
        assert 'weft_http_requests_in_flight{process="gateway-1"}' in text
        assert 'weft_http_requests_in_flight{process="gateway-2"}' in text
        assert 'weft_process_up{process="llm"} 1' in text
        assert "test_service_total 2\n" in text


async def test_a_crashed_worker_is_restarted_while_the_other_serves(tmp_path: Path) -> None:
    """On the same port."""
    async with program("supervised", tmp_path, workers=2) as running:
        await running.until("ready")
        reply = await running.server.request("GET", "/who")
        victim = msgspec.json.decode(reply.body)
        psutil.Process(victim["pid"]).kill()

        async def is_back() -> bool:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
                writer.write(b"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                body = (await reader.read()).rpartition(b"\r\n\r\n")[2]
                writer.close()
            except ConnectionError:
                return False  # it was in the killed worker's queue
            if not body:
                return False
            found = msgspec.json.decode(body)
            return bool(found["name"] == victim["name"] and found["pid"] != victim["pid"])

        await eventually(is_back)


async def test_secrets_are_on_no_command_line(tmp_path: Path) -> None:
    """What is told to a child goes through its stdin."""
    async with program("supervised", tmp_path, gate="a-secret-value") as running:
        await running.until("ready")
        for child in running.family():
            assert "a-secret-value" not in " ".join(child.cmdline())
        folder = next(tmp_path.glob("weft-*"))
        assert folder.stat().st_mode & 0o777 == 0o700
