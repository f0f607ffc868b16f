"""Model names, and fields that nothing reads."""

from __future__ import annotations

from typing import Any

import pytest

from weft.context import Context
from weft.contracts.base import fields_of
from weft.contracts.chat import CONTRACT, ChatRequest
from weft.errors import ModelNotFoundError, UnsupportedParameterError
from weft.gateway import opea
from weft.gateway.targets import Target, Targets


async def nothing(operation: str, request: Any) -> Any:
    return request


def target(name: str = "chatqna", version: str = "1.2.0", consumed: frozenset[str] | None = None) -> Target:
    return Target(name, version, CONTRACT, nothing, None, CONTRACT.operations, consumed)


@pytest.mark.parametrize("model", ["chatqna", "chatqna@1", "chatqna@1.2", "chatqna@1.2.0", ""])
def test_a_model_name_may_have_a_leading_part_of_the_version(model: str) -> None:
    """The name alone, any leading part of the version, and no name where there is only one target."""
    assert Targets([target()]).get(model).name == "chatqna"


def test_an_unknown_model_lists_the_choices() -> None:
    """404 model_not_found, with the nearest name first."""
    with pytest.raises(
        ModelNotFoundError, match=r"no model 'chatqa' here\ndid you mean 'chatqna'\? models: chatqna, other"
    ):
        Targets([target(), target("other")]).get("chatqa")


def test_a_version_that_is_not_there_is_not_found() -> None:
    """A version is never replaced by another."""
    with pytest.raises(ModelNotFoundError):
        Targets([target()]).get("chatqna@2")


def test_a_field_that_nothing_reads_is_refused() -> None:
    """It is named, with the fields that are read; its documented default, null, user and metadata pass."""
    only_messages = target(consumed=frozenset({"messages"}))
    only_messages.check_fields(
        fields_of(b'{"messages": [], "temperature": 1, "seed": null, "user": "x", "metadata": {"a": "b"}}')
    )
    with pytest.raises(UnsupportedParameterError) as caught:
        only_messages.check_fields(fields_of(b'{"messages": [], "temperature": 0}'))
    assert caught.value.param == "temperature"
    with pytest.raises(UnsupportedParameterError, match="'tempratur' is not supported"):
        target().check_fields(fields_of(b'{"messages": [], "tempratur": 0}'))


def test_opea_accepts_a_string_and_streams_unless_told_not_to() -> None:
    """OPEA's defaults: a string is the user's message, stream is true, max_tokens 1024; temperature 0 stays 0."""
    consumed = frozenset({"messages", "max_tokens", "temperature"})
    request, ignored = opea.decode(b'{"messages": "Hi", "temperature": 0, "top_k": 5}', ChatRequest, consumed)
    assert request.messages[0].content == "Hi"
    assert (request.stream, request.max_tokens, request.temperature) == (True, 1024, 0)
    assert ignored == ["top_k"]


async def test_opea_events_are_bytes_literals() -> None:
    """Each piece of text is a Python bytes literal, whatever characters it has."""
    from weft.contracts.chat import ChatChunk, ChunkChoice, Delta

    async def chunks() -> Any:
        for text in ("Grüß", None, "it's"):
            yield ChatChunk("1", "m", [ChunkChoice(0, Delta(content=text))])

    lines = [line async for line in opea.events(chunks(), Context())]
    assert lines == [b"data: b'Gr\\xc3\\xbc\\xc3\\x9f'\n\n", b'data: b"it\'s"\n\n']
