"""What the registry reads from a component's class, its file, its source."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from weft.contracts import Contract, chat, store
from weft.contracts.chat import Chat, ChatChunk, ChatRequest, ChatResponse
from weft.contracts.embedding import Embedder
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import ComponentError
from weft.registry.components import (
    ComponentInfo,
    Components,
    ConfigFault,
    check_config,
    ignored_fields,
    instantiate,
)
from weft.registry.describe import argument_docs


class Best:
    """Keeps the best passages.

    More words that are not the promise.

    Args:
        top_n: How many, at least 1;
            fewer when there are fewer.
        embedder: Judges them.
    """

    exclusive = True
    unsupported = frozenset({"top_n"})

    def __init__(
        self, top_n: int, *, ratio: float = 0.5, embedder: Embedder, chat: Chat | None = None
    ) -> None:
        self.top_n, self.ratio, self.embedder, self.chat = top_n, ratio, embedder, chat

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        return RerankResponse(request.documents[: self.top_n])


class Words(Struct):
    text: str


class Letters(Struct):
    letters: list[str]


class Letter(Struct):
    letter: str


class Spell:
    """Spells a text."""

    def invoke(self, request: Words) -> Letters:
        return Letters(list(request.text))

    async def stream(self, request: Words) -> AsyncIterator[Letter]:
        for letter in request.text:
            yield Letter(letter)


class Reply:
    """Answers, in the chat contract's words."""

    async def invoke(self, request: Words) -> ChatResponse:
        raise NotImplementedError

    async def stream(self, request: Words) -> AsyncIterator[ChatChunk]:
        yield ChatChunk("", "", [])


class Anything:
    """Whatever its config says."""

    def __init__(self, contract: Contract, **options: str) -> None:
        self.contract, self.options = contract, options

    @classmethod
    def faults(cls, contract: Contract, **options: str) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
        """``never`` can never be set."""
        if "never" in options:
            yield ("never",), f"'never' is not for {contract.name}", "leave it out"

    @classmethod
    def ignores(cls, contract: Contract, **options: str) -> set[str]:
        """What the option ``without`` names."""
        return {options["without"]} if "without" in options else set()

    async def invoke(self, request: Any) -> Any:
        return request


class NoInvoke:
    pass


class NoRequest:
    async def invoke(self, request) -> Letters:
        raise NotImplementedError


class NoResponse:
    async def invoke(self, request: Words):
        raise NotImplementedError


class NoStruct:
    async def invoke(self, request: str) -> Letters:
        raise NotImplementedError


class OtherResponse:
    async def invoke(self, request: ChatRequest) -> Letters:
        raise NotImplementedError


class NoAnnotation:
    def __init__(self, size=3) -> None:
        pass

    async def invoke(self, request: Words) -> Letters:
        raise NotImplementedError


class HalfAStore:
    async def search(self, request: store.SearchRequest) -> store.SearchResponse:
        raise NotImplementedError


CLASSES = {
    c.__name__: c
    for c in (
        Best, Spell, Reply, Anything, NoInvoke, NoRequest, NoResponse, NoStruct, OtherResponse, NoAnnotation, HalfAStore,
    )
}  # fmt: skip


@pytest.fixture
def components() -> Components:
    return Components(CLASSES)


def test_contract_is_found_by_the_request(components: Components) -> None:
    """A component fulfils the contract whose request its ``invoke`` takes."""
    info = components.get("Best")
    assert info.contract is components.contract("reranker")
    assert info.operations == {"invoke"}
    assert (info.exclusive, info.unsupported, info.blocking, info.streams) == (
        True,
        frozenset({"top_n"}),
        False,
        False,
    )
    assert info.description == "Keeps the best passages."


def test_constructor_is_the_config_schema(components: Components) -> None:
    """Parameters are config, those annotated with a contract's Protocol are slots."""
    info = components.get("Best")
    assert [(p.name, p.annotation, p.required, p.default) for p in info.parameters] == [
        ("top_n", int, True, None),
        ("ratio", float, False, 0.5),
    ]
    assert info.parameters[0].doc == "How many, at least 1; fewer when there are fewer."
    assert [(s.name, s.contract.name, s.optional) for s in info.slots] == [
        ("embedder", "embedding", False),
        ("chat", "chat", True),
    ]


def test_component_of_no_family_has_a_contract_of_its_own(components: Components) -> None:
    """Its Structs are the contract, served on /v1/invoke, never retried unless it says so."""
    info = components.get("Spell")
    assert info.contract is not None
    operation = info.contract.primary
    assert (info.contract.name, operation.request, operation.response, operation.chunk) == (
        "Spell",
        Words,
        Letters,
        Letter,
    )
    assert [r.path for r in operation.routes] == ["/v1/invoke"]
    assert not operation.idempotent
    assert info.blocking
    assert info.streams


