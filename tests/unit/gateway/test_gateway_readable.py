"""Schemas of requests as they are read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from weft.contracts.chat import CONTRACT
from weft.contracts.reranker import CONTRACT as RERANKER
from weft.errors import UnsupportedParameterError
from weft.gateway.readable import narrowed, opea_chat
from weft.gateway.targets import Target
from weft.serve.openapi import resolved

CHAT: dict[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {"messages": {"type": "array"}, "seed": {}, "stop": {}, "n": {}, "model": {}},
}


def target(*consumed: str) -> Target:
    async def call(operation: str, request: Any) -> Any:
        raise AssertionError("not called")

    return Target("t", "1", CONTRACT, call, None, dict(CONTRACT.operations), consumed=frozenset(consumed))


def test_what_nothing_reads_may_only_ask_for_nothing() -> None:
    """Fields that some target reads stay; others can be null, or what the API says that they are anyway."""
    found = narrowed([target("messages"), target("seed")], {"$ref": "#/components/schemas/C"}, {"C": CHAT})
    assert set(CHAT["properties"]) - set(found["properties"]) == set()
    assert found["properties"]["seed"] == {}
    assert found["properties"]["n"] == {"enum": [1, None]}
    assert found["properties"]["stop"] == {"enum": [[], None]}
    assert found["additionalProperties"] == {"type": "null"}
    assert CHAT["properties"]["n"] == {}, "the schema itself stays as it is"


def test_opeas_route_takes_a_text_for_the_messages() -> None:
    """And streams unless it is told not to."""
    found = opea_chat(CHAT, {})
    assert found["properties"]["messages"]["anyOf"] == [{"type": "string"}, {"type": "array", "minItems": 1}]
    assert found["properties"]["stream"]["default"] is True


def test_a_reference_elsewhere_is_left_alone() -> None:
    """Only components of this document are looked up."""
    assert resolved({"$ref": "#/elsewhere"}, {}) == {"$ref": "#/elsewhere"}


def test_no_texts_are_no_wrong_number_of_them() -> None:
    """TEI's form has no top_n: an empty list is put in order, and is not refused for a bound that nobody set."""
    form = RERANKER.primary.forms[1]
    assert form.decode(b'{"query": "q", "texts": []}').top_n is None
    assert form.decode(b'{"query": "q", "texts": ["a", "b"]}').top_n == 2


def test_nought_is_not_false() -> None:
    """A field that nothing reads may have its documented default, of the default's own type."""
    one = target("messages")
    one.check_fields({"store": msgspec.Raw(b"false"), "n": msgspec.Raw(b"1"), "seed": msgspec.Raw(b"null")})
    for name, value in (("store", b"0"), ("n", b"true"), ("logprobs", b"0")):
        with pytest.raises(UnsupportedParameterError):
            one.check_fields({name: msgspec.Raw(value)})
