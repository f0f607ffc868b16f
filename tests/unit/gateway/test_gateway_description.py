"""The API's description of a gateway: its routes as their callers see them, who may call, how much, which versions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from frontkit import GATEWAY, TALK, FrontRig
from weft.gateway.description import limits_in_words
from weft.serve.openapi import openapi
from weft.spec.gateway import LimitSpec


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


ROUTE = """\
  - path: /v1/greet
    megaservice: talk
    description: Says good morning.
    roles: [guest]
    limits: [{per: key, requests: 60/min}, {per: route, concurrent: 8, queue: 2}]
    examples: {hello: {messages: "Hello?"}}
    response: {rename: {id: reply_id}, remove: [created, choices.logprobs], set: {served_by: "'front'"}}
    request:
      set: {user: "caller + body.team"}
      remove: [logit_bias]
      defaults: {temperature: 0.2}
      clamp: {max_tokens: [1, 64]}
  - path: /v1/foreign
    upstream: {urls: ["http://127.0.0.1:9"]}
    schema: {type: object, required: [question]}
"""


async def document(rig: FrontRig, more: str = "", route: str = ROUTE) -> Any:
    await rig.gateway(TALK + GATEWAY + route + more)
    assert rig.app is not None
    return openapi(rig.app)


AUTH = "auth: {keys: true, oidc: {issuer: 'http://localhost:9/', audience: weft}, roles: {guest: 'true'}}\n"


async def test_a_route_is_described_as_its_caller_sees_it(rig: FrontRig) -> None:
    """Its words and examples; fields that are set, read, bounded, taken away; nothing that is there anyway is needed."""
    found = (await document(rig, AUTH))["paths"]["/v1/greet"]["post"]
    assert found["summary"] == "Says good morning."
    content = found["requestBody"]["content"]["application/json"]
    assert content["examples"] == {"hello": {"value": {"messages": "Hello?"}}}
    fields = content["schema"]["properties"]
    assert fields["logit_bias"] == {"description": "Taken away by this route, if it is sent."}
    assert fields["temperature"]["default"] == 0.2
    assert (fields["max_tokens"]["default"], fields["max_tokens"]["description"]) == (
        64,
        "Brought to between 1 and 64 by this route.",
    )
    assert fields["user"]["description"] == "Set by this route, whatever is sent."
    assert "team" in fields
    assert content["schema"]["required"] == ["messages"]


async def test_replies_are_described_as_the_caller_gets_them(rig: FrontRig) -> None:
    """Whole and in events: what is renamed, taken away and set; of what is within a field, that it is changed."""
    content = (await document(rig, AUTH))["paths"]["/v1/greet"]["post"]["responses"]["200"]["content"]
    for schema in (content["application/json"]["schema"], content["text/event-stream"]["x-weft-each-event"]):
        changed = {"description": "Changed by this route."}
        assert {name for name, field in schema["properties"].items() if field == changed} == {
            "reply_id", "served_by", "choices",
        }  # fmt: skip
        assert not {"id", "created"} & set(schema["properties"])
        assert schema["required"] == ["model", "choices"]


async def test_who_may_call_is_in_the_description(rig: FrontRig) -> None:
    """The ways to show who one is, the roles of a route, and what the refusals are."""
    found = await document(rig, AUTH)
    schemes = found["components"]["securitySchemes"]
    assert [scheme["type"] for scheme in schemes.values()] == ["http", "apiKey", "openIdConnect"]
    assert schemes["oidc"]["openIdConnectUrl"] == "http://localhost:9/.well-known/openid-configuration"
    assert found["security"] == [{"key": []}, {"key_header": []}, {"oidc": []}]
    route = found["paths"]["/v1/greet"]["post"]
    assert route["x-weft-roles"] == ["guest"]
    assert "Callers need the role `guest`." in route["description"]
    assert {"401", "403", "404", "429", "503"} < set(route["responses"])
    assert found["paths"]["/health/live"]["get"]["security"] == []
    assert found["paths"]["/v1/keys"]["get"]["x-weft-roles"] == ["admin"]


async def test_limits_are_in_the_description(rig: FrontRig) -> None:
    """As data, in words, and with the headers that tell of them."""
    route = (await document(rig, AUTH))["paths"]["/v1/greet"]["post"]
    assert route["x-weft-limits"] == [
        {"per": "key", "requests": "60/min"},
        {"per": "route", "concurrent": 8, "queue": 2},
    ]
    assert (
        "Limits: 60 requests a minute for each key; 8 at a time in all, and 2 waiting."
        in route["description"]
    )
    assert set(route["responses"]["429"]["headers"]) == {"Retry-After", "RateLimit-Policy", "RateLimit"}
    assert "RateLimit" in route["responses"]["200"]["headers"]


async def test_an_upstream_has_the_schema_that_the_file_gives(rig: FrontRig) -> None:
    """What it is asked is known from nowhere else; what it answers is not known."""
    found = (await document(rig, AUTH))["paths"]["/v1/foreign"]["post"]
    assert found["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "object",
        "required": ["question"],
    }


async def test_an_upstream_without_a_schema_may_be_sent_anything(rig: FrontRig) -> None:
    """Where a method has a body; its replies and failures are its own."""
    route = "  - {path: /v1/x, upstream: {urls: ['http://127.0.0.1:9']}, methods: [GET, POST]}\n"
    methods = (await document(rig, route=route))["paths"]["/v1/x"]
    assert "requestBody" not in methods["get"]
    content = methods["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"description": "What the other server reads."}
    assert methods["get"]["responses"]["200"]["content"] == {"*/*": {}}
    assert "content" not in methods["get"]["responses"]["default"]


async def test_without_access_rules_the_token_is_the_scheme(rig: FrontRig) -> None:
    """As for every gateway."""
    from weft.serve.access import Access

    await rig.gateway(TALK + GATEWAY + ROUTE.replace("    roles: [guest]\n", ""), Access("secret"))
    assert rig.app is not None
    assert list(openapi(rig.app)["components"]["securitySchemes"]) == ["token"]


def test_limits_in_words() -> None:
    """Each kind, each unit."""
    limits = [
        LimitSpec(per="tenant", tokens="200000/day"),
        LimitSpec(per="user", cost="5/month"),
        LimitSpec(per="address", requests="3/hour"),
    ]
    assert limits_in_words(limits) == (
        "200000 tokens a day for each tenant; 5 in money a month for each user; 3 requests an hour for each address"
    )
