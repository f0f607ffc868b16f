"""gRPC in front of a gateway's routes, with the client library as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from frontkit import GATEWAY, TALK, FrontRig, ask
from papers import Papers
from weft.context import Context
from weft.errors import UnreachableError
from weft.gateway.grpc import messages
from weft.gateway.grpc.compile import COMPILED, compiled
from weft.gateway.grpc.server import GrpcServer
from weft.http.message import Request, StreamResponse
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.doors import Door
from weft.serve.log import Log

LISTEN = 'listen: [{http: "127.0.0.1:0"}, {grpc: "127.0.0.1:0"}]\n'
ROUTE = "  - {path: /v1/greet, megaservice: talk}\n"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[FrontRig]:
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def listening(rig: FrontRig, routes: str = ROUTE, listen: str = LISTEN) -> int:
    """Start a gateway with a gRPC listener; its port."""
    await rig.gateway(TALK + GATEWAY.replace("routes:\n", listen + "routes:\n") + routes)
    assert rig.app is not None
    (server,) = rig.app.beside
    assert isinstance(server, GrpcServer)
    await server.start()
    rig.stack.push_async_callback(server.aclose)
    return server.port


class Client:
    """Calls by their names, as a generated stub does."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def unary(self, method: str, kind: Any) -> Any:
        return self._channel.unary_unary(
            f"/weft.v1.{method}",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=kind.FromString,
        )

    def stream(self, method: str, kind: Any) -> Any:
        return self._channel.unary_stream(
            f"/weft.v1.{method}",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=kind.FromString,
        )


async def client(rig: FrontRig, port: int) -> Client:
    channel = await rig.stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
    return Client(channel)


def question(**fields: Any) -> Any:
    message = messages.kind("Message")(role="user", content="Hello?")
    return messages.ChatRequest(model="talk", messages=[message], **fields)


async def failing(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_an_answer_comes_whole_and_as_it_is_said(rig: FrontRig) -> None:
    """``Complete`` and ``Stream`` say what the model says, with the tokens that it took."""
    calls = await client(rig, await listening(rig))
    whole = await calls.unary("Chat.Complete".replace(".", "/"), messages.ChatResponse)(question())
    assert whole.choices[0].message.content == "Good morning to you."
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens > 0
    chunks = [
        chunk async for chunk in calls.stream("Chat/Stream", messages.ChatChunk)(question(max_tokens=50))
    ]
    assert len(chunks) > 2
    assert "".join(delta.content for chunk in chunks for delta in chunk.deltas) == "Good morning to you."
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


async def test_any_target_is_invoked_with_json(rig: FrontRig) -> None:
    """``Invoke`` and ``InvokeStream`` take and give the contract's own JSON."""
    calls = await client(rig, await listening(rig))
    body = msgspec.json.encode({"messages": [{"role": "user", "content": "Hello?"}]})
    request = messages.InvokeRequest(target="talk", json=body)
    reply = await calls.unary("Invocation/Invoke", messages.InvokeResponse)(request)
    assert msgspec.json.decode(reply.json)["choices"][0]["message"]["content"] == "Good morning to you."
    events = [
        msgspec.json.decode(event.json)
        async for event in calls.stream("Invocation/InvokeStream", messages.InvokeResponse)(request)
    ]
    assert all(event["object"] == "chat.completion.chunk" for event in events)
    described = messages.InvokeRequest(target="talk", operation="nothing")
    error = await failing(calls.unary("Invocation/Invoke", messages.InvokeResponse)(described))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.NOT_FOUND,
        "'talk' has no operation 'nothing'\noperations: invoke",
    )


