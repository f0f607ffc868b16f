"""The ``http`` component: services of foreign shapes, mapped to contracts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rawserver import Asked, RawServer, Sent, json_reply, sse_reply

from weft.components.any.http import Events, Http
from weft.contracts import Contract, chat, embedding, reranker, retriever
from weft.contracts.chat import ChatRequest, collect
from weft.contracts.embedding import EmbeddingRequest
from weft.contracts.reranker import RerankRequest
from weft.contracts.retriever import RetrieveRequest
from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
    ServiceError,
)
from weft.serve.host import ServiceHost
from weft.types import Document, Message, Usage, floats

Make = Callable[..., Awaitable[Http]]

RANK: dict[str, Any] = {
    "request": {"q": "query", "docs": "documents.*.text", "limit": "top_n"},
    "response": {"documents": {"$each": "result", "$pick": "documents", "$at": "i", "score": "s"}},
}
EMBED: dict[str, Any] = {
    "request": {"lines": "texts", "size": "dimensions"},
    "response": {
        "embeddings": "vectors.*.v",
        "model": {"$value": "theirs"},
        "usage": {"prompt_tokens": "cost"},
    },
}
SAY: dict[str, Any] = {
    "request": {
        "turns": {"$each": "messages", "who": "role", "said": "content"},
        "heat": "temperature",
        "mode": {"$value": "short"},
    },
    "response": {"text": "answer.words", "usage": {"prompt_tokens": "in", "completion_tokens": "out"}},
}
ASK = ChatRequest([Message("system", "be brief"), Message("user", "hi")], temperature=0)


@pytest.fixture
def http(server: RawServer, host: ServiceHost) -> Make:
    """Makes the component on the test's server."""

    async def make(contract: Contract, *, path: str = "/do", **config: Any) -> Http:
        component = Http(contract, server.url + path, **config)
        await component.start(host)
        return component

    return make


async def test_a_foreign_reranker(server: RawServer, http: Make) -> None:
    """``{"q", "docs"}`` in, indices and scores in any order out: the request's documents, best first, at most top_n."""
    ranks = [{"i": 0, "s": 0.1}, {"i": 2, "s": 0.9}, {"i": 1, "s": 0.5}]
    server.answer = json_reply({"result": ranks})
    component = await http(reranker.CONTRACT, **RANK)
    documents = [Document(text, id=text * 2, readers=["team"]) for text in "abc"]
    reply = await component.invoke(RerankRequest("q?", documents, top_n=2))
    assert [(d.id, d.score, d.readers) for d in reply.documents] == [
        ("cc", 0.9, ["team"]),
        ("bb", 0.5, ["team"]),
    ]
    assert server.asked[0].body == {"q": "q?", "docs": ["a", "b", "c"], "limit": 2}
    assert (server.asked[0].method, server.asked[0].path) == ("POST", "/do")


async def test_a_foreign_embedder(server: RawServer, http: Make) -> None:
    """Vectors travel encoded, as any embedder's."""
    server.answer = json_reply({"vectors": [{"v": [0.5, 1]}, {"v": [0, 0.25]}], "cost": 7})
    component = await http(embedding.CONTRACT, **EMBED)
    reply = await component.invoke(EmbeddingRequest(["a", "b"]))
    assert [floats(raw) for raw in reply.embeddings] == [[0.5, 1], [0, 0.25]]
    assert (reply.model, reply.usage) == ("theirs", Usage(7, 0, 7))
    assert server.asked[0].body == {"lines": ["a", "b"]}


