"""flow and fill_from become explicit references."""

from __future__ import annotations

from plan_fakes import Compile

CONVERSATION = "kind: Megaservice\nname: qa\ncontract: chat\n"


def lines(explanation: str, node: str) -> list[str]:
    """What the explanation says of a node."""
    found: list[str] = []
    inside = False
    for line in explanation.splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            inside = line.strip().startswith(f"{node} ")
            continue
        inside = inside and line.startswith("      ")
        found += [line.strip()] if inside else []
    return found


def test_flow_takes_the_nearest_node_with_the_field(compile_text: Compile) -> None:
    """Name and type count; what no node has comes from the request."""
    plans = compile_text(
        CONVERSATION
        + """
flow: question >> find >> rank >> answer
nodes:
  question: {component: condense}
  find: {service: finder}
  rank: {service: ranker}
  answer: {component: to-chat, inputs: {answer: "rank.documents[0].text"}}
"""
    )
    text = plans["qa"].explanation
    assert lines(text, "question") == ["messages = request.messages  (flow)"]
    assert "query = question.query  (flow)" in lines(text, "find")
    assert lines(text, "rank") == ["query = find.query  (flow)", "documents = find.documents  (flow)"]


def test_flow_goes_on_behind_a_node_that_may_be_skipped(compile_text: Compile) -> None:
    """The nearest node first, then the next one that is always there."""
    plans = compile_text(
        CONVERSATION
        + """
flow: question >> find >> rank >> pick >> answer
nodes:
  question: {component: condense}
  find: {service: finder}
  rank: {service: ranker, on_error: skip}
  pick: {service: picker}
  answer: {component: to-chat, inputs: {answer: pick.evidence.query}}
"""
    )
    assert "documents = first of rank.documents, find.documents  (flow)" in lines(
        plans["qa"].explanation, "pick"
    )


def test_explicit_inputs_win_over_flow(compile_text: Compile) -> None:
    """What is bound by name stays as it is."""
    plans = compile_text(
        CONVERSATION
        + """
flow: question >> find >> answer
nodes:
  question: {component: condense}
  find: {service: finder, inputs: {query: "question.keywords[0]"}}
  answer: {component: to-chat, inputs: {answer: find.query}}
"""
    )
    assert "query = question.keywords[0]" in lines(plans["qa"].explanation, "find")


def test_fill_from_takes_fields_of_the_same_name_and_type(compile_text: Compile) -> None:
    """Never model, stream, stream_options; never what the component cannot honour; never what is bound already."""
    plans = compile_text(
        CONVERSATION
        + """
nodes:
  prompt: {component: prompt-builder, inputs: {messages: request.messages}}
  answer: {service: llm, fill_from: request, inputs: {messages: prompt.messages}}
output: answer
"""
    )
    plan = plans["qa"]
    assert {"temperature", "tools", "stop", "messages"} <= plan.consumed
    assert not {"model", "stream", "stream_options", "logit_bias"} & plan.consumed
    assert lines(plan.explanation, "answer")[0] == "messages = prompt.messages"


def test_flow_comes_before_fill_from(compile_text: Compile) -> None:
    """A node upstream is nearer than the value that everything else is filled from."""
    plans = compile_text(
        CONVERSATION
        + """
flow: prompt >> answer
nodes:
  prompt: {component: prompt-builder}
  answer: {service: llm, fill_from: request}
"""
    )
    found = lines(plans["qa"].explanation, "answer")
    assert found[0] == "messages = prompt.messages  (flow)"
    assert found[1].startswith("filled from request: temperature, ")


def test_a_name_components_and_a_flow_are_a_spec(compile_text: Compile) -> None:
    """The contract is that of the last node, which is the output."""
    plan = compile_text("kind: Megaservice\nname: tiny\nflow: answer\nnodes: {answer: {service: llm}}\n")[
        "tiny"
    ]
    assert plan.contract.name == "chat"
    assert plan.streamed is not None
