"""A contract's operations as routes: forms, streams, deadlines, components of no family."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from weft.contracts import Contract, Operation
from weft.contracts import chat as chat_contract
from weft.contracts import embedding as embedding_contract
from weft.contracts import store as store_contract
from weft.contracts.chat import ChatChunk, ChatRequest, ChatResponse, Choice, ChunkChoice, Delta
from weft.contracts.embedding import EmbeddingResponse
from weft.errors import ServiceError
from weft.http.client import Endpoint
from weft.http.sse import SSEReader
from weft.serve.application import Application
from weft.serve.operations import operation_routes
from weft.transport.base import WireStream
from weft.types import Message, Usage, vector

Serve = Callable[[Application], Awaitable[Endpoint]]
JSON = [("content-type", "application/json")]


def piece(text: str | None, **fields: Any) -> ChatChunk:
    return ChatChunk("1", "m", [ChunkChoice(0, Delta(content=text))], created=7, **fields)


class FakeChat:
    """Streams what it is given; raises what is an exception."""

    def __init__(self, *chunks: Any) -> None:
        self.chunks, self.closed, self.gate = chunks, asyncio.Event(), asyncio.Event()
        self.entered = asyncio.Event()

    async def call(self, name: str, request: ChatRequest) -> ChatResponse:
        if request.seed == 1:
            try:
                self.entered.set()
                await self.gate.wait()
            finally:
                self.closed.set()
        return ChatResponse("1", "m", [Choice(0, Message("assistant", "whole"))])

    async def stream(self, name: str, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        try:
            for chunk in self.chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                if chunk is None:
                    self.entered.set()
                    await self.gate.wait()
                else:
                    yield chunk
        finally:
            self.closed.set()


def body(**fields: Any) -> bytes:
    return msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], **fields})


def events(raw: bytes) -> list[Any]:
    return [
        event.data.decode() if event.data == b"[DONE]" else msgspec.json.decode(event.data)
        for event in SSEReader().feed(raw)
    ]


async def ask(server: Endpoint, **fields: Any) -> tuple[int, bytes]:
    reply = await server.request("POST", "/v1/chat/completions", body(**fields), headers=JSON)
    return reply.status, reply.body


def chat(app: Application, fake: FakeChat) -> None:
    operation_routes(app, chat_contract.CONTRACT, fake.call, fake.stream)


async def test_a_whole_answer(app: Application, serve: Serve) -> None:
    """Unless a stream is asked for."""
    chat(app, FakeChat())
    status, reply = await ask(await serve(app))
    assert status == 200
    assert msgspec.json.decode(reply)["choices"][0]["message"]["content"] == "whole"


async def test_a_stream_says_the_role_first_and_done_last(app: Application, serve: Serve) -> None:
    """Also where the component does not; no usage unless asked for."""
    chat(app, FakeChat(piece("a"), piece("b", usage=Usage(1, 2, 3))))
    _, reply = await ask(await serve(app), stream=True)
    first, second, done = events(reply)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
    assert second["choices"][0]["delta"] == {"content": "b"}
    assert "usage" not in second
    assert (first["object"], done) == ("chat.completion.chunk", "[DONE]")


async def test_usage_is_a_chunk_of_its_own_when_asked_for(app: Application, serve: Serve) -> None:
    """The last before the end, without choices."""
    chat(app, FakeChat(piece("a"), piece("b", usage=Usage(1, 2, 3))))
    _, reply = await ask(await serve(app), stream=True, stream_options={"include_usage": True})
    *_, usage, done = events(reply)
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert done == "[DONE]"


async def test_each_of_n_answers_has_its_role(app: Application, serve: Serve) -> None:
    """In its own first chunk."""
    two = ChatChunk("1", "m", [ChunkChoice(0, Delta(content="a")), ChunkChoice(1, Delta(content="b"))])
    chat(app, FakeChat(two, two))
    _, reply = await ask(await serve(app), stream=True)
    first, second, _ = events(reply)
    assert [choice["delta"].get("role") for choice in first["choices"]] == ["assistant", "assistant"]
    assert [choice["delta"].get("role") for choice in second["choices"]] == [None, None]


async def test_an_error_in_mid_stream_is_its_last_event(app: Application, serve: Serve) -> None:
    """And there is no [DONE]."""
    chat(app, FakeChat(piece("a"), ServiceError("the backend broke").at(service="llm")))
    status, reply = await ask(await serve(app), stream=True)
    assert status == 200
    _, last = events(reply)
    assert last["error"]["code"] == "service_failed"
    assert last["error"]["service"] == "llm"


async def test_an_unexpected_error_in_mid_stream_is_logged_once(
    app: Application, serve: Serve, logged: io.StringIO
) -> None:
    """And told as an internal one."""
    chat(app, FakeChat(piece("a"), RuntimeError("secret")))
    _, reply = await ask(await serve(app), stream=True)
    assert events(reply)[-1]["error"]["code"] == "internal"
    assert b"secret" not in reply
    assert len(logged.getvalue().splitlines()) == 1


async def test_an_error_before_the_first_chunk_has_a_status(app: Application, serve: Serve) -> None:
    """Nothing was sent: it is a reply like any other error."""
    chat(app, FakeChat(ServiceError("the backend broke")))
    status, reply = await ask(await serve(app), stream=True)
    assert status == 502
    assert msgspec.json.decode(reply)["error"]["code"] == "service_failed"


@pytest.mark.parametrize("streamed", [False, True])
async def test_work_ends_when_the_client_goes(app: Application, serve: Serve, streamed: bool) -> None:
    """Streamed or not."""
    fake = FakeChat(piece("a"), None)
    chat(app, fake)
    server = await serve(app)
    async with asyncio.timeout(10):
        asked = asyncio.create_task(
            server.request("POST", "/v1/chat/completions", body(stream=streamed, seed=1), headers=JSON)
        )
        await fake.entered.wait()
        asked.cancel()
        await fake.closed.wait()
        await asyncio.wait((asked,))


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_callers_deadline_holds(app: Application, serve: Serve, streamed: bool) -> None:
    """504, or in mid-stream its event; the work is closed."""
    fake = FakeChat(piece("a"), None)
    chat(app, fake)
    server = await serve(app)
    headers = [*JSON, ("x-weft-timeout-ms", "60")]
    reply = await server.request(
        "POST", "/v1/chat/completions", body(stream=streamed, seed=1), headers=headers
    )
    found = events(reply.body)[-1] if streamed else msgspec.json.decode(reply.body)
    assert found["error"]["code"] == "deadline_exceeded"
    assert reply.status == (200 if streamed else 504)
    assert fake.closed.is_set()


async def test_each_form_is_answered_in_kind(app: Application, serve: Serve) -> None:
    """Recognised by its fields, on any route of the operation."""

    async def call(name: str, request: Any) -> EmbeddingResponse:
        return EmbeddingResponse([vector([1.0, 2.0]) for _ in request.texts], "m", Usage(1, 0, 1))

    operation_routes(app, embedding_contract.CONTRACT, call)
    server = await serve(app)
    assert (await server.post_json("/v1/embeddings", {"texts": ["a"]}))["embeddings"] == [[1.0, 2.0]]
    assert (await server.post_json("/v1/embeddings", {"input": "a"}))["data"][0]["embedding"] == [1.0, 2.0]
    assert (await server.post_json("/embed", {"inputs": ["a", "b"]})) == [[1.0, 2.0], [1.0, 2.0]]
    bad = await server.request("POST", "/v1/embeddings", b'{"input": 3}', headers=JSON)
    error = msgspec.json.decode(bad.body)["error"]
    assert (bad.status, error["param"]) == (400, "input")


async def test_a_component_of_no_family_answers_on_invoke(app: Application, serve: Serve) -> None:
    """And streams its own chunks as events when asked to."""

    class Asked(msgspec.Struct):
        text: str

    class Said(msgspec.Struct):
        text: str

    async def call(name: str, request: Asked) -> Said:
        return Said(request.text.upper())

    async def stream(name: str, request: Asked) -> AsyncIterator[Said]:
        for letter in request.text:
            yield Said(letter)

    contract = Contract("shout", "Shouts.", {"invoke": Operation("invoke", Asked, Said, chunk=Said)})
    operation_routes(app, contract, call, stream)
    server = await serve(app)
    assert (await server.post_json("/v1/invoke", {"text": "ab"})) == {"text": "AB"}
    reply = await server.request("POST", "/v1/invoke", b'{"text": "ab", "stream": true}', headers=JSON)
    assert events(reply.body) == [{"text": "a"}, {"text": "b"}, "[DONE]"]


async def test_a_prefix_keeps_services_of_one_contract_apart(app: Application, serve: Serve) -> None:
    """On one private address."""
    for name in ("one", "two"):

        async def call(operation: str, request: Any, name: str = name) -> EmbeddingResponse:
            return EmbeddingResponse([], name)

        operation_routes(app, embedding_contract.CONTRACT, call, prefix=f"/services/{name}")
    server = await serve(app)
    assert (await server.post_json("/services/two/v1/embeddings", {"texts": []}))["model"] == "two"


async def test_who_asks_a_store_is_not_the_bodys_to_say(app: Application, serve: Serve) -> None:
    """Tenant and readers are the verified caller's, or nobody's."""
    asked: list[Any] = []

    async def call(name: str, request: Any) -> Any:
        asked.append((name, request))
        return store_contract.SearchResponse([])

    operation_routes(app, store_contract.CONTRACT, call)
    server = await serve(app)
    await server.post_json("/v1/store/search", {"query": "x", "tenant": "victim", "readers": ["board"]})
    ((name, request),) = asked
    assert (name, request.query, request.tenant, request.readers) == ("search", "x", "default", None)


async def test_a_service_says_which_contract_it_fulfils(app: Application, serve: Serve) -> None:
    """For whoever registers it."""
    chat(app, FakeChat())
    stated = await (await serve(app)).get_json("/v1/contract")
    assert (stated["contract"], stated["digest"]) == ("chat", chat_contract.CONTRACT.digest())
    assert stated["required"] == chat_contract.CONTRACT.required()


class FakeWire(WireStream):
    """A stream that still is a backend's bytes."""

    def __init__(
        self, *blocks: bytes, fails: Exception | None = None, opens: Exception | None = None
    ) -> None:
        self._blocks, self._fails, self._opens = blocks, fails, opens
        self.seen: list[bytes] = []

    async def open(self) -> None:
        if self._opens is not None:
            raise self._opens

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._read()

    @property
    def usage(self) -> Usage | None:
        return None

    def abort(self, error: Exception) -> None:
        raise AssertionError("not asked")

    def abandon(self) -> None:
        """It is settled already, or was never asked."""

    async def _read(self) -> AsyncIterator[bytes]:
        for block in self._blocks:
            yield block

    @property
    def has_begun(self) -> bool:
        return bool(self.seen)

    @property
    def has_said_end(self) -> bool:
        return b"[DONE]" in b"".join(self.seen)

    def relays(self, *, drops_usage: bool, on_first: Any = None) -> Any:
        def pass_on(block: bytes) -> bytes:
            self.seen.append(block)
            return block

        return pass_on

    def finish(self, error: Exception | None) -> Exception | None:
        return self._fails or error

    async def __anext__(self) -> Any:
        raise AssertionError("relayed, not decoded")

    async def aclose(self) -> None:
        self._blocks = ()


USAGE = {"stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("wire", "status", "end"),
    [
        (FakeWire(b"data: {}\n\n", b"data: [DONE]\n\n"), 200, b"data: {}\n\ndata: [DONE]\n\n"),
        (FakeWire(b"data: {}\n\nda", fails=ServiceError("cut")), 200, b'"code":"service_failed"'),
        (FakeWire(opens=ServiceError("no")), 502, b'"code":"service_failed"'),
    ],
)
async def test_a_backends_bytes_are_relayed_untouched(
    app: Application, serve: Serve, wire: FakeWire, status: int, end: bytes
) -> None:
    """Whole; cut, which is said in a last event; refused, which is a status."""
    operation_routes(app, chat_contract.CONTRACT, FakeChat().call, lambda name, request: wire)
    found, reply = await ask(await serve(app), stream=True, **USAGE)
    assert found == status
    assert end in reply
    assert (b"[DONE]" in reply) is (end.endswith(b"[DONE]\n\n"))
