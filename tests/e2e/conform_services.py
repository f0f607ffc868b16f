"""Services as ``weft serve`` and the supervisor run them, in this process, on a free port."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from weft.contracts import Contract
from weft.gateway import build
from weft.http.client import Client
from weft.http.server import Server
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.spec.load import load
from weft.testing.conform import Report, conform, own_contract

SCRIPTED = '''\
from weft.testing import ScriptedChat, ScriptedEmbedder


class Chat(ScriptedChat):
    """Takes its time when it is asked for a long answer."""

    def __init__(self) -> None:
        super().__init__(token_s=0.001)

    def words(self, request):
        if (request.max_tokens or 0) > 100:
            return "and so on " * 1000
        return super().words(request)


class Embedder(ScriptedEmbedder):
    """With so many dimensions that no two words meet."""

    def __init__(self) -> None:
        super().__init__(dimensions=4096)
'''

SERVICES = """\
apiVersion: weft/v1
kind: Services
services:
  chat:      {component: "./scripted.py:Chat"}
  embedder:  {component: "./scripted.py:Embedder"}
  store:     {component: qdrant-edge}
  retriever: {component: hybrid-retriever, uses: {store: store, embedder: embedder}}
  reranker:  {component: hybrid-reranker,  uses: {embedder: embedder}}
  reader:    {component: evidence-reader,  uses: {embedder: embedder}}
  documents: {component: document-ingest,  uses: {store: store, embedder: embedder}}
  question:  {component: condense-question, uses: {chat: chat}}
  prompt:    {component: rag-prompt}
  reply:     {component: quote-and-answer,  uses: {chat: chat}}
"""

ADAPTERS = """\
apiVersion: weft/v1
kind: Services
services:
  chat-adapter:     {{component: openai-chat,     config: {{url: "{url}/v1", model: scripted}}}}
  reranker-adapter: {{component: tei-reranker,    config: {{url: "{url}"}}}}
  openai-adapter:   {{component: openai-embedder, config: {{url: "{url}/v1", model: scripted}}}}
  tei-adapter:      {{component: tei-embedder,    config: {{url: "{url}"}}}}
  mapped-adapter:
    component: http
    config:
      contract: embedding
      url: "{url}/embed"
      request: {{inputs: texts}}
      response: {{embeddings: "."}}
"""


@asynccontextmanager
async def service(
    folder: Path, key: str, spec: str = SERVICES, token: str | None = None
) -> AsyncIterator[str]:
    """The URL of one service of a spec, run as a microservice of its own."""
    (folder / "scripted.py").write_text(SCRIPTED)
    file = folder / f"{key}.yaml"
    file.write_text(spec)
    loaded, components = load(str(file)), Components()
    settings = HostSettings(cache_dir=str(folder / "cache"), data_dir=str(folder / "data"), offline=True)
    assembly = build.Assembly(
        loaded,
        check(loaded, components),
        components,
        settings=settings,
        secret={}.get,
        log=Log(io.StringIO(), pretty=False),
    )
    app = build.service(assembly, key, Access(token))
    server = Server(app, on_error=app.on_error)
    await app.start()
    port = await server.listen("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.aclose()
        await app.stop()


async def checked(
    url: str,
    contract: Contract | None = None,
    token: str | None = None,
    sample: dict[str, Any] | None = None,
) -> Report:
    """The report on a service; without a contract, on one of its own that it states."""
    client = Client()
    headers = [("authorization", f"Bearer {token}")] if token else []
    try:
        if contract is None:
            stated = await client.endpoint(url, headers=headers).get_json("/v1/contract")
            contract = own_contract(stated["contract"], stated["required"])
        return await conform(client, url, contract, sample=sample, headers=headers)
    finally:
        await client.aclose()


async def post(url: str, path: str, value: object) -> dict[str, object]:
    """The JSON of a reply."""
    client = Client()
    try:
        found: dict[str, object] = await client.endpoint(url).post_json(path, value)
        return found
    finally:
        await client.aclose()


def broken(report: Report) -> list[str]:
    """What is broken, musts and shoulds, in words."""
    return [
        f"{f.level} {f.section} {f.name}: {f.came}\n  sent: {f.sent}"
        for f in report.findings
        if f.outcome == "broken"
    ]


def unseen(report: Report) -> dict[str, str]:
    """What could not be seen, and why."""
    return {f.section: f.why for f in report.findings if f.outcome == "unseen"}
