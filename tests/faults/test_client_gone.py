"""A client that goes away in mid-answer: every backend of the whole graph sees its connection end.

The graph is three megaservices deep, asks one service elsewhere, one through an adapter and one through ``uses:``, all at
once. That it happens is tested here; how many milliseconds it takes is measured in ``benchmarks/``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from faultkit import CHAT, Weft, chat, weft

from weft.testing.faulty import WATCHDOG_S, FaultyServer

PARTS = '''
from weft.contracts.chat import Chat, ChatRequest, ChatResponse


class Second:
    """Asks the model that it uses."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        """The model's answer."""
        return await self._chat.invoke(request)
'''

SERVICES = """
    kind: Services
    services:
      deep: {{component: openai-chat, config: {{url: "{deep}/v1", model: m}}}}
      wide: {{component: openai-chat, config: {{url: "{wide}/v1", model: m}}}}
      used: {{component: openai-chat, config: {{url: "{used}/v1", model: m}}}}
    """
PLACEMENT = """
    kind: Placement
    services:
      deep: {{at: "{deep}"}}
    """
INNER = """
    kind: Megaservice
    name: inner
    contract: chat
    nodes:
      answer: {service: deep, inputs: {messages: request.messages}}
    output: answer
    """
MIDDLE = """
    kind: Megaservice
    name: middle
    contract: chat
    nodes:
      answer: {component: megaservice/inner, inputs: {messages: request.messages}}
    output: answer
    """
OUTER = """
    kind: Megaservice
    name: outer
    contract: chat
    nodes:
      left: {component: megaservice/middle, inputs: {messages: request.messages}}
      right: {service: wide, inputs: {messages: request.messages}, effect: true}
      third: {component: "./parts.py:Second", uses: {chat: used}, inputs: {messages: request.messages}, effect: true}
    output: left
    """


class Gone:
    """The ways in which clients go."""

    @staticmethod
    def closes(writer: asyncio.StreamWriter) -> None:
        writer.close()

    @staticmethod
    def resets(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    @staticmethod
    def half_closes(writer: asyncio.StreamWriter) -> None:
        writer.write_eof()


@asynccontextmanager
async def graph(folder: Path, behaviour: str) -> AsyncIterator[tuple[Weft, list[FaultyServer]]]:
    """The gateway and its three backends."""
    (folder / "parts.py").write_text(PARTS)
    async with AsyncExitStack() as stack:
        names = ("deep", "wide", "used")
        servers = [await stack.enter_async_context(FaultyServer(behaviour)) for _ in names]
        urls = {name: server.url for name, server in zip(names, servers, strict=True)}
        documents = [SERVICES.format(**urls), INNER, MIDDLE, OUTER, PLACEMENT.format(**urls)]
        yield await stack.enter_async_context(weft(folder, *documents)), servers


async def begin(running: Weft, *, stream: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the question has been asked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    body = msgspec.json.encode(chat(stream=stream, model="outer"))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    return reader, writer


@pytest.mark.parametrize("go", [Gone.closes, Gone.resets, Gone.half_closes])
@pytest.mark.parametrize(
    ("behaviour", "stream"),
    [("silence", False), ("silence-in-body", False), ("silence", True), ("silence-in-body", True)],
    ids=["whole, waiting", "whole, half read", "streamed, waiting", "streamed, half read"],
)
async def test_every_backend_sees_it(
    tmp_path: Path, go: Callable[[asyncio.StreamWriter], None], behaviour: str, *, stream: bool
) -> None:
    """Three megaservices deep, beside it, and through ``uses:``; nothing of the request is left."""
    async with graph(tmp_path, behaviour) as (running, servers):
        reader, writer = await begin(running, stream=stream)
        for server in servers:
            await server.until_asked()
        assert [len(server.left) for server in servers] == [0, 0, 0]
        if stream and behaviour == "silence-in-body":
            async with asyncio.timeout(WATCHDOG_S):
                await reader.readuntil(b'"two "')
        go(writer)
        for server in servers:
            await server.until_left()
            await server.until_closed()
        writer.close()
        await running.nothing_left()
        text = (await running.endpoint.request("GET", "/metrics")).body.decode()
        assert 'route="/v1/chat/completions",method="POST",status="499"} 1' in text


async def test_a_reply_that_nobody_waits_for_is_not_made(tmp_path: Path) -> None:
    """A client that leaves a queue of requests behind (pipelined) has none of them served."""
    async with graph(tmp_path, "silence") as (running, servers):
        _, writer = await begin(running, stream=False)
        await servers[0].until_asked()
        body = msgspec.json.encode(chat(model="outer"))
        head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        for server in servers:
            await server.until_left()
        await running.nothing_left()
        assert [len(server.asked) for server in servers] == [1, 1, 1]


async def test_a_client_that_does_not_read_holds_the_backend_back(tmp_path: Path) -> None:
    """A stream of 1 GiB is not taken in: the backend can send what fits into sockets and buffers, and waits."""
    documents = [
        """
        kind: Services
        services:
          deep: {{component: openai-chat, config: {{url: "{url}/v1", model: m}}}}
        """,
        INNER,
    ]
    async with (
        FaultyServer("huge-stream") as server,
        weft(tmp_path, *(d.format(url=server.url) if "{url}" in d else d for d in documents)) as running,
    ):
        stream = await running.stream(CHAT, chat(stream=True))
        await server.until_asked()
        # It has come to rest when nothing more is sent in many turns of the loop.
        sent, quiet = -1, 0
        async with asyncio.timeout(WATCHDOG_S):
            while quiet < 20:
                await asyncio.sleep(0.005)
                quiet = quiet + 1 if server.sent_bytes == sent else 0
                sent = server.sent_bytes
        assert sent < 64 * 1024 * 1024
        await stream.aclose()
        await server.until_left()
