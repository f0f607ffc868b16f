"""What a contract states of itself: two sides compare it, so it must say everything that matters and nothing else."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from msgspec import Struct, defstruct

from weft.contracts import Contract, Operation
from weft.contracts.base import required_fields
from weft.contracts.reranker import CONTRACT


class Item(Struct):
    name: str


@pytest.mark.parametrize(
    ("annotation", "written"),
    [
        (str, "str"),
        (Any, "Any"),
        (list[Item], "list[Item]"),
        (dict[str, list[Item]], "dict[str, list[Item]]"),
        (str | None, "str | None"),
        (list[Item] | None, "list[Item] | None"),
        (Literal["a", "b"], "Literal['a', 'b']"),
    ],
)
def test_a_type_is_written_with_its_parts(annotation: Any, written: str) -> None:
    """What a list is of is part of the contract; modules and Python's own spelling are not."""
    assert required_fields(defstruct("Request", [("field", annotation)])) == [f"field: {written}"]


def test_the_digest_changes_with_required_fields_only() -> None:
    """An optional field may come and go; a required one, or another type of one, is another contract."""

    def digest(*fields: Any) -> str:
        request = defstruct("Request", list(fields))
        return Contract("x", "", {"invoke": Operation("invoke", request, Item)}).digest()

    plain = digest(("texts", list[str]))
    assert digest(("texts", list[str]), ("top", int, 3)) == plain
    assert digest(("texts", list[int])) != plain
    assert digest(("texts", list[str]), ("top", int)) != plain


def test_a_service_states_what_its_contract_requires() -> None:
    """As the specification and the guide show it."""
    assert CONTRACT.required() == {
        "invoke.request": ["documents: list[Document]", "query: str"],
        "invoke.response": ["documents: list[Document]"],
    }
