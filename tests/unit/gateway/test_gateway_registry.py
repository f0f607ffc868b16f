"""Live services in a running gateway: registered, probed, placed upon, and refused where they do not fit."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.context import Context
from weft.contracts.reranker import CONTRACT, RerankRequest, RerankResponse
from weft.errors import SpecError
from weft.gateway import build
from weft.gateway.live import LiveServices
from weft.http.client import Client, Endpoint
from weft.http.message import Headers, Request, Response
from weft.http.server import Server
from weft.plan import check
from weft.registry.components import Components
from weft.registry.services import Registration, ServiceRegistry
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.serve.operations import operation_routes
from weft.spec.load import load

JSON = [("content-type", "application/json")]
SERVICES = "/v1/registry/services"

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  rank: {component: ./rank.py:Reversed}
expose: [rank]
---
apiVersion: weft/v1
kind: Megaservice
name: ranked
version: "1.0.0"
contract: reranker
nodes:
  rank: {service: rank, fill_from: request}
output: rank
"""

PLACEMENT = """\
apiVersion: weft/v1
kind: Placement
services:
  rank: {at: "registry:team-rank"}
"""

COMPONENT = """\
from weft.contracts.reranker import RerankRequest, RerankResponse


class Reversed:
    async def invoke(self, request: RerankRequest) -> RerankResponse:
        return RerankResponse(documents=request.documents[::-1])
"""


