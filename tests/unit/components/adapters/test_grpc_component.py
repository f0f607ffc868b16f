"""The ``grpc`` component: services that speak only gRPC, in a foreign interface, mapped to contracts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection
from grpc_tools import protoc

from weft.components.any.grpc import Grpc, Messages
from weft.contracts import chat, embedding, reranker
from weft.contracts.chat import ChatRequest, collect
from weft.contracts.embedding import EmbeddingRequest
from weft.contracts.reranker import RerankRequest
from weft.errors import (
    BackendReplyError,
    ComponentError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    UnreachableError,
)
from weft.serve.host import ServiceHost
from weft.types import Document, Message, Usage, floats

INTERFACE = """\
syntax = "proto3";
package acme.v1;
import "google/protobuf/struct.proto";

service Models {
  rpc Rank(RankRequest) returns (RankReply);
  rpc Embed(EmbedRequest) returns (EmbedReply);
  rpc Say(SayRequest) returns (SayReply);
  rpc Talk(SayRequest) returns (stream SayReply);
}
message RankRequest { string question = 1; repeated string passages = 2; int32 limit = 3; }
message Hit { int32 position = 1; double score = 2; }
message RankReply { repeated Hit hits = 1; }
message EmbedRequest { repeated string lines = 1; }
message Vector { repeated float values = 1; }
message EmbedReply { repeated Vector vectors = 1; int64 tokens = 2; }
message Turn { string who = 1; string words = 2; }
message SayRequest { repeated Turn turns = 1; double heat = 2; google.protobuf.Struct more = 3; }
message SayReply { string words = 1; string why = 2; int64 used = 3; }
"""

RANK: dict[str, Any] = {
    "method": "acme.v1.Models/Rank",
    "request": {"question": "query", "passages": "documents.*.text", "limit": "top_n"},
    "response": {"documents": {"$each": "hits", "$pick": "documents", "$at": "position", "score": "score"}},
}
EMBED: dict[str, Any] = {
    "method": "acme.v1.Models/Embed",
    "request": {"lines": "texts"},
    "response": {
        "embeddings": "vectors.*.values",
        "model": {"$value": "theirs"},
        "usage": {"prompt_tokens": "tokens"},
    },
}
SAY: dict[str, Any] = {
    "method": "acme.v1.Models/Say",
    "request": {"turns": {"$each": "messages", "who": "role", "words": "content"}, "heat": "temperature"},
    "response": {"text": "words", "finish_reason": "why", "usage": {"completion_tokens": "used"}},
    "stream": Messages("acme.v1.Models/Talk", "words", "why", {"completion_tokens": "used"}),
}
ASK = ChatRequest([Message("user", "hi")], temperature=0.5)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interface as a descriptor set."""
    folder = tmp_path_factory.mktemp("acme")
    (folder / "acme.proto").write_text(INTERFACE)
    target = folder / "acme.binpb"
    known = files("grpc_tools") / "_proto"
    line = [f"-I{folder}", f"-I{known}", "--include_imports", f"--descriptor_set_out={target}"]
    assert protoc.main(["protoc", *line, str(folder / "acme.proto")]) == 0
    return target


