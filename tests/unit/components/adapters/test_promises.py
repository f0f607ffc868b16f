"""The shipped contract tests on every adapter, with servers that answer as a model would."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from makes import USAGE, chunk, event, whole
from rawserver import Asked, RawServer, Sent, json_reply, sse_reply

from weft.components.any.http import Events, Http
from weft.components.chat.openai import OpenAIChat
from weft.components.embedding.openai import OpenAIEmbedder
from weft.components.embedding.tei import TeiEmbedder
from weft.components.reranker.cohere import CohereReranker
from weft.components.reranker.tei import TeiReranker
from weft.contracts import chat, embedding, reranker
from weft.testing.classes import ChatContract, EmbeddingContract, RerankerContract

WIDTH = 64


def vector_of(text: str) -> list[float]:
    """A bag of words, of length 1."""
    counts = [0.0] * WIDTH
    for word in text.lower().split() or [""]:
        counts[sum(word.encode()) % WIDTH] += 1
    length = math.hypot(*counts)
    return [count / length for count in counts]


def likeness(query: str, text: str) -> float:
    """How much of two texts is the same."""
    return sum(a * b for a, b in zip(vector_of(query), vector_of(text), strict=True))


def answer(asked: Asked) -> Sent:
    """TEI, OpenAI and a foreign service at once: the path says which."""
    body = asked.body
    match asked.path:
        case "/v1/embeddings":
            data = [{"index": i, "embedding": vector_of(text)} for i, text in enumerate(body["input"])]
            return json_reply({"data": data, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}})
        case "/embed":
            return json_reply([vector_of(text) for text in body["inputs"]], x_compute_tokens="3")
        case "/info":
            return json_reply({"model_id": "m", "max_client_batch_size": 4})
        case "/rerank":
            ranks = [
                {"index": i, "score": likeness(body["query"], text)} for i, text in enumerate(body["texts"])
            ]
            return json_reply(sorted(ranks, key=lambda rank: rank["score"])[::-1])
        case "/v2/rerank":
            results = [
                {"index": i, "relevance_score": likeness(body["query"], text)}
                for i, text in enumerate(body["documents"])
            ]
            return json_reply({"results": sorted(results, key=lambda result: -result["relevance_score"])})
        case "/foreign/rank":
            return json_reply([likeness(body["q"], text) for text in body["docs"]])
        case "/foreign/embed":
            return json_reply({"v": [vector_of(text) for text in body["lines"]], "cost": 3})
        case "/v1/chat/completions" | "/foreign/say":
            return said(asked)
    return json_reply({}, 404)


def said(asked: Asked) -> Sent:
    """Counts; keeps to the bound, the stop texts and the number of answers as a server does."""
    body = asked.body
    if not body["messages"]:
        return json_reply({"error": {"message": "messages is empty"}}, 400)
    if (body.get("n") or 1) > 1:
        return json_reply({"error": {"message": "one answer only", "param": "n"}}, 400)
    words = ["one ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight ", "nine ", "ten "]
    limit = body.get("max_tokens") or 10
    text = "".join(words[:limit])
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    cuts = [text.index(stop) for stop in stops if stop in text]
    finish = "stop" if cuts or limit >= 10 else "length"
    text = text[: min(cuts)] if cuts else text
    parts = [f"{word} " for word in text.split()]
    usage = dict(USAGE, completion_tokens=len(parts), total_tokens=7 + len(parts))
    counts = {"in": 7, "out": len(parts)}
    if asked.path == "/foreign/say":
        if not body.get("live"):
            return json_reply({"words": text, "why": finish, **counts})
        return sse_reply(*(event({"part": part}) for part in parts), event({"why": finish, **counts}))
    if not body.get("stream"):
        made = whole({"role": "assistant", "content": text}, usage=usage)
        made["choices"][0]["finish_reason"] = finish
        return json_reply(made)
    events = [event(chunk({"content": part})) for part in parts]
    return sse_reply(*events, event(chunk({}, finish)), event(chunk(None, usage=usage)), b"data: [DONE]\n\n")


class Thread:
    """The server in a thread of its own, since each promise has an event loop of its own."""

    def __init__(self) -> None:
        self.server = RawServer(answer)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.aclose(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class WithServer:
    """Has the address of a server."""

    make: Callable[[str], Any]
    url = ""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _served(cls) -> Iterator[None]:
        thread = Thread()
        thread.start()
        cls.url = thread.server.url
        yield
        thread.stop()

    def component(self) -> Any:
        return type(self).make(self.url)


class TestOpenAIEmbedder(WithServer, EmbeddingContract):
    make = staticmethod(lambda url: OpenAIEmbedder(f"{url}/v1", model="m", batch=3))


class TestTeiEmbedder(WithServer, EmbeddingContract):
    make = staticmethod(TeiEmbedder)


class TestForeignEmbedder(WithServer, EmbeddingContract):
    make = staticmethod(
        lambda url: Http(
            embedding.CONTRACT,
            f"{url}/foreign/embed",
            {"lines": "texts"},
            {"embeddings": "v", "usage": {"prompt_tokens": "cost"}},
        )
    )


class TestTeiReranker(WithServer, RerankerContract):
    make = staticmethod(lambda url: TeiReranker(url, batch=3))


class TestCohereReranker(WithServer, RerankerContract):
    make = staticmethod(lambda url: CohereReranker(f"{url}/v2", model="m", batch=3))


class TestForeignReranker(WithServer, RerankerContract):
    make = staticmethod(
        lambda url: Http(
            reranker.CONTRACT,
            f"{url}/foreign/rank",
            {"q": "query", "docs": "documents.*.text"},
            {"documents": {"$each": ".", "$pick": "documents", "score": "."}},
        )
    )


class TestOpenAIChat(WithServer, ChatContract):
    make = staticmethod(lambda url: OpenAIChat(f"{url}/v1", model="m", context_window=100))


class TestForeignChat(WithServer, ChatContract):
    make = staticmethod(
        lambda url: Http(
            chat.CONTRACT,
            f"{url}/foreign/say",
            {"messages": "messages", "n": "n", "max_tokens": "max_tokens", "stop": "stop"},
            {
                "text": "words",
                "finish_reason": "why",
                "usage": {"prompt_tokens": "in", "completion_tokens": "out"},
            },
            stream=Events(
                "part",
                finish_reason="why",
                usage={"prompt_tokens": "in", "completion_tokens": "out"},
                request={"live": {"$value": True}},
            ),
        )
    )
