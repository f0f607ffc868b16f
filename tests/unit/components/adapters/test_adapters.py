"""Adapters to servers, against a real server that behaves and misbehaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.components.chat.openai import OpenAIChat
from weft.components.reranker.tei import TeiReranker
from weft.contracts.chat import ChatRequest, collect
from weft.contracts.reranker import RerankRequest
from weft.errors import BackendReplyError, BackendStatusError, ServiceError
from weft.http.message import Request, Response, StreamResponse
from weft.http.server import Server
from weft.observe.metrics import Metrics
from weft.serve.hosts import Hosts, HostSettings
from weft.serve.log import Log
from weft.types import Document, Message

CHUNK = '{"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}'


class Backend:
    """Answers with what a test gives it, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.events: list[bytes] = []
        self.reply = Response(200, (), b"{}")

    async def __call__(self, request: Request) -> Response | StreamResponse:
        body = msgspec.json.decode(await request.read())
        self.asked.append(body)
        if isinstance(body, dict) and body.get("stream") and self.events:
            return StreamResponse(self._stream(), 200, (), "text/event-stream")
        return self.reply

    async def _stream(self) -> AsyncIterator[bytes]:
        for event in self.events:
            yield event


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Backend, str, Any]]:
    backend = Backend()
    server = Server(backend)
    port = await server.listen("127.0.0.1", 0)
    hosts = Hosts(HostSettings(str(tmp_path), str(tmp_path)), metrics=Metrics(), log=Log(name="test"))
    yield backend, f"http://127.0.0.1:{port}", hosts.host("test")
    await hosts.aclose()
    await server.aclose()


def events(*words: str, done: bool = True) -> bytes:
    lines = [f"data: {CHUNK % (word, 'null')}\n\n" for word in words]
    if done:
        lines += [f"data: {CHUNK % ('', chr(34) + 'stop' + chr(34))}\n\n", "data: [DONE]\n\n"]
    return "".join(lines).encode()


async def chat(served: tuple[Backend, str, Any]) -> OpenAIChat:
    component = OpenAIChat(served[1], model="big")
    await component.start(served[2])
    return component


async def test_no_token_is_lost_however_the_stream_is_cut(served: tuple[Backend, str, Any]) -> None:
    """Every byte arrives in a block of its own, and the answer is whole; temperature 0 is sent as 0."""
    backend = served[0]
    whole = events("one ", "two ", "three")
    backend.events = [whole[i : i + 1] for i in range(len(whole))]
    component = await chat(served)
    request = ChatRequest([Message("user", "count")], temperature=0, model="chatqna")
    answer = collect([chunk async for chunk in component.stream(request)])
    assert answer.text() == "one two three"
    assert backend.asked[0]["temperature"] == 0
    assert backend.asked[0]["model"] == "big"


async def test_a_stream_that_just_stops_is_an_error(served: tuple[Backend, str, Any]) -> None:
    """Without an end the answer counts as cut short, and what came is still given."""
    served[0].events = [events("one ", done=False)]
    component = await chat(served)
    got = []
    with pytest.raises(BackendReplyError, match="cut short"):
        async for chunk in component.stream(ChatRequest([Message("user", "count")])):
            got.append(chunk)
    assert len(got) == 1


async def test_an_error_in_mid_stream_is_an_error(served: tuple[Backend, str, Any]) -> None:
    """The server's words are in the message."""
    served[0].events = [events("one ", done=False), b'data: {"error": {"message": "out of memory"}}\n\n']
    component = await chat(served)
    with pytest.raises(ServiceError, match="out of memory"):
        collect([chunk async for chunk in component.stream(ChatRequest([Message("user", "count")]))])


async def test_a_500_is_never_an_answer(served: tuple[Backend, str, Any]) -> None:
    """The status is an error, streamed or not, with the body quoted."""
    served[0].reply = Response(500, (), b"<html>oh no</html>", "text/html")
    component = await chat(served)
    request = ChatRequest([Message("user", "count")])
    with pytest.raises(BackendStatusError, match="oh no"):
        await component.invoke(request)
    with pytest.raises(BackendStatusError, match="oh no"):
        collect([chunk async for chunk in component.stream(request)])


async def test_tei_orders_documents_by_score(served: tuple[Backend, str, Any]) -> None:
    """The best come first with their scores; an index that was not sent is an error."""
    served[0].reply = Response(200, (), b'[{"index":0,"score":0.1},{"index":1,"score":0.9}]')
    component = TeiReranker(served[1])
    await component.start(served[2])
    reply = await component.invoke(RerankRequest("q", [Document("a"), Document("b")]))
    assert [(d.text, d.score) for d in reply.documents] == [("b", 0.9), ("a", 0.1)]
    with pytest.raises(BackendReplyError):
        await component.invoke(RerankRequest("q", [Document("a")]))
