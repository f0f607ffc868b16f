"""A request that is cancelled, at whatever point, leaves nothing behind: no task, no call, no open step, no timer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from graphs import BOUNDED, Graph, graphs
from hypothesis import given, settings

from house import House
from runkit import WATCHDOG_S, FakeClock
from shapes import SHAPES, Shape, spec_of
from weft.context import Context, current
from weft.errors import RequestError
from weft.observe.journal import ENDINGS

MOST_TURNS = 60
"""More turns of the event loop than any of these requests takes that ends by itself."""


async def cancelled_everywhere(house: House, request: dict[str, Any], *, streams: bool, times: int) -> None:
    """Cancel a request after no turn of the loop, after one, after two, ... until one ends by itself.

    Args:
        house: What is asked.
        request: What it is asked.
        streams: Whether in chunks.
        times: How often it is cancelled; a second time while it is still ending.
    """
    for turns in range(MOST_TURNS):
        asking = asyncio.create_task(_ask(house, request, streams=streams))
        for _ in range(turns):
            await asyncio.sleep(0)
        is_whole = asking.done()
        for _ in range(times):
            asking.cancel()
            await asyncio.sleep(0)
        async with asyncio.timeout(WATCHDOG_S):
            with suppress(asyncio.CancelledError, RequestError):
                await asking
        await nothing_left(house)
        if is_whole:
            return


async def _ask(house: House, request: dict[str, Any], *, streams: bool) -> None:
    context = Context("r")
    current.set(context)
    try:
        if not streams:
            await house.ask(request)
            return
        stream = house.stream(request)
        try:
            async for _ in stream:
                pass
        finally:
            await stream.aclose()  # type: ignore[attr-defined]  # streams of transports can be closed
    finally:
        # Whoever made the context finds it as it was.
        assert (context.step, context.run, context.deadline, context.tally) == (0, 0, None, None)


async def nothing_left(house: House) -> None:
    """Nothing is under way, and the journal has an end for every start."""
    for runner in house.services.runners.values():
        await runner.aclose()  # observers may take longer than the reply: they are ended with the megaservice
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not any(house.recorder.running.values())
    ended = {event[1] for event in house.journal.events() if event[3] in ENDINGS}
    left = [event for event in house.journal.events() if event[1] not in ended]
    assert left == []
    assert house.clock.pending == 0


def cancellable() -> list[Any]:
    """Shapes, whole and streamed."""
    return [
        pytest.param(shape, streams, id=f"{shape['name']}-{'streamed' if streams else 'whole'}")
        for shape in SHAPES
        for streams in ((False, True) if "streamed" in shape else (False,))
        # A thread runs on when nobody waits for it any more: its end is no turn of the loop.
        if "plain" not in str(shape["main"])
    ]


@pytest.mark.parametrize(("shape", "streams"), cancellable())
async def test_a_shape_cancelled_at_any_point(shape: Shape, streams: bool) -> None:
    """Every shape of the behaviour suite, cancelled once and twice after each number of turns."""
    for times in (1, 2):
        async with House(spec_of(shape), clock=FakeClock()) as house:
            request = shape.get("request", {"text": "hi"})
            await cancelled_everywhere(house, request, streams=streams, times=times)


@settings(BOUNDED, max_examples=25)
@given(graphs())
def test_any_graph_cancelled_at_any_point(graph: Graph) -> None:
    """The same of random graphs, and then they still answer."""

    async def cancel() -> None:
        async with House(graph.spec(), clock=FakeClock()) as house:
            request = {"text": "hi", "count": graph.count}
            await cancelled_everywhere(house, request, streams=False, times=1)
            response = await house.ask(request)
        assert response.text == graph.expected()[0]

    asyncio.run(cancel())


@pytest.mark.parametrize("name", ["diamond", "retrieve, rank, answer", "quote first"])
async def test_cancelling_reaches_services_elsewhere(name: str) -> None:
    """Over HTTP: no server and no replica has a request in flight any more."""
    shape = next(shape for shape in SHAPES if shape["name"] == name)
    streams = "streamed" in shape
    async with House(spec_of(shape), "http", clock=FakeClock()) as house:
        for turns in (*range(0, 40, 3), 60, 90):
            asking = asyncio.create_task(_ask(house, shape.get("request", {"text": "hi"}), streams=streams))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            async with asyncio.timeout(WATCHDOG_S):
                with suppress(asyncio.CancelledError):
                    await asking
                while house.in_flight:
                    await asyncio.sleep(0)
            assert not any(house.recorder.running.values())
    assert asyncio.all_tasks() == {asyncio.current_task()}