@dataclass
class Acme:
    """A server of the interface.

    Attributes:
        answers: Method to ``async (request, context, message) -> reply``, or an async generator of replies.
        seen: Requests and metadata, in order.
        address: Where it is.
    """

    pool: Any
    answers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    seen: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    address: str = ""

    def message(self, name: str, **fields: Any) -> Any:
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"acme.v1.{name}"))(**fields)

    def handlers(self) -> Any:
        found = {}
        for method in self.pool.FindServiceByName("acme.v1.Models").methods:
            kind = message_factory.GetMessageClass(method.input_type)
            make = (
                grpc.unary_stream_rpc_method_handler
                if method.server_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            answer = self._streaming(method.name) if method.server_streaming else self._whole(method.name)
            found[method.name] = make(answer, kind.FromString, lambda reply: reply.SerializeToString())
        return grpc.method_handlers_generic_handler("acme.v1.Models", found)

    def _whole(self, name: str) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            self.seen.append((request, dict(context.invocation_metadata())))
            return await self.answers[name](request, context)

        return answer

    def _streaming(self, name: str) -> Any:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            self.seen.append((request, dict(context.invocation_metadata())))
            async for reply in self.answers[name](request, context):
                yield reply

        return answer


@pytest.fixture
async def acme(described: Path, request: pytest.FixtureRequest) -> AsyncIterator[Acme]:
    """A running server, with reflection unless the test is marked otherwise."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file:
        pool.Add(file)
    made, server = Acme(pool), grpc.aio.server()
    server.add_generic_rpc_handlers((made.handlers(),))
    if getattr(request, "param", None) != "silent":
        reflection.enable_server_reflection(("acme.v1.Models", reflection.SERVICE_NAME), server, pool)
    made.address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield made
    await server.stop(None)


@pytest.fixture
async def make(acme: Acme, host: ServiceHost) -> AsyncIterator[Any]:
    """Makes the component on the test's server."""
    made: list[Grpc] = []

    async def start(contract: Any, **config: Any) -> Grpc:
        component = Grpc(contract, acme.address, **config)
        await component.start(host)
        made.append(component)
        return component

    yield start
    for component in made:
        await component.aclose()


async def test_a_foreign_reranker(acme: Acme, make: Any) -> None:
    """The passages go out, positions and scores come back in any order: the request's documents, best first."""

    async def rank(request: Any, context: Any) -> Any:
        hits = [acme.message("Hit", position=at, score=score) for at, score in ((0, 0.1), (2, 0.9), (1, 0.5))]
        return acme.message("RankReply", hits=hits)

    acme.answers["Rank"] = rank
    component = await make(reranker.CONTRACT, **RANK, api_key="k", metadata={"X-Team": "harbour"})
    documents = [Document(text, id=text * 2) for text in "abc"]
    reply = await component.invoke(RerankRequest("q", documents, top_n=2))
    assert [(found.id, found.score) for found in reply.documents] == [("cc", 0.9), ("bb", 0.5)]
    request, metadata = acme.seen[0]
    assert (request.question, list(request.passages), request.limit) == ("q", ["a", "b", "c"], 2)
    assert (metadata["authorization"], metadata["x-team"]) == ("Bearer k", "harbour")


async def test_vectors_come_as_they_are(acme: Acme, make: Any) -> None:
    """Lists of floats become embeddings, and 64-bit counts, which protobuf writes as text, are numbers."""

    async def embed(request: Any, context: Any) -> Any:
        vectors = [acme.message("Vector", values=[0.5, 0.25]) for _ in request.lines]
        return acme.message("EmbedReply", vectors=vectors, tokens=7)

    acme.answers["Embed"] = embed
    component = await make(embedding.CONTRACT, **EMBED)
    reply = await component.invoke(EmbeddingRequest(["a", "b"]))
    assert [floats(vector) for vector in reply.embeddings] == [[0.5, 0.25]] * 2
    assert reply.usage == Usage(7, 0, 7)


async def test_a_chat_answers_whole_and_streamed(acme: Acme, make: Any) -> None:
    """Each message of a stream is a chunk; the last has why it ended and the tokens."""

    async def say(request: Any, context: Any) -> Any:
        return acme.message("SayReply", words="one two", why="length", used=2)

    async def talk(request: Any, context: Any) -> AsyncIterator[Any]:
        yield acme.message("SayReply", words="one ")
        yield acme.message("SayReply", words="two", why="stop", used=2)

    acme.answers |= {"Say": say, "Talk": talk}
    component = await make(chat.CONTRACT, **SAY)
    whole = await component.invoke(ASK)
    assert (whole.text(), whole.choices[0].finish_reason) == ("one two", "length")
    chunks = [chunk async for chunk in component.stream(ASK)]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["one ", "two", None]
    assert (collect(chunks).text(), collect(chunks).usage) == ("one two", Usage(0, 2, 2))
    turns = acme.seen[1][0].turns
    assert [(turn.who, turn.words) for turn in turns] == [("user", "hi")]


async def test_leaving_a_stream_cancels_the_call(acme: Acme, make: Any) -> None:
    """The service sees at once that nobody listens."""
    left = asyncio.Event()

    async def talk(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            yield acme.message("SayReply", words="one ")
            await asyncio.Event().wait()
        finally:
            left.set()

    acme.answers["Talk"] = talk
    component = await make(chat.CONTRACT, **SAY)
    chunks = component.stream(ASK)
    assert (await anext(chunks)).choices[0].delta.content == "one "
    await chunks.aclose()
    async with asyncio.timeout(10):
        await left.wait()


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            InvalidRequestError,
            "the service refused the request: no such tone",
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError, "the service is busy: no such tone"),
        (grpc.StatusCode.UNAVAILABLE, UnreachableError, "no connection: no such tone"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError, "no reply within 30 s"),
        (grpc.StatusCode.INTERNAL, ServiceError, "it answered INTERNAL: no such tone"),
    ],
)
async def test_statuses_are_errors_of_ours(
    acme: Acme, make: Any, status: Any, error: type[Exception], words: str
) -> None:
    """Each status is the error that says what to do about it, with the service's own words."""

    async def say(request: Any, context: Any) -> Any:
        await context.abort(status, "no such tone")

    acme.answers["Say"] = say
    component = await make(chat.CONTRACT, **SAY)
    with pytest.raises(error, match=words):
        await component.invoke(ASK)


