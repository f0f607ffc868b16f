"""What compiled nodes do with the values of a run: requests, conditions, outputs."""

from __future__ import annotations

from typing import Any

import pytest
from plan_fakes import Compile

from weft.contracts.chat import ChatRequest, ChatResponse
from weft.contracts.reranker import RerankRequest
from weft.contracts.retriever import RetrieveResponse
from weft.errors import InvalidRequestError
from weft.plan import PENDING, SKIPPED, Plan, PlanNode, widen
from weft.types import Document, Message

QA = "kind: Megaservice\nname: qa\ncontract: chat\n"


def node(plan: Plan, name: str) -> PlanNode:
    """A node of the whole variant."""
    return next(n for n in plan.whole.nodes if n.name == name)


def values(plan: Plan, **known: Any) -> list[Any]:
    """Slots with a request and what is known."""
    found: list[Any] = [PENDING] * (len(plan.whole.nodes) + 1)
    found[0] = known.pop("request", None) or plan.operation.request(messages=[Message("user", "hello")])
    for name, value in known.items():
        found[node(plan, name).slot] = value
    return found


BRANCHES = """
nodes:
  find: {service: finder, inputs: {query: {value: q}}}
  rank: {service: ranker, when: size(find.documents) > 1, inputs: {query: {value: q}, documents: find.documents}}
  text:
    component: transform
    inputs:
      text: {first: ["rank.documents[0].text", find.query]}
      documents: rank.documents
      tags: [find.query, {value: fixed}]
      options: {value: {a: [1]}}
      weight: {value: 2}
  answer: {component: to-chat, inputs: {answer: text.text}}
output: answer
"""


def test_request_is_built_from_the_slots(compile_text: Compile) -> None:
    """References, literals and lists become the fields of the node's request."""
    plan = compile_text(QA + BRANCHES)["qa"]
    documents = [Document("a"), Document("b")]
    ranked = RerankRequest("q", documents)
    run = values(plan, find=RetrieveResponse(documents, "q"), rank=ranked)
    assert node(plan, "rank").build(run) == ranked
    made = node(plan, "text").build(run)
    assert (made.text, made.documents, made.tags, made.options) == (
        "a",
        documents,
        ["q", "fixed"],
        {"a": [1]},
    )
    assert made.weight == 2.0
    assert isinstance(made.weight, float)


def test_what_was_skipped_gives_way(compile_text: Compile) -> None:
    """``first`` takes the next; an optional field takes its default, a new one each time."""
    plan = compile_text(QA + BRANCHES)["qa"]
    run = values(plan, find=RetrieveResponse([Document("a")], "q"), rank=SKIPPED)
    made = node(plan, "text").build(run)
    assert (made.text, made.documents) == ("q", [])
    assert node(plan, "text").build(run).documents is not made.documents


def test_literals_are_not_shared_between_requests(compile_text: Compile) -> None:
    """A component that changes what it was given changes nothing for the next request."""
    plan = compile_text(QA + BRANCHES)["qa"]
    run = values(plan, find=RetrieveResponse([], "q"), rank=SKIPPED)
    node(plan, "text").build(run).options["a"].append(2)
    assert node(plan, "text").build(run).options == {"a": [1]}


def test_condition_is_a_function_of_the_slots(compile_text: Compile) -> None:
    """``when`` reads responses."""
    plan = compile_text(QA + BRANCHES)["qa"]
    when = node(plan, "rank").when
    assert when is not None
    assert when(values(plan, find=RetrieveResponse([Document("a")], "q"))) is False
    assert when(values(plan, find=RetrieveResponse([Document("a")] * 2, "q"))) is True


def test_nodes_come_after_what_they_need(compile_text: Compile) -> None:
    """Slots are an order in which the graph can run, whatever the order in the file."""
    plan = compile_text(
        QA
        + """
nodes:
  answer: {component: to-chat, inputs: {answer: two.text}}
  two: {component: transform, inputs: {text: one.text}}
  one: {component: transform, inputs: {text: {value: x}}}
output: answer
"""
    )["qa"]
    assert [n.name for n in plan.whole.nodes] == ["one", "two", "answer"]
    assert [n.needs for n in plan.whole.nodes] == [(), (1,), (2,)]
    assert plan.whole.output_slot == 3
    assert plan.whole.output(["r", "a", "b", "c"]) == "c"


def test_each_maps_and_its_fields_map_too(compile_text: Compile) -> None:
    """``node.field`` of a mapped node is the list of that field; ``node[0].field`` is one of it."""
    plan = compile_text(
        QA
        + """
nodes:
  question: {component: condense, inputs: {messages: request.messages}}
  text: {component: transform, each: {field: text, items: question.keywords, at_once: 3}}
  join: {component: transform, inputs: {text: "text[0].text", tags: text.text}}
  answer: {component: to-chat, inputs: {answer: join.text}}
output: answer
"""
    )["qa"]
    each = node(plan, "text").each
    assert each is not None
    assert (each.field, each.at_once) == ("text", 3)
    slot = node(plan, "text").slot
    response = node(plan, "text").operation.response
    run = values(plan, text=[response("a"), response("b")])
    assert node(plan, "text").build(run).text is None
    made = node(plan, "join").build(run)
    assert (made.text, made.tags) == ("a", ["a", "b"])
    assert slot in node(plan, "join").needs


