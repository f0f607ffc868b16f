"""Weft from a Python program: specs that are built, saved, run and served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from api_components import Asking, Parrot

import weft
from weft import Megaservice, first, load, ref, save, secret
from weft.contracts.chat import ChatRequest
from weft.errors import InvalidRequestError, SpecError, UnreachableError, UsageError
from weft.http.client import Client
from weft.spec.load import loads
from weft.types import Message

PARROT = str(Path(__file__).with_name("api_components.py")) + ":Parrot"
ASKING = str(Path(__file__).with_name("api_components.py")) + ":Asking"


def parrot() -> Megaservice:
    """The smallest chat."""
    return (
        Megaservice("small", contract="chat")
        .node("answer", component=Parrot, fill_from=ref.request)
        .output(ref.answer)
    )


def test_a_built_spec_is_the_one_of_a_file() -> None:
    """Every key that a file can have can be built, and both are equal."""
    built = (
        Megaservice("main", version="1.0.0", description="All of it.", contract="chat", timeout_s=60)
        .service("llm", "openai-chat", config={"url": "http://x/v1", "api_key": secret("KEY")}, expose=True)
        .service("spare", Parrot)
        .parameter("k", "int", default=4, min=1, max=100, description="How many.")
        .parameter("style", "str", choices=["a", "b"], default="a")
        .node("ask", component="condense-question", uses={"chat": "llm"}, messages=ref.request.messages)
        .node(
            "find",
            service="store",
            operation="search",
            when="size(request.messages) > 0",
            timeout_s=2,
            attempts=3,
            on_error="skip",
            query=ref.ask.query,
            k=ref.request.k,
            mode="text",
        )
        .node(
            "some-node",
            component="megaservice/inner",
            config={},
            each={"text": [ref.ask.query, "more"]},
            at_once=2,
            effect=True,
            inputs={"config": ref("find.hits[0].document.text")},
        )
        .node("again", component="megaservice/inner", until="response.done", at_most=3, on_limit="last")
        .node("seen", service="llm", observes="answer", fallback="spare", inputs={"n": 1, "stop": ["x", "y"]})
        .node("answer", service="llm", fill_from=ref.request, user=first(ref.some_node.text, "nobody"))
        .flow("ask >> find", "find >> answer")
        .output(ref.answer)
        .place("default", "process")
        .place("llm", "process", replicas=2, component="llama-cpp", config={"model": "m"})
    )
    written = f"""
apiVersion: weft/v1
kind: Services
services:
  llm: {{component: openai-chat, config: {{url: "http://x/v1", api_key: {{secret: KEY}}}}}}
  spare: {{component: {PARROT}}}
expose: [llm]
---
apiVersion: weft/v1
kind: Megaservice
name: main
version: "1.0.0"
description: All of it.
contract: chat
timeout_s: 60
parameters:
  k: {{type: int, default: 4, min: 1, max: 100, description: How many.}}
  style: {{type: str, choices: [a, b], default: a}}
nodes:
  ask: {{component: condense-question, uses: {{chat: llm}}, inputs: {{messages: request.messages}}}}
  find:
    service: store
    operation: search
    when: size(request.messages) > 0
    timeout_s: 2
    retry: {{attempts: 3}}
    on_error: skip
    inputs: {{query: ask.query, k: request.k, mode: {{value: text}}}}
  some-node:
    component: megaservice/inner
    each: {{field: text, items: [ask.query, {{value: more}}], at_once: 2}}
    effect: true
    inputs: {{config: "find.hits[0].document.text"}}
  again: {{component: megaservice/inner, repeat: {{until: response.done, at_most: 3, on_limit: last}}}}
  seen: {{service: llm, observes: answer, fallback: spare, inputs: {{n: {{value: 1}}, stop: {{value: [x, y]}}}}}}
  answer: {{service: llm, fill_from: request, inputs: {{user: {{first: [some-node.text, {{value: nobody}}]}}}}}}
flow: ["ask >> find", "find >> answer"]
output: answer
---
apiVersion: weft/v1
kind: Placement
default: {{at: process}}
services:
  llm: {{at: process, replicas: 2, component: llama-cpp, config: {{model: m}}}}
