"""Exactness: 200 clients at once, four gateways on one real Redis, and one of the gateways is killed in the middle.

What was granted never exceeds the limit, and when the killed gateway's lease has ended nothing of it is reserved. The
lease is seconds here; ``python tests/e2e/test_limits_killed.py`` runs the same with the lease that gateways have.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from redis_server import RedisServer
from weft.errors import RequestError
from weft.gateway.limits.remote import LEASE_S
from weft.http.client import Client, Endpoint

LIMIT = 40_000
CLIENTS = 200
GATEWAYS = 4
WORDS = 60

CHAT = f"""\
import asyncio

from weft.testing import ScriptedChat


class Chat(ScriptedChat):
    def __init__(self) -> None:
        super().__init__("word " * {WORDS})

    async def stream(self, request):
        await asyncio.sleep(0.05)
        async for chunk in super().stream(request):
            yield chunk
"""

FRONT = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: "./chat.py:Chat"}
---
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - path: /v1/words
    service: llm
    request: {clamp: {max_tokens: [1, 80]}}
    limits: [{per: route, tokens: LIMIT/day}, {per: route, concurrent: 1000}]
state: {redis: "REDIS"}
"""


class Outcome:
    """What the clients have seen.

    Attributes:
        used: Tokens of the replies that came whole.
        replies: How many those are.
        refused: How often a client was told that the limit is reached.
        lost: Requests whose gateway died.
        slow: How often Redis did not answer in time.
    """

    def __init__(self) -> None:
        self.used = self.replies = self.refused = self.lost = self.slow = 0
        self.half = asyncio.Event()


async def one_client(number: int, gateways: list[Endpoint], outcome: Outcome) -> None:
    """Ask until the limit is reached, whichever gateway answers; every second request is streamed."""
    draw = random.Random(number)
    for turn in range(1000):
        gateway = draw.choice(gateways)
        stream = bool((number + turn) % 2)
        body: dict[str, Any] = {
            "model": "llm",
            "messages": [{"role": "user", "content": "Say it."}],
            "stream": stream,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        try:
            reply = await gateway.request(
                "POST",
                "/v1/chat/completions",
                msgspec.json.encode(body),
                headers=[("content-type", "application/json")],
            )
        except RequestError:
            outcome.lost += 1
            if gateway in gateways and len(gateways) > 1:
                gateways.remove(gateway)
            continue
        if reply.status == 429:
            outcome.refused += 1
            return
        if reply.status == 503:  # Redis was slow, on a machine that has other things to do
            outcome.slow += 1
            await asyncio.sleep(0.2)
            continue
        assert reply.status == 200, reply.body
        outcome.replies += 1
        outcome.used += _usage(reply.body, stream=stream)
        if outcome.used > LIMIT // 3:
            outcome.half.set()


def _usage(body: bytes, *, stream: bool) -> int:
    if not stream:
        return int(msgspec.json.decode(body)["usage"]["total_tokens"])
    events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    return int(msgspec.json.decode(events[-1])["usage"]["total_tokens"])


@asynccontextmanager
async def gateways(folder: Path, lease_s: float) -> AsyncIterator[list[tuple[Any, str]]]:
    """Processes with their addresses."""
    script = str(Path(__file__).parent / "limits_process.py")
    started = []
    for n in range(GATEWAYS):
        data = folder / f"gateway-{n}"
        data.mkdir()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            script,
            str(data),
            str(lease_s),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        started.append(process)
    try:
        urls = [(await process.stdout.readline()).decode().strip() for process in started]
        yield list(zip(started, urls, strict=True))
    finally:
        for process in started:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()


async def reserved(redis: Any) -> tuple[int, int, int]:
    """Requests that are not settled, of how many processes, and places that are taken."""
    holds = places = 0
    owners = [key async for key in redis.scan_iter("{weft:front}:h:*")]
    for owner in owners:
        holds += await redis.hlen(owner)
    async for key in redis.scan_iter("{weft:front}:c:*"):
        places += sum(int(value) for value in (await redis.hgetall(key)).values())
    return holds, len(owners), places


async def charged(redis: Any) -> int:
    """What Redis has counted of the limit."""
    (key,) = [key async for key in redis.scan_iter("{weft:front}:b:*tokens*")]
    return int(await redis.hget(key, "u"))


async def run(folder: Path, server: RedisServer, lease_s: float) -> dict[str, Any]:
    """Everything; what was measured."""
    from redis.asyncio import Redis

    (folder / "chat.py").write_text(CHAT)
    (folder / "front.yaml").write_text(FRONT.replace("LIMIT", str(LIMIT)).replace("REDIS", server.url))
    redis, client, outcome = Redis.from_url(server.url, decode_responses=True), Client(), Outcome()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        stack.push_async_callback(client.aclose)
        running = await stack.enter_async_context(gateways(folder, lease_s))
        endpoints = [client.endpoint(url, timeout_s=30) for _, url in running]
        clients = [asyncio.create_task(one_client(n, endpoints, outcome)) for n in range(CLIENTS)]
        await outcome.half.wait()
        killed_at = time.monotonic()
        running[0][0].send_signal(signal.SIGKILL)
        at_once, _, _ = await reserved(redis)
        most = 0
        while not all(task.done() for task in clients):
            most = max(most, await charged(redis))
            await asyncio.sleep(0.05)
        await asyncio.gather(*clients)
        after = await charged(redis)
        while (await reserved(redis))[::2] != (0, 0):
            assert time.monotonic() - killed_at < lease_s + 12, await reserved(redis)
            await asyncio.sleep(0.05)
        freed_s = time.monotonic() - killed_at
    return {
        "used": outcome.used,
        "replies": outcome.replies,
        "refused": outcome.refused,
        "lost": outcome.lost,
        "slow": outcome.slow,
        "reserved when killed": at_once,
        "charged at most": max(most, after),
        "charged at the end": after,
        "nothing reserved after s": round(freed_s, 1),
    }


@pytest.mark.e2e
@pytest.mark.system("redis-server")
async def test_a_killed_gateway_leaks_no_tokens(tmp_path: Path) -> None:
    """Granted tokens never exceed the limit, though a gateway dies; what it held is charged, and reserved no longer."""
    folder = Path(tempfile.mkdtemp(prefix="weft-"))
    try:
        with RedisServer(folder) as server:
            found = await run(tmp_path, server, lease_s=2.0)
    finally:
        shutil.rmtree(folder)
    assert found["refused"] == CLIENTS
    assert found["lost"] > 0
    assert found["used"] <= found["charged at the end"] <= found["charged at most"] <= LIMIT


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="weft-") as name:
        sockets = Path(tempfile.mkdtemp(prefix="weft-"))
        with RedisServer(sockets) as server:
            sys.stdout.write(f"{asyncio.run(run(Path(name), server, LEASE_S))}\n")
        shutil.rmtree(sockets)
