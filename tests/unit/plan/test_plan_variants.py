"""What streams in the whole and in the streamed variant."""

from __future__ import annotations

import pytest
from plan_fakes import Compile

from weft.errors import SpecError
from weft.plan import Plan, Variant

QA = "kind: Megaservice\nname: qa\ncontract: chat\n"
ANSWER = "  answer: {service: llm, inputs: {messages: request.messages}}\n"


def live(variant: Variant | None) -> set[str]:
    """Nodes that are called by ``stream``."""
    assert variant is not None
    return {node.name for node in variant.nodes if node.stream}


def collects(plan: Plan, name: str) -> list[str]:
    """Nodes whose whole response a node waits for in the streamed variant."""
    assert plan.streamed is not None
    names = {node.slot: node.name for node in plan.streamed.nodes}
    return [names[slot] for node in plan.streamed.nodes if node.name == name for slot in node.collects]


def test_output_streams_when_it_is_asked_to(compile_text: Compile) -> None:
    """The output of the streamed variant is called by ``stream``, that of the whole one by ``invoke``."""
    plan = compile_text(QA + "nodes:\n" + ANSWER + "output: answer\n")["qa"]
    assert (live(plan.whole), live(plan.streamed)) == (set(), {"answer"})
    assert plan.streamed is not None
    assert [node.method for node in plan.streamed.nodes] == ["stream"]
    assert plan.streamed.output_slot == 1


def test_a_reader_that_takes_a_stream_gets_one(compile_text: Compile) -> None:
    """The producer streams into it; in the whole variant it gets the response."""
    plan = compile_text(
        QA + "nodes:\n" + ANSWER + "  reply: {component: reply, inputs: {answer: answer}}\noutput: reply\n"
    )["qa"]
    assert (live(plan.whole), live(plan.streamed)) == (set(), {"answer", "reply"})


def test_a_reader_that_takes_nothing_else_gets_one_always(compile_text: Compile) -> None:
    """Then the producer streams in the whole variant too."""
    plan = compile_text(
        QA
        + "nodes:\n"
        + ANSWER
        + "  reply: {component: live-only, inputs: {answer: answer}}\noutput: reply\n"
    )["qa"]
    assert (live(plan.whole), live(plan.streamed)) == ({"answer"}, {"answer", "reply"})


def test_a_part_of_a_response_is_no_stream(compile_text: Compile) -> None:
    """Who reads a field makes the producer answer whole."""
    plan = compile_text(
        QA
        + "nodes:\n"
        + ANSWER
        + '  last: {component: to-chat, inputs: {answer: "answer.choices[0].message.role"}}\noutput: last\n'
    )["qa"]
    assert live(plan.whole) == set()
    assert plan.streamed is None


@pytest.mark.parametrize("service", ["plain", "ranker"])
def test_no_streamed_variant_without_a_streaming_output(compile_text: Compile, service: str) -> None:
    """A contract or a component that does not stream has a whole variant only."""
    text = {
        "plain": QA + "nodes: {answer: {service: plain, fill_from: request}}\noutput: answer\n",
        "ranker": "kind: Megaservice\nname: qa\nnodes: {rank: {service: ranker, fill_from: request}}\noutput: rank\n",
    }[service]
    assert compile_text(text)["qa"].streamed is None


def test_an_observer_is_no_second_reader(compile_text: Compile) -> None:
    """It gets a copy and is needed although nothing reads it."""
    plan = compile_text(
        QA
        + "nodes:\n"
        + ANSWER
        + "  tap: {component: tap, observes: answer, inputs: {answer: answer}}\noutput: answer\n"
    )["qa"]
    assert plan.streamed is not None
    tap = next(node for node in plan.streamed.nodes if node.name == "tap")
    answer = next(node for node in plan.streamed.nodes if node.name == "answer")
    assert (live(plan.streamed), tap.observes) == ({"answer"}, answer.slot)


def test_an_observer_that_needs_the_whole_collects_it(compile_text: Compile) -> None:
    """Its input takes no stream, so it waits for the end of its copy."""
    plan = compile_text(
        QA
        + "nodes:\n"
        + ANSWER
        + "  grade: {component: grade, observes: answer, inputs: {answer: answer}}\noutput: answer\n"
    )["qa"]
    assert live(plan.streamed) == {"answer"}
    assert collects(plan, "grade") == ["answer"]


def test_readers_with_opposite_conditions_share_a_stream(compile_text: Compile) -> None:
    """Only one of them ever runs."""
    plan = compile_text(
        QA
        + "nodes:\n"
        + ANSWER
        + """
  long: {component: reply, when: size(request.messages) > 3, inputs: {answer: answer}}
  short: {component: reply, when: "!(size(request.messages) > 3)", inputs: {answer: answer}}
  other: {service: llm, inputs: {messages: request.messages}}
output: {first: [long, short, other]}
"""
    )["qa"]
    assert live(plan.streamed) == {"answer", "long", "short", "other"}
    assert plan.streamed is not None
    assert plan.streamed.output_slot is None


def test_the_output_may_fall_back_to_what_a_skipped_node_would_have_read(compile_text: Compile) -> None:
    """``first: [polish, answer]``: when polish runs it has the stream, else the output has."""
    plan = compile_text(
        QA
        + "nodes:\n"
        + ANSWER
        + """
  polish: {component: reply, when: size(request.messages) > 3, inputs: {answer: answer}}
output: {first: [polish, answer]}
"""
    )["qa"]
    assert live(plan.streamed) == {"answer", "polish"}


def test_a_reader_that_failed_may_have_read_the_stream(compile_text: Compile) -> None:
    """With ``on_error: skip`` the same fallback is a second reader."""
    with pytest.raises(SpecError, match="shared-stream"):
        compile_text(
            QA
            + "nodes:\n"
            + ANSWER
            + """
  polish: {component: reply, on_error: skip, inputs: {answer: answer}}
output: {first: [polish, answer]}
"""
        )


def test_a_reader_that_may_be_asked_again_gets_the_whole(compile_text: Compile) -> None:
    """A stream is gone after the first attempt; a response is not."""
    plan = compile_text(
        QA
        + "nodes:\n"
        + ANSWER
        + """
  reply: {component: reply, each: {field: evidence, items: {value: [{}, null]}}, inputs: {answer: answer}}
output: "reply[0]"
"""
    )["qa"]
    assert live(plan.whole) == set()
    assert plan.streamed is None


def test_a_nested_megaservice_streams_as_its_plan_does(compile_text: Compile) -> None:
    """It is a component like any other; the fields that nothing in it reads are not filled."""
    plan = compile_text(
        QA
        + "nodes: {inner: {component: megaservice/inner, fill_from: request}}\noutput: inner\n"
        + "---\napiVersion: weft/v1\nkind: Megaservice\nname: inner\ncontract: chat\nnodes:\n"
        + ANSWER
        + "output: answer\n"
    )["qa"]
    assert live(plan.streamed) == {"inner"}
    assert plan.consumed == {"messages"}
