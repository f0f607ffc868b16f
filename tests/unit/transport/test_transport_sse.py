"""A backend's events on their way to a client: real server, real client, the bytes cut in every way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from weft.contracts import chat as chat_contract
from weft.errors import BackendReplyError, RequestError, ServiceError
from weft.http.client import Client, StreamReply
from weft.http.message import Request, StreamResponse
from weft.http.server import Server
from weft.transport.sse import ContractReader, EventStream

FIRST = b'data: {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}\n\n'
TEXT = b'data: {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "the \\"usage\\" of"}}]}\n\n'
USAGE = b'data: {"id": "1", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'
ERROR = b'data: {"error": {"message": "out of memory", "code": "service_failed"}}\n\n'
DONE = b"data: [DONE]\n\n"
CUTS = [1, 2, 7, 40, 1000]


class Chain:
    """Client, relay, backend; what the relay's stream knew afterwards."""

    def __init__(self) -> None:
        self.client = Client()
        self.servers: list[Server] = []
        self.stream: EventStream | None = None
        self.failure: Exception | None = None
        self.ended: list[BaseException | None] = []

    async def url(self, handler: Any) -> str:
        server = Server(handler)
        self.servers.append(server)
        return f"http://127.0.0.1:{await server.listen('127.0.0.1', 0)}"

    async def backend(self, *blocks: bytes) -> EventStream:
        async def answer(_request: Request) -> StreamResponse:
            async def body() -> AsyncIterator[bytes]:
                for block in blocks:
                    yield block

            return StreamResponse(body())

        backend = self.client.endpoint(await self.url(answer))

        async def send() -> StreamReply:
            return await backend.stream("POST", "/")

        reader = ContractReader(chat_contract.CONTRACT.primary)
        self.stream = EventStream(send, reader, self.ended.append)
        return self.stream

    async def relay(self, *blocks: bytes, drops_usage: bool = False) -> bytes:
        stream = await self.backend(*blocks)

        async def answer(_request: Request) -> StreamResponse:
            await stream.open()

            def finish(error: Exception | None) -> bytes:
                self.failure = stream.finish(error)
                return b""

            pass_on = stream.relays(drops_usage=drops_usage)
            return StreamResponse(stream.body, pass_on=pass_on, finish=finish, alike=stream.alike)

        front = self.client.endpoint(await self.url(answer))
        reply = await front.request("POST", "/")
        return reply.body

    async def aclose(self) -> None:
        await self.client.aclose()
        for server in self.servers:
            await server.aclose()


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    chain = Chain()
    yield chain
    await chain.aclose()


def cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[i : i + size] for i in range(0, len(raw), size)]


@pytest.mark.parametrize("size", CUTS)
async def test_every_event_is_relayed_however_the_bytes_are_cut(chain: Chain, size: int) -> None:
    """No token is lost or changed, and the usage is known."""
    raw = FIRST + TEXT * 20 + USAGE + DONE
    assert await chain.relay(*cut(raw, size)) == raw
    assert chain.failure is None
    assert chain.stream is not None
    assert chain.stream.usage is not None
    assert chain.stream.usage.completion_tokens == 4
    assert chain.ended == [None]


@pytest.mark.parametrize("text", ["", "a", "a b", '\\\\"', "\\\\", "\\u0022", '\\"}}]}', "data: [DONE]"])
async def test_whatever_the_text_is_it_goes_out_as_it_came(chain: Chain, text: str) -> None:
    """Events that look like the one before them, but for their text, are told from those that only seem to."""
    event = TEXT.replace(b'the \\"usage\\" of', b"%b")
    blocks = [FIRST, event % b"one", event % b"two", event % text.encode(), event % b"three", USAGE, DONE]
    assert await chain.relay(*blocks) == b"".join(blocks)
    assert chain.failure is None
    assert chain.stream is not None
    assert chain.stream.usage is not None


@pytest.mark.parametrize("size", CUTS)
async def test_usage_that_was_not_asked_for_is_left_out(chain: Chain, size: int) -> None:
    """Everything else goes out."""
    raw = FIRST + TEXT + USAGE + DONE
    assert await chain.relay(*cut(raw, size), drops_usage=True) == FIRST + TEXT + DONE


@pytest.mark.parametrize("raw", [FIRST + TEXT, FIRST + TEXT + TEXT[:30], FIRST])
async def test_a_stream_without_its_end_is_a_failure(chain: Chain, raw: bytes) -> None:
    """What came before it goes out; half an event does not."""
    whole = raw[: raw.rfind(b"\n\n") + 2]
    assert await chain.relay(raw) == whole
    assert isinstance(chain.failure, BackendReplyError)
    assert chain.ended == [chain.failure]


@pytest.mark.parametrize("size", CUTS)
async def test_an_error_in_the_stream_ends_it_behind_the_events_before_it(chain: Chain, size: int) -> None:
    """It is raised as the error that it was; nothing behind it goes out."""
    assert await chain.relay(*cut(FIRST + TEXT + ERROR + TEXT, size)) == FIRST + TEXT
    assert isinstance(chain.failure, ServiceError)
    assert "out of memory" in str(chain.failure)


@pytest.mark.parametrize("size", CUTS)
async def test_read_as_chunks_it_is_the_same(chain: Chain, size: int) -> None:
    """For whoever reads instead of relaying."""
    stream = await chain.backend(*cut(FIRST + TEXT + USAGE + DONE, size))
    chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks[:-1]] == [None, 'the "usage" of']
    assert chunks[-1].usage.prompt_tokens == 3
    assert chain.ended == [None]


@pytest.mark.parametrize(
    ("raw", "words"),
    [(FIRST + ERROR, "out of memory"), (FIRST, "before its end"), (b"data: {]\n\n", "no chunk")],
)
async def test_reading_says_what_was_wrong(chain: Chain, raw: bytes, words: str) -> None:
    """An error event, an early end, and what is no chunk."""
    stream = await chain.backend(raw)
    with pytest.raises(RequestError, match=words):
        _ = [chunk async for chunk in stream]
    assert len(chain.ended) == 1
    assert isinstance(chain.ended[0], RequestError)


@pytest.mark.parametrize("size", CUTS)
async def test_nothing_goes_out_behind_the_end(chain: Chain, size: int) -> None:
    """A backend that says more after its end, or says it twice, is heard no longer."""
    assert await chain.relay(*cut(FIRST + TEXT + DONE + TEXT + DONE + ERROR, size)) == FIRST + TEXT + DONE
    assert chain.failure is None


def test_text_behind_the_end_is_not_taken_for_more_of_the_answer() -> None:
    """Also where it looks exactly like the text before it."""

    async def send() -> StreamReply:
        raise AssertionError("not asked")

    pass_on = EventStream(send, ContractReader(chat_contract.CONTRACT.primary)).relays(drops_usage=False)
    text = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    assert [pass_on(block) for block in (FIRST, text, text, DONE, text, text, DONE)] == [
        FIRST, text, text, DONE, b"", b"", b""
    ]  # fmt: skip