async def test_errors_have_their_status_and_code(rig: FrontRig) -> None:
    """An unknown model, a field out of its bounds, and JSON that is none are told as gRPC tells errors."""
    calls = await client(rig, await listening(rig))
    complete = calls.unary("Chat/Complete", messages.ChatResponse)
    error = await failing(complete(messages.ChatRequest(model="talkk", messages=[])))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "did you mean 'talk'?" in str(error.details())
    assert ("weft-code", "model_not_found") in tuple(error.trailing_metadata() or ())
    error = await failing(complete(question(temperature=7)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = messages.InvokeRequest(target="talk", json=b"[1")
    error = await failing(calls.unary("Invocation/Invoke", messages.InvokeResponse)(bad))
    assert (error.code(), str(error.details()).partition(":")[0]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "'json' is no JSON object",
    )


async def test_a_stream_that_fails_before_its_first_word_has_its_status(rig: FrontRig) -> None:
    """A model that cannot be had is UNAVAILABLE with its code, streamed as well as whole."""
    spec = TALK.replace('"./chat.py:Chat"', 'openai-chat, config: {url: "http://127.0.0.1:9/v1", model: m}')
    await rig.gateway(spec + GATEWAY.replace("routes:\n", LISTEN + "routes:\n") + ROUTE)
    assert rig.app is not None
    (server,) = rig.app.beside
    assert isinstance(server, GrpcServer)
    await server.start()
    rig.stack.push_async_callback(server.aclose)
    calls = await client(rig, server.port)

    async def streamed() -> None:
        async for _ in calls.stream("Chat/Stream", messages.ChatChunk)(question()):
            pass

    for call in (calls.unary("Chat/Complete", messages.ChatResponse)(question()), streamed()):
        error = await failing(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error.details()
        assert ("weft-code", "unreachable") in tuple(error.trailing_metadata() or ())


@pytest.mark.parametrize("status", [200, 503])
async def test_what_is_relayed_is_no_reply_when_it_is_an_error(rig: FrontRig, status: int) -> None:
    """Blocks that break off, or that came with an error's status, end the call with that error."""
    app = Application(name="relay", version="1", access=Access(), log=Log(rig.log, name="t", pretty=False))

    async def body() -> AsyncIterator[bytes]:
        if status == 200:
            raise UnreachableError("the backend went away")
        yield b'{"error": {"message": "not now", "code": "unavailable"}}'

    async def relay(request: Request, context: Context) -> StreamResponse:
        return StreamResponse(body(), status, content_type="application/json")

    app.route("POST", "/v1/chat/completions", relay, errors="openai")
    await app.start()
    server = GrpcServer(app, Door("127.0.0.1", 0))
    await server.start()
    rig.stack.push_async_callback(server.aclose)
    calls = await client(rig, server.port)

    async def streamed() -> None:
        async for _ in calls.stream("Chat/Stream", messages.ChatChunk)(question()):
            pass

    for call in (calls.unary("Chat/Complete", messages.ChatResponse)(question()), streamed()):
        error = await failing(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error.details()
        assert ("the backend went away" if status == 200 else "not now") in str(error.details())


async def test_a_routes_rules_hold(rig: FrontRig) -> None:
    """What a route changes, and how much it allows, is the same by gRPC and by HTTP; both count together."""
    rules = "  - {path: /v1/greet, megaservice: talk, limits: [{per: route, requests: 2/hour}], request: {clamp: {max_tokens: [1, 7]}}}\n"
    port = await listening(rig, rules)
    calls = await client(rig, port)
    assert rig.app is not None
    complete = calls.unary("Chat/Complete", messages.ChatResponse)
    await complete(question())
    endpoint_status, _, _ = await ask(rig.endpoint(), stream=False)
    assert endpoint_status == 200
    error = await failing(complete(question()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert any(name == "retry-after" for name, _ in error.initial_metadata() or ())


async def test_leaving_ends_the_request(rig: FrontRig) -> None:
    """A call that its client cancels is cancelled in the application, and counts no more."""
    (rig.folder / "chat.py").write_text(
        (rig.folder / "chat.py").read_text() + "\n\nimport asyncio\n\n\nclass Slow(Chat):\n"
        "    async def invoke(self, request: ChatRequest) -> ChatResponse:\n        await asyncio.Event().wait()\n"
    )
    spec = TALK.replace("chat.py:Chat", "chat.py:Slow")
    await rig.gateway(spec + GATEWAY.replace("routes:\n", LISTEN + "routes:\n") + ROUTE)
    assert rig.app is not None
    (server,) = rig.app.beside
    await server.start()
    rig.stack.push_async_callback(server.aclose)
    assert isinstance(server, GrpcServer)
    calls = await client(rig, server.port)
    call = calls.unary("Chat/Complete", messages.ChatResponse)(question())
    async with asyncio.timeout(10):
        while not rig.app.in_flight:
            await asyncio.sleep(0.005)
        call.cancel()
        while rig.app.in_flight:
            await asyncio.sleep(0.005)


async def test_health_and_reflection(rig: FrontRig) -> None:
    """Probes are told that it serves, and tools find the interface by reflection."""
    port = await listening(rig)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(service="weft.v1.Chat"))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()

    def services() -> list[str]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            found: list[str] = list(database.get_services())
            assert database.FindFileContainingSymbol("weft.v1.ChatRequest").package == "weft.v1"
            return found

    assert {"weft.v1.Chat", "weft.v1.Invocation", "grpc.health.v1.Health"} <= set(
        await asyncio.to_thread(services)
    )


@pytest.mark.system("openssl")
async def test_tls_asks_for_a_certificate(rig: FrontRig, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With an authority for clients, only who shows a certificate gets in."""
    papers = Papers(tmp_path_factory.mktemp("papers"))
    tls = f"{{cert: {papers.server[0]}, key: {papers.server[1]}, client_ca: {papers.ca}}}"
    port = await listening(
        rig, listen=f'listen: [{{http: "127.0.0.1:0"}}, {{grpc: "127.0.0.1:0", tls: {tls}}}]\n'
    )
    authority = Path(papers.ca).read_bytes()
    shown = grpc.ssl_channel_credentials(
        authority, Path(papers.client[1]).read_bytes(), Path(papers.client[0]).read_bytes()
    )
    async with grpc.aio.secure_channel(f"localhost:{port}", shown) as channel:
        reply = await Client(channel).unary("Chat/Complete", messages.ChatResponse)(question())
        assert reply.choices[0].message.content == "Good morning to you."
    async with grpc.aio.secure_channel(
        f"localhost:{port}", grpc.ssl_channel_credentials(authority)
    ) as channel:
        call = Client(channel).unary("Chat/Complete", messages.ChatResponse)(question(), timeout=5)
        assert (await failing(call)).code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )


def test_what_is_committed_is_what_the_interface_compiles_to() -> None:
    """The descriptor set is made of the interface beside it."""
    assert COMPILED.read_bytes() == compiled()
