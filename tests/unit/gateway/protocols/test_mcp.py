"""The Model Context Protocol, spoken by the SDK as it comes and by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import jsonschema
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client

from frontkit import GATEWAY, TALK, FrontRig
from protocolkit import CITED, WAITS, delta, model_of, speaking, usage
from weft.serve.access import Access

ROUTE = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n"
ANY = {"accept": "application/json, text/event-stream"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@asynccontextmanager
async def client_of(rig: FrontRig, mode: str = "auto", token: str | None = None) -> AsyncIterator[mcp.Client]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(f"{rig.url}/mcp", http_client=http)
        async with mcp.Client(transport, mode=mode) as client:  # type: ignore[arg-type]
            yield client


async def post(rig: FrontRig, message: Any, **headers: str) -> httpx.Response:
    sent = ANY | {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=rig.url) as client:
        if isinstance(message, str):
            return await client.post(
                "/mcp", content=message, headers=sent | {"content-type": "application/json"}
            )
        return await client.post("/mcp", json=message, headers=sent)


def asked(method: str, id_: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


async def modern(
    rig: FrontRig, method: str, headers: dict[str, str] | None = None, **params: Any
) -> httpx.Response:
    """A request of the newest revision, as it asks for."""
    own = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
    if "name" in params:
        own["mcp-name"] = params["name"]
    return await post(rig, asked(method, **{"_meta": META} | params), **own | (headers or {}))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_finds_and_calls_a_tool(rig: FrontRig, mode: str) -> None:
    """In both eras: the megaservice is listed with what it takes, and called by its name."""
    await rig.gateway(ROUTE)
    async with client_of(rig, mode) as client:
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool("talk", {"messages": "Hello?", "temperature": 0.5})
    assert tool.name == "talk"
    assert tool.input_schema["properties"]["messages"]["anyOf"][0] == {"type": "string"}
    assert [part.text for part in result.content if part.type == "text"] == ["Good morning to you."]
    assert result.structured_content["answer"] == "Good morning to you."
    assert result.structured_content["usage"]["completion_tokens"] == 4
    assert not result.is_error
    request = rig.requests()[-1]
    assert (request.messages[0].text(), request.temperature) == ("Hello?", 0.5)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_is_told_to_who_asks(rig: FrontRig, mode: str) -> None:
    """A call with a progress token hears of the words before its result; what was said so far only grows."""
    await rig.gateway(ROUTE)
    heard: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async with client_of(rig, mode) as client:
        result = await client.call_tool("talk", {"messages": "Hello?"}, progress_callback=on_progress)
    assert result.structured_content["answer"] == "Good morning to you."
    assert heard[0] == (5, "Good ")
    assert [progress for progress, _ in heard] == sorted({progress for progress, _ in heard})


async def test_what_the_answer_stands_on_is_linked(rig: FrontRig) -> None:
    """Citations are links that a client can open, and data that fits the tool's output schema."""
    await speaking(rig, [delta(content="Yes [1]."), delta("stop", annotations=[CITED, CITED]), usage(1, 1)])
    async with client_of(rig) as client:
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool("talk", {"messages": "Hello?"})
    (link,) = [part for part in result.content if part.type == "resource_link"]
    assert (str(link.uri), link.name, link.description) == ("http://here/p/7", "Handbook", "Thirty days.")
    jsonschema.validate(result.structured_content, tool.output_schema)
    assert result.structured_content["citations"][0]["quote"] == "Thirty days."


PLAIN = """\
apiVersion: weft/v1
kind: Services
services: {}
---
apiVersion: weft/v1
kind: Megaservice
name: shout
version: "1.0.0"
description: Makes it louder.
parameters: {loudness: {type: int, default: 1, min: 1, max: 3}}
nodes:
  loud: {component: "./loud.py:Loud", inputs: {text: request.text, times: request.loudness}}
output: loud
"""

LOUD = """\
from msgspec import Struct


class Heard(Struct):
    text: str
    times: int = 1


class Said(Struct):
    text: str


class Loud:
    async def invoke(self, request: Heard) -> Said:
        return Said(request.text.upper() + "!" * request.times)
"""


async def test_errors_of_a_call_are_results_that_a_model_can_read(rig: FrontRig) -> None:
    """What is wrong with the arguments, or behind them, comes as a result; an unknown tool is the client's error."""
    await speaking(rig, [{"fails": "the model is gone"}])
    async with client_of(rig) as client:
        unknown = await client.call_tool("talk", {"messages": "Hello?", "temprature": 1})
        assert unknown.is_error
        assert "did you mean 'temperature'?" in unknown.content[0].text  # type: ignore[union-attr]
        for arguments in (
            {},
            {"messages": 7},
            {"messages": "Hello?", "temperature": 9},
            {"messages": "Hello?"},
        ):
            assert (await client.call_tool("talk", arguments)).is_error
        with pytest.raises(mcp.MCPError, match="there is no tool 'walk'"):
            await client.call_tool("walk", {})


