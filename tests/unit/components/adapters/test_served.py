"""Adapters behind a gateway: what a caller sees of servers of other makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from makes import MAKES, chunk, event
from rawserver import RawServer, json_reply, sse_reply

from weft.gateway import build
from weft.http.client import Client, Endpoint
from weft.http.server import Server
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.spec.load import loads

CHAT: dict[str, Any] = {
    "component": "http",
    "config": {
        "contract": "chat",
        "request": {"turns": "messages", "heat": "temperature"},
        "response": {"text": "answer"},
        "stream": {"text": "part", "request": {"live": {"$value": True}}},
    },
}
OPENAI: dict[str, Any] = {"component": "openai-chat", "config": {"model": "big"}}

Serve = Callable[..., Awaitable[Endpoint]]


def spec(service: dict[str, Any], url: str) -> str:
    """A chat megaservice with one node, which is the service; it is exposed as well."""
    configured = service | {"config": service["config"] | {"url": url}}
    services = {"kind": "Services", "services": {"llm": configured}, "expose": ["llm"]}
    nodes = {"answer": {"service": "llm", "fill_from": "request"}}
    mega = {"kind": "Megaservice", "name": "talk", "contract": "chat", "nodes": nodes, "output": "answer"}
    head = {"apiVersion": "weft/v1"}
    return "\n---\n".join(msgspec.json.encode(head | part).decode() for part in (services, mega))


@pytest.fixture
async def serve(server: RawServer, tmp_path: Path) -> AsyncIterator[Serve]:
    """Serves a chat service, and a megaservice of it, from a gateway; gives something to ask it with."""
    made: list[tuple[Server, Any]] = []
    client = Client()

    async def start(service: dict[str, Any], path: str = "/v1") -> Endpoint:
        text = loads(spec(service, server.url + path), file="talk.yaml")
        assembly = build.Assembly(
            text,
            check(text, Components()),
            Components(),
            settings=HostSettings(str(tmp_path / "cache"), str(tmp_path / "data")),
            secret={}.get,
            log=Log(name="test"),
        )
        app = build.gateway(assembly, Access())
        front = Server(app)
        await app.start()
        made.append((front, app))
        return client.endpoint(f"http://127.0.0.1:{await front.listen('127.0.0.1', 0)}")

    yield start
    await client.aclose()
    for front, app in made:
        await front.aclose()
        await app.stop()


async def ask(gateway: Endpoint, model: str = "talk", **fields: Any) -> tuple[int, Any]:
    """A chat request; what came back, whole or as events."""
    body = {"model": model, "messages": [{"role": "user", "content": "count"}]} | fields
    headers = [("content-type", "application/json")]
    reply = await gateway.request("POST", "/v1/chat/completions", msgspec.json.encode(body), headers=headers)
    if not fields.get("stream") or reply.status != 200:
        return reply.status, msgspec.json.decode(reply.body)
    return reply.status, [line[6:] for line in reply.body.decode().split("\n") if line.startswith("data: ")]


def words(events: list[str]) -> str:
    """The text of a stream that ended well."""
    assert events[-1] == "[DONE]"
    chunks = [msgspec.json.decode(event) for event in events[:-1]]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


@pytest.mark.parametrize("make", MAKES)
async def test_each_make_answers_through_the_gateway(server: RawServer, serve: Serve, make: str) -> None:
    """Streamed and not, as a megaservice and as an exposed service: OpenAI's form comes out, whatever went in."""
    gateway = await serve(OPENAI)
    for model in ("talk", "llm"):
        server.answer = sse_reply(MAKES[make].stream)
        status, events = await ask(gateway, model, stream=True)
        assert (status, words(events)) == (200, "one two three")
        server.answer = json_reply(MAKES[make].whole)
        status, whole = await ask(gateway, model)
        assert (status, whole["choices"][0]["message"]["content"]) == (200, "one two three")


async def test_a_foreign_chat_answers_through_the_gateway(server: RawServer, serve: Serve) -> None:
    """Mapped by config alone; a field that the mapping does not read is refused, and not dropped without a word."""
    gateway = await serve(CHAT, "/say")
    server.answer = json_reply({"answer": "hello"})
    status, whole = await ask(gateway, temperature=0)
    assert (status, whole["choices"][0]["message"]["content"]) == (200, "hello")
    assert server.asked[-1].body == {"turns": [{"role": "user", "content": "count"}], "heat": 0}
    for model in ("talk", "llm"):
        server.answer = sse_reply(b'data: {"part":"hel"}\n\n', b'data: {"part":"lo"}\n\n')
        status, events = await ask(gateway, model, stream=True)
        assert (status, words(events)) == (200, "hello")
        assert server.asked[-1].body["live"] is True
        status, refused = await ask(gateway, model, seed=1)
        assert (status, refused["error"]["code"], refused["error"]["param"]) == (
            400,
            "unsupported_parameter",
            "seed",
        )


async def test_errors_of_a_server_come_out_with_their_status(server: RawServer, serve: Serve) -> None:
    """429 with ``Retry-After``, the caller's 400, and 502 for what the caller cannot mend: with node and endpoint."""
    gateway = await serve(OPENAI)
    body = msgspec.json.encode({"model": "talk", "messages": [{"role": "user", "content": "count"}]})
    headers = [("content-type", "application/json")]
    server.answer = json_reply({"error": "overloaded"}, 429, retry_after="7")
    reply = await gateway.request("POST", "/v1/chat/completions", body, headers=headers)
    assert (reply.status, reply.headers.get("retry-after")) == (429, "7")
    server.answer = json_reply({"error": {"message": "maximum context length is 8"}}, 400)
    status, error = await ask(gateway, stream=True)
    assert (status, error["error"]["code"]) == (400, "context_length_exceeded")
    server.answer = json_reply({"error": {"message": "Incorrect API key"}}, 401)
    status, error = await ask(gateway)
    assert (status, error["error"]["code"], error["error"]["node"]) == (502, "backend_status", "answer")
    assert "Incorrect API key" in error["error"]["message"]
    assert error["error"]["endpoint"] == f"{server.url}/v1/chat/completions"
    server.answer = sse_reply(event(chunk({"content": "one "})), MAKES["vllm"].failing)
    status, events = await ask(gateway, stream=True)
    assert status == 200
    assert "one " in events[0]
    assert "EngineCore died" in msgspec.json.decode(events[-1])["error"]["message"]


async def test_a_server_that_is_not_ready_makes_the_gateway_not_ready(
    server: RawServer, serve: Serve
) -> None:
    """It starts all the same, and says which service is not ready, why, and where that is."""
    gateway = await serve(OPENAI)
    server.answer = json_reply({"error": "loading"}, 503)
    reply = await gateway.request("GET", "/health/ready")
    state = msgspec.json.decode(reply.body)["services"]["llm"]
    assert (reply.status, state["ready"]) == (503, False)
    assert "loading" in state["reason"]
    assert f"{server.url}/v1/models" in state["reason"]
