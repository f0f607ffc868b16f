"""A body that is nested deeper than a decoder goes is the caller's fault on every route of the gateway."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from weft.gateway import build
from weft.http.client import Client
from weft.http.server import Server
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.spec.load import load

DEEP = b"[" * 20_000 + b"]" * 20_000
SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  llm:    {component: "./scripted.py:Chat"}
  ranker: {component: "./scripted.py:Rank"}
expose: [ranker]
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "1.0.0"
contract: chat
nodes:
  answer: {service: llm, fill_from: request}
output: answer
"""
SCRIPTED = """\
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.testing import ScriptedChat


class Chat(ScriptedChat):
    def __init__(self) -> None:
        super().__init__()


class Rank:
    async def invoke(self, request: RerankRequest) -> RerankResponse:
        return RerankResponse(request.documents)
"""


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/talk", "/v1/reranking", "/rerank", "/v1/registry/services"]
)
async def test_a_deep_body_is_refused_with_400(tmp_path: Path, path: str) -> None:
    """Not with 500: it is no fault of the gateway's, and the next request is served."""
    (tmp_path / "scripted.py").write_text(SCRIPTED)
    (tmp_path / "talk.yaml").write_text(SPEC)
    spec, components = load(str(tmp_path / "talk.yaml")), Components()
    assembly = build.Assembly(
        spec,
        check(spec, components),
        components,
        settings=HostSettings(cache_dir=str(tmp_path / "cache"), data_dir=str(tmp_path), offline=True),
        secret={}.get,
        log=Log(io.StringIO(), pretty=False),
    )
    app = build.gateway(assembly, Access())
    server, client = Server(app, on_error=app.on_error), Client()
    await app.start()
    try:
        url = f"http://127.0.0.1:{await server.listen('127.0.0.1', 0)}"
        body = b'{"model":"talk","messages":[{"role":"user","content":"Hi"}],"x":' + DEEP + b"}"
        sent = await client.endpoint(url).request(
            "POST", path, body, headers=[("content-type", "application/json")]
        )
        assert sent.status == 400, sent.body
        assert (await client.endpoint(url).request("GET", "/health/ready")).status == 200
    finally:
        await client.aclose()
        await server.aclose()
        await app.stop()
