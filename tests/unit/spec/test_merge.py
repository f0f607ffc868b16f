"""The files that a Gateway's routes name become one spec: what is equal is one, what differs gets a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.errors import SpecError
from weft.plan import check
from weft.registry.components import Components
from weft.spec.load import load
from weft.spec.model import At, Spec
from weft.spec.sources import load_whole

FRONT = """\
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - path: /v1/talk
    megaservice: talk
    versions:
      - {version: "1.0.0", from: one.yaml}
      - {version: "2.0.0", from: two.yaml}
"""

TALK = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: openai-chat, config: {url: "http://localhost:1", model: MODEL}}
  store: {component: qdrant-edge, config: {path: documents}}
  embedder: {component: onnx-embedder}
  retriever: {component: hybrid-retriever, uses: {store: store, embedder: embedder}}
  unused: {component: onnx-embedder, config: {model: other}}
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "VERSION"
contract: chat
nodes:
  found: {service: retriever, inputs: {query: {value: x}}}
  answer: {service: llm, inputs: {messages: request.messages}}
output: answer
"""


def talk(version: str, model: str = "m") -> str:
    return TALK.replace("VERSION", version).replace("MODEL", model)


def whole(folder: Path, front: str = FRONT, **sources: str) -> Spec:
    """What a Gateway file and its sources are together."""
    for name, text in sources.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "front.yaml").write_text(front)
    return load_whole(folder / "front.yaml")


def test_services_that_are_equal_in_two_versions_are_one(tmp_path: Path) -> None:
    """An embedded store cannot be opened twice: both versions get the one, by whatever they use."""
    spec = whole(tmp_path, one=talk("1.0.0", "a"), two=talk("2.0.0", "b"))
    assert list(spec.services) == ["retriever", "store", "embedder", "llm", "llm-2-0-0"]
    second = spec.megaservices["talk-2-0-0"]
    assert (second.name, second.version) == ("talk", "2.0.0")
    assert [node.service for node in second.nodes.values()] == ["retriever", "llm-2-0-0"]
    assert spec.served == {"talk": ("talk", "talk-2-0-0")}


def test_what_is_equal_counts_also_by_another_name(tmp_path: Path) -> None:
    """A service that the second version calls by another name is still the same one."""
    two = talk("2.0.0").replace("store:", "documents:").replace("store: store", "store: documents")
    spec = whole(tmp_path, one=talk("1.0.0"), two=two.replace("documents: store", "store: documents"))
    assert "documents" not in spec.services


def test_two_that_are_alike_in_one_file_stay_two(tmp_path: Path) -> None:
    """Whoever declares two equal services in one file means two."""
    second = "  second: {component: hybrid-retriever, uses: {store: store, embedder: embedder}}\n---"
    two = talk("2.0.0").replace("---", second, 1)
    two = two.replace("  answer:", "  more: {service: second, inputs: {query: {value: x}}}\n  answer:")
    spec = whole(tmp_path, one=talk("1.0.0"), two=two)
    nodes = spec.megaservices["talk-2-0-0"].nodes
    assert (nodes["found"].service, nodes["more"].service) == ("retriever", "second")


def test_what_differs_below_makes_a_service_another(tmp_path: Path) -> None:
    """A retriever with another embedder under it is another retriever."""
    two = talk("2.0.0").replace(
        "{component: onnx-embedder}", "{component: onnx-embedder, config: {model: x}}"
    )
    spec = whole(tmp_path, one=talk("1.0.0"), two=two)
    assert spec.services["retriever-2-0-0"].uses == {"store": "store", "embedder": "embedder-2-0-0"}


