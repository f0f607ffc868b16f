"""Which services there are, under which names, and where."""

from __future__ import annotations

import pytest
from plan_fakes import Compile

from weft.errors import SpecError, UsageError
from weft.plan import Plans, build_id, check, compile_plan, explain, resolve_placement
from weft.registry.components import Components
from weft.spec.load import loads
from weft.spec.model import MegaserviceSpec, NodeSpec, Ref, Spec

TEXT = """
kind: Services
services:
  store: {component: file-store, config: {path: p}}
  search: {component: finder, uses: {store: store}}
---
apiVersion: weft/v1
kind: Megaservice
name: qa
contract: chat
nodes:
  find: {service: search, inputs: {query: {value: x}}}
  sum: {component: megaservice/sum, inputs: {messages: request.messages}, when: size(find.documents) > 0}
  answer: {service: llm, inputs: {messages: request.messages}}
output: {first: [sum, answer]}
---
apiVersion: weft/v1
kind: Megaservice
name: sum
contract: chat
nodes:
  prompt: {component: prompt-builder, inputs: {messages: request.messages}}
  answer: {service: llm, inputs: {messages: prompt.messages}}
output: answer
"""
PLACEMENT = "---\napiVersion: weft/v1\nkind: Placement\n"


def where(plans: Plans) -> dict[str, str]:
    """Service to place."""
    return {key: str(service.at) for key, service in plans.placed.items()}


def test_every_service_is_local_by_default(compile_text: Compile) -> None:
    """Shared ones by their names, inline ones by their nodes', those of a nested megaservice behind its name."""
    plans = compile_text(TEXT)
    assert {"llm", "store", "search", "sum", "sum/prompt"} <= set(where(plans))
    assert set(where(plans).values()) == {"local"}


def test_services_come_after_what_they_use(compile_text: Compile) -> None:
    """The order is one in which they can be started."""
    plans = compile_text(TEXT)
    order = list(plans.placed)
    assert order.index("store") < order.index("search")
    assert order.index("llm") < order.index("sum")
    assert order.index("sum/prompt") < order.index("sum")
    assert set(plans["qa"].services) == {"search", "store", "sum", "sum/prompt", "llm"}


def test_split_gives_each_shared_service_a_process(compile_text: Compile) -> None:
    """Inline nodes and megaservices stay with the gateway."""
    places = where(compile_text(TEXT, split=True))
    assert places["llm"] == places["store"] == places["search"] == "process"
    assert places["sum"] == places["sum/prompt"] == "local"


def test_an_exclusive_service_moves_out_under_several_workers(compile_text: Compile) -> None:
    """One process of its own, which all workers call; the others stay."""
    places = where(compile_text(TEXT, workers=3))
    assert (places["store"], places["llm"]) == ("process", "local")


@pytest.mark.parametrize("name", ["sum/prompt"])
def test_a_nested_service_is_placed_by_its_long_name(compile_text: Compile, name: str) -> None:
    """``megaservice/service``."""
    plans = compile_text(TEXT + PLACEMENT + f"services:\n  {name}: {{at: process, replicas: 2}}\n")
    placed = plans.placed["sum/prompt"]
    assert (placed.at.kind, placed.replicas) == ("process", 2)


def test_a_shared_service_has_one_place_whoever_uses_it(compile_text: Compile) -> None:
    """``sum/llm`` is ``llm``."""
    plans = compile_text(TEXT + PLACEMENT + 'services:\n  sum/llm: {at: "http://llm:1"}\n')
    assert where(plans)["llm"] == "http://llm:1"


@pytest.mark.parametrize(
    ("registered", "message"),
    [
        ({"other": "chat"}, "no service is registered as 'mine'"),
        ({"mine": "reranker"}, "'mine' is registered with the contract 'reranker', but 'llm' is of 'chat'"),
    ],
)
def test_a_registered_service_must_be_there_and_fit(
    compile_text: Compile, registered: dict[str, str], message: str
) -> None:
    """Where the registry is known, a place on a registered name is checked against it."""
    text = TEXT + PLACEMENT + 'services:\n  llm: {at: "registry:mine"}\n'
    assert where(compile_text(text, registered={"mine": "chat"}))["llm"] == "registry:mine"
    with pytest.raises(SpecError, match=message):
        compile_text(text, registered=registered)


