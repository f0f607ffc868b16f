"""Callers who leave, lines that are full, models that are unloaded: with the real model."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from modelkit import ModelHost
from weft.components.chat.inbox import Inbox
from weft.components.chat.llama_cpp import LlamaCpp
from weft.contracts.chat import ChatRequest
from weft.errors import ModelError, OverloadedError, UnavailableError
from weft.types import Empty, Message

pytestmark = pytest.mark.slow

LONG_PROMPT = "The quick brown fox jumps over the lazy dog. " * 300
"""About 3,000 tokens: ten seconds of reading on two cores."""


NO_END = {"2": -100}
"""Forbids the token that ends an answer."""


def ask(text: str = "Tell me a long story.", **fields: Any) -> ChatRequest:
    return ChatRequest([Message("user", text)], **{"max_tokens": 1000} | fields)


class Watched(Inbox):
    """An inbox that says when the engine has read a part of a prompt, and keeps all that it heard."""

    reading: asyncio.Event
    heard: list[bytes]

    def put(self, event: bytes) -> bool:
        self.heard.append(event)
        if b'"prompt_progress"' in event:
            self._loop.call_soon_threadsafe(self.reading.set)
        return super().put(event)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    """Have the component use :class:`Watched`."""
    monkeypatch.setattr(Watched, "reading", asyncio.Event(), raising=False)
    monkeypatch.setattr(Watched, "heard", [], raising=False)
    monkeypatch.setattr("weft.components.chat.llama_cpp.Inbox", Watched)
    return Watched


async def answers(model: LlamaCpp) -> None:
    """The slot is free, nobody is in line, and the next is served."""
    assert (model._slots.busy, model._slots.waiting, model._readers.busy) == (0, 0, 0)
    async with asyncio.timeout(10):
        assert (await model.invoke(ask("Hi", max_tokens=2))).text()


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([task])
    assert task.cancelled()


async def test_two_requests_are_decoded_together(host: ModelHost, watched: type[Watched]) -> None:
    """One that comes later speaks before the first has ended, and the first goes on speaking."""
    model = LlamaCpp(slots=2)
    await model.start(host)
    async with (
        asyncio.timeout(60),
        aclosing(model.stream(ask("Count!", logit_bias=NO_END, max_tokens=150))) as first,
    ):
        await anext(first)
        second = asyncio.create_task(model.invoke(ask("Sing!", logit_bias=NO_END, max_tokens=60)))
        async for _ in first:
            pass
        await second
    ids = [msgspec.json.decode(event)["id"] for event in watched.heard if b'"content":"' in event]
    begin = next(index for index, name in enumerate(ids) if name != ids[0])
    later = ids[begin:]
    assert len(ids) > 80
    assert ids[0] in later  # the first spoke on
    assert later[: later.index(ids[0])].count(ids[begin]) < 50  # and did not wait for the other's end
    await model.aclose()
    host.close()


async def test_cancelling_an_answer_frees_the_slot(single: LlamaCpp) -> None:
    """In the middle of decoding."""
    spoke = asyncio.Event()

    async def listen() -> None:
        async with aclosing(single.stream(ask())) as chunks:
            async for _ in chunks:
                spoke.set()

    task = asyncio.create_task(listen())
    await asyncio.wait_for(spoke.wait(), 10)
    await cancelled(task)
    await answers(single)


async def test_cancelling_while_the_prompt_is_read_frees_the_slot(
    single: LlamaCpp, watched: type[Watched]
) -> None:
    """The engine gives up in the middle of the prompt: it never comes to its end."""
    task = asyncio.create_task(single.invoke(ask(LONG_PROMPT)))
    await asyncio.wait_for(watched.reading.wait(), 10)
    await cancelled(task)
    assert len(watched.heard) < 20  # of ninety
    assert all(b'"prompt_progress"' in event for event in watched.heard)
    await answers(single)


async def test_closing_the_stream_frees_the_slot(single: LlamaCpp) -> None:
    """When ``aclose`` returns the slot is free."""
    stream = single.stream(ask())
    await anext(stream)
    assert single._slots.busy == 1
    await stream.aclose()
    await answers(single)


async def test_cancelled_twice_the_slot_is_still_kept_until_the_engine_lets_go(
    single: LlamaCpp, watched: type[Watched]
) -> None:
    """An impatient caller neither loses the slot nor frees it too early."""
    task = asyncio.create_task(single.invoke(ask(LONG_PROMPT)))
    await asyncio.wait_for(watched.reading.wait(), 10)
    task.cancel()
    await asyncio.sleep(0)
    await cancelled(task)
    async with asyncio.timeout(10):
        slot = await single._slots.take()
    slot.free()
    await answers(single)


async def test_leaving_the_line_takes_no_slot(single: LlamaCpp) -> None:
    """Cancelling while one waits for a slot is immediate, and the engine never hears of it."""
    async with aclosing(single.stream(ask())) as first:
        await anext(first)
        waiting = asyncio.create_task(single.invoke(ask()))
        await asyncio.sleep(0)
        assert single._slots.waiting == 1
        await cancelled(waiting)
        assert (single._slots.busy, single._slots.waiting) == (1, 0)
    await answers(single)


async def test_leaving_while_another_prompt_is_read(host: ModelHost, watched: type[Watched]) -> None:
    """With a slot of one's own, but not yet read: one leaves at once and the reading goes on."""
    model = LlamaCpp(slots=2)
    await model.start(host)
    reader = asyncio.create_task(model.invoke(ask(LONG_PROMPT)))
    await asyncio.wait_for(watched.reading.wait(), 10)
    waiting = asyncio.create_task(model.invoke(ask()))
    while model._readers.waiting == 0:
        await asyncio.sleep(0)
    await cancelled(waiting)
    assert (model._slots.busy, model._readers.busy, model._readers.waiting) == (1, 1, 0)
    await cancelled(reader)
    await answers(model)
    await model.aclose()
    host.close()


