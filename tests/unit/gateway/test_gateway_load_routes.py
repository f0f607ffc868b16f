"""``load:`` on routes: places are given back however a request ends, and what waits is seen in metrics and journal."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from frontkit import GATEWAY, TALK, FrontRig, ask
from upstreamkit import EVENT, WATCHDOG_S, Backend, Seen, streamed
from weft.gateway.load.stage import LoadStage
from weft.http.client import Endpoint, Reply
from weft.observe.journal import Journal
from weft.observe.metrics import Metrics
from weft.spec.gateway import LoadSpec, RouteSpec
from weft.transport.clock import SystemClock

JSON = [("content-type", "application/json")]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with AsyncExitStack() as stack:
        yield await Backend().start(stack)


def route(backend: Backend, load: str) -> str:
    return f"{GATEWAY}  - {{path: /v1/foreign, upstream: {{urls: ['{backend.url}']}}, load: {{{load}}}}}\n"


def post(gateway: Endpoint, **headers: str) -> asyncio.Task[Reply]:
    fields = [*JSON, *headers.items()]
    return asyncio.ensure_future(gateway.request("POST", "/v1/foreign", b"{}", headers=fields))


async def metric(gateway: Endpoint, name: str) -> float:
    """The value of one series."""
    text = (await gateway.request("GET", "/metrics")).body.decode()
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


async def until(gateway: Endpoint, name: str, value: float) -> None:
    """Return when a series has a value."""
    async with asyncio.timeout(WATCHDOG_S):
        while await metric(gateway, name) != value:
            await asyncio.sleep(0)


RUNNING = 'weft_route_running{route="foreign"}'
WAITING = 'weft_route_waiting{route="foreign",priority="normal"}'


async def test_one_waits_and_the_next_is_refused(rig: FrontRig, backend: Backend) -> None:
    """With one place and a queue of one, the third is told at once to come back, and the second has its turn."""
    gateway = await rig.gateway(route(backend, "concurrent: 1, queue: 1"))
    backend.gate.clear()
    first = post(gateway)
    await backend.until_asked()
    second = post(gateway)
    await until(gateway, WAITING, 1)
    third = await post(gateway)
    assert (third.status, third.headers.get("retry-after")) == (429, "1")
    assert msgspec.json.decode(third.body)["code"] == "overloaded"
    assert len(backend.seen) == 1
    backend.gate.set()
    assert [(await first).status, (await second).status] == [200, 200]
    assert (
        await metric(gateway, 'weft_route_refused_total{route="foreign",priority="normal",reason="full"}')
        == 1
    )
    assert await metric(gateway, 'weft_route_wait_seconds_count{route="foreign",priority="normal"}') == 1
    assert [await metric(gateway, RUNNING), await metric(gateway, WAITING)] == [0, 0]


async def test_the_condition_says_who_goes_first(rig: FrontRig, backend: Backend) -> None:
    """Whoever it is true for overtakes; one for whom it cannot be evaluated has low priority."""
    condition = "headers['x-plan'] == 'gold' && body.size > 3"
    gateway = await rig.gateway(route(backend, f'concurrent: 1, priority: "{condition}"'))
    backend.gate.clear()
    first = post(gateway)
    await backend.until_asked()
    body = b'{"size": 5}'
    low = asyncio.ensure_future(gateway.request("POST", "/v1/foreign", body, headers=JSON))
    await until(gateway, 'weft_route_waiting{route="foreign",priority="low"}', 1)
    high = asyncio.ensure_future(
        gateway.request("POST", "/v1/foreign", body, headers=[*JSON, ("x-plan", "gold")])
    )
    await until(gateway, 'weft_route_waiting{route="foreign",priority="high"}', 1)
    backend.gate.set()
    await asyncio.gather(first, low, high)
    assert [seen.get("x-plan") for seen in backend.seen] == [None, "gold", None]


async def test_a_caller_that_leaves_gives_up_its_turn(rig: FrontRig, backend: Backend) -> None:
    """In the queue, and in the middle of its reply."""
    gateway = await rig.gateway(route(backend, "concurrent: 1, queue: 1"))

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        head, first, *_ = streamed(EVENT)
        writer.write(head + first)
        await asyncio.Event().wait()

    backend.answer = answer
    reply = await gateway.stream("POST", "/v1/foreign", b"{}", headers=JSON)
    await reply.body.take()
    second = post(gateway)
    await until(gateway, WAITING, 1)
    second.cancel()
    await until(gateway, WAITING, 0)
    assert await metric(gateway, RUNNING) == 1
    await reply.aclose()
    await until(gateway, RUNNING, 0)
    assert len(backend.seen) == 1


async def test_a_megaservices_stream_holds_its_place_to_its_end(rig: FrontRig) -> None:
    """Streamed or not, found out or fixed: after the reply no place is taken."""
    for load in ("concurrent: 2", "queue: 4"):
        gateway = await rig.gateway(
            f"{TALK}{GATEWAY}  - {{path: /v1/greet, megaservice: talk, load: {{{load}}}}}\n"
        )
        for stream in (False, True):
            status, body, _ = await ask(gateway, stream=stream)
            assert status == 200, body
        assert await metric(gateway, 'weft_route_running{route="talk"}') == 0


async def test_the_wait_is_in_the_journal(rig: FrontRig, backend: Backend) -> None:
    """As a step of its own, named queue, with its beginning and its end."""
    gateway = await rig.gateway(route(backend, "concurrent: 1"))
    assert rig.app is not None
    assert rig.app.journal is not None
    backend.gate.clear()
    first = post(gateway)
    await backend.until_asked()
    second = post(gateway)
    await until(gateway, WAITING, 1)
    backend.gate.set()
    await asyncio.gather(first, second)
    events = rig.app.journal.events()
    assert [event[3:6] for event in events] == [("started", "queue", "foreign"), ("ok", "queue", "foreign")]
    assert len({event[0] for event in events}) == 1


async def test_a_routes_time_holds_for_its_target(rig: FrontRig) -> None:
    """``timeout_s`` is the deadline of a megaservice's request, too."""
    slow = rig.folder / "slow.py"
    slow.write_text(
        "import asyncio\nfrom weft.contracts.chat import ChatRequest, ChatResponse\n\n\n"
        "class Slow:\n    async def invoke(self, request: ChatRequest) -> ChatResponse:\n"
        "        await asyncio.Event().wait()\n        raise AssertionError\n"
    )
    text = TALK.replace("./chat.py:Chat", "./slow.py:Slow")
    gateway = await rig.gateway(
        f"{text}{GATEWAY}  - {{path: /v1/greet, megaservice: talk, timeout_s: 0.05}}\n"
    )
    status, body, _ = await ask(gateway)
    assert (status, body["error"]["code"]) == (504, "deadline_exceeded")


