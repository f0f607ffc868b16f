"""``backends:`` on routes to services and megaservices: replicas are chosen among, looked after and shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from frontkit import CHAT, GATEWAY, TALK, FrontRig, ask
from switchkit import HeldChat, SecondServer
from upstreamkit import WATCHDOG_S
from weft.gateway.upstream.watching import backends_of
from weft.http.client import Endpoint
from weft.plan import check
from weft.registry.components import Components
from weft.spec.load import load
from weft.transport.replicas import FAILURES


class Whatever(dict[str, HeldChat]):
    """One model under every name."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> HeldChat:
        return self["m"]


class Rig:
    """A gateway whose model runs twice, in servers of their own."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.front = FrontRig(folder, stack)
        self.stacks = [AsyncExitStack(), AsyncExitStack()]
        self.servers = [SecondServer("m"), SecondServer("m")]

    async def gateway(self, routes: str, *, placed: bool = False) -> Endpoint:
        """Start everything; the addresses are the supervisor's, or stand in a placement."""
        for server, stack in zip(self.servers, self.stacks, strict=True):
            server.chats = Whatever(server.chats)
            self.front.stack.push_async_callback(stack.aclose)
            await server.start(stack)
        urls = [server.url for server in self.servers]
        if placed:
            where = f'services: {{llm: {{at: "{", ".join(urls)}"}}}}\n---\n'
            text = f"{TALK}apiVersion: weft/v1\nkind: Placement\n{where}{GATEWAY}{routes}"
            return await self.front.gateway(text)
        return await self.front.gateway(TALK + GATEWAY + routes, endpoints={"llm": urls})


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        yield Rig(tmp_path, stack)


SERVICE = "  - {path: /v1/llm, service: llm, backends: {BACKENDS}}\n"
MEGASERVICE = "  - {path: /v1/greet, megaservice: talk, backends: {BACKENDS}}\n"


@pytest.mark.parametrize(("route", "model"), [(SERVICE, "llm"), (MEGASERVICE, "talk")])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_dead_replica_is_not_noticed(rig: Rig, route: str, model: str, stream: bool) -> None:
    """What cannot be connected to is asked of the other replica, and after some failures is left alone."""
    gateway = await rig.gateway(route.replace("BACKENDS", "attempts: 2"))
    await rig.stacks[0].aclose()
    for _ in range(2 * FAILURES + 2):
        status, body, _ = await ask(gateway, model=model, stream=stream)
        assert status == 200, body
    metrics = (await gateway.request("GET", "/metrics")).body.decode()
    labels = f'{{target="llm",endpoint="{rig.servers[0].url}"}}'
    assert f"weft_backend_able{labels} 0" in metrics
    assert f"weft_backend_ejections_total{labels} 1" in metrics


async def test_a_placement_names_several_addresses(rig: Rig) -> None:
    """With commas between; both are asked, and with one of them gone the other answers."""
    gateway = await rig.gateway(SERVICE.replace("BACKENDS", "attempts: 2"), placed=True)
    for _ in range(4):
        assert (await ask(gateway, model="llm"))[0] == 200
    metrics = (await gateway.request("GET", "/metrics")).body.decode()
    for server in rig.servers:
        assert f'weft_backend_requests_total{{target="llm",endpoint="{server.url}"}} 2' in metrics
    await rig.stacks[0].aclose()
    for _ in range(4):
        assert (await ask(gateway, model="llm"))[0] == 200


async def test_the_same_prompt_leads_to_the_same_replica(rig: Rig) -> None:
    """A model that has read the beginning before need not read it again."""
    gateway = await rig.gateway(SERVICE.replace("BACKENDS", "balance: prefix"))
    labels = [
        f'weft_backend_requests_total{{target="llm",endpoint="{server.url}"}} ' for server in rig.servers
    ]

    async def counts() -> list[int]:
        text = (await gateway.request("GET", "/metrics")).body.decode()
        return [int(text.partition(label)[2].partition("\n")[0]) for label in labels]

    for number in range(30):
        before = await counts()
        for temperature in (0.1, 0.5):
            messages = [{"role": "user", "content": f"Question {number}"}]
            status, body, _ = await ask(gateway, model="llm", messages=messages, temperature=temperature)
            assert status == 200, body
        assert sorted(now - then for now, then in zip(await counts(), before, strict=True)) == [0, 2]
    assert all(await counts())


async def test_a_slow_replica_is_hedged_where_the_file_says_that_it_may(rig: Rig) -> None:
    """A chat is not idempotent by its contract; ``idempotent: true`` says that asking twice does no harm."""
    gateway = await rig.gateway(SERVICE.replace("BACKENDS", "hedge_after_s: 0.02, idempotent: true"))
    rig.servers[0].chats["m"].held.clear()
    for _ in range(2):
        status, body, _ = await asyncio.wait_for(ask(gateway, model="llm", stream=True), WATCHDOG_S)
        assert status == 200, body


def test_a_services_own_route_comes_before_its_megaservices(tmp_path: Path) -> None:
    """What a megaservice's route says holds for every service that is part of it and has no say of its own."""
    path = tmp_path / "front.yaml"
    (tmp_path / "chat.py").write_text(CHAT)
    own = SERVICE.replace("BACKENDS", "attempts: 5")
    whole = MEGASERVICE.replace("BACKENDS", "balance: latency")
    for routes, attempts in ((whole + own, 5), (whole, 2)):
        path.write_text(TALK + GATEWAY + routes)
        spec = load(str(path))
        found = backends_of(spec, check(spec, Components()))
        assert found["llm"].attempts == attempts
