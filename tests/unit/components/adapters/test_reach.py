"""What all adapters promise alike: where they may connect to, that they say when they were not started, and readiness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rawserver import RawServer, json_reply

from weft.components.any.http import Http
from weft.components.chat.openai import OpenAIChat
from weft.components.embedding.openai import OpenAIEmbedder
from weft.components.embedding.tei import TeiEmbedder
from weft.components.reranker.cohere import CohereReranker
from weft.components.reranker.tei import TeiReranker
from weft.contracts import reranker
from weft.contracts.chat import ChatRequest
from weft.contracts.embedding import EmbeddingRequest
from weft.contracts.reranker import RerankRequest
from weft.errors import RequestError, ServiceError, UnreachableError
from weft.serve import outbound
from weft.serve.hosts import Hosts
from weft.types import Document, Message

RERANK = RerankRequest("q", [Document("a")])

ADAPTERS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "openai-chat": (lambda url: OpenAIChat(url, model="m"), ChatRequest([Message("user", "hi")])),
    "openai-embedder": (lambda url: OpenAIEmbedder(url, model="m"), EmbeddingRequest(["a"])),
    "tei-embedder": (TeiEmbedder, EmbeddingRequest(["a"])),
    "tei-reranker": (TeiReranker, RERANK),
    "cohere-reranker": (lambda url: CohereReranker(url, model="m"), RERANK),
    "http": (
        lambda url: Http(reranker.CONTRACT, url, {"q": "query"}, {"documents": {"$each": ".", "text": "t"}}),
        RERANK,
    ),
}


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> tuple[Callable[[str], Any], Any]:
    """How an adapter is made for an address, and a request for it."""
    return ADAPTERS[request.param]


async def refusal(adapter: tuple[Callable[[str], Any], Any], hosts: Hosts, url: str, config: Any) -> str:
    """Why an adapter at ``url`` may not connect."""
    make, asked = adapter
    component = make(url)
    await component.start(hosts.host("test", config))
    with pytest.raises(UnreachableError) as caught:
        await component.invoke(asked)
    with pytest.raises(UnreachableError):
        await component.ready()
    return str(caught.value)


@pytest.mark.parametrize("url", ["http://203.0.113.7/v1", "http://[2001:db8::7]:9000/v1"])
async def test_an_address_that_nobody_named_must_be_in_the_operators_networks(
    adapter: tuple[Callable[[str], Any], Any], hosts: Hosts, url: str
) -> None:
    """It is refused at the connect, on what its name resolved to, and nothing is sent."""
    assert "is outside of the networks that services may be in" in await refusal(adapter, hosts, url, None)


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/latest"])
async def test_a_metadata_address_is_refused_even_if_it_is_named(
    adapter: tuple[Callable[[str], Any], Any], hosts: Hosts, url: str
) -> None:
    """No file of the operator's opens it."""
    assert "never contacted" in await refusal(adapter, hosts, url, {"url": url})


async def test_a_backend_that_is_gone_is_not_ready(
    adapter: tuple[Callable[[str], Any], Any], hosts: Hosts, server: RawServer
) -> None:
    """Its readiness says so with the address; starting it contacts nothing and is no error."""
    await server.aclose()
    component = adapter[0](server.url)
    await component.start(hosts.host("test"))
    with pytest.raises(UnreachableError, match=server.url):
        await component.ready()
    await server.start()  # for the fixture to close


async def test_readiness_is_asked_for_once_for_all_who_want_to_know(
    adapter: tuple[Callable[[str], Any], Any],
    hosts: Hosts,
    server: RawServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Probes within a moment share an answer, good or bad; later ones ask again."""
    monkeypatch.setattr(outbound, "PROBE_AGE_S", 3600.0)
    server.answer = json_reply({})
    component = adapter[0](server.url)
    await component.start(hosts.host("test"))
    for _ in range(3):
        assert await component.ready()
    assert len(server.asked) == 1
    monkeypatch.setattr(outbound, "PROBE_AGE_S", -1.0)
    server.answer = json_reply({}, 503)
    for _ in range(2):
        with pytest.raises(RequestError, match="answered 503"):
            await component.ready()
    assert len(server.asked) == 3


async def test_an_adapter_that_was_not_started_says_so(adapter: tuple[Callable[[str], Any], Any]) -> None:
    """Called too early is an error in words."""
    make, asked = adapter
    component = make("http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="was not started"):
        await component.invoke(asked)
    with pytest.raises(ServiceError, match="was not started"):
        await component.ready()