async def test_places_that_are_taken_count_when_the_file_is_read_again(
    rig: FrontRig, backend: Backend
) -> None:
    """What took its place over has no more of them; where the file says another number, that number holds."""
    text = route(backend, "concurrent: 1, queue: 0")
    old = await rig.gateway(text)
    backend.gate.clear()
    first = post(old)
    await backend.until_asked()
    before = rig.built
    new = await rig.gateway(text, before=before)
    assert (await post(new)).status == 429
    more = await rig.gateway(route(backend, "concurrent: 2, queue: 0"), before=rig.built)
    second = post(more)
    await backend.until_asked()
    backend.gate.set()
    assert [(await first).status, (await second).status] == [200, 200]
    assert (await post(new)).status == 200


def test_what_the_file_allows_is_shared_by_the_processes() -> None:
    """Four processes have sixteen places each of sixty-four; one at least, however many they are."""
    for concurrent, processes, each in ((64, 4, 16), (3, 4, 1), (5, 2, 3)):
        rule = RouteSpec(path="/v1/x", service="x", load=LoadSpec(concurrent=concurrent))
        stage = LoadStage(
            rule, clock=SystemClock(), metrics=Metrics(), journal=Journal(), processes=processes
        )
        assert stage.admission.concurrency.now == each


async def test_requests_leave_nothing_to_the_collector(rig: FrontRig, backend: Backend) -> None:
    """With places and limits held for it, each request is gone when it has ended: there is no ring of references."""
    text = route(backend, "concurrent: 4").replace(
        "load:", "limits: [{per: route, tokens: 1000000/min}], reserve: 4000, load:"
    )
    gateway = await rig.gateway(text)
    await post(gateway)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            assert (await post(gateway)).status == 200
        assert gc.collect() < 20
    finally:
        gc.enable()