def test_a_replaced_component_has_its_own_config(compile_text: Compile) -> None:
    """Config and uses are replaced whole; the contract stays."""
    plans = compile_text(TEXT + PLACEMENT + "services:\n  llm: {component: whole-chat}\n")
    placed = plans.placed["llm"]
    assert (placed.component, dict(placed.config), placed.contract) == ("whole-chat", {}, "chat")
    assert plans["qa"].streamed is None


def test_default_moves_shared_services(compile_text: Compile) -> None:
    """``default: {at: process}`` is for what the placement does not name."""
    places = where(compile_text(TEXT + PLACEMENT + "services:\n  llm: {at: local}\ndefault: {at: process}\n"))
    assert (places["llm"], places["store"], places["sum/prompt"]) == ("local", "process", "local")


def test_same_inline_name_in_two_megaservices_is_two_services(compile_text: Compile) -> None:
    """The name alone would not tell them apart."""
    one = "kind: Megaservice\nname: {}\nnodes: {{answer: {{component: whole-chat, fill_from: request}}}}\noutput: answer\n"
    plans = compile_text(one.format("a") + "---\napiVersion: weft/v1\n" + one.format("b"))
    assert {"a/answer", "b/answer"} <= set(plans.placed)


def test_explanation_reads_at_80_columns(compile_text: Compile) -> None:
    """Services with their places, then each megaservice with its references."""
    plans = compile_text(TEXT + PLACEMENT + "services:\n  llm: {at: process, replicas: 2}\n")
    text = explain(plans, plans.placed)
    assert "  llm  chat-model (chat)  process x 2\n" in text
    assert "      store = store\n" in text
    assert "  answer  ->  llm (chat-model) at process\n" in text
    assert "output  first of sum, answer\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_build_id_changes_with_what_an_answer_depends_on(components: Components) -> None:
    """Spec, versions and models count; comments and order do not."""
    text = """apiVersion: weft/v1
kind: Services
services:
  a: {component: whole-chat}
  b: {component: whole-chat}
---
apiVersion: weft/v1
kind: Megaservice
name: qa
nodes: {answer: {service: a, fill_from: request}}
output: answer
"""

    def build(text: str, version: str = "1", model: str = "x") -> str:
        spec = loads(text)
        return build_id(spec, check(spec, components)["qa"], {"whole-chat": version}, {"m": model})

    first = build(text)
    assert len(first) == 16
    turned = text.replace(
        "  a: {component: whole-chat}\n  b: {component: whole-chat}",
        "  b: {component: whole-chat}\n  a: {component: whole-chat} # same",
    )
    assert build(turned) == first
    assert (
        len({first, build(text, "2"), build(text, "1", "y"), build(text.replace("service: a", "service: b"))})
        == 4
    )


def test_one_plan_or_the_placement_alone(components: Components) -> None:
    """Who needs one thing asks for it; an unknown megaservice is wrong use, with the choices."""
    spec = loads(
        "apiVersion: weft/v1\nkind: Megaservice\nname: qa\n"
        "nodes: {answer: {component: whole-chat, fill_from: request}}\noutput: answer\n"
    )
    assert compile_plan(spec, "qa", components).name == "qa"
    assert list(resolve_placement(spec, None, components)) == ["answer"]
    with pytest.raises(UsageError, match=r"there is no megaservice 'qb'\nmegaservices: qa"):
        compile_plan(spec, "qb", components)


def test_a_spec_built_by_a_program_needs_no_file(components: Components) -> None:
    """Problems without a place are shown without a source line."""
    node = NodeSpec(
        name="answer", component="whole-chat", inputs={"messages": Ref(head="request", path=("mesages",))}
    )
    spec = Spec(
        megaservices={"qa": MegaserviceSpec(name="qa", nodes={"answer": node}, output=Ref(head="answer"))}
    )
    with pytest.raises(SpecError) as caught:
        check(spec, components)
    assert str(caught.value).startswith(
        "<spec>: error[unknown-field]: the request has no field 'mesages'\n= help: did you mean 'messages'?"
    )
