"""``tei-reranker`` and ``cohere-reranker`` against servers with limits, and such that rank wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rawserver import Asked, RawServer, Sent, json_reply

from weft.components.reranker.cohere import CohereReranker
from weft.components.reranker.tei import TeiReranker
from weft.contracts.reranker import RerankRequest
from weft.errors import BackendReplyError, BackendStatusError, InvalidRequestError, OverloadedError
from weft.serve.host import ServiceHost
from weft.types import Document

DOCUMENTS = [Document(f"{number}", id=f"d{number}") for number in (3, 9, 1, 7, 5)]

Ranking = list[dict[str, Any]]


class Tei:
    """TEI's form."""

    def make(self, url: str, **config: Any) -> TeiReranker:
        return TeiReranker(url, **config)

    def texts(self, asked: Asked) -> list[str]:
        assert set(asked.body) == {"query", "texts", "truncate"}
        return asked.body["texts"]

    def reply(self, ranking: Ranking) -> Sent:
        return json_reply(ranking)


class Cohere:
    """Cohere's form."""

    around: dict[str, Any] = {
        "id": "1",
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    document: dict[str, Any] = {}

    def make(self, url: str, **config: Any) -> CohereReranker:
        return CohereReranker(url, model="m", **config)

    def texts(self, asked: Asked) -> list[str]:
        assert set(asked.body) == {"model", "query", "documents", "top_n"}
        assert (asked.body["model"], asked.body["top_n"]) == ("m", len(asked.body["documents"]))
        return asked.body["documents"]

    def reply(self, ranking: Ranking) -> Sent:
        results = [{"index": r["index"], "relevance_score": r["score"]} | self.document for r in ranking]
        return json_reply(self.around | {"results": results})


class Jina(Cohere):
    """What Jina, vLLM and llama-server put around the same results."""

    around = {"model": "m", "object": "list", "usage": {"total_tokens": 38, "prompt_tokens": 38}}
    document = {"document": {"text": "said again"}}


Form = Tei | Cohere


@pytest.fixture(params=[Tei, Cohere, Jina])
def form(request: pytest.FixtureRequest) -> Form:
    """How one make of server asks and answers."""
    return request.param()


def scores(form: Form) -> Callable[[Asked], Sent]:
    """The number in each text is its score; best first, as servers do."""

    def answer(asked: Asked) -> Sent:
        ranks = [{"index": i, "score": float(text) / 10} for i, text in enumerate(form.texts(asked))]
        return form.reply(sorted(ranks, key=lambda rank: -rank["score"]))

    return answer


@pytest.mark.parametrize("batch", [1, 2, 32])
async def test_the_best_come_first_over_all_batches(
    server: RawServer, host: ServiceHost, form: Form, batch: int
) -> None:
    """No request has more documents than the server takes, and the order is that of all of them."""
    server.answer = scores(form)
    component = form.make(server.url, batch=batch, top_n=2)
    await component.start(host)
    reply = await component.invoke(RerankRequest("q", DOCUMENTS))
    assert [(d.id, d.score) for d in reply.documents] == [("d9", 0.9), ("d7", 0.7)]
    reply = await component.invoke(RerankRequest("q", DOCUMENTS, top_n=4))
    assert [d.id for d in reply.documents] == ["d9", "d7", "d5", "d3"]
    assert max(len(form.texts(asked)) for asked in server.asked) == min(batch, 5)
    assert {(asked.method, asked.path, asked.body["query"]) for asked in server.asked} == {
        ("POST", "/rerank", "q")
    }


async def test_no_documents_are_no_request(server: RawServer, host: ServiceHost, form: Form) -> None:
    """Servers refuse an empty list; there is nothing to order in one. A bad number is refused before all else."""
    component = form.make(server.url)
    await component.start(host)
    assert (await component.invoke(RerankRequest("q", []))).documents == []
    with pytest.raises(InvalidRequestError, match="top_n"):
        await component.invoke(RerankRequest("q", DOCUMENTS, top_n=0))
    assert server.asked == []


@pytest.mark.parametrize(
    "ranking",
    [
        [],
        [{"index": 0, "score": 1}],
        [{"index": 0, "score": 1}] * 2,
        [{"index": i, "score": 1} for i in (1, 2)],
        [{"index": i, "score": None} for i in (0, 1)],
        [{"index": i, "score": "high"} for i in (0, 1)],
    ],
)
async def test_a_ranking_of_other_documents_is_an_error(
    server: RawServer, host: ServiceHost, form: Form, ranking: Any
) -> None:
    """Each that was sent must be there once, with a number; the endpoint is named."""
    server.answer = form.reply(ranking)
    component = form.make(server.url)
    await component.start(host)
    with pytest.raises(BackendReplyError) as caught:
        await component.invoke(RerankRequest("q", DOCUMENTS[:2]))
    assert f"{server.url}/rerank" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"message": "query is too long"}, InvalidRequestError),
        (422, {"error": "maximum allowed batch size 1"}, InvalidRequestError),
        (401, {"detail": "no such key"}, BackendStatusError),
        (424, {"error": "model is not a re-ranker model"}, BackendStatusError),
        (501, {"error": {"message": "start it with --reranking"}}, BackendStatusError),
    ],
)
async def test_a_refusal_is_the_callers_error_and_a_failure_the_servers(
    server: RawServer, host: ServiceHost, form: Form, status: int, body: Any, error: type[Exception]
) -> None:
    """What the server said is in the words of the error, whichever batch it was said to."""
    server.answer = json_reply(body, status)
    component = form.make(server.url, batch=2)
    await component.start(host)
    said = next(iter(body.values()))
    with pytest.raises(error, match=said if isinstance(said, str) else said["message"]):
        await component.invoke(RerankRequest("q", DOCUMENTS))