async def test_a_failing_stream_ends_with_a_result(rig: FrontRig) -> None:
    """Progress, then what went wrong, under the request's id."""
    await speaking(rig, [delta(content="Well"), {"fails": "the model is gone"}])

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        pass

    async with client_of(rig) as client:
        result = await client.call_tool("talk", {"messages": "Hello?"}, progress_callback=on_progress)
    assert result.is_error
    assert "the model is gone" in result.content[0].text  # type: ignore[union-attr]


async def test_the_access_token_is_asked_for(rig: FrontRig) -> None:
    """With it the SDK calls; without it the reply is a 401 in JSON-RPC's form."""
    await rig.gateway(ROUTE, Access("secret"))
    async with client_of(rig, token="secret") as client:
        assert (await client.call_tool("talk", {"messages": "Hello?"})).content
    reply = await post(rig, asked("tools/list"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, 401)
    assert reply.json()["jsonrpc"] == "2.0"


async def test_a_strangers_page_is_refused(rig: FrontRig) -> None:
    """An Origin that is not this server's is a 403."""
    await rig.gateway(ROUTE)
    assert (await post(rig, asked("tools/list"), origin="https://evil.example")).status_code == 403
    assert (await post(rig, asked("tools/list"), origin=rig.url)).status_code == 200


# The handshake's era.


async def test_initialize_settles_the_revision(rig: FrontRig) -> None:
    """One that is spoken here is kept; for any other the newest of its era is offered."""
    await rig.gateway(ROUTE)
    for wanted, got in (
        ("2025-06-18", "2025-06-18"),
        ("2024-11-05", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ):
        reply = await post(rig, asked("initialize", protocolVersion=wanted, capabilities={}, clientInfo={}))
        assert reply.json()["result"]["protocolVersion"] == got
        assert reply.headers["mcp-session-id"]
    assert (await post(rig, {"jsonrpc": "2.0", "method": "notifications/initialized"})).status_code == 202
    assert (await post(rig, asked("ping"), mcp_protocol_version="2025-11-25")).json()["result"] == {}


async def test_there_is_no_stream_to_listen_to(rig: FrontRig) -> None:
    """GET and DELETE are 405: nothing is sent unasked, and there are no sessions to end."""
    await rig.gateway(ROUTE)
    async with httpx.AsyncClient(base_url=rig.url) as client:
        for method in ("GET", "DELETE"):
            reply = await client.request(method, "/mcp", headers={"accept": "text/event-stream"})
            assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


async def test_a_batch_is_answered_in_its_order(rig: FrontRig) -> None:
    """The oldest revision has batches: requests get their answers, notifications none; later ones refuse them."""
    await rig.gateway(ROUTE)
    call = asked("tools/call", 2, name="talk", arguments={"messages": "Hello?"})
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    batch = [asked("ping"), notification, call, {"id": 3}]
    answers = (await post(rig, batch)).json()
    assert [answer["id"] for answer in answers] == [1, 2, 3]
    assert answers[1]["result"]["structuredContent"]["answer"] == "Good morning to you."
    assert answers[2]["error"]["code"] == -32600
    assert (await post(rig, [notification])).status_code == 202
    for refused, headers in (
        (batch, {"mcp_protocol_version": "2025-06-18"}),
        ([], {}),
        ([asked("ping")] * 33, {}),
    ):
        reply = await post(rig, refused, **headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, -32600)


async def test_a_call_is_cancelled_by_its_own_session_only(rig: FrontRig) -> None:
    """``notifications/cancelled`` ends the work of the request that it names; another session's does nothing."""
    await speaking(rig, [delta(content="Well"), WAITS])
    model = model_of(rig)
    call = asked("tools/call", 7, name="talk", arguments={"messages": "Hello?"})
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    async with httpx.AsyncClient(base_url=rig.url, timeout=10) as client:
        running = asyncio.ensure_future(client.post("/mcp", json=call, headers=ANY | {"mcp-session-id": "a"}))
        await model.waits.wait()
        await post(rig, cancelled, mcp_session_id="b")
        assert model.running == 1
        await post(rig, cancelled, mcp_session_id="a")
        reply = await running
    assert (reply.json()["id"], reply.json()["error"]["code"]) == (7, 499)
    await asyncio.wait_for(model.ended.wait(), 10)
    assert model.running == 0


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_sdk_that_gives_up_ends_the_work(rig: FrontRig, mode: str) -> None:
    """A call that its caller cancels is no longer worked on, streamed or not, in both eras."""
    await speaking(rig, [delta(content="Well"), WAITS])
    model = model_of(rig)

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        pass

    async with client_of(rig, mode) as client:
        for callback in (None, on_progress):
            call = client.call_tool("talk", {"messages": "Hello?"}, progress_callback=callback)
            running = asyncio.ensure_future(call)
            await asyncio.wait_for(model.waits.wait(), 10)
            running.cancel()
            await asyncio.wait_for(model.ended.wait(), 10)
            assert model.running == 0
            model.waits.clear()
            model.ended.clear()


# The newest revision: every request stands for itself.


async def test_discover_says_what_is_spoken(rig: FrontRig) -> None:
    """Revisions, capabilities and who answers, with how long that holds."""
    await rig.gateway(ROUTE)
    result = (await modern(rig, "server/discover")).json()["result"]
    assert result["supportedVersions"] == ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
    assert (result["resultType"], result["cacheScope"], result["capabilities"]) == (
        "complete",
        "private",
        {"tools": {}},
    )
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "talk"


async def test_a_subscription_is_acknowledged_as_one_to_nothing(rig: FrontRig) -> None:
    """The tools do not change while the gateway runs: the stream says so, and ends."""
    await rig.gateway(ROUTE)
    reply = await modern(rig, "subscriptions/listen", notifications={"toolsListChanged": True})
    assert reply.text.count("data: ") == 2
    assert '"notifications":{}' in reply.text


CALL = {"name": "talk", "arguments": {"messages": "Hello?"}}
MISMATCHED: list[tuple[str, dict[str, Any], dict[str, str], int]] = [
    ("another revision in the header", {"_meta": META}, {"mcp-protocol-version": "2025-06-18"}, -32020),
    ("no method in the header", {"_meta": META}, {"mcp-method": ""}, -32020),
    ("another method in the header", {"_meta": META}, {"mcp-method": "tools/list"}, -32020),
    ("another tool in the header", {"_meta": META}, {"mcp-name": "walk"}, -32020),
    ("a name that is no base64", {"_meta": META}, {"mcp-name": "=?base64?!?="}, -32020),
    ("no _meta", {"_meta": {}}, {}, -32602),
    ("no capabilities", {"_meta": {key: v for key, v in META.items() if "Version" in key}}, {}, -32602),
    ("a revision that is none", {"_meta": META | {"io.modelcontextprotocol/protocolVersion": "1900-01-01"}},
     {"mcp-protocol-version": "1900-01-01"}, -32022),
]  # fmt: skip


async def test_what_a_request_says_twice_must_be_the_same(rig: FrontRig) -> None:
    """Headers that differ from the body, or what is missing, are refused with the revision's own codes."""
    await rig.gateway(ROUTE)
    for name, params, headers, code in MISMATCHED:
        reply = await modern(rig, "tools/call", headers, **CALL | params)
        told = (reply.status_code, reply.json()["error"]["code"], reply.json()["id"])
        assert told == (400, code, 1), name
    assert not rig.requests()


async def test_a_name_may_come_in_base64(rig: FrontRig) -> None:
    """It is decoded before it is compared."""
    await rig.gateway(ROUTE)
    reply = await modern(rig, "tools/call", {"mcp-name": "=?base64?dGFsaw==?="}, **CALL)
    assert reply.json()["result"]["structuredContent"]["answer"] == "Good morning to you."


async def test_a_method_that_is_none_is_a_404(rig: FrontRig) -> None:
    """With JSON-RPC's own code, which tells it from a path that is none; ``ping`` went with the handshake."""
    await rig.gateway(ROUTE)
    for method in ("ping", "resources/list"):
        reply = await modern(rig, method)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, -32601)


NO_MESSAGES = [
    ("{", -32700),
    ("[" * 100_000, -32700),
    ("7", -32600),
    ('{"jsonrpc":"2.0"}', -32600),
    ('{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
    ('{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
    ('{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
    ('{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32600),
]


async def test_what_is_no_message_is_refused(rig: FrontRig) -> None:
    """A 400 with JSON-RPC's code."""
    await rig.gateway(ROUTE)
    for body, code in NO_MESSAGES:
        reply = await post(rig, body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, code), body[:40]


async def test_an_answer_to_nothing_is_taken(rig: FrontRig) -> None:
    """The gateway asks its clients nothing: what they answer is accepted and dropped."""
    await rig.gateway(ROUTE)
    assert (await post(rig, {"jsonrpc": "2.0", "id": 1, "result": {}})).status_code == 202


async def test_a_megaservice_of_its_own_kind_is_a_tool_too(rig: FrontRig) -> None:
    """It takes the fields of its request and its parameters, and gives its reply as data."""
    (rig.folder / "loud.py").write_text(LOUD)
    await rig.gateway(PLAIN)
    async with client_of(rig) as client:
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool("shout", {"text": "hello", "loudness": 2})
        assert (await client.call_tool("shout", {"text": "hello", "loudness": 9})).is_error
    assert tool.description == "Makes it louder."
    assert set(tool.input_schema["properties"]) == {"text", "times", "loudness"}
    assert tool.input_schema["properties"]["loudness"]["maximum"] == 3
    assert result.structured_content == {"text": "HELLO!!"}
    jsonschema.validate(result.structured_content, tool.output_schema)
