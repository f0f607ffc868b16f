"""What a route says holds through every protocol: access, limits, versions, transformation."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from accesskit import bearer, made
from frontkit import GATEWAY, TALK, FrontRig
from protocolkit import WAITS, delta, model_of, speaking

QUESTION = [{"role": "user", "content": "Hello?"}]
ANTHROPIC = {"model": "talk", "max_tokens": 50, "messages": QUESTION}
CALL = {"name": "talk", "arguments": {"messages": "Hello?"}}
BATCHED = [{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}]
PROGRESS = CALL | {"_meta": {"progressToken": "p"}}

PROTOCOLS: dict[str, tuple[str, Any]] = {
    "chat": ("/v1/chat/completions", {"model": "talk", "messages": QUESTION}),
    "chat, streamed": ("/v1/chat/completions", {"model": "talk", "messages": QUESTION, "stream": True}),
    "own path": ("/v1/greet", {"messages": "Hello?"}),
    "anthropic": ("/v1/messages", ANTHROPIC),
    "anthropic, streamed": ("/v1/messages", ANTHROPIC | {"stream": True}),
    "responses": ("/v1/responses", {"model": "talk", "input": "Hello?"}),
    "responses, streamed": ("/v1/responses", {"model": "talk", "input": "Hello?", "stream": True}),
    "mcp": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}),
    "mcp, with progress": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": PROGRESS}),
    "mcp, batched": ("/mcp", BATCHED),
}
"""Every way to ask the route's target."""

each = pytest.mark.parametrize("protocol", PROTOCOLS)


async def asked(rig: FrontRig, protocol: str, headers: dict[str, str] | None = None) -> httpx.Response:
    path, body = PROTOCOLS[protocol]
    sent = {"accept": "application/json, text/event-stream"} | (headers or {})
    async with httpx.AsyncClient(base_url=rig.url, timeout=20) as client:
        return await client.post(path, json=body, headers=sent)


def status_of(reply: httpx.Response) -> int:
    """What became of it; a batch has it inside."""
    if reply.text.startswith("["):
        error = reply.json()[0].get("error", {})
        return int(error.get("code", 200))
    return reply.status_code


def routed(rules: str, auth: str = "") -> str:
    return f"{TALK}{GATEWAY}  - {{path: /v1/greet, megaservice: talk{rules}}}\n{auth}"


@each
async def test_one_limit_counts_them_all(rig: FrontRig, protocol: str) -> None:
    """A route that allows two requests has them used up by any two, and refuses the third through each protocol."""
    await rig.gateway(routed(", limits: [{per: route, requests: 2/hour}]"))
    for first in ("chat", "anthropic"):
        assert status_of(await asked(rig, first)) == 200
    before = len(rig.requests())
    refused = await asked(rig, protocol)
    assert status_of(refused) == 429
    assert "limit" in refused.text
    if not refused.text.startswith("["):
        assert int(refused.headers["retry-after"]) > 0
    assert len(rig.requests()) == before


@each
async def test_each_is_counted_once(rig: FrontRig, protocol: str) -> None:
    """A request through any protocol uses up one of the route's."""
    await rig.gateway(routed(", limits: [{per: route, requests: 2/hour}]"))
    assert status_of(await asked(rig, protocol)) == 200
    assert status_of(await asked(rig, "chat")) == 200
    assert status_of(await asked(rig, "chat")) == 429


@each
async def test_tokens_are_charged_whatever_the_protocol(rig: FrontRig, protocol: str) -> None:
    """What an answer cost is gone from the route's tokens, and no more than that: five, as through chat."""
    await rig.gateway(routed(", reserve: 2000, limits: [{per: route, tokens: 90000/day}]"))

    async def remaining() -> int:
        return int((await asked(rig, "chat")).headers["x-ratelimit-remaining-tokens"])

    before = await remaining()
    assert status_of(await asked(rig, protocol)) == 200
    assert before - await remaining() == 10  # of the chat that told, and of the protocol


@each
async def test_a_caller_without_the_role_is_refused(rig: FrontRig, protocol: str) -> None:
    """The route's roles are asked for through each protocol: 401 for nobody, 403 for somebody else."""
    other, clerk = bearer(await made(rig, "other")), bearer(await made(rig, "clerk", roles=("clerk",)))
    await rig.gateway(routed(", roles: [clerk]", "auth: {keys: true}\n"))
    assert (await asked(rig, protocol)).status_code == 401
    assert status_of(await asked(rig, protocol, other)) == 403
    assert status_of(await asked(rig, protocol, clerk)) == 200


