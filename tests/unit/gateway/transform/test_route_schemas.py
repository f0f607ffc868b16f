"""The schema of a route: what keeps to it goes on, anything else is refused with its place."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from frontkit import GATEWAY, TALK, FrontRig, ask
from weft.errors import MissingExtraError
from weft.plan.schemas import RequestSchema
from weft.serve.openapi import openapi

SCHEMA = """\
{type: object, required: [prompt], properties: {
      prompt: {type: string, maxLength: 20}, model: {}, messages: {}, meta: {$ref: "#/$defs/meta"}},
      additionalProperties: false, $defs: {meta: {type: object, properties: {tags: {items: {type: string}}}}}}"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


ROUTE = (
    TALK
    + GATEWAY
    + f"""\
  - path: /v1/greet
    megaservice: talk
    schema: {SCHEMA}
    request:
      set: {{messages: "[{{'role': 'user', 'content': body.prompt}}]"}}
      remove: [prompt, meta]
"""
)


@pytest.mark.parametrize("path", ["/v1/greet", "/v1/chat/completions"])
async def test_a_request_is_checked_as_its_caller_wrote_it(rig: FrontRig, path: str) -> None:
    """Before it is changed, and on every path; what is wrong is named with its place."""
    gateway = await rig.gateway(ROUTE)
    status, body, _ = await ask(gateway, path, prompt="Hi", meta={"tags": ["a"]}, messages=None)
    assert status == 200, body
    assert rig.requests()[-1].messages[0].content == "Hi"
    for fields, param, said in [
        ({"prompt": "x" * 21}, "prompt", "prompt: this is longer than 20 characters"),
        ({"prompt": "x", "meta": {"tags": ["a", 5]}}, "meta.tags.1", 'this is not of type "string"'),
        ({}, None, '"prompt" is a required property'),
        ({"prompt": "x", "max_tokens": 5}, None, "('max_tokens' was unexpected)"),
    ]:
        status, body, _ = await ask(gateway, path, **fields)
        error = body.get("error", body)
        assert (status, error.get("param")) == (400, param), body
        assert said in re.sub(r"\s+", " ", str(error.get("message", error.get("detail"))))


def test_a_schema_is_matched_in_bounded_time() -> None:
    """Patterns that back-track elsewhere for ever, and values that are nested as deep as JSON may be."""
    schema = RequestSchema(
        {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}, "b": {"$ref": "#"}}}
    )
    assert schema.misfit({"a": "a" * 100_000 + "b"}) is not None
    deep: Any = {}
    for _ in range(900):
        deep = {"b": deep}
    assert schema.misfit(deep) is None


def test_a_long_reason_is_cut() -> None:
    """A choice of thousands does not become a message of thousands."""
    misfit = RequestSchema({"enum": [f"choice-{n}" for n in range(5000)]}).misfit("x")
    assert misfit is not None
    assert len(misfit.message) < 400


def test_without_the_validator_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is needed by routes with a schema alone."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(MissingExtraError, match="weft\\[gateway\\]"):
        RequestSchema({})


async def test_a_schema_is_of_the_primary_operation(rig: FrontRig) -> None:
    """What else a service can be asked has its own form."""
    gateway = await rig.gateway(
        TALK
        + GATEWAY
        + "  - path: /v1/say\n    service: llm\n    schema: {type: object, required: [prompt]}\n"
    )
    assert (await ask(gateway, model="llm"))[0] == 400
    assert (await ask(gateway, "/v1/chat/describe", model="llm"))[0] == 200
    assert rig.app is not None
    paths = openapi(rig.app)["paths"]

    def required(path: str) -> Any:
        return paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"].get("required")

    assert required("/v1/say") == required("/v1/chat/completions") == ["prompt"]
    assert required("/v1/chat/describe") is None
