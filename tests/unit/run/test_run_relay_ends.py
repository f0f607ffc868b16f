"""A relay that cannot begin, or whose client goes away, leaves nothing behind: no try of a circuit, no busy replica."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runkit import FakeClock
from weft.context import Context, current
from weft.contracts import chat as chat_contract
from weft.contracts.chat import ChatRequest
from weft.errors import UnavailableError, UnreachableError
from weft.http.client import Client
from weft.http.message import Request, StreamResponse
from weft.http.server import Server
from weft.observe.journal import FAILED, Journal
from weft.plan import PlanNode
from weft.run.breaker import FAILURES, OPEN_S, Breakers
from weft.run.budget import RetryBudget
from weft.run.state import Run
from weft.run.step import Step, Tools
from weft.serve.log import Log
from weft.serve.streams import relay_reply
from weft.transport.http import HttpTransport
from weft.transport.registered import RegisteredTransport
from weft.types import Message

EVENT = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


async def test_a_relay_that_nobody_is_registered_for_is_an_ended_try() -> None:
    """A half-open circuit whose one try found no service opens again, and closes when the service is back."""
    clock, journal = FakeClock(), Journal()
    breakers = Breakers(clock)
    transport = RegisteredTransport(
        "llm",
        "chat",
        chat_contract.CONTRACT,
        "team-llm",
        address=lambda _name: None,
        make=lambda _url: None,  # type: ignore[arg-type, return-value]
    )
    operation = chat_contract.CONTRACT.primary
    node = PlanNode(1, "answer", "llm", "chat", operation, (0,), lambda values: values[0], stream=True)
    step = Step(node, Tools(journal, clock, RetryBudget(), breakers), transport, None, megaservice="m")
    breaker = breakers.of("service 'llm'")
    for _ in range(FAILURES):
        breaker.admit()
        breaker.failed(UnreachableError("nobody listens"))
    clock.advance(OPEN_S)
    context = Context("r1")
    current.set(context)
    run = Run(journal, clock, context, None, [None, None])
    run.begin(None)
    with pytest.raises(UnavailableError, match="no service is registered as 'team-llm'"):
        step.begin_wire(run, ChatRequest(messages=[Message("user", "hi")]))
    assert FAILED in [event[3] for event in journal.events()]
    clock.advance(OPEN_S)
    breaker.admit()
    breaker.succeeded()
    assert breaker.state == "closed"


async def test_a_client_that_goes_away_frees_the_replica() -> None:
    """Else the replica would seem busy for ever, and get less and less to do."""
    gone = asyncio.Event()

    async def backend(_request: Request) -> StreamResponse:
        async def body() -> AsyncIterator[bytes]:
            try:
                yield EVENT
                await asyncio.Event().wait()
            finally:
                gone.set()

        return StreamResponse(body())

    async def front(_request: Request) -> StreamResponse:
        context = Context("r1")
        context.shorten(3600)
        stream: Any = transport.stream("invoke", ChatRequest(messages=[Message("user", "hi")]))
        return await relay_reply(stream, log=Log(io.StringIO(), name="test"), context=context)

    client, servers = Client(), [Server(backend), Server(front)]
    urls = [f"http://127.0.0.1:{await server.listen('127.0.0.1', 0)}" for server in servers]
    transport = HttpTransport("llm", "chat", chat_contract.CONTRACT, urls[:1], client=client)
    loop = asyncio.get_running_loop()
    try:
        reply = await client.endpoint(urls[1]).stream("POST", "/")
        assert await reply.body.take() == EVENT
        (replica,) = transport.replicas.all
        assert replica.in_flight == 1
        await reply.aclose()
        async with asyncio.timeout(10):
            await gone.wait()
            while replica.in_flight or servers[1].ending:
                await asyncio.sleep(0)
        assert replica.in_flight == 0
        waiting = [handle for handle in getattr(loop, "_scheduled", []) if not handle.cancelled()]
        assert not [handle for handle in waiting if "_Alarm" in repr(handle)]
    finally:
        await client.aclose()
        for server in servers:
            await server.aclose()