@each
async def test_what_a_route_changes_is_changed(rig: FrontRig, protocol: str) -> None:
    """The model is asked what the route's transformation makes of the request."""
    await rig.gateway(routed(", request: {clamp: {max_tokens: [1, 2]}}"))
    reply = await asked(rig, protocol)
    assert status_of(reply) == 200
    assert rig.requests()[-1].max_tokens == 2
    assert "you." not in reply.text


@each
async def test_a_caller_that_leaves_ends_the_work(rig: FrontRig, protocol: str) -> None:
    """The model stops, and nothing is in flight: whole, streamed and in a batch."""
    await speaking(rig, [delta(content="Well"), WAITS], "  - {path: /v1/greet, megaservice: talk}\n")
    model = model_of(rig)
    leaving = asyncio.ensure_future(asked(rig, protocol))
    await asyncio.wait_for(model.waits.wait(), 10)
    leaving.cancel()
    await asyncio.wait_for(model.ended.wait(), 10)
    assert model.running == 0
    assert rig.app is not None
    async with asyncio.timeout(10):
        while rig.app.in_flight:
            await asyncio.sleep(0.001)


async def test_versions_are_chosen_by_model_name_in_each(rig: FrontRig) -> None:
    """``talk@2`` is version 2 in each protocol, and a name that says no version is shared out as the route says."""
    one = TALK.removesuffix("---\n")
    (rig.folder / "one.yaml").write_text(one)
    two = one.replace('"1.0.0"', '"2.0.0"').replace(
        '"./chat.py:Chat"', '"./chat.py:Chat", config: {reply: Two.}'
    )
    (rig.folder / "two.yaml").write_text(two)
    versions = (
        "[{version: '1.0.0', from: one.yaml, weight: 1}, {version: '2.0.0', from: two.yaml, weight: 0}]"
    )
    await rig.gateway(
        "apiVersion: weft/v1\nkind: Gateway\nname: front\nroutes:\n"
        f"  - {{path: /v1/greet, megaservice: talk, versions: {versions}}}\n"
    )
    for protocol, (path, body) in PROTOCOLS.items():
        if protocol.startswith("mcp") or protocol == "own path":
            continue
        async with httpx.AsyncClient(base_url=rig.url, timeout=20) as client:
            for model, words in (("talk@2", "Two."), ("talk", "morning"), ("talk@1.0", "morning")):
                reply = await client.post(path, json=body | {"model": model})
                assert words in reply.text, (protocol, model)
    assert "morning" in (await asked(rig, "mcp")).text


async def test_the_keys_owner_alone_has_a_response_again(rig: FrontRig) -> None:
    """A colleague, and one of the same name in another tenant, cannot name it; nor go on from it."""
    owner, *others = [
        bearer(await made(rig, name, tenant=tenant, owner=owner))
        for name, tenant, owner in (
            ("one", "a", "anna"),
            ("colleague", "a", "ben"),
            ("namesake", "b", "anna"),
        )
    ]
    await rig.gateway(routed("", "auth: {keys: true}\n"))
    id_ = (await asked(rig, "responses", owner)).json()["id"]
    async with httpx.AsyncClient(base_url=rig.url) as client:
        assert (await client.get(f"/v1/responses/{id_}", headers=owner)).status_code == 200
        for other in others:
            for method in ("GET", "DELETE"):
                assert (
                    await client.request(method, f"/v1/responses/{id_}", headers=other)
                ).status_code == 404
            follow = {"model": "talk", "input": "Go on.", "previous_response_id": id_}
            assert (await client.post("/v1/responses", json=follow, headers=other)).status_code == 404
            forged = other | {"x-weft-tenant": "a", "x-tenant": "a"}
            assert (await client.get(f"/v1/responses/{id_}", headers=forged)).status_code == 404
        assert (await client.get(f"/v1/responses/{id_}", headers=owner)).status_code == 200


async def test_only_tools_that_a_caller_may_have_are_listed(rig: FrontRig) -> None:
    """The list of tools has what the caller's roles and key let in."""
    other, clerk = bearer(await made(rig, "other")), bearer(await made(rig, "clerk", roles=("clerk",)))
    await rig.gateway(routed(", roles: [clerk]", "auth: {keys: true}\n"))
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx.AsyncClient(base_url=rig.url) as client:
        for key, tools in ((other, []), (clerk, ["talk"])):
            listed = (await client.post("/mcp", json=listing, headers=key)).json()["result"]["tools"]
            assert [tool["name"] for tool in listed] == tools
