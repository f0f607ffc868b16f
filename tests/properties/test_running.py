"""Any graph: each node once, after its inputs; the same answer in any order of declaration and on any transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from graphs import BOUNDED, Graph, graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from house import House, Way
from weft.observe.journal import ENDINGS, SKIPPED, STARTED, Event


async def answer(graph: Graph, way: Way = "local", order: list[int] | None = None) -> tuple[str, Any, Any]:
    """The text, the calls and the events of one request."""
    async with House(graph.spec(order), way) as house:
        response = await house.ask({"text": "hi", "count": graph.count})
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return response.text, house.recorder.calls, house.journal.events()


@BOUNDED
@given(graphs())
def test_each_node_runs_once_after_its_inputs(graph: Graph) -> None:
    """The answer is what the graph means; every node that is wanted is asked exactly what it means, and never early."""
    text, calls, events = asyncio.run(answer(graph))
    expected, asked = graph.expected()
    assert text == expected
    assert sorted(calls) == sorted(call for made in asked.values() for call in made)
    for node in graph.nodes:
        begun = [index for index, event in enumerate(events) if _is(event, node.name, {STARTED})]
        assert len(begun) == len(asked[node.name])
        for needed in node.needs:
            ended = [index for index, event in enumerate(events) if _is(event, needed, {*ENDINGS, SKIPPED})]
            assert ended
            assert not begun or max(ended) < min(begun)


def _is(event: Event, name: str, statuses: set[str]) -> bool:
    return event[4] == name and event[3] in statuses


@BOUNDED
@given(st.data())
def test_the_order_of_declaration_means_nothing(data: st.DataObject) -> None:
    """The same graph, its nodes declared in another order, answers the same and asks the same."""
    graph = data.draw(graphs())
    order = data.draw(st.permutations(range(len(graph.nodes))))
    text, calls, _ = asyncio.run(answer(graph, order=list(order)))
    expected, asked = graph.expected()
    assert text == expected
    assert sorted(calls) == sorted(call for made in asked.values() for call in made)


@pytest.mark.parametrize(("way", "examples"), [("loopback", 50), ("http", 15)])
def test_the_transport_means_nothing(way: Way, examples: int) -> None:
    """The same graph, its services elsewhere, answers the same and asks the same."""

    @settings(BOUNDED, max_examples=examples)
    @given(graphs())
    def compare(graph: Graph) -> None:
        text, calls, _ = asyncio.run(answer(graph, way))
        expected, asked = graph.expected()
        assert text == expected
        assert sorted(calls) == sorted(call for made in asked.values() for call in made)

    compare()