async def test_a_full_line_is_refused_at_once(single: LlamaCpp) -> None:
    """With 429 and the time after which to try again; who waited is served."""
    async with aclosing(single.stream(ask())) as first:
        await anext(first)
        waiting = asyncio.create_task(single.invoke(ask("Hi", max_tokens=2)))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await single.invoke(ask())
        assert caught.value.status == 429
        assert caught.value.retry_after_s >= 1
    async with asyncio.timeout(10):
        assert (await waiting).text()
    await answers(single)


async def test_several_answers_do_not_keep_others_out(single: LlamaCpp) -> None:
    """Between two of ``n`` answers the next in line has its turn, and none of them is turned away."""
    order: list[str] = []

    async def many() -> None:
        async with aclosing(single.stream(ask(n=3, max_tokens=4))) as chunks:
            async for chunk in chunks:
                order.extend(f"many {choice.index}" for choice in chunk.choices if choice.finish_reason)

    task = asyncio.create_task(many())
    while single._slots.busy == 0:
        await asyncio.sleep(0)
    await single.invoke(ask(max_tokens=4))
    order.append("other")
    async with asyncio.timeout(10):
        await task
    assert order == ["many 0", "other", "many 1", "many 2"]


async def test_unloading_ends_requests_under_way(host: ModelHost, watched: type[Watched]) -> None:
    """One that is answered, one whose prompt is read and one in line fail with 503; unloading again does nothing."""
    model = LlamaCpp(slots=2)
    await model.start(host)
    answered = model.stream(ask())
    await anext(answered)
    watched.reading.clear()
    read = asyncio.create_task(model.invoke(ask(LONG_PROMPT)))
    await asyncio.wait_for(watched.reading.wait(), 10)
    waiting = asyncio.create_task(model.invoke(ask()))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await model.aclose()
        with pytest.raises(UnavailableError):
            [chunk async for chunk in answered]
        for task in (read, waiting):
            with pytest.raises(UnavailableError):
                await task
    assert (model._slots.busy, model._slots.waiting) == (0, 0)
    await model.aclose()
    assert not await model.ready()
    with pytest.raises(UnavailableError, match="not loaded"):
        await model.invoke(ask())
    host.close()


async def test_the_loop_is_not_blocked_by_answering(single: LlamaCpp) -> None:
    """While the model reads and speaks the loop turns many times."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    ticker = asyncio.create_task(turn())
    await single.invoke(ask("word " * 100, max_tokens=20))
    ticker.cancel()
    assert turns > 50


async def test_a_window_is_no_longer_than_the_model_was_trained_for(host: ModelHost) -> None:
    """More is shortened, and that is logged."""
    model = LlamaCpp(context=100_000, slots=1)
    await model.start(host)
    assert (await model.describe(Empty())).context_window == 8192
    assert host.logged == ["the context is shortened to the 8192 tokens of 'smollm2-135m-instruct'"]
    await model.aclose()
    host.close()


async def test_a_model_that_cannot_be_loaded_is_named(host: ModelHost) -> None:
    """A header alone is no model: the error says which file, and nothing is left behind."""
    whole = host.models.path
    broken = host.storage / "broken.gguf"
    with whole.open("rb") as file:
        broken.write_bytes(file.read(4_000_000))
    host.models.path = broken
    model = LlamaCpp()
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        await model.start(host)
    await model.aclose()
    host.close()