def test_repeat_knows_its_end_and_what_it_carries(compile_text: Compile) -> None:
    """``until`` reads the response; fields of the same name and type go into the next request."""
    plan = compile_text(
        QA
        + """
nodes:
  count:
    component: counter
    repeat: {until: response.done, at_most: 5, on_limit: last}
    inputs: {count: {value: 0}}
    effect: true
  answer: {service: llm, inputs: {messages: request.messages}}
output: answer
"""
    )["qa"]
    repeat = node(plan, "count").repeat
    assert repeat is not None
    assert (repeat.carry, repeat.at_most, repeat.on_limit) == (("count",), 5, "last")
    response = node(plan, "count").operation.response
    assert [repeat.until([response(1, done)]) for done in (False, True)] == [False, True]


PARAMETERS = """
parameters:
  k: {type: int, default: 4, min: 1, max: 100}
  style: {type: str, choices: [short, long]}
  class: {type: "list[str]", default: [a]}
nodes:
  text: {component: transform, inputs: {text: {value: x}, style: request.style, tags: request.class}}
  find: {service: finder, inputs: {query: text.text, k: request.k}}
  answer: {component: to-chat, inputs: {answer: find.query}}
output: answer
"""


def test_parameters_are_fields_of_the_request(compile_text: Compile) -> None:
    """They have their defaults, are checked on the wire and are read like any other field."""
    plan = compile_text(QA + PARAMETERS)["qa"]
    request, _ = plan.operation.decode(b'{"messages": [], "k": 7, "style": "short"}')
    assert isinstance(request, ChatRequest)
    run = values(plan, request=request)
    made = node(plan, "text").build(run)
    assert (made.style, made.tags) == ("short", ["a"])
    run[node(plan, "text").slot] = node(plan, "text").operation.response("t")
    assert node(plan, "find").build(run).k == 7
    assert plan.consumed == {"k", "style", "class"}


@pytest.mark.parametrize("body", [b'{"messages": [], "k": 0}', b'{"messages": [], "style": "odd"}'])
def test_parameters_out_of_bounds_are_refused(compile_text: Compile, body: bytes) -> None:
    """min, max and choices hold for what comes in."""
    plan = compile_text(QA + PARAMETERS)["qa"]
    with pytest.raises(InvalidRequestError):
        plan.operation.decode(body)


def test_request_of_the_family_is_widened(compile_text: Compile) -> None:
    """A caller in the program may pass the contract's own request: parameters have their defaults."""
    plan = compile_text(QA + PARAMETERS)["qa"]
    wide = widen(ChatRequest([Message("user", "x")], seed=3), plan.operation.request)
    assert (wide.k, wide.seed, widen(wide, plan.operation.request)) == (4, 3, wide)


def test_foreign_forms_carry_parameters_too(compile_text: Compile) -> None:
    """OPEA's form of a request has the parameters beside its own fields, and its reply keeps its form."""
    plan = compile_text(
        """
kind: Megaservice
name: search
contract: retriever
parameters: {deep: {type: bool, default: false}}
nodes: {find: {service: finder, fill_from: request, when: request.deep || true}}
output: {first: [find, find]}
""".replace(", when: request.deep || true", "")
    )["search"]
    request, form = plan.operation.decode(b'{"text": "q", "deep": true}')
    assert (request.query, request.deep, form.name) == ("q", True, "opea")
    assert b"initial_query" in form.encode(RetrieveResponse([Document("a")]), request)


def test_a_field_may_have_the_name_of_a_python_keyword(compile_text: Compile) -> None:
    """A nested megaservice's parameter is bound whatever it is called."""
    inner = "---\napiVersion: weft/v1\n" + (QA + PARAMETERS).replace("name: qa", "name: inner")
    outer = (
        QA
        + "nodes: {a: {component: megaservice/inner, fill_from: request, inputs: {class: {value: [z]}}}}\noutput: a\n"
    )
    plan = compile_text(outer + inner)["qa"]
    assert getattr(node(plan, "a").build(values(plan)), "class") == ["z"]


def test_chat_response_is_the_contracts(compile_text: Compile) -> None:
    """Without parameters the contract is the family's own."""
    plan = compile_text("kind: Megaservice\nname: qa\nflow: answer\nnodes: {answer: {service: llm}}\n")["qa"]
    assert plan.operation.request is ChatRequest
    assert plan.operation.response is ChatResponse