def test_where_a_service_runs_makes_it_another(tmp_path: Path) -> None:
    """A source's placement comes along, by the new names; the Gateway file's goes before it."""
    placement = "---\napiVersion: weft/v1\nkind: Placement\nservices:\n  llm: {at: process}\n"
    spec = whole(tmp_path, one=talk("1.0.0"), two=talk("2.0.0") + placement)
    assert spec.placement.at("llm") == At("local")
    assert spec.placement.at("llm-2-0-0") == At("process")
    own = FRONT + "---\napiVersion: weft/v1\nkind: Placement\nservices:\n  llm-2-0-0: {at: local}\n"
    spec = whole(tmp_path, own, one=talk("1.0.0"), two=talk("2.0.0") + placement)
    assert spec.placement.at("llm-2-0-0") == At("local")


def test_a_sources_default_place_is_its_services_own(tmp_path: Path) -> None:
    """The default place of one source moves no service of another."""
    default = "---\napiVersion: weft/v1\nkind: Placement\ndefault: {at: process}\n"
    spec = whole(tmp_path, one=talk("1.0.0"), two=talk("2.0.0") + default)
    assert spec.placement.at("store") == At("local")
    assert spec.placement.at("store-2-0-0") == At("process")


def test_a_component_in_a_file_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    """The same relative path in two folders is not the same component."""
    (tmp_path / "v2").mkdir()
    text = talk("1.0.0").replace("openai-chat", "./chat.py:Chat")
    (tmp_path / "v2" / "two.yaml").write_text(text.replace("1.0.0", "2.0.0"))
    spec = whole(tmp_path, FRONT.replace("two.yaml", "v2/two.yaml"), one=text)
    assert spec.services["llm-2-0-0"].component == spec.services["llm"].component == "./chat.py:Chat"


def test_nested_megaservices_come_along_under_names_of_their_own(tmp_path: Path) -> None:
    """A megaservice that a version nests is that version's, also where another one has the same name."""
    outer = (
        "---\napiVersion: weft/v1\nkind: Megaservice\nname: outer\nversion: VERSION\ncontract: chat\n"
        "nodes:\n  inner: {component: megaservice/talk, inputs: {messages: request.messages}}\noutput: inner\n"
    )
    front = FRONT.replace("talk", "outer")
    spec = whole(
        tmp_path,
        front,
        one=talk("1.0.0") + outer.replace("VERSION", '"1.0.0"'),
        two=talk("1.0.0", "b") + outer.replace("VERSION", '"2.0.0"'),
    )
    node = spec.megaservices["outer-2-0-0"].nodes["inner"]
    assert node.component == "megaservice/talk-2-0-0"
    assert spec.megaservices["talk-2-0-0"].nodes["answer"].service == "llm-2-0-0"
    assert spec.served == {"outer": ("outer", "outer-2-0-0")}


def test_a_source_is_read_as_it_was(tmp_path: Path) -> None:
    """What was read before can be read again, whatever the files say by now."""
    spec = whole(tmp_path, one=talk("1.0.0"), two=talk("2.0.0"))
    (tmp_path / "two.yaml").write_text("nothing")
    (tmp_path / "one.yaml").unlink()
    path = tmp_path / "front.yaml"
    assert load_whole(path, kept=spec.sources) == spec
    with pytest.raises(SpecError):
        load_whole(path)


def test_a_packaged_example_is_a_source(tmp_path: Path) -> None:
    """``from:`` may say an example's name."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "talk.yaml").write_text(talk("1.0.0"))
    (tmp_path / "front.yaml").write_text(FRONT.partition("    versions:")[0] + "    from: conversation\n")
    examples = {"conversation": tmp_path / "kept" / "talk.yaml"}
    assert list(load_whole(tmp_path / "front.yaml", examples=examples).megaservices) == ["talk"]


def test_a_gateway_whose_files_were_not_read_is_no_gateway(tmp_path: Path) -> None:
    """What routes lead to elsewhere is never silently missing."""
    (tmp_path / "front.yaml").write_text(FRONT)
    with pytest.raises(SpecError, match="comes from another file, which was not read"):
        check(load(tmp_path / "front.yaml"), Components())
