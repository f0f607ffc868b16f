"""The guide to other servers: each of its files is served, in front of servers that stand where the guide says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from frontkit import FrontRig
from upstreamkit import EVENT, Backend, streamed, whole
from weft.http.client import Endpoint, Reply

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "front-other-servers.md"
TEXT = GUIDE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```yaml file=([\w.]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
METRICS = sorted(set(re.findall(r"`(weft_[a-z_]+)`", TEXT)))


class Place:
    """The guide's servers, and a gateway from one of its files."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.rig, self.stack = FrontRig(folder, stack), stack
        self.servers: list[Backend] = []

    async def gateway(self, name: str) -> Endpoint:
        text = FILES[name]
        self.servers = [await Backend().start(self.stack) for _ in range(2)]
        for number, server in enumerate(self.servers):
            text = text.replace(f"http://127.0.0.1:800{number}", server.url)
        return await self.rig.gateway(text, secrets={"MODEL_KEY": "k-1"})


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield Place(tmp_path, stack)


async def post(gateway: Endpoint, path: str = "/v1/chat/completions", **headers: str) -> Reply:
    sent = [("content-type", "application/json"), *headers.items()]
    return await gateway.request("POST", path, b'{"model": "m", "messages": []}', headers=sent)


async def test_one_server(place: Place) -> None:
    """The model server gets its own key, streams as they come, and items are found by their path."""
    gateway = await place.gateway("one.yaml")
    place.servers[0].reply = streamed(EVENT, b"data: [DONE]\n\n")
    assert (await post(gateway, authorization="Bearer mine")).body == EVENT + b"data: [DONE]\n\n"
    assert place.servers[0].seen[0].get("authorization") == "Bearer k-1"
    assert (await gateway.request("GET", "/v1/items/7")).status == 200
    assert place.servers[1].seen[0].target == "/api/items/7"


async def test_several_servers(place: Place) -> None:
    """One that is down is not noticed."""
    gateway = await place.gateway("several.yaml")
    await place.servers[0].stop()
    assert {(await post(gateway)).status for _ in range(6)} == {200}


async def test_hedging(place: Place) -> None:
    """A server that does not answer is stood in for by the other."""
    gateway = await place.gateway("hedged.yaml")
    place.servers[0].gate.clear()
    assert {(await post(gateway, "/v1/embeddings")).status for _ in range(2)} == {200}


async def test_fallback(place: Place) -> None:
    """The small one answers, with its own name in the request, and a header says so."""
    gateway = await place.gateway("fallback.yaml")
    place.servers[0].reply = whole(b"no", status="503 No")
    reply = await post(gateway)
    assert (reply.status, reply.headers.get("x-weft-fallback")) == (200, "small")
    assert b'"model":"small"' in place.servers[1].seen[0].body


async def test_load_and_what_is_shown(place: Place) -> None:
    """Requests pass, and every metric that the guide names is there once what it counts can happen."""
    found = ""
    for name in FILES:
        gateway = await place.gateway(name)
        await post(gateway)
        found += (await gateway.request("GET", "/metrics")).body.decode()
    assert [name for name in METRICS if f"\n# TYPE {name} " not in found] == []
