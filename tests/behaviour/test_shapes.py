"""Graph shapes, each on every transport: what they answer, and what their components are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from house import WAYS, House, Way, error_of, text_of
from runkit import WATCHDOG_S, FakeClock
from shapes import SHAPES, Shape, spec_of
from weft.errors import RequestError


def variants() -> Iterator[Any]:
    """Every shape on every transport, whole and, where it streams, streamed."""
    for shape in SHAPES:
        for streams in (False, True):
            if streams and "streamed" not in shape:
                continue
            expected = shape | (shape["streamed"] if streams else {})
            for way in WAYS:
                kind = "streamed" if streams else "whole"
                yield pytest.param(expected, way, streams, id=f"{shape['name']}-{kind}-{way}")


@pytest.mark.parametrize(("shape", "way", "streams"), list(variants()))
async def test_shape(shape: Shape, way: Way, streams: bool) -> None:
    """The answer and the calls are as the shape says, whichever way its services are called."""
    clock = FakeClock()
    async with House(spec_of(shape), way, clock=clock) as house:
        assert (house.main.streamed is not None) is ("streamed" in shape)
        chunks: list[Any] = []
        asking = asyncio.create_task(_ask(house, shape, chunks, streams=streams))
        async with asyncio.timeout(WATCHDOG_S):
            if "cancel" in shape:
                await _called(house, shape["cancel"]["after"])
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            else:
                if "advance" in shape:
                    await _called(house, shape["advance"]["after"])
                    await house.recorder.until(lambda: text_of(chunks) == shape.get("before", ""))
                    clock.advance(shape["advance"]["seconds"])
                await asking
            await _settled(house, shape)
    _compare_calls(house.recorder.calls, shape["calls"])
    assert sorted(house.recorder.ended) == sorted(shape.get("ended", []))
    for name, most in shape.get("peak", {}).items():
        assert house.recorder.peak[name] == most
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def _ask(house: House, shape: Shape, chunks: list[Any], *, streams: bool) -> None:
    """Ask, and compare what comes back; of a stream each chunk is seen as it comes."""
    request = shape.get("request", {"text": "hi"})
    try:
        if streams:
            stream = house.stream(request)
            try:
                async for chunk in stream:
                    chunks.append(chunk)
                    house.recorder.wake()
            finally:
                await stream.aclose()  # type: ignore[attr-defined]  # streams of transports can be closed
            response: Any = house.main.operation.collect(chunks)  # type: ignore[misc]  # what streams can be collected
        else:
            response = await house.ask(request)
    except RequestError as error:
        found = error_of(error)
        assert found == found | shape.get("error", {"no": "error expected"})
        if "before" in shape:
            assert text_of(chunks) == shape["before"]
        return
    assert "error" not in shape, response
    assert text_of(response) == shape["output"]
    for name, value in shape.get("response", {}).items():
        assert getattr(response, name) == value
    usage = response.usage
    spent = [usage.prompt_tokens, usage.completion_tokens] if usage is not None else None
    assert spent == shape.get("usage")


async def _called(house: House, after: str | list[str]) -> None:
    """Wait until these calls have been made."""
    wanted = [after] if isinstance(after, str) else after
    await house.recorder.until(lambda: all(call in house.recorder.calls for call in wanted))


async def _settled(house: House, shape: Shape) -> None:
    """Wait for what may come after the reply: a service elsewhere learns a moment later that nobody waits for it."""
    wanted = sum(len(call) if isinstance(call, list) else 1 for call in shape["calls"])
    if shape.get("late"):
        await house.recorder.until(lambda: len(house.recorder.calls) >= wanted)
    await house.recorder.until(
        lambda: (
            len(house.recorder.ended) >= len(shape.get("ended", []))
            and not any(house.recorder.running.values())
        )
    )


def _compare_calls(calls: list[str], expected: list[str | list[str]]) -> None:
    """Calls in order; those of a list within it in any."""
    left, found = list(calls), []
    for group in expected:
        size = len(group) if isinstance(group, list) else 1
        part, left = left[:size], left[size:]
        found.append(sorted(part) if isinstance(group, list) else "".join(part))
    found += left  # type: ignore[arg-type]  # too many calls: shown as they are
    assert found == [sorted(group) if isinstance(group, list) else group for group in expected]


def test_there_are_enough_shapes() -> None:
    """The names are unique, and there are at least as many as were promised."""
    names = [shape["name"] for shape in SHAPES]
    assert len(set(names)) == len(names) >= 45
