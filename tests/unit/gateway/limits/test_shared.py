"""Several gateway processes that count together: through the process of an installation, or through Redis."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from limitkit import LimitRig, left, route, service

from frontkit import ask
from redis_server import RedisServer
from switchkit import served
from weft.gateway.limits.build import PROCESS, counting
from weft.serve.log import Log

KEY = b"k" * 32


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[LimitRig]:
    async with AsyncExitStack() as stack:
        yield LimitRig(tmp_path, stack)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="weft-"))
    with RedisServer(folder) as server:
        yield server
    shutil.rmtree(folder)


async def workers(rig: LimitRig, text: str, count: int = 2) -> list:
    """Gateways of one installation, and the process that counts for them."""
    counter = counting(rig.folder / "data", KEY, Log(rig.log, name="limits", pretty=False))
    peers = {PROCESS: await served(counter, rig.stack)}
    return [await rig.gateway(text, signing_key=KEY, peers=peers) for _ in range(count)]


async def test_workers_count_together(rig: LimitRig) -> None:
    """What one worker has granted the other does not grant again; what one gives back is there for the other."""
    one, other = await workers(rig, route("{per: key, requests: 3/min}, {per: route, concurrent: 2}"))
    assert [(await ask(gateway, stream=False))[0] for gateway in (one, other, one, other)] == [
        200,
        200,
        200,
        429,
    ]


async def test_a_worker_waits_for_a_place_of_another(rig: LimitRig) -> None:
    """A request that waits at one worker gets the place that a request at the other gives back."""
    one, other = await workers(rig, route("{per: route, concurrent: 1, queue: 4}"))
    model = rig.models[0]
    model.gate.clear()
    first = asyncio.ensure_future(ask(one, stream=False))
    while not model.running:
        await asyncio.sleep(0.001)
    waiting = [asyncio.ensure_future(ask(gateway, stream=False)) for gateway in (other, one, other)]
    while sum(app.in_flight for app in rig.apps) < 4:
        await asyncio.sleep(0.001)
    assert sum(each.running for each in rig.models) == 1
    model.gate.set()
    assert [(await task)[0] for task in (first, *waiting)] == [200] * 4


@pytest.mark.system("redis-server")
@pytest.mark.parametrize("down", ["deny", "local_share"])
async def test_gateways_count_together_in_redis(rig: LimitRig, redis: RedisServer, down: str) -> None:
    """Gateways with one Redis share every limit; while it is away, what on_store_down says holds; then Redis's word again."""
    state = f"state: {{redis: {{secret: REDIS}}, on_store_down: {down}, gateways: 2}}\n"
    text = service("{per: key, requests: 6/min}") + state
    one = await rig.gateway(text, secrets={"REDIS": redis.url})
    other = await rig.gateway(text, secrets={"REDIS": redis.url})
    for gateway, remaining in ((one, 5), (other, 4)):
        status, _, headers = await ask(gateway, model="llm", stream=False)
        assert (status, left(headers, "key-requests-min")) == (200, remaining)
    redis.freeze()
    statuses = [(await ask(one, model="llm", stream=False))[0] for _ in range(4)]
    assert statuses == ([503] * 4 if down == "deny" else [200, 200, 200, 429])
    redis.thaw()
    async with asyncio.timeout(10):
        said = rig.log.getvalue
        while said().count("answers again") < said().count("does not answer"):
            await asyncio.sleep(0.01)
    status, _, headers = await ask(other, model="llm", stream=False)
    assert status == 200
    assert left(headers, "key-requests-min") == (3 if down == "deny" else 0)


async def test_without_redis_the_first_request_is_told(rig: LimitRig) -> None:
    """A Redis that was never there is no reason not to start: what is limited is refused until it comes."""
    text = service("{per: key, requests: 6/min}") + 'state: {redis: "redis://127.0.0.1:1"}\n'
    gateway = await rig.gateway(text)
    status, body, headers = await ask(gateway, model="llm", stream=False)
    assert (status, body["error"]["code"]) == (503, "limits_unavailable")
    assert headers["retry-after"] == "1"
