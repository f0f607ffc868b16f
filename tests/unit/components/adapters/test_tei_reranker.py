"""``tei-reranker`` against a server with a limit, and one that ranks wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from rawserver import Asked, RawServer, Sent, json_reply

from weft.components.reranker.tei import TeiReranker
from weft.contracts.reranker import RerankRequest
from weft.errors import BackendReplyError, BackendStatusError, InvalidRequestError
from weft.serve.host import ServiceHost
from weft.types import Document

DOCUMENTS = [Document(f"{number}", id=f"d{number}") for number in (3, 9, 1, 7, 5)]


def scores(asked: Asked) -> Sent:
    """The number in each text is its score; best first, as TEI does."""
    ranks = [{"index": i, "score": float(text) / 10} for i, text in enumerate(asked.body["texts"])]
    return json_reply(sorted(ranks, key=lambda rank: -rank["score"]))


async def reranker(server: RawServer, host: ServiceHost, **config: Any) -> TeiReranker:
    component = TeiReranker(server.url, **config)
    await component.start(host)
    return component


@pytest.mark.parametrize("batch", [1, 2, 32])
async def test_the_best_come_first_over_all_batches(server: RawServer, host: ServiceHost, batch: int) -> None:
    """No request has more documents than the server takes, and the order is that of all of them."""
    server.answer = scores
    component = await reranker(server, host, batch=batch, top_n=2)
    reply = await component.invoke(RerankRequest("q", DOCUMENTS))
    assert [(d.id, d.score) for d in reply.documents] == [("d9", 0.9), ("d7", 0.7)]
    reply = await component.invoke(RerankRequest("q", DOCUMENTS, top_n=4))
    assert [d.id for d in reply.documents] == ["d9", "d7", "d5", "d3"]
    assert max(len(asked.body["texts"]) for asked in server.asked) == min(batch, 5)
    assert server.asked[0].body | {"texts": []} == {"query": "q", "texts": [], "truncate": True}


async def test_no_documents_are_no_request(server: RawServer, host: ServiceHost) -> None:
    """TEI refuses an empty list; there is nothing to order in one."""
    reply = await (await reranker(server, host)).invoke(RerankRequest("q", []))
    assert reply.documents == []
    assert server.asked == []


@pytest.mark.parametrize(
    "ranking",
    [
        [],
        [{"index": 0, "score": 1}],
        [{"index": 0, "score": 1}] * 2,
        [{"index": i, "score": None} for i in (0, 1)],
    ],
)
async def test_a_ranking_of_other_documents_is_an_error(
    server: RawServer, host: ServiceHost, ranking: Any
) -> None:
    """Each that was sent must be there once, with a number; the endpoint is named."""
    server.answer = json_reply(ranking)
    component = await reranker(server, host)
    with pytest.raises(BackendReplyError) as caught:
        await component.invoke(RerankRequest("q", DOCUMENTS[:2]))
    assert f"{server.url}/rerank" in str(caught.value)


async def test_a_refusal_is_the_callers_error_and_a_failure_the_servers(
    server: RawServer, host: ServiceHost
) -> None:
    """422 and 424 as TEI means them."""
    component = await reranker(server, host, batch=2)
    server.answer = json_reply({"error": "maximum allowed batch size 1"}, 422)
    with pytest.raises(InvalidRequestError, match="allowed batch size 1"):
        await component.invoke(RerankRequest("q", DOCUMENTS))
    server.answer = json_reply({"error": "model is not a re-ranker model"}, 424)
    with pytest.raises(BackendStatusError, match="not a re-ranker model"):
        await component.invoke(RerankRequest("q", DOCUMENTS))
