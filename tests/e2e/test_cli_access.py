"""Bound wider than loopback: the token, the link, Host and Origin, end to end."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import openai
import pytest
from chatqna_process import Gateway
from test_cli_registry import COMPONENT, SPEC

from weft.http.client import Client, Endpoint, Reply
from weft.serve.access import Access

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

JSON = ("content-type", "application/json")
RERANK = b'{"query": "q", "documents": [{"text": "a"}]}'


@pytest.fixture(scope="module", params=[(), ("--workers", "2")], ids=["one process", "two workers"])
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway on every address, known as ``weft.example`` too."""
    folder = tmp_path_factory.mktemp("wide")
    (folder / "rank.py").write_text(COMPONENT)
    (folder / "spec.yaml").write_text(SPEC)
    running = Gateway(
        folder / "data", "--host", "0.0.0.0", "--allow-host", "weft.example", *request.param,
        spec=str(folder / "spec.yaml"), env={"WEFT_ACCESS_TOKEN": ""},
    )  # fmt: skip
    running.read_until("-d '")
    yield running
    running.stop()


@pytest.fixture
async def server(wide: Gateway) -> AsyncIterator[Endpoint]:
    client = Client()
    yield client.endpoint(wide.url, timeout_s=20)
    await client.aclose()


def status(url: str, **headers: str) -> int:
    """Of a GET with exactly these headers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def token(wide: Gateway) -> str:
    return re.findall(r"/\?token=(\S+)", wide.output)[0]


async def ask(
    server: Endpoint, path: str = "/v1/models", *headers: tuple[str, str], body: bytes = b""
) -> Reply:
    """GET, or POST where there is a body."""
    sent: Sequence[tuple[str, str]] = (*headers, JSON) if body else headers
    return await server.request("POST" if body else "GET", path, body, headers=list(sent))


def test_the_token_is_made_and_printed_once(wide: Gateway) -> None:
    """In the link for a person, and in the line to copy; it is long."""
    assert len(re.findall(r"\?token=", wide.output)) == 1
    assert len(token(wide)) >= 43
    assert f"-H 'Authorization: Bearer {token(wide)}'" in wide.output


def test_the_printed_address_is_served(wide: Gateway) -> None:
    """The link names this machine, and the server goes by that name."""
    (printed,) = re.findall(r"is ready: http://([^:/]+):", wide.output)
    assert printed == socket.gethostname()
    assert status(f"{wide.url}/health/live", Host=f"{printed}:{wide.port}") == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/metrics",
        "/v1/models",
        "/v1/registry/services",
        "/static/chat.js",
        "/v1/nothing",
    ],
)
async def test_every_route_asks_for_the_token(wide: Gateway, server: Endpoint, path: str) -> None:
    """401 without it and with another, also for what is not there; with it, the route answers."""
    for headers in (
        [],
        [("authorization", "Bearer wrong")],
        [("authorization", "Basic x")],
        [("cookie", "weft_x=1")],
    ):
        assert (await ask(server, path, *headers)).status == 401
    assert (await ask(server, f"{path}?token=wrong")).status == 401
    known = await ask(server, path, ("authorization", f"Bearer {token(wide)}"))
    assert known.status == (404 if path == "/v1/nothing" else 200)


async def test_posts_ask_for_it_too(wide: Gateway, server: Endpoint) -> None:
    """Nothing is run or registered for a stranger."""
    assert (await ask(server, "/v1/reranking", body=RERANK)).status == 401
    assert (await ask(server, "/v1/registry/services", body=b"{}")).status == 401
    assert (
        await ask(server, "/v1/reranking", ("authorization", f"Bearer {token(wide)}"), body=RERANK)
    ).status == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health", "/v1/health_check"])
async def test_health_needs_none(server: Endpoint, path: str) -> None:
    """Whoever looks after the machine need not be let in."""
    assert (await ask(server, path)).status == 200


async def test_the_link_sets_a_cookie(wide: Gateway, server: Endpoint) -> None:
    """The printed link leads to the page without the token in its address, and the browser is let in from then on."""
    link = await ask(server, f"/?token={token(wide)}")
    assert link.status == 303
    assert link.headers.get("location", "") == "/"
    cookie = link.headers.get("set-cookie", "")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert token(wide) not in cookie
    page = await ask(server, "/", ("cookie", cookie.partition(";")[0]))
    assert page.status == 200
    assert b"<title>Weft</title>" in page.body
    person = await ask(server, "/", ("accept", "text/html"))
    assert person.status == 401
    assert b"Open the link that the server printed" in person.body


@pytest.mark.parametrize(
    ("host", "served"),
    [("weft.example", True), ("WEFT.example.:80", True), ("127.0.0.1", True), ("evil.example", False)],
)
def test_host_is_checked(wide: Gateway, host: str, served: bool) -> None:
    """A name that is not ours is a page whose name was re-bound to this address: 403, even on health routes."""
    assert status(f"{wide.url}/health/live", Host=host) == (200 if served else 403)


async def test_a_strangers_page_is_refused(wide: Gateway, server: Endpoint) -> None:
    """Another origin is 403 even with the token, and gets no CORS headers; our own is served."""
    known = ("authorization", f"Bearer {token(wide)}")
    foreign = await ask(server, "/v1/reranking", known, ("origin", "https://evil.example"), body=RERANK)
    assert foreign.status == 403
    assert "access-control-allow-origin" not in foreign.headers
    own = await ask(server, "/v1/reranking", known, ("origin", wide.url), body=RERANK)
    assert own.status == 200
    assert (await ask(server, "/v1/models", known, ("origin", "null"))).status == 403


async def test_a_form_of_a_strangers_page_is_refused(wide: Gateway, server: Endpoint) -> None:
    """What a browser sends without asking first (a plain form) is no JSON: 415, or 403 by its origin."""
    known = ("authorization", f"Bearer {token(wide)}")
    reply = await server.request(
        "POST", "/v1/reranking", RERANK, headers=[known, ("content-type", "text/plain")]
    )
    assert reply.status == 415


def test_the_sdk_sends_the_token_as_its_key(wide: Gateway) -> None:
    """``api_key`` is the token; without it the SDK's AuthenticationError."""
    with openai.OpenAI(base_url=f"{wide.url}/v1", api_key=token(wide), max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["ranked", "rank"]
    with (
        openai.OpenAI(base_url=f"{wide.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="asks for its access token"),
    ):
        client.models.list()


def test_a_cookie_of_another_start_does_not_let_in(wide: Gateway) -> None:
    """Each start makes another token, and with it another cookie."""
    assert Access(token(wide)).cookie != Access("another").cookie


def test_loopback_asks_for_nothing_and_checks_host(tmp_path: Path) -> None:
    """The default start prints no token; a page re-bound to 127.0.0.1 is refused all the same."""
    (tmp_path / "rank.py").write_text(COMPONENT)
    (tmp_path / "spec.yaml").write_text(SPEC)
    gateway = Gateway(tmp_path / "data", spec=str(tmp_path / "spec.yaml"))
    try:
        gateway.read_until("-d '")
        assert "token" not in gateway.output
        gateway.run("call", "ranked", RERANK.decode())
        assert status(f"{gateway.url}/v1/models") == 200
        assert status(f"{gateway.url}/v1/models", Host="evil.example") == 403
        assert status(f"{gateway.url}/v1/models", Origin="http://evil.example") == 403
    finally:
        gateway.stop()