def test_chunks_of_a_known_contract_can_be_collected(components: Components) -> None:
    """A component of no family that streams a contract's chunks gets that contract's collect."""
    contract = components.get("Reply").contract
    assert contract is not None
    assert contract.primary.collect is chat.collect


def test_contract_may_depend_on_config(components: Components) -> None:
    """A parameter annotated ``Contract`` names it, and gets it; an unknown one is an error with the choices."""
    info = components.get("Anything")
    assert info.contract is None
    assert components.contract_of(info, {"contract": "chat"}).name == "chat"
    assert instantiate(info, {"contract": "chat"}, {}).contract is chat.CONTRACT
    with pytest.raises(ComponentError, match=r"there is no contract 'chatt'\ndid you mean 'chat'\?"):
        components.contract_of(info, {"contract": "chatt"})
    with pytest.raises(ComponentError, match=r"names no contract\ncontract: one of chat, "):
        components.contract_of(info, {})
    with pytest.raises(ComponentError, match="there is no contract 'chatt'"):
        instantiate(info, {"contract": "chatt"}, {})
    with pytest.raises(ComponentError, match="must be the name of a contract, not int"):
        instantiate(info, {"contract": 1}, {})


def test_a_component_may_look_at_its_values_itself(components: Components) -> None:
    """What its ``faults`` finds is a fault of the config, with its place; it is asked when types and names are right."""
    info = components.get("Anything")
    assert check_config(info, {"contract": "chat", "never": "x"}) == [
        ConfigFault(("never",), "'never' is not for chat", "leave it out", "config-value")
    ]
    assert [fault.code for fault in check_config(info, {"contract": "chatt", "never": "x"})] == [
        "unknown-contract"
    ]
    with pytest.raises(ComponentError, match="'never' is not for chat"):
        instantiate(info, {"contract": "chat", "never": "x"}, {})


def test_what_a_component_ignores_may_depend_on_its_config(components: Components) -> None:
    """Its class method ``ignores`` says so; a config that is wrong is not asked about, and others say it once for all."""
    info = components.get("Anything")
    assert ignored_fields(info, {"contract": "chat"}) == set()
    assert ignored_fields(info, {"contract": "chat", "without": "seed"}) == {"seed"}
    assert ignored_fields(info, {"contract": "chatt", "without": "seed"}) == set()
    assert ignored_fields(components.get("Best"), {"top_n": 1}) == {"top_n"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoInvoke", "has no 'invoke' method, nor the methods of a contract"),
        ("NoRequest", "has an 'invoke' whose request is not annotated"),
        ("NoResponse", "has an 'invoke' whose response is not annotated"),
        ("NoStruct", "has an 'invoke' whose request is no msgspec Struct, but <class 'str'>"),
        ("OtherResponse", "takes the request of the contract 'chat' but returns Letters"),
        ("NoAnnotation", "has a constructor parameter 'size' without annotation"),
        ("HalfAStore", "fulfils the contract 'store' only in part"),
    ],
)
def test_fault_in_a_class_is_named(components: Components, name: str, message: str) -> None:
    """What a class lacks is an error with its file and line."""
    with pytest.raises(ComponentError) as caught:
        components.get(name)
    assert message in caught.value.message
    assert f"{__file__}:" in caught.value.message


def test_unknown_name_gets_a_suggestion(components: Components) -> None:
    """A misspelt name lists what there is."""
    with pytest.raises(ComponentError) as caught:
        components.get("spell")
    assert caught.value.message == "there is no component 'spell'"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean 'Spell'? components: Anything, Best, ")


COMPONENT_FILE = '''
from msgspec import Struct

class Ask(Struct):
    text: str

class Mine:
    """Says it back."""

    async def invoke(self, request: Ask) -> Ask:
        return request

VALUE = 3
'''


