"""An exposed store acts for its caller: a body that names another tenant reaches nobody else's passages."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from weft.gateway import build
from weft.http.client import Client
from weft.http.server import Server
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.spec.load import load

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  llm:   {component: "./scripted.py:Chat"}
  store: {component: qdrant-edge}
expose: [store]
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
from weft.testing import ScriptedChat


class Chat(ScriptedChat):
    def __init__(self) -> None:
        super().__init__()
"""


async def test_a_claimed_tenant_is_overwritten(tmp_path: Path) -> None:
    """What is written for another tenant is the caller's own, and what another tenant has is not shown."""
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
        store = client.endpoint(f"http://127.0.0.1:{await server.listen('127.0.0.1', 0)}")
        document = {"text": "Apples.", "id": "p1", "embedding": [1.0, 0.0]}
        upsert: dict[str, Any] = {"documents": [document], "file": "a.txt", "tenant": "another"}
        await store.post_json("/v1/store/upsert", upsert)
        for tenant in ("", "default", "another"):
            listed = await store.post_json("/v1/store/list", {"tenant": tenant})
            assert [file["name"] for file in listed["files"]] == ["a.txt"], tenant
    finally:
        await client.aclose()
        await server.aclose()
        await app.stop()
