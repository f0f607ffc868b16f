"""``openai-embedder`` and ``tei-embedder`` against servers with limits, other orders, and wrong vectors."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rawserver import Asked, RawServer, Sent, json_reply

from weft.components.embedding.openai import OpenAIEmbedder
from weft.components.embedding.tei import TeiEmbedder
from weft.contracts.embedding import EmbeddingRequest
from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
)
from weft.serve.host import ServiceHost
from weft.types import Usage, floats

TEXTS = [f"t{number}" for number in range(7)]

Make = Callable[..., Awaitable[Any]]


def vector_of(text: str) -> list[float]:
    """The number in a text and the text's length, so that a mix-up shows."""
    return [float(text[1:]), float(len(text)), 0.5]


def openai_server(
    limit: int = 2048, *, as_base64: bool = False, shuffled: bool = False
) -> Callable[[Asked], Sent]:
    """An OpenAI server; ``limit`` as TEI's has it on that route."""

    def answer(asked: Asked) -> Sent:
        texts = asked.body["input"]
        if len(texts) > limit:
            words = f"batch size {len(texts)} > maximum allowed batch size {limit}"
            return json_reply({"message": words, "code": 422, "type": "Validation"}, 422)
        dimensions = asked.body.get("dimensions") or 3
        vectors = [vector_of(text)[:dimensions] for text in texts]
        data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
        if as_base64:
            for item in data:
                packed = array("f", item["embedding"]).tobytes()  # type: ignore[arg-type]
                item["embedding"] = base64.b64encode(packed).decode()
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return json_reply(
            {"object": "list", "data": data[::-1] if shuffled else data, "model": "served", "usage": usage}
        )

    return answer


def tei_server(limit: int = 32, *, info: bool = True) -> Callable[[Asked], Sent]:
    """TEI's own route; without ``info``, something that only imitates it."""

    def answer(asked: Asked) -> Sent:
        if asked.path == "/info":
            said = {"model_id": "served", "max_client_batch_size": limit, "version": "1.8.2"}
            return json_reply(said) if info else json_reply({"error": "no"}, 404)
        texts = asked.body["inputs"]
        if len(texts) > limit:
            words = f"batch size {len(texts)} > maximum allowed batch size {limit}"
            return json_reply({"error": words, "error_type": "Validation"}, 422)
        return json_reply([vector_of(text) for text in texts], x_compute_tokens=str(len(texts)))

    return answer


@pytest.fixture
def openai(server: RawServer, host: ServiceHost) -> Make:
    """Makes ``openai-embedder``."""

    async def make(**config: Any) -> OpenAIEmbedder:
        component = OpenAIEmbedder(server.url + "/v1", model="asked", **config)
        await component.start(host)
        return component

    return make


@pytest.fixture
def tei(server: RawServer, host: ServiceHost) -> Make:
    """Makes ``tei-embedder``."""

    async def make(**config: Any) -> TeiEmbedder:
        component = TeiEmbedder(server.url, **config)
        await component.start(host)
        return component

    return make


@pytest.mark.parametrize("as_base64", [False, True], ids=["float", "base64"])
@pytest.mark.parametrize("shuffled", [False, True], ids=["in-order", "shuffled"])
@pytest.mark.parametrize("batch", [2, 7, 100])
async def test_each_text_gets_its_own_vector(
    server: RawServer, openai: Make, batch: int, shuffled: bool, as_base64: bool
) -> None:
    """In order, in batches of at most the size that was set, whatever order and form the reply has; usage adds up."""
    server.answer = openai_server(as_base64=as_base64, shuffled=shuffled)
    component = await openai(batch=batch, encoding_format="base64" if as_base64 else "float")
    reply = await component.invoke(EmbeddingRequest(TEXTS))
    assert [floats(raw) for raw in reply.embeddings] == [vector_of(text) for text in TEXTS]
    assert all(bytes(raw)[:1] == b"[" for raw in reply.embeddings)
    assert (reply.usage, reply.model) == (Usage(7, 0, 7), "served")
    assert max(len(asked.body["input"]) for asked in server.asked) == min(batch, 7)
    assert {asked.body.get("encoding_format") for asked in server.asked} == {"base64" if as_base64 else None}
    assert {asked.path for asked in server.asked} == {"/v1/embeddings"}


async def test_only_what_was_set_is_sent(server: RawServer, openai: Make) -> None:
    """Texts and the component's model; dimensions, of the request before those of the config, and the user."""
    server.answer = openai_server()
    await (await openai()).invoke(EmbeddingRequest(["t1"], model="chatqna"))
    assert server.asked[-1].body == {"input": ["t1"], "model": "asked"}
    component = await openai(dimensions=1, api_key="k")
    await component.invoke(EmbeddingRequest(["t1"]))
    assert server.asked[-1].body["dimensions"] == 1
    await component.invoke(EmbeddingRequest(["t1"], dimensions=2, user="u"))
    assert server.asked[-1].body == {"input": ["t1"], "model": "asked", "dimensions": 2, "user": "u"}
    assert server.asked[-1].headers["authorization"] == "Bearer k"


