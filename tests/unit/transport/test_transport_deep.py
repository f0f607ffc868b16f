"""JSON that is nested deeper than a decoder goes, or is no UTF-8: from a service a wrong reply, from a caller a wrong request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from weft.contracts import chat, reranker
from weft.errors import BackendReplyError, InvalidRequestError
from weft.http.client import Client
from weft.http.message import Request, Response, StreamResponse
from weft.http.server import Server
from weft.transport.http import HttpTransport
from weft.types import Document, Message

DEEP = b"[" * 20_000 + b"]" * 20_000
BODY = b'{"documents":[{"text":"x","metadata":{"a":' + DEEP + b"}}]}"
CHUNK = b'{"id":"c","model":"m","choices":[{"index":0,"delta":{},"logprobs":' + DEEP + b"}]}"
NO_TEXT = b'{"documents":[{"text":"\xff"}]}'
CHUNK_NO_TEXT = b'{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"\xff"}}]}'


@asynccontextmanager
async def service(answer: Any) -> AsyncIterator[tuple[Client, str]]:
    """A service that gives one answer to everything."""

    async def handle(request: Request) -> Response | StreamResponse:
        return answer()

    server, client = Server(handle), Client()
    port = await server.listen("127.0.0.1", 0)
    try:
        yield client, f"http://127.0.0.1:{port}"
    finally:
        await client.aclose()
        await server.aclose()


@pytest.mark.parametrize("body", [BODY, NO_TEXT], ids=["deep", "no text"])
async def test_a_reply_that_cannot_be_read_is_no_reply(body: bytes) -> None:
    """Its error names the service's address, as any wrong reply's does."""
    async with service(lambda: Response(200, (), body)) as (client, url):
        transport = HttpTransport("ranker", "tei", reranker.CONTRACT, [url], client=client)
        with pytest.raises(BackendReplyError, match="/v1/reranking"):
            await transport.call("invoke", reranker.RerankRequest("q", [Document("x")]))


@pytest.mark.parametrize("body", [BODY, NO_TEXT], ids=["deep", "no text"])
async def test_an_error_that_cannot_be_read_is_an_error(body: bytes) -> None:
    """Its status counts; what it says cannot be read."""
    async with service(lambda: Response(503, (), body)) as (client, url):
        transport = HttpTransport("ranker", "tei", reranker.CONTRACT, [url], client=client)
        with pytest.raises(Exception, match="503"):
            await transport.call("invoke", reranker.RerankRequest("q", [Document("x")]))


@pytest.mark.parametrize("chunk", [CHUNK, CHUNK_NO_TEXT], ids=["deep", "no text"])
async def test_an_event_that_cannot_be_read_ends_the_stream(chunk: bytes) -> None:
    """In a stream that is read, as a wrong chunk."""

    def stream() -> StreamResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"data: " + chunk + b"\n\ndata: [DONE]\n\n"

        return StreamResponse(body(), 200, (), "text/event-stream")

    async with service(stream) as (client, url):
        transport = HttpTransport("model", "openai-chat", chat.CONTRACT, [url], client=client)
        with pytest.raises(BackendReplyError):
            async for _ in transport.stream("invoke", chat.ChatRequest([Message("user", "Hi")])):
                pass


@pytest.mark.parametrize(
    ("contract", "field"),
    [(chat.CONTRACT, b"logit_bias"), (reranker.CONTRACT, b"x"), (reranker.CONTRACT, b"texts")],
)
def test_a_request_that_is_too_deep_is_the_callers_fault(contract: Any, field: bytes) -> None:
    """In any form, in a field that is known or one that is not."""
    body = b'{"query":"q","documents":[],"messages":[],"' + field + b'":' + DEEP + b"}"
    with pytest.raises(InvalidRequestError, match="nested too deeply|not valid"):
        contract.primary.decode(body)


@pytest.mark.parametrize("body", [BODY, NO_TEXT], ids=["deep", "no text"])
async def test_json_that_a_component_fetches_and_cannot_be_read_is_no_reply(body: bytes) -> None:
    """From whatever server."""
    async with service(lambda: Response(200, (), body)) as (client, url):
        with pytest.raises(BackendReplyError, match="not as declared"):
            await client.endpoint(url).get_json("/x")
