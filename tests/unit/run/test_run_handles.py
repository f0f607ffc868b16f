"""Services that a component uses: their calls are steps of the request, wherever they run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from house import WAYS, House, Way
from runkit import Ask, FakeClock, KitHost, Recorder
from weft.context import Context, current
from weft.contracts.chat import CONTRACT, ChatRequest
from weft.errors import DeadlineError, UnavailableError
from weft.observe.journal import Journal, Step
from weft.run import Breakers, RetryBudget, Tools, handle
from weft.transport.clock import SystemClock
from weft.transport.local import LocalTransport
from weft.types import Message

MODEL = """
apiVersion: weft/v1
kind: Services
services:
  llm: {component: model, config: {%s}}
---
"""

MAIN = """
apiVersion: weft/v1
kind: Megaservice
name: main
nodes:
  a: {component: asking, uses: {chat: llm}, config: {%s}, inputs: {text: request.text}}
output: a
"""


def lines(steps: list[Step], depth: int = 0) -> list[str]:
    """A tree of steps as indented text."""
    found = []
    for step in steps:
        found.append(f"{'  ' * depth}{step.name} {step.service} {step.status}".replace("  ok", " ok"))
        found += lines(step.children, depth + 1)
    return found


async def test_a_call_is_a_step_below_the_node_that_makes_it() -> None:
    """The journal has the call under its constructor parameter's name."""
    async with House(MODEL % "" + MAIN % "") as house:
        await house.ask({"text": "hi"})
    assert lines(house.journal.tree(1)) == ["main ok", "  a a ok", "    chat llm ok"]


async def test_a_streamed_call_has_its_first_output_written_down() -> None:
    """Started, first and ok are the events of a stream that was read to its end."""
    async with House(MODEL % "" + MAIN % "streams: true") as house:
        response = await house.ask({"text": "hi"})
    assert response.text == "a: llm(hi)"
    assert [event[3] for event in house.journal.events(1) if event[4] == "chat"] == ["started", "first", "ok"]
    assert lines(house.journal.tree(1)) == ["main ok", "  a a ok", "    chat llm ok"]


@pytest.mark.parametrize("streams", ["false", "true"])
async def test_calls_nest(streams: str) -> None:
    """A used service's own calls are steps below its call, streamed or not."""
    spec = """
apiVersion: weft/v1
kind: Services
services:
  llm: {component: model}
  better: {component: rewriting, uses: {chat: llm}}
---
apiVersion: weft/v1
kind: Megaservice
name: main
nodes:
  a: {component: asking, uses: {chat: better}, config: {streams: %s}, inputs: {text: request.text}}
output: a
"""
    async with House(spec % streams) as house:
        response = await house.ask({"text": "hi"})
    assert response.text == "a: better: llm(hi)"
    assert lines(house.journal.tree(1)) == ["main ok", "  a a ok", "    chat better ok", "      chat llm ok"]


INNER = """
apiVersion: weft/v1
kind: Services
services:
  llm: {component: %s, config: {tokens: 5}}
  inner: {component: megaservice/inner}
---
apiVersion: weft/v1
kind: Megaservice
name: inner
contract: chat
nodes:
  answer: {service: llm, inputs: {messages: request.messages}}
output: answer
---
"""


@pytest.mark.parametrize("model", ["model", "whole-model"])
@pytest.mark.parametrize("streams", ["false", "true"])
async def test_a_megaservice_can_be_used(model: str, streams: str) -> None:
    """It is called like any service, its nodes are steps below, and one that does not stream gives one chunk."""
    spec = INNER % model + MAIN % f"streams: {streams}"
    async with House(spec.replace("chat: llm", "chat: inner")) as house:
        response = await house.ask({"text": "hi"})
    assert response.text == "a: llm(hi)"
    assert response.usage is not None
    assert response.usage.total_tokens == 6
    assert lines(house.journal.tree(1)) == [
        "main ok",
        "  a a ok",
        "    chat inner ok",
        "      inner ok",
        "        answer llm ok",
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("service", ["llm", "inner"])
async def test_a_chat_service_need_not_say_what_it_is(way: Way, service: str) -> None:
    """``describe`` of a component without one, and of a megaservice, is its name; wherever it runs."""
    spec = (INNER % "model" + MAIN % "").replace("component: asking", "component: describing")
    async with House(spec.replace("chat: llm", f"chat: {service}"), way) as house:
        assert (await house.ask({"text": "hi"})).text == service


async def test_closing_a_streamed_call_ends_the_service() -> None:
    """The model has ended when ``aclose`` returns, and the step is written down as cancelled."""
    recorder = Recorder()
    used, journal = await chat(recorder, {})
    chunks = used.stream(ChatRequest([Message("user", "a long question")]))
    await anext(chunks)
    await chunks.aclose()
    assert recorder.ended == ["llm cancelled"]
    assert [event[3] for event in journal.events()] == ["started", "first", "cancelled"]


async def test_the_readers_context_is_current_between_chunks() -> None:
    """A stream that is read half does not leave its own step behind."""
    used, _ = await chat(Recorder(), {})
    context = Context("r")
    token = current.set(context)
    try:
        chunks = used.stream(ChatRequest([Message("user", "a long question")]))
        await anext(chunks)
        assert current.get() is context
        assert context.step == 0
        await chunks.aclose()
    finally:
        current.reset(token)


async def test_no_call_starts_past_the_deadline() -> None:
    """The service is not asked, and the error names it."""
    recorder = Recorder()
    clock = FakeClock()
    used, _ = await chat(recorder, {}, clock=clock)
    token = current.set(Context("r", deadline=clock.now_ns() / 1e9))
    try:
        with pytest.raises(DeadlineError) as caught:
            await used.invoke(ChatRequest([Message("user", "hi")]))
    finally:
        current.reset(token)
    assert caught.value.service == "llm"
    assert recorder.calls == []


async def test_a_failing_service_elsewhere_is_left_alone() -> None:
    """Five failures in a row open its circuit for whoever uses it; the sixth call is not made."""
    async with House(MODEL % "fails: unavailable" + MAIN % "", "http") as house:
        used = handle(house.services.transports["llm"], "chat", house.services.tools)
        for _ in range(6):
            with pytest.raises(UnavailableError) as caught:
                await used.invoke(ChatRequest([Message("user", "hi")]))
    assert len(house.recorder.calls) == 5
    assert "circuit" in caught.value.message


async def test_cancelling_a_call_is_written_down() -> None:
    """A cancelled call ends the service and is a cancelled step."""
    recorder = Recorder()
    used, journal = await chat(recorder, {"hangs": True})
    task = asyncio.create_task(used.invoke(ChatRequest([Message("user", "hi")])))
    await recorder.until(lambda: bool(recorder.calls))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.ended == ["llm cancelled"]
    assert [event[3] for event in journal.events()] == ["started", "cancelled"]


async def test_what_a_service_cannot_be_asked_is_no_method() -> None:
    """An operation that the component does not have is an AttributeError that names the service."""
    used, _ = await chat(Recorder(), {})
    with pytest.raises(AttributeError, match="<service 'llm'> cannot be asked to 'search'"):
        await used.search(Ask("hi"))


async def chat(recorder: Recorder, config: dict[str, Any], clock: Any = None) -> tuple[Any, Journal]:
    """A model as a component sees it that uses it."""
    from runkit import Model

    model = Model(**config)
    await model.start(KitHost("llm", recorder))
    journal, clock = Journal(), clock or SystemClock()
    tools = Tools(journal, clock, RetryBudget(), Breakers(clock))
    return handle(LocalTransport("llm", "model", CONTRACT, model), "chat", tools), journal