async def test_a_server_that_takes_fewer_is_given_fewer(server: RawServer, openai: Make) -> None:
    """Its limit is read from its refusal, once: from then on batches have that size."""
    server.answer = openai_server(limit=3)
    component = await openai()
    for _ in range(2):
        reply = await component.invoke(EmbeddingRequest(TEXTS))
        assert [floats(raw) for raw in reply.embeddings] == [vector_of(text) for text in TEXTS]
    assert [len(asked.body["input"]) for asked in server.asked][:1] == [7]
    assert sum(len(asked.body["input"]) > 3 for asked in server.asked) == 1


async def test_a_body_that_is_too_large_is_sent_in_halves(server: RawServer, tei: Make) -> None:
    """413 without a limit in it: TEI takes two megabytes, and says nothing about texts."""
    answer = tei_server(100)

    def small(asked: Asked) -> Sent:
        if asked.body is not None and len(asked.body["inputs"]) > 2:
            return Sent([b"Failed to buffer the request body: length limit exceeded"], 413, "text/plain")
        return answer(asked)

    server.answer = small
    reply = await (await tei()).invoke(EmbeddingRequest(TEXTS))
    assert [floats(raw) for raw in reply.embeddings] == [vector_of(text) for text in TEXTS]


async def test_tei_is_asked_in_its_own_form(server: RawServer, tei: Make) -> None:
    """Its limit and its model's name are asked for once; tokens are counted from its header."""
    server.answer = tei_server(limit=3)
    component = await tei()
    for _ in range(2):
        reply = await component.invoke(EmbeddingRequest(TEXTS))
    assert [floats(raw) for raw in reply.embeddings] == [vector_of(text) for text in TEXTS]
    assert (reply.usage, reply.model) == (Usage(7, 0, 7), "served")
    assert [asked.path for asked in server.asked] == ["/info"] + ["/embed"] * 6
    assert server.asked[1].body == {"inputs": TEXTS[:3], "normalize": True, "truncate": True}


async def test_what_imitates_tei_need_not_describe_itself(server: RawServer, tei: Make) -> None:
    """Without ``/info`` its limit is learnt from its refusal."""
    server.answer = tei_server(limit=2, info=False)
    reply = await (await tei(normalize=False, dimensions=3)).invoke(EmbeddingRequest(TEXTS))
    assert [floats(raw) for raw in reply.embeddings] == [vector_of(text) for text in TEXTS]
    assert server.asked[-1].body | {"inputs": []} == {
        "inputs": [],
        "normalize": False,
        "truncate": True,
        "dimensions": 3,
    }


def items(*vectors: Any, indexes: list[int | None] | None = None) -> dict[str, Any]:
    """An OpenAI reply with these vectors."""
    places = indexes if indexes is not None else list(range(len(vectors)))
    return {
        "data": [{"embedding": v, "index": i} for v, i in zip(vectors, places, strict=True)],
        "model": "m",
    }