class Rig:
    """Gateways and services on free ports of this process."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder, self._stack = folder, stack
        (folder / "rank.py").write_text(COMPONENT)
        (folder / "spec.yaml").write_text(SPEC)
        (folder / "placement.yaml").write_text(PLACEMENT)

    def assembly(self) -> build.Assembly:
        spec = load(self.folder / "spec.yaml", self.folder / "placement.yaml")
        components = Components()
        settings = HostSettings(cache_dir=str(self.folder), data_dir=str(self.folder))
        log = Log(io.StringIO(), name="test", pretty=False)
        return build.Assembly(
            spec, check(spec, components), components, settings=settings, secret={}.get, log=log
        )

    async def gateway(self, access: Access | None = None) -> Endpoint:
        return await self.serve(build.gateway(self.assembly(), access or Access()))

    async def service(self, mend: Callable[[Application], None] | None = None) -> Endpoint:
        """A reranker that keeps the order, as a service elsewhere."""
        log = Log(io.StringIO(), name="rank", pretty=False)
        app = Application(name="rank", version="1", access=Access(), log=log)

        async def call(operation: str, request: RerankRequest) -> RerankResponse:
            return RerankResponse(documents=request.documents)

        async def ready(request: Request, context: Context) -> Response:
            return Response(200, (), b"{}")

        if mend is not None:
            mend(app)
        operation_routes(app, CONTRACT, call)
        app.route("GET", "/health/ready", ready, open=True)
        return await self.serve(app)

    async def serve(self, app: Application) -> Endpoint:
        await app.start()
        self._stack.push_async_callback(app.stop)
        server = Server(app, on_error=app.on_error)
        port = await server.listen("127.0.0.1", 0)
        self._stack.push_async_callback(server.aclose)
        client = Client()
        self._stack.push_async_callback(client.aclose)
        return client.endpoint(f"http://127.0.0.1:{port}", timeout_s=10)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with asyncio.timeout(20), AsyncExitStack() as stack:
        yield Rig(tmp_path, stack)


async def send(server: Endpoint, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    content = msgspec.json.encode(body) if body is not None else b""
    reply = await server.request(method, path, content, headers=JSON if body is not None else [])
    return reply.status, msgspec.json.decode(reply.body) if reply.body else None


def new(url: str, **other: str) -> dict[str, str]:
    return {"name": "team-rank", "contract": "reranker", "url": url} | other


RERANK = {"query": "q", "documents": [{"text": "a"}, {"text": "b"}]}


async def order(server: Endpoint) -> list[str]:
    status, body = await send(server, "POST", "/v1/reranking", RERANK)
    assert status == 200, body
    return [document["text"] for document in body["documents"]]


async def test_a_service_that_is_not_registered_yet_is_not_ready(rig: Rig) -> None:
    """The gateway runs, says which service is missing, and uses it as soon as it is registered."""
    server = await rig.gateway()
    status, body = await send(server, "GET", "/health/ready")
    assert status == 503
    assert body["services"]["rank"]["reason"] == "no service is registered as 'team-rank'"
    status, body = await send(server, "POST", "/v1/reranking", RERANK)
    assert (status, body["service"]) == (503, "rank")
    service = await rig.service()
    status, body = await send(server, "POST", SERVICES, new(service.url))
    assert (status, body["state"]) == (201, "ready")
    assert (await send(server, "GET", "/health/ready"))[0] == 200
    assert await order(server) == ["a", "b"]


async def test_a_registration_that_moves_is_followed(rig: Rig) -> None:
    """After it was removed and registered again elsewhere, calls go to the new address."""
    server, first, second = await rig.gateway(), await rig.service(), await rig.service()
    await send(server, "POST", SERVICES, new(first.url))
    assert await order(server) == ["a", "b"]
    assert (await send(server, "DELETE", f"{SERVICES}/team-rank"))[0] == 204
    assert (await send(server, "POST", "/v1/reranking", RERANK))[0] == 503
    await send(server, "POST", SERVICES, new(second.url))
    assert await order(server) == ["a", "b"]
    assert (await send(server, "GET", SERVICES))[1]["services"][0]["url"] == second.url


async def test_a_name_cannot_be_taken_over(rig: Rig) -> None:
    """409 with who has it; registering the same again is fine."""
    server, first, second = await rig.gateway(), await rig.service(), await rig.service()
    assert (await send(server, "POST", SERVICES, new(first.url)))[0] == 201
    assert (await send(server, "POST", SERVICES, new(first.url)))[0] == 201
    status, body = await send(server, "POST", SERVICES, new(second.url))
    assert (status, body["code"], body["param"]) == (409, "conflict", "name")
    assert first.url in body["detail"]


@pytest.mark.parametrize(
    ("wrong", "status", "param", "words"),
    [
        ({"url": "http://127.0.0.1:1"}, 400, "url", "cannot be asked"),
        ({"url": "http://169.254.169.254/latest"}, 400, "url", "never contacted"),
        ({"url": "http://8.8.8.8"}, 400, "url", "outside of the networks"),
        ({"url": "http://user:secret@127.0.0.1"}, 400, "url", "http:// or https://"),
        ({"contract": "rerankr"}, 400, "contract", "did you mean 'reranker'"),
        ({"contract": "chat"}, 409, "contract", "it is a 'reranker', not a 'chat'"),
        ({"name": "Team Rank"}, 400, "name", "lower-case"),
        ({"name": "Team Rank", "url": "http://127.0.0.1:9"}, 400, "name", "lower-case"),
    ],
)
async def test_what_cannot_be_registered_is_refused(
    rig: Rig, wrong: dict[str, str], status: int, param: str, words: str
) -> None:
    """With the field at fault; nothing is registered, and forbidden addresses are not contacted."""
    server, service = await rig.gateway(), await rig.service()
    found, body = await send(server, "POST", SERVICES, new(service.url) | wrong)
    assert (found, body["param"]) == (status, param)
    assert words in body["detail"]
    assert (await send(server, "GET", SERVICES))[1] == {"services": []}


def states(required: dict[str, list[str]]) -> Callable[[Application], None]:
    """A service whose statement of its contract has other fields."""

    def mend(app: Application) -> None:
        stated = msgspec.json.encode({"contract": "reranker", "digest": "x", "required": required})

        async def contract(request: Request, context: Context) -> Response:
            return Response(200, (), stated)

        app.route("GET", "/v1/contract", contract)

    return mend


MORE = CONTRACT.required() | {"invoke.request": [*CONTRACT.required()["invoke.request"], "lang: str"]}


async def test_a_contract_that_does_not_fit_is_refused_with_the_field(rig: Rig) -> None:
    """At its registration, with the field that differs."""
    server, service = await rig.gateway(), await rig.service(states(MORE))
    status, body = await send(server, "POST", SERVICES, new(service.url))
    assert (status, body["code"]) == (409, "conflict")
    assert "invoke.request needs 'lang: str'" in body["detail"]


async def test_a_gateway_does_not_start_on_a_service_that_does_not_fit(rig: Rig) -> None:
    """A service placed by its address that states another contract: the start ends with file, line and field."""
    service = await rig.service(states(MORE))
    (rig.folder / "placement.yaml").write_text(PLACEMENT.replace("registry:team-rank", service.url))
    with pytest.raises(SpecError) as caught:
        await rig.gateway()
    assert f"cannot run at {service.url}: its contract does not fit: invoke.request needs 'lang: str'" in str(
        caught.value
    )
    assert "placement.yaml:4:" in str(caught.value)


async def test_what_was_recorded_is_compared_when_the_service_is_away(rig: Rig) -> None:
    """A registered service that cannot be reached is still refused for the contract that it was registered with."""
    registry = ServiceRegistry(rig.folder / build.REGISTRY_FILE)
    registry.add(Registration("team-rank", "reranker", "http://127.0.0.1:1", "x", MORE))
    with pytest.raises(SpecError, match="needs 'lang: str'"):
        await rig.gateway()


async def test_a_service_that_cannot_be_reached_is_not_ready(rig: Rig) -> None:
    """The gateway starts, and its readiness says why; that is no fault of the spec."""
    ServiceRegistry(rig.folder / build.REGISTRY_FILE).add(
        Registration("team-rank", "reranker", "http://127.0.0.1:1")
    )
    server = await rig.gateway()
    status, body = await send(server, "GET", "/health/ready")
    assert (status, body["degraded"]) == (503, ["rank"])
    assert "127.0.0.1:1" in body["services"]["rank"]["reason"]


async def test_registering_needs_this_machine_or_the_token(rig: Rig) -> None:
    """A request from elsewhere to a gateway without a token is refused; with a token, the token decides."""
    registry = ServiceRegistry()
    host = rig.assembly().hosts.host("registry")
    for token, peer, refused in (
        (None, "192.0.2.7", True),
        (None, "127.0.0.1", False),
        (None, "::ffff:127.0.0.1", False),
        ("t", "192.0.2.7", False),
    ):
        app = Application(name="a", version="1", access=Access(token))
        LiveServices(registry, {}, host, log=Log(io.StringIO(), name="t", pretty=False)).add_routes(app)
        app.state = "running"
        lines = [(b"content-type", b"application/json"), (b"host", b"localhost")]
        lines += [(b"authorization", b"Bearer t")] if token else []
        body = b'{"name":"a","contract":"x","url":"y"}'
        request = Request("POST", SERVICES, SERVICES, "", Headers(lines), body, peer=peer)
        reply = await app(request)
        assert (reply.status == 403) is refused, (token, peer, reply)


async def test_a_service_that_goes_away_is_marked(rig: Rig) -> None:
    """The probes of a running registry find out, and say why."""
    service = await rig.service()
    registry = ServiceRegistry()
    registry.add(Registration("here", "reranker", service.url))
    registry.add(Registration("gone", "reranker", "http://127.0.0.1:1"))
    host = rig.assembly().hosts.host("registry")
    live = LiveServices(
        registry,
        {"reranker": CONTRACT},
        host,
        log=Log(io.StringIO(), name="t", pretty=False),
        interval_s=0.01,
    )
    live.start()
    try:
        while "unknown" in (found := {s.name: s.state for s in registry.list()}).values():
            await asyncio.sleep(0.005)
        assert found == {"here": "ready", "gone": "unready"}
        assert "127.0.0.1:1" in registry.get("gone").reason
        registry.get("here").state = "unknown"
        while registry.get("here").state == "unknown":  # it is probed again
            await asyncio.sleep(0.005)
    finally:
        await live.stop()