async def test_silence_in_a_stream_is_bounded(acme: Acme, make: Any) -> None:
    """A stream that says nothing for too long fails."""

    async def talk(request: Any, context: Any) -> AsyncIterator[Any]:
        yield acme.message("SayReply", words="one ")
        await asyncio.Event().wait()

    acme.answers["Talk"] = talk
    component = await make(chat.CONTRACT, **SAY, timeout_s=0.1)
    with pytest.raises(DeadlineError, match=r"nothing was said for 0\.1 s"):
        async for _ in component.stream(ASK):
            pass


async def test_what_the_service_does_not_have_is_named(acme: Acme, make: Any) -> None:
    """A service, a method, a kind of method and a field that are not there are told with those that are."""
    component = await make(reranker.CONTRACT, **(RANK | {"method": "acme.v1.Model/Rank"}))
    with pytest.raises(ComponentError, match=r"has no service 'acme\.v1\.Model'") as caught:
        await component.ready()
    assert caught.value.hint == "did you mean 'acme.v1.Models'? services: acme.v1.Models"
    component = await make(reranker.CONTRACT, **(RANK | {"method": "acme.v1.Models/Rnak"}))
    with pytest.raises(ComponentError, match=r"has no method 'acme\.v1\.Models/Rnak'") as caught:
        await component.ready()
    assert "did you mean 'Rank'?" in str(caught.value.hint)
    component = await make(chat.CONTRACT, **(SAY | {"method": "acme.v1.Models/Talk", "stream": None}))
    with pytest.raises(ComponentError, match="gives a stream"):
        await component.ready()
    component = await make(reranker.CONTRACT, **(RANK | {"request": {"query": "query"}}))
    with pytest.raises(ComponentError, match=r"does not make a acme\.v1\.RankRequest.*query"):
        await component.invoke(RerankRequest("q", [Document("a")]))


async def test_a_reply_that_does_not_fit_is_told(acme: Acme, make: Any) -> None:
    """A score that is no score, or a passage that was not asked about, is the service's fault."""

    async def rank(request: Any, context: Any) -> Any:
        return acme.message("RankReply", hits=[acme.message("Hit", position=5, score=0.5)])

    acme.answers["Rank"] = rank
    component = await make(reranker.CONTRACT, **RANK)
    with pytest.raises(BackendReplyError, match="does not make a RerankResponse: .*the reply has: hits"):
        await component.invoke(RerankRequest("q", [Document("a")]))


@pytest.mark.parametrize("acme", ["silent"], indirect=True)
async def test_without_reflection_a_file_tells(acme: Acme, make: Any, described: Path) -> None:
    """A service that tells nothing of itself is called by a descriptor set, and the error says how to make one."""

    async def say(request: Any, context: Any) -> Any:
        return acme.message("SayReply", words="one")

    acme.answers["Say"] = say
    component = await make(chat.CONTRACT, **SAY)
    with pytest.raises(ComponentError, match="tells nothing of itself") as caught:
        await component.invoke(ASK)
    assert (
        caught.value.hint == "descriptors: FILE, made by protoc --descriptor_set_out=FILE --include_imports"
    )
    component = await make(chat.CONTRACT, **SAY, descriptors=str(described))
    assert (await component.invoke(ASK)).text() == "one"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "http://somewhere:1"}, "'http://somewhere:1' is no address of gRPC"),
        ({"method": "Rank"}, "'Rank' is no method: package.Service/Method"),
    ],
)
def test_a_config_that_cannot_be(change: dict[str, Any], words: str) -> None:
    """An address of another protocol, and a method without its service, are refused when the spec is read."""
    with pytest.raises(ValueError, match=words):
        Grpc(reranker.CONTRACT, **({"url": "grpc://here:1", **RANK} | change))