NAN = base64.b64encode(array("f", [1.0, float("nan")]).tobytes()).decode()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (json_reply(items([1.0, 2.0])), "1 vectors for 2 texts"),
        (json_reply(items([1.0], [1.0], [1.0])), "3 vectors for 2 texts"),
        (json_reply({"object": "list"}), "0 vectors for 2 texts"),
        (json_reply(items([1.0], [2.0], indexes=[0, 0])), "indexes are 0, 0"),
        (json_reply(items([1.0], [2.0], indexes=[1, 2])), "indexes are 1, 2"),
        (json_reply(items([1.0], [2.0], indexes=[0, None])), "indexes are 0, None"),
        (json_reply(items([1.0, 2.0], [1.0])), "vector 1 has 1 dimensions, and others have 2"),
        (json_reply(items([], [])), "vector 0 has 0 dimensions"),
        (json_reply(items([1.0, None], [1.0, 2.0])), "vector 0 cannot be read"),
        (json_reply(items([1.0, 2.0], "????")), "vector 1 cannot be read"),
        (json_reply(items([1.0, 2.0], "AAAA")), "vector 1 cannot be read"),
        (json_reply(items([1.0, 2.0], NAN)), "vector 1 has something in it that is no number"),
        (Sent([b'{"data":[{"embedding":[NaN],"index":0}]}']), "not as declared"),
        (Sent([b'{"data":[{"embedding":[1e999],"index":0},{"embedding":[1],"index":1}]}']), "vector 0"),
        (json_reply({"error": {"message": "out of memory"}}), "out of memory"),
        (Sent([b'{"data":[{"embedding":[1.0'], ends=False), "cut short"),
        (Sent([b"<html>"], content_type="text/html"), "not JSON"),
    ],
)
async def test_wrong_vectors_are_an_error(server: RawServer, openai: Make, reply: Sent, words: str) -> None:
    """Too few, too many, unordered, of unlike length, or no numbers: said with the place and the endpoint."""
    server.answer = reply
    component = await openai()
    with pytest.raises(BackendReplyError, match=words) as caught:
        await component.invoke(EmbeddingRequest(["a", "b"]))
    assert f"{server.url}/v1/embeddings" in str(caught.value)


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([[1.0, None], [1.0, 2.0]], "vector 0 cannot be read"),  # what NaN is in TEI's JSON
        ([[1.0, 2.0]], "1 vectors for 2 texts"),
        ({"a": 1}, "no list of vectors"),
    ],
)
async def test_wrong_vectors_of_tei_are_an_error(
    server: RawServer, tei: Make, vectors: Any, words: str
) -> None:
    """The same promise in TEI's form."""
    server.answer = json_reply(vectors)
    component = await tei()
    with pytest.raises(BackendReplyError, match=words) as caught:
        await component.invoke(EmbeddingRequest(["a", "b"]))
    assert f"{server.url}/embed" in str(caught.value)


async def test_dimensions_that_the_server_ignored_are_an_error(server: RawServer, openai: Make) -> None:
    """A server that does not know the field answers with its own length: that is not what was asked for."""
    server.answer = json_reply(items([1.0, 2.0, 3.0]))
    component = await openai(dimensions=2)
    with pytest.raises(BackendReplyError, match="vector 0 has 3 dimensions, and 2 were asked for"):
        await component.invoke(EmbeddingRequest(["a"]))


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (
            json_reply({"error": "Inference failed", "error_type": "backend"}, 424),
            BackendStatusError,
            "Inference",
        ),
        (json_reply({"error": "unhealthy", "error_type": "unhealthy"}, 503), BackendStatusError, "unhealthy"),
        (json_reply({"error": {"message": "bad key"}}, 401), BackendStatusError, "bad key"),
        (Sent([b"<html>Time-out</html>"], 504, "text/html"), BackendStatusError, "Time-out"),
        (json_reply({"error": "overloaded"}, 429, retry_after="9"), OverloadedError, "overloaded"),
        (json_reply({"error": "must have less than 512 tokens"}, 413), InvalidRequestError, "512 tokens"),
        (
            json_reply({"error": {"message": "unknown dimensions"}}, 400),
            InvalidRequestError,
            "unknown dimensions",
        ),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
@pytest.mark.parametrize("texts", [["a"], TEXTS], ids=["one", "batches"])
async def test_an_error_reply_is_an_error_with_the_endpoint(
    server: RawServer,
    openai: Make,
    tei: Make,
    reply: Sent,
    kind: type[RequestError],
    words: str,
    texts: list[str],
) -> None:
    """Its status decides which, and one failed batch is the failure of all; ``Retry-After`` is passed on."""
    server.answer = reply
    for component, path in ((await openai(batch=2), "/v1/embeddings"), (await tei(batch=2), "/embed")):
        with pytest.raises(kind, match=words) as caught:
            await component.invoke(EmbeddingRequest(texts))
        assert server.url in str(caught.value)
        if path == "/v1/embeddings":
            assert server.url + path in str(caught.value)
        if isinstance(caught.value, OverloadedError):
            assert caught.value.retry_after_s == 9


async def test_no_text_and_too_many_are_refused_before_anything_is_sent(
    server: RawServer, openai: Make
) -> None:
    """The bounds of OpenAI's API."""
    component = await openai()
    for texts in ([], ["t"] * 2049):
        with pytest.raises(InvalidRequestError, match="1 to 2048"):
            await component.invoke(EmbeddingRequest(texts))
    assert server.asked == []


async def test_ready_means_that_the_server_answers(server: RawServer, openai: Make, tei: Make) -> None:
    """TEI says itself whether it is well; of an OpenAI server any answer will do but a refusal."""
    server.answer = json_reply({}, 404)
    assert await (await openai()).ready()
    server.answer = Sent()
    assert await (await tei()).ready()
    assert [asked.path for asked in server.asked] == ["/v1/models", "/health"]
    server.answer = json_reply({"error": "unhealthy"}, 503)
    for make in (openai, tei):
        with pytest.raises(BackendStatusError, match="unhealthy"):
            await (await make()).ready()