def test_component_in_a_file_beside_the_spec(tmp_path: Path) -> None:
    """``./file.py:Class`` is loaded relative to the folder; its version is the file's digest."""
    (tmp_path / "mine.py").write_text(COMPONENT_FILE)
    info = Components().get("./mine.py:Mine", folder=tmp_path)
    assert (info.name, info.description, len(info.version)) == ("./mine.py:Mine", "Says it back.", 12)


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    """Each folder's own file is loaded, under a name of its own."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(COMPONENT_FILE.replace("Says it back", f"Says {name}"))
    components = Components()
    found = [components.get("./mine.py:Mine", folder=tmp_path / name).description for name in ("a", "b")]
    assert found == ["Says a.", "Says b."]


@pytest.mark.parametrize(
    ("text", "reference", "message"),
    [
        ("def f(:\n", "./bad.py:Mine", "bad.py:1: "),
        ("\nimport not_there_at_all\n", "./bad.py:Mine", "bad.py:2: ModuleNotFoundError: No module named"),
        ("\n\n1/0\n", "./bad.py:Mine", "bad.py:3: ZeroDivisionError: division by zero"),
        (COMPONENT_FILE, "./bad.py:VALUE", "is no class but a int"),
        (COMPONENT_FILE, "./bad.py:Mime", "has no 'Mime'"),
    ],
)
def test_broken_file_is_named_with_its_line(tmp_path: Path, text: str, reference: str, message: str) -> None:
    """Whatever is wrong with a component's file is one error that says where."""
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ComponentError) as caught:
        Components().get(reference, folder=tmp_path)
    assert message in caught.value.message


def test_missing_file_and_missing_module_are_named(tmp_path: Path) -> None:
    """A path or module that is not there is an error, not a traceback."""
    with pytest.raises(ComponentError, match=r"gone\.py: No such file"):
        Components().get("./gone.py:Mine", folder=tmp_path)
    with pytest.raises(ComponentError, match="there is no module 'weft_gone'"):
        Components().get("weft_gone.mine:Mine")


def test_component_in_an_importable_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``package.module:Class`` is imported."""
    (tmp_path / "weft_test_importable.py").write_text(COMPONENT_FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Components().get("weft_test_importable:Mine").description == "Says it back."
    del sys.modules["weft_test_importable"]


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        (
            {"top_n": "3"},
            "config value 'top_n' of component 'Best' must be int, not str",
            None,
        ),
        (
            {"top_n": True},
            "config value 'top_n' of component 'Best' must be int, not bool",
            None,
        ),
        ({"top_n": 1, "ratioo": 1}, "component 'Best' has no config value 'ratioo'", "did you mean 'ratio'?"),
        ({}, "component 'Best' needs the config value 'top_n'", "top_n: int - How many"),
        (
            {"top_n": 1, "embedder": "e"},
            "'embedder' of component 'Best' is a service, not a config value",
            "uses: {embedder: SERVICE}",
        ),
    ],
)
def test_config_is_checked(
    components: Components, config: dict[str, Any], message: str, hint: str | None
) -> None:
    """Names and types are those of the constructor; nothing is coerced."""
    faults = check_config(components.get("Best"), config)
    assert [f.message for f in faults] == [message]
    assert hint is None or (faults[0].hint is not None and hint in faults[0].hint)


class Careful:
    """Has every kind of config."""

    def __init__(
        self,
        key: str,
        folder: Path,
        *,
        ratio: float = 1.0,
        names: list[str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.seen = (key, folder, ratio, names, headers)

    async def invoke(self, request: Words) -> Letters:
        raise NotImplementedError


@pytest.fixture
def careful() -> ComponentInfo:
    return Components({"careful": Careful}).get("careful")


def test_secret_stands_for_text(careful: ComponentInfo) -> None:
    """A secret fits where text does, at any depth, and nowhere else."""
    secret = {"secret": "KEY"}
    assert check_config(careful, {"key": secret, "folder": "x", "headers": {"authorization": secret}}) == []
    assert [f.path for f in check_config(careful, {"key": "k", "folder": "x", "ratio": secret})] == [
        ("ratio",)
    ]


def test_instance_gets_values_of_its_types(careful: ComponentInfo) -> None:
    """An int fills a float, text fills a path, defaults stay."""
    made = instantiate(careful, {"key": "k", "folder": "x", "ratio": 2, "names": ["a"]}, {})
    assert made.seen == ("k", Path("x"), 2.0, ["a"], None)
    assert isinstance(made.seen[2], float)


def test_instance_needs_its_slots(components: Components) -> None:
    """An unbound slot and an unknown one are named."""
    info = components.get("Best")
    with pytest.raises(ComponentError, match="needs a service of the contract 'embedding' as 'embedder'"):
        instantiate(info, {"top_n": 1}, {})
    with pytest.raises(ComponentError, match=r"uses no 'embeder' \(did you mean 'embedder'"):
        instantiate(info, {"top_n": 1}, {"embeder": object(), "embedder": object()})


def test_argument_docs_are_read() -> None:
    """Google style, several names on a line, continued lines, other sections ignored."""
    docs = argument_docs(
        """Does it.

        Args:
            a, b: Two of them.
            c (int): One
                that goes on.

        Returns:
            d: Not an argument.
        """
    )
    assert docs == {"a": "Two of them.", "b": "Two of them.", "c": "One that goes on."}