async def test_a_foreign_chat(server: RawServer, http: Make) -> None:
    """One text is an answer with one choice; asked to stream, it is one chunk."""
    server.answer = json_reply({"answer": {"words": "hello"}, "in": 3, "out": 1})
    component = await http(chat.CONTRACT, **SAY)
    whole = await component.invoke(ASK)
    assert (whole.text(), whole.usage, whole.choices[0].finish_reason) == ("hello", Usage(3, 1, 4), "stop")
    assert server.asked[0].body == {
        "turns": [{"who": "system", "said": "be brief"}, {"who": "user", "said": "hi"}],
        "heat": 0,
        "mode": "short",
    }
    streamed = collect([chunk async for chunk in component.stream(ASK)])
    assert (streamed.choices, streamed.usage) == (whole.choices, whole.usage)
    assert whole.id.startswith("chatcmpl-")


async def test_a_foreign_chat_that_streams(server: RawServer, http: Make) -> None:
    """Each event's text is a chunk; events without text, comments and empty data are none."""
    blocks = [
        b'data: {"part":"hel"}\n\n',
        b': ping\n\ndata:\n\ndata: {"note":1}\n\n',
        b'data: {"part":"lo"}\n\n',
    ]
    server.answer = sse_reply(*blocks, b'data: {"in":3,"out":1}\n\n')
    usage = {"prompt_tokens": "in", "completion_tokens": "out"}
    events = Events("part", usage=usage, request={"live": {"$value": True}}, url=server.url + "/live?v=2")
    component = await http(chat.CONTRACT, **SAY, stream=events)
    chunks = [chunk async for chunk in component.stream(ASK)]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["hel", "lo", None]
    whole = collect(chunks)
    assert (whole.text(), whole.usage, whole.choices[0].finish_reason) == ("hello", Usage(3, 1, 4), "stop")
    assert server.asked[0].path == "/live?v=2"
    assert server.asked[0].body["live"] is True
    assert server.asked[0].body["heat"] == 0


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (sse_reply(b'data: {"part":"hel"}\n\n', ends=False), BackendReplyError, "cut short"),
        (sse_reply(b'data: {"error":"gone"}\n\n'), ServiceError, "gone"),
        (sse_reply(b'data: {"part":7}\n\n'), BackendReplyError, "not as the mapping says"),
        (sse_reply(b"data: hello\n\n"), BackendReplyError, "not as the mapping says.*hello"),
        (json_reply({"part": "hello"}), BackendReplyError, "no event stream, but application/json"),
        (json_reply({"message": "no"}, 500), BackendStatusError, "answered 500"),
        (json_reply({"message": "no"}, 422), InvalidRequestError, "refused the request"),
    ],
)
async def test_a_foreign_stream_that_fails_is_an_error(
    server: RawServer, http: Make, reply: Sent, kind: type[RequestError], words: str
) -> None:
    """Never an answer; the endpoint is named."""
    server.answer = reply
    component = await http(chat.CONTRACT, **SAY, stream=Events("part"))
    with pytest.raises(kind, match=words) as caught:
        [chunk async for chunk in component.stream(ASK)]
    assert f"{server.url}/do" in str(caught.value)


async def test_a_foreign_search_by_get(server: RawServer, http: Make) -> None:
    """The request's fields are the query, beside what the address has; objects are made of the reply's elements."""
    server.answer = json_reply([{"body": "text", "where": {"file": "a.txt"}, "rel": 0.5}])
    response = {"documents": {"$each": ".", "text": "body", "source": "where.file", "score": "rel"}}
    component = await http(
        retriever.CONTRACT,
        path="/find/?api=2",
        request={"q": "query", "n": "k", "exact": {"$value": True}},
        response=response,
        method="GET",
        headers={"x-team": "red"},
        api_key="k",
    )
    reply = await component.invoke(RetrieveRequest("what & who", k=2))
    assert reply.documents == [Document("text", source="a.txt", score=0.5)]
    asked = server.asked[0]
    assert (asked.method, asked.path) == ("GET", "/find/?api=2&q=what+%26+who&n=2&exact=true")
    assert (asked.headers["x-team"], asked.headers["authorization"]) == ("red", "Bearer k")