async def test_a_busy_server_says_when_to_come_back(server: RawServer, host: ServiceHost, form: Form) -> None:
    """429 is passed on with its Retry-After."""
    server.answer = json_reply({"message": "slow down"}, 429, retry_after="7")
    component = form.make(server.url)
    await component.start(host)
    with pytest.raises(OverloadedError) as caught:
        await component.invoke(RerankRequest("q", DOCUMENTS))
    assert caught.value.retry_after_s == 7


async def test_keys_are_sent_and_never_said(server: RawServer, host: ServiceHost, form: Form) -> None:
    """As a bearer token; an error about it does not quote it."""
    server.answer = json_reply({"message": "invalid api token"}, 401)
    component = form.make(server.url, api_key="s3cret")
    await component.start(host)
    with pytest.raises(BackendStatusError) as caught:
        await component.invoke(RerankRequest("q", DOCUMENTS))
    assert server.asked[0].headers["authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"error": {"message": "out of memory"}}, "out of memory"),
        ({"data": []}, "no results"),
        ({"results": {}}, "results"),
    ],
)
async def test_what_is_no_ranking_is_said(
    server: RawServer, host: ServiceHost, reply: Any, reason: str
) -> None:
    """Status 200 with something else in it, an error even, is not taken for an empty ranking."""
    server.answer = json_reply(reply)
    component = CohereReranker(server.url, model="m")
    await component.start(host)
    with pytest.raises(BackendReplyError, match=reason):
        await component.invoke(RerankRequest("q", DOCUMENTS))


async def test_how_much_of_a_document_is_read_can_be_said(server: RawServer, host: ServiceHost) -> None:
    """``max_tokens_per_doc`` goes along where it is configured."""
    server.answer = Cohere().reply([{"index": 0, "score": 0.5}])
    component = CohereReranker(f"{server.url}/v2/", model="m", max_tokens_per_doc=512)
    await component.start(host)
    await component.invoke(RerankRequest("q", DOCUMENTS[:1]))
    assert (server.asked[0].path, server.asked[0].body["max_tokens_per_doc"]) == ("/v2/rerank", 512)


@pytest.mark.parametrize(
    "make", [TeiReranker, lambda url, batch: CohereReranker(url, model="m", batch=batch)]
)
def test_config_is_checked(make: Callable[..., Any]) -> None:
    """Batches of nothing are refused when the component is made."""
    with pytest.raises(ValueError, match="batch"):
        make("http://127.0.0.1:9", batch=0)