"""
    assert built.spec() == loads(written)
    assert loads(built.to_yaml()) == built.spec()


def examples() -> list[Path]:
    """The packaged specs."""
    return sorted((Path(weft.__file__).parent / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.name)
def test_a_loaded_spec_goes_through_a_builder_unchanged(path: Path) -> None:
    """``load``, ``Megaservice.of``, ``to_yaml``: the same spec."""
    spec = load(path)
    assert Megaservice.of(spec).spec() == spec


def test_a_saved_spec_keeps_comments(tmp_path: Path) -> None:
    """Only what the program has changed is written; a new file is written whole."""
    path = tmp_path / "small.yaml"
    parrot().save(path)
    assert load(path) == parrot().spec()
    path.write_text("# mine\n" + path.read_text().replace("output:", "# the end\noutput:"))
    Megaservice.of(load(path)).node("answer", component=Parrot, timeout_s=5, fill_from=ref.request).save(path)
    text = path.read_text()
    assert "# mine" in text
    assert "# the end" in text
    assert load(path).megaservices["small"].nodes["answer"].timeout_s == 5
    save(parrot().spec(), path)
    assert load(path) == parrot().spec()


def test_faults_are_reported_as_in_a_file() -> None:
    """All at once, with the line that the file would have: node and field are in it."""
    with pytest.raises(SpecError) as caught:
        Megaservice("main").node("a", component=Parrot, messages=ref.request.mesages).node(
            "b", component=Parrot, fill_from=ref.a, mesages=ref.reqest
        ).output(ref.b).check()
    text = str(caught.value)
    assert "inputs: {messages: request.mesages}" in text
    assert "inputs: {mesages: reqest}" in text
    assert "<main>:7:24: " in text
    assert "the request has no field 'mesages'" in text
    assert "did you mean 'messages'?" in text
    assert "'reqest' names no node in this megaservice" in text


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"query": object()}, "node 'a', input 'query': a value of type object cannot be written"),
        ({"query": float("nan")}, "node 'a', input 'query': nan cannot be written: a number must be finite"),
        ({"config": {"x": {1, 2}}}, "node 'a', config 'x': a value of type set cannot be written"),
        ({"each": {}}, "node 'a', each: one field takes the elements"),
        ({"until": "response.done"}, "node 'a': 'until' and 'at_most' go together"),
        ({"fill_from": "request"}, "node 'a', fill_from: it takes a reference"),
        ({"query": [ref.b, object()]}, "node 'a', input 'query': a value of type object cannot be written"),
    ],
)
def test_what_cannot_be_written_names_node_and_field(node: dict[str, Any], message: str) -> None:
    """At the call that says it, not later."""
    with pytest.raises(UsageError) as caught:
        Megaservice("main").node("a", component="x", **node)
    assert caught.value.message == message


def test_a_copy_is_changed_by_itself() -> None:
    """What is added to a copy is not in what it was copied from."""
    one = parrot()
    other = one.copy().node("more", component=Parrot, effect=True, fill_from=ref.request)
    assert "more" not in one.to_yaml()
    assert "more" in other.to_yaml()


def test_references() -> None:
    """They print as a spec writes them, and are no values."""
    assert str(ref.some_node.field_name[0].text) == "some-node.field_name[0].text"
    assert repr(ref("a.b[1]")) == "ref('a.b[1]')"
    with pytest.raises(UsageError, match="'A' is not a reference"):
        ref("A")
    with pytest.raises(TypeError, match="write when='...' for a condition"):
        bool(ref.a)
    with pytest.raises(TypeError, match="cannot be iterated over"):
        list(ref.a)
    with pytest.raises(UsageError, match="by number from 0"):
        ref.a["x"]  # type: ignore[index]  # that is what is wrong
    with pytest.raises(AttributeError):
        ref.a.__wrapped__  # noqa: B018 - asking is the test


def test_nothing_of_that_name() -> None:
    """What is to be changed must be there; the nearest is named."""
    with pytest.raises(UsageError) as caught:
        Megaservice.of(parrot().spec(), "smal")
    assert caught.value.hint == "did you mean 'small'? megaservices: small"
    with pytest.raises(UsageError) as caught:
        parrot().remove("anser")
    assert caught.value.hint == "did you mean 'answer'? nodes: answer"
    with pytest.raises(UsageError, match="a name is missing beside '>>'"):
        parrot().flow("a >>")
    with pytest.raises(UsageError, match="'moon' is not a place"):
        parrot().place("llm", "moon")


def test_a_class_that_no_file_has() -> None:
    """A component is loaded again where it runs: one inside a function cannot be."""

    class Here:
        async def invoke(self, request: ChatRequest) -> ChatRequest:
            return request

    with pytest.raises(UsageError, match="cannot be found again from a file"):
        Megaservice("main").node("a", component=Here)


async def test_a_program_asks_what_it_runs(tmp_path: Path) -> None:
    """With fields or with a request, whole or in chunks; one nested in it by its own name."""
    outer = (
        Megaservice("outer")
        .include(parrot())
        .service("birds", "megaservice/small")
        .node("ask", component=Asking, uses={"chat": "birds"}, text=ref.request.text, inputs={"config": "!"})
        .output(ref.ask)
    )
    async with outer.start(data=tmp_path) as running:
        assert (await running.ask(text="hello")).text == "hello!"
        reply = await running.ask(ChatRequest([Message("user", "hi")]), megaservice="small")
        assert reply.text() == "hi"
        words = [
            chunk.choices[0].delta.content
            async for chunk in running.stream(
                messages=[{"role": "user", "content": "how are you"}], megaservice="small"
            )
        ]
        assert words == ["how ", "are ", "you "]
        assert [step.name for step in running.journal.steps(1)] == ["outer", "ask", "chat", "small", "answer"]


async def test_what_is_asked_wrongly(tmp_path: Path) -> None:
    """An unknown field, a wrong type and a megaservice that is not there are said so."""
    running = parrot().start(data=tmp_path)
    with pytest.raises(UsageError, match="it does not run"):
        await running.ask(messages=[])
    async with running:
        with pytest.raises(UsageError) as caught:
            await running.ask(mesages=[])
        assert caught.value.message == "a request to 'small' has no field 'mesages'"
        with pytest.raises(InvalidRequestError, match="Expected `array`, got `str`"):
            await running.ask(messages="hi")
        with pytest.raises(UsageError, match="there is no megaservice 'big'"):
            await running.ask(megaservice="big", messages=[])


async def test_a_program_serves(tmp_path: Path) -> None:
    """All routes are there while it does; afterwards nobody listens."""
    client = Client()
    async with parrot().serve(data=tmp_path, token="t") as served:
        gateway = client.endpoint(served.url)
        body = msgspec.json.encode({"model": "small", "messages": [{"role": "user", "content": "hi"}]})
        headers = [("content-type", "application/json")]
        assert (await gateway.request("POST", "/v1/chat/completions", body, headers=headers)).status == 401
        headers.append(("authorization", "Bearer t"))
        reply = await gateway.request("POST", "/v1/chat/completions", body, headers=headers)
        assert reply.status == 200
        assert msgspec.json.decode(reply.body)["choices"][0]["message"]["content"] == "hi"
    with pytest.raises(UnreachableError):
        await gateway.request("GET", "/health/live")
    await client.aclose()


def test_others_are_not_let_in_by_accident(tmp_path: Path) -> None:
    """Bound wider than this machine, it asks for a token."""
    with pytest.raises(UsageError, match="it would be open to whoever reaches this machine"):
        parrot().serve(host="0.0.0.0", data=tmp_path)


def test_importing_weft_loads_next_to_nothing() -> None:
    """The public names are loaded when they are asked for."""
    program = (
        "import sys, weft; light = 'msgspec' not in sys.modules; names = dir(weft); "
        "from weft import Megaservice, ref, load; print(light, 'Megaservice' in names, Megaservice.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "Megaservice"]
    with pytest.raises(AttributeError, match="module 'weft' has no attribute 'Megaservices'"):
        weft.Megaservices  # noqa: B018 - asking is the test
