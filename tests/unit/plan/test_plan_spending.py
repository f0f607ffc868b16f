"""What one request may make models do: every call that a graph may make, and what bounds each."""

from __future__ import annotations

from typing import ClassVar

import pytest
from msgspec import Struct

from weft.contracts.chat import Chat, ChatRequest, ChatResponse
from weft.plan import ModelCall, Plan, check
from weft.registry.components import Components
from weft.spec.load import loads
from weft.types import Message


class Model:
    """A model with a window."""

    window: ClassVar[str] = "context"

    def __init__(self, *, context: int | None = None, model: str = "m") -> None:
        pass

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        raise NotImplementedError


class Conversation(Struct):
    messages: list[Message]


class Question(Struct):
    messages: list[Message]


class Condense:
    """Asks its model at most twice."""

    asks: ClassVar[dict[str, int]] = {"chat": 2}

    def __init__(self, chat: Chat) -> None:
        pass

    async def invoke(self, request: Conversation) -> Question:
        raise NotImplementedError


class Looks(Condense):
    """Only asks what its model is."""

    asks: ClassVar[dict[str, int]] = {"chat": 0}


class Agent(Condense):
    """Does not say how often it asks."""

    asks: ClassVar[dict[str, int]] = {}


COMPONENTS = Components({"model": Model, "condense": Condense, "looks": Looks, "agent": Agent})

HEAD = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: model, config: {context: 4096}}
  open: {component: model}
---
apiVersion: weft/v1
kind: Megaservice
contract: chat
version: "1.0.0"
name: talk
"""


def compiled(nodes: str, more: str = "") -> Plan:
    """The plan of a megaservice with these nodes, of which ``answer`` is the output."""
    return check(loads(f"{HEAD}nodes:\n{nodes}output: answer\n{more}"), COMPONENTS)["talk"]


OWN = "  answer: {service: open, fill_from: request, inputs: {messages: request.messages}}\n"


def test_a_node_that_hands_the_request_on_is_bounded_by_it() -> None:
    """A model that is given the caller's own messages and bound: both count, and how many answers were asked for."""
    (call,) = compiled(OWN).spending.calls
    assert call == ModelCall("open", "", own_prompt=True, own_length=True, own_answers=True)


def test_what_the_spec_says_counts() -> None:
    """Length and number of answers that stand in the spec, and the window of the service's config."""
    node = "  answer: {service: llm, inputs: {messages: request.messages, max_tokens: {value: 64}, n: {value: 3}}}\n"
    (call,) = compiled(node).spending.calls
    assert call == ModelCall("llm", "", window=4096, own_prompt=True, length=64, answers=3)


@pytest.mark.parametrize(
    ("component", "times"), [("condense", 2), ("looks", 0)], ids=["asks twice", "only looks"]
)
def test_what_a_component_asks_of_what_it_uses_counts(component: str, times: int) -> None:
    """A component's calls of a model count as often as it says; none, where it only asks what the model is."""
    question = f"  question: {{component: {component}, uses: {{chat: llm}}, inputs: {{messages: request.messages}}}}\n"
    answer = "  answer: {service: llm, inputs: {messages: question.messages}}\n"
    found = compiled(question + answer).spending
    assert [call.times for call in found.calls] == ([times] if times else []) + [1]
    assert not found.calls[-1].own_prompt
    assert not found.unbounded


def test_a_component_that_does_not_say_leaves_it_open() -> None:
    """Who does not say how often it asks its model leaves the graph without a bound, and is named."""
    question = "  question: {component: agent, uses: {chat: llm}, inputs: {messages: request.messages}}\n"
    found = compiled(question + "  answer: {service: llm, inputs: {messages: question.messages}}\n").spending
    assert found.unbounded == "component 'agent' does not say how often it asks its 'chat'"


def test_a_list_of_any_length_leaves_it_open() -> None:
    """A model that is asked for each element of a list has no bound; for each of a written list, so many."""
    many = (
        "  many: {service: llm, each: {items: [request.user, request.model], field: user}, inputs: {messages: request.messages}, "
        "effect: true}\n"
    )
    assert [call.times for call in compiled(OWN + many).spending.calls] == [1, 2]
    open_list = "  many: {service: llm, each: {items: request.names, field: user}, inputs: {messages: request.messages}, effect: true}\n"
    found = compiled(OWN + open_list, "parameters: {names: {type: 'list[str]', default: []}}\n").spending
    assert found.unbounded == "node 'many' asks a model for each element of a list of any length"


def test_repetition_and_nesting_multiply() -> None:
    """A nested megaservice's calls count, as often as it is repeated; what it is not given is not the request's any more."""
    inner = (
        '---\napiVersion: weft/v1\nkind: Megaservice\nname: inner\nversion: "1.0.0"\ncontract: chat\n'
        'parameters: {id: {type: str, default: ""}}\n'
        f"nodes:\n{OWN}output: answer\n"
    )
    node = (
        "  answer: {component: megaservice/inner, repeat: {until: 'size(response.choices) > 0', at_most: 5}, "
        "inputs: {messages: request.messages, max_tokens: {value: 32}}}\n"
    )
    (call,) = compiled(node, inner).spending.calls
    assert call == ModelCall("open", "", times=5, own_prompt=True, length=32)


def test_a_fallback_counts_beside_what_it_stands_in_for() -> None:
    """A model that failed may have used its tokens before the other is asked."""
    node = (
        "  answer: {service: llm, fallback: open, fill_from: request, inputs: {messages: request.messages}}\n"
    )
    assert [call.service for call in compiled(node).spending.calls] == ["llm", "open"]
