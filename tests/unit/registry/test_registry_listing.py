"""The list of components is read from source: nothing is imported, nothing broken stops it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from weft.registry.components import Components, Listing

FILES = {
    "__init__.py": "raise RuntimeError('imported')",
    "good.py": '''
"""Module."""
import weft.contracts.retriever as r
from weft.contracts.reranker import RerankRequest, RerankResponse
raise RuntimeError("imported")

class Good:
    """Orders passages
    quickly.

    More.
    """
    async def start(self, host):
        import json
        import weft_no_such_package.part
        import msgspec
    async def invoke(self, request: RerankRequest) -> RerankResponse: ...

class Quoted:
    """Finds."""
    async def invoke(self, request: "r.RetrieveRequest") -> "r.RetrieveResponse": ...

class Extra:
    def invoke(self, request: Mine): ...
    def start(self, host):
        try:
            import weft_no_such_package
        except ImportError as error:
            raise MissingExtraError("extra", package="weft-no-such", extra="local") from error
''',
    "stores.py": '''
from weft.contracts.store import SearchRequest
from weft_listed import beside
class Keep:
    """Keeps."""
    def helper(self): ...
    async def search(self, request: SearchRequest): ...
''',
    "any.py": '''
from weft.contracts import Contract
class Any:
    """Maps."""
    def __init__(self, url: str, *, contract: Contract): ...
    async def invoke(self, request): ...
''',
    "beside.py": "def read():\n    import weft_absent_package\n",
    "broken.py": "class Broken:\n    def (:\n",
    "again.py": "from .good import Good as Renamed\nfrom .again import Circle\n",
}


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Listing]:
    package = tmp_path / "weft_listed"
    package.mkdir()
    for name, text in FILES.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    targets = {
        "good": "good:Good",
        "quoted": "good:Quoted",
        "extra": "good:Extra",
        "keep": "stores:Keep",
        "any": "any:Any",
        "broken": "broken:Broken",
        "renamed": "again:Renamed",
        "circle": "again:Circle",
        "gone": "gone:Gone",
        "no-class": "good:Gone",
    }
    found = Components({name: f"weft_listed.{target}" for name, target in targets.items()}).scan()
    assert not [name for name in sys.modules if name.startswith("weft_listed")]
    return {listing.name: listing for listing in found}


@pytest.mark.parametrize(
    ("name", "contract", "summary"),
    [
        ("good", "reranker", "Orders passages quickly."),
        ("quoted", "retriever", "Finds."),
        ("keep", "store", "Keeps."),
        ("any", "any", "Maps."),
        ("renamed", "reranker", "Orders passages quickly."),
        ("extra", "", ""),
    ],
)
def test_contract_and_promise_are_read(
    listed: dict[str, Listing], name: str, contract: str, summary: str
) -> None:
    """The contract comes from the annotation, the line from the docstring, without importing."""
    assert (listed[name].contract, listed[name].summary, listed[name].error) == (contract, summary, None)


def test_what_it_imports_when_it_starts_is_looked_for(listed: dict[str, Listing]) -> None:
    """A missing package is named; the standard library and what is installed are not."""
    assert listed["good"].missing == ("weft_no_such_package",)
    assert not listed["good"].installed
    assert listed["keep"].missing == ("weft_absent_package",)
    assert listed["any"].installed


def test_extra_is_the_one_that_the_component_names(listed: dict[str, Listing]) -> None:
    """The extra is read from the error that the component raises itself."""
    assert listed["extra"].extra == "local"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("broken", "broken.py:2: "),
        ("circle", "'Circle' is imported in a circle"),
        ("gone", "there is no module 'weft_listed.gone'"),
        ("no-class", "good.py: no class 'Gone'"),
    ],
)
def test_what_cannot_be_read_is_listed_with_its_error(
    listed: dict[str, Listing], name: str, error: str
) -> None:
    """One broken component does not hide the others."""
    assert error in (listed[name].error or "")
    assert not listed[name].installed


class _Namespace:
    """Finds one package whose folders cannot be computed: its parent is not imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "weft_listed_namespace":
            return None
        found = ModuleSpec(name, None, is_package=True)
        found.submodule_search_locations = _Unknown()  # type: ignore[assignment]
        return found


class _Unknown:
    def __iter__(self) -> Iterator[str]:
        raise KeyError("weft_parent_that_is_not_imported")


def test_a_namespace_package_without_its_parent_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its components are listed with an error; the others as ever."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, _Namespace()])
    found = Components(
        {"lost": "weft_listed_namespace.part:Lost", "known": "weft.components.reranker.hybrid:HybridReranker"}
    )
    assert [(entry.name, entry.installed) for entry in found.scan()] == [("known", True), ("lost", False)]
