"""Bodies that are made to break something: each is refused as the caller's fault, in the protocol's own form."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from accesskit import bearer, made
from frontkit import GATEWAY, TALK, FrontRig
from protocolkit import WAITS, delta, model_of, speaking

CACHED = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk, cache: {}}\n"
DEPTHS = (100, *range(965, 1003, 2), 5_000)
"""How deep: around where one more step on the way is one too many, and far beyond."""

DEEP: dict[str, tuple[str, dict[str, Any]]] = {
    "a tool's schema": (
        "/v1/messages",
        {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "tools": [{"name": "t", "input_schema": "DEEP"}]},
    ),
    "a tool's input": (
        "/v1/messages",
        {
            "max_tokens": 5,
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "n", "input": "DEEP"}]},
                {"role": "user", "content": "x"},
            ],
        },
    ),
    "counted": (
        "/v1/messages/count_tokens",
        {"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "t", "input_schema": "DEEP"}]},
    ),
    "a function's parameters": ("/v1/responses", {"input": "x", "tools": [{"type": "function", "name": "t", "parameters": "DEEP"}]}),
    "content": ("/v1/responses", {"input": [{"role": "user", "content": ["DEEP"]}]}),
    "a type": ("/v1/responses", {"input": [{"type": "DEEP"}]}),
    "a field of nobody": ("/v1/responses", {"input": "x", "k": "DEEP"}),
    "a chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "tools": ["DEEP"]}),
    "arguments": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "talk", "arguments": {"messages": "x", "stop": "DEEP"}}}),
    "a tool's name": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "DEEP"}}),
    "a cursor": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "DEEP"}}),
    "a revision": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "DEEP"}}}),
}  # fmt: skip


async def test_what_is_nested_deeply_is_no_fault_of_ours(rig: FrontRig) -> None:
    """However deep, wherever: never a 5xx, with a key and without, and nothing unexpected in the log."""
    await rig.gateway(CACHED)
    async with httpx.AsyncClient(base_url=rig.url, timeout=30) as client:
        for name, (path, body) in DEEP.items():
            written = json.dumps(body if path == "/mcp" else {"model": "talk"} | body)
            for depth in DEPTHS:
                deep = '{"a":' * depth + "1" + "}" * depth
                for key in ({}, {"idempotency-key": f"{name} {depth}"}):
                    sent = {"content-type": "application/json", "accept": "*/*"} | key
                    reply = await client.post(path, content=written.replace('"DEEP"', deep), headers=sent)
                    assert reply.status_code < 500, (name, depth, reply.text)
    assert "unexpected" not in rig.log.getvalue()


NONE = (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model": "\xff"}', b'{"model": 7}', b"[" * 50_000)


async def test_what_is_no_request_is_refused(rig: FrontRig) -> None:
    """A 400 whose body has the protocol's form."""
    await rig.gateway(CACHED)
    async with httpx.AsyncClient(base_url=rig.url, timeout=30) as client:
        for path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/responses", "/mcp"):
            for body in NONE:
                reply = await client.post(path, content=body, headers={"content-type": "application/json"})
                assert reply.status_code == 400, (path, body[:20])
                assert "error" in reply.json()


async def test_another_callers_call_cannot_be_cancelled(rig: FrontRig) -> None:
    """Who knows session and id of a colleague's call, or of one in another tenant, ends nothing with them."""
    keys = [
        bearer(await made(rig, name, tenant=tenant, owner=owner))
        for name, tenant, owner in (
            ("one", "a", "anna"),
            ("colleague", "a", "ben"),
            ("namesake", "b", "anna"),
        )
    ]
    await speaking(
        rig,
        [delta(content="Well"), WAITS, delta("stop")],
        "  - {path: /v1/greet, megaservice: talk}\nauth: {keys: true}\n",
    )
    model = model_of(rig)
    call = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "talk", "arguments": {"messages": "Hello?"}},
    }
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    session = {"mcp-session-id": "a"}
    async with httpx.AsyncClient(base_url=rig.url, timeout=20) as client:
        running = asyncio.ensure_future(client.post("/mcp", json=call, headers=session | keys[0]))
        await asyncio.wait_for(model.waits.wait(), 10)
        for key in keys[1:]:
            assert (await client.post("/mcp", json=cancelled, headers=session | key)).status_code == 202
        assert model.running == 1
        model.gate.set()
        assert (await running).json()["result"]["structuredContent"]["answer"] == "Well"