@pytest.mark.parametrize(
    ("contract", "config", "request_", "reply", "words"),
    [
        (
            reranker.CONTRACT,
            RANK,
            RerankRequest("q", [Document("a")]),
            {"results": []},
            "the reply has: results",
        ),
        (reranker.CONTRACT, RANK, RerankRequest("q", [Document("a")]), [1], "the reply is a list"),
        (reranker.CONTRACT, RANK, RerankRequest("q", [Document("a")]), {"result": 7}, "'result' is no list"),
        (
            reranker.CONTRACT,
            RANK,
            RerankRequest("q", [Document("a")]),
            {"result": [{"i": 1, "s": 1}]},
            "element 1 of 1",
        ),
        (
            reranker.CONTRACT,
            RANK,
            RerankRequest("q", [Document("a")]),
            {"result": [{"i": 0, "s": "high"}]},
            r"Expected `float.*documents\[0\].score",
        ),
        (embedding.CONTRACT, EMBED, EmbeddingRequest(["a"]), {"vectors": []}, "0 vectors for 1 texts"),
        (
            embedding.CONTRACT,
            EMBED,
            EmbeddingRequest(["a", "b"]),
            {"vectors": [{"v": [1]}, {"v": [1, 2]}]},
            "1, 2 dimensions",
        ),
        (
            embedding.CONTRACT,
            EMBED,
            EmbeddingRequest(["a"]),
            {"vectors": [{"v": [None]}]},
            "neither an array",
        ),
        (chat.CONTRACT, SAY, ASK, {"answer": None}, "no text where the mapping says; the reply has: answer"),
    ],
)
async def test_a_reply_that_does_not_fit_is_an_error(
    server: RawServer,
    http: Make,
    contract: Contract,
    config: dict[str, Any],
    request_: Any,
    reply: Any,
    words: str,
) -> None:
    """It says what was expected, what there is, and where."""
    server.answer = json_reply(reply)
    component = await http(contract, **config)
    with pytest.raises(BackendReplyError, match=words) as caught:
        await component.invoke(request_)
    assert f"{server.url}/do" in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (json_reply({"message": "bad"}, 400), InvalidRequestError, "bad"),
        (json_reply({"message": "who"}, 401), BackendStatusError, "who"),
        (json_reply({"message": "later"}, 429, retry_after="5"), OverloadedError, "later"),
        (Sent([b"<html>Time-out"], 504, "text/html"), BackendStatusError, "Time-out"),
        (Sent([b"<html>hello"], 200, "text/html"), BackendReplyError, "not JSON"),
        (Sent([b'{"result":['], ends=False), BackendReplyError, "cut short"),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_error_reply_is_an_error_with_the_endpoint(
    server: RawServer, http: Make, reply: Sent, kind: type[RequestError], words: str, method: str
) -> None:
    """The same errors as those of all adapters."""
    server.answer = reply
    component = await http(reranker.CONTRACT, **RANK, method=method)
    with pytest.raises(kind, match=words) as caught:
        await component.invoke(RerankRequest("q", [Document("a")]))
    assert f"{server.url}/do" in str(caught.value)
    if isinstance(caught.value, OverloadedError):
        assert caught.value.retry_after_s == 5


async def test_ready_means_that_the_service_answers(server: RawServer, http: Make) -> None:
    """At the path that is given; else anywhere on its server, where any answer will do but a proxy's."""

    def answer(asked: Asked) -> Sent:
        return json_reply({}, {"/well": 200, "/": 501}.get(asked.path, 500))

    server.answer = answer
    assert await (await http(reranker.CONTRACT, **RANK)).ready()
    assert await (await http(reranker.CONTRACT, **RANK, health="/well")).ready()
    assert [asked.path for asked in server.asked] == ["/", "/well"]
    component = await http(reranker.CONTRACT, **RANK, health="/ill")
    with pytest.raises(BackendStatusError, match="answered 500"):
        await component.ready()
    server.answer = json_reply({}, 502)
    component = await http(reranker.CONTRACT, **RANK)
    with pytest.raises(BackendStatusError, match="answered 502"):
        await component.ready()
