"""A gateway with documents, histories and an upstream, for callers of several tenants who want each other's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from accesskit import bearer, made
from frontkit import FrontRig
from switchkit import served
from weft.context import Context
from weft.http.client import Client, Endpoint
from weft.http.message import Request, Response
from weft.serve.access import Access
from weft.serve.application import Application
from weft.testing import ScriptedEmbedder

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: "./parts.py:Echo"}
  embedder: {component: "./parts.py:Embedder"}
  store: STORE
  retriever: {component: hybrid-retriever, uses: {store: store, embedder: embedder}}
  documents: {component: document-ingest, uses: {store: store, embedder: embedder}}
---
apiVersion: weft/v1
kind: Megaservice
name: library
version: "1.0.0"
contract: chat
nodes:
  asked: {component: "./parts.py:Asked", inputs: {messages: request.messages}}
  retrieve: {service: retriever, inputs: {query: asked.query}}
  shown: {component: "./parts.py:Shown", inputs: {documents: retrieve.documents, query: asked.query}}
  answer: {service: llm, fill_from: request, inputs: {messages: shown.messages}}
output: answer
---
apiVersion: weft/v1
kind: Megaservice
name: kept
version: "1.0.0"
contract: chat
nodes:
  asked: {component: "./parts.py:Asked", inputs: {messages: request.messages}}
  retrieve: {service: retriever, inputs: {query: asked.query}}
  shown: {component: "./parts.py:Shown", inputs: {documents: retrieve.documents, query: asked.query}}
  answer: {service: llm, fill_from: request, inputs: {messages: shown.messages}}
output: answer
---
apiVersion: weft/v1
kind: Gateway
name: front
routes:
  - {path: /v1/library, megaservice: library}
  - {path: /v1/kept, megaservice: kept, cache: {semantic: 0.9, embedder: embedder}}
  - {path: /v1/secret, service: llm, roles: [staff]}
  - {path: /v1/documents, service: documents}
  - {path: /v1/store, service: store}
  - {path: /v1/passages, service: retriever}
  - {path: /v1/elsewhere, upstream: {urls: ["UPSTREAM"]}}
auth: {keys: true}
"""

PARTS = '''\
from collections.abc import AsyncIterator

from msgspec import Struct

from weft.contracts.chat import ChatChunk, ChatRequest, ChatResponse
from weft.testing import ScriptedChat, ScriptedEmbedder
from weft.types import Document, Message


class Echo(ScriptedChat):
    """Says what it was asked last."""

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        return await ScriptedChat(str(request.messages[-1].content)).invoke(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        async for chunk in ScriptedChat(str(request.messages[-1].content)).stream(request):
            yield chunk


class Embedder(ScriptedEmbedder):
    def __init__(self) -> None:
        super().__init__()


class AskedRequest(Struct):
    messages: list[Message]


class AskedResponse(Struct):
    query: str


class Asked:
    async def invoke(self, request: AskedRequest) -> AskedResponse:
        return AskedResponse(str(request.messages[-1].content))


class ShownRequest(Struct):
    documents: list[Document]
    query: str


class ShownResponse(Struct):
    messages: list[Message]


class Shown:
    async def invoke(self, request: ShownRequest) -> ShownResponse:
        found = " | ".join(document.text for document in request.documents)
        return ShownResponse([Message("user", f"found: {found}")])
'''

ACME_TEXT = "The launch code of the blue rocket is four seven one one."
"""A document of acme's; its own text as the question finds it with a similarity of 1.0."""

EMBEDDER = ScriptedEmbedder()

RIVAL_TEXT = "The rival's recipe has three spoons of sugar."
STAFF_TEXT = "Salaries go up in March, says the board."


class House:
    """The gateway, and who calls it.

    Attributes:
        url: Where it answers.
        keys: The secret of each caller by name: ``ann``, ``bob`` and ``cyd`` of acme (ann and cyd read ``staff``), ``eve`` of
            rival, and ``twin``, who is called ann in rival; ``fay`` and ``gil`` of two tenants that have nothing.
        upstream: Headers of the requests that the upstream got.
        job: In which acme's document was taken in.
        said: The headers of the last reply.
    """

    def __init__(self, rig: FrontRig, gateway: Endpoint) -> None:
        self.rig, self.gateway, self.url = rig, gateway, rig.url
        self.keys: dict[str, str] = {}
        self.upstream: list[dict[str, str]] = []
        self.job = ""
        self.said: dict[str, str] = {}

    async def send(
        self,
        caller: str,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """What a caller gets: status, and JSON where it is that."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body) if body is not None else b""
        sent = {"content-type": "application/json"} if body is not None else {}
        sent |= (bearer(self.keys[caller]) if caller else {}) | (headers or {})
        reply = await self.gateway.request(method, path, content, headers=list(sent.items()))
        self.said = dict(reply.headers.items())
        try:
            return reply.status, json.loads(reply.body) if reply.body else None
        except ValueError:
            return reply.status, reply.body.decode("latin-1")

    async def ask(self, caller: str, question: str, **fields: Any) -> str:
        """What the library says to a caller, in whatever form: all of the reply as text."""
        body = {"model": "library", "messages": [{"role": "user", "content": question}], **fields}
        status, reply = await self.send(caller, "POST", "/v1/chat/completions", body)
        assert status == 200, reply
        return json.dumps(reply)

    async def put(self, caller: str, name: str, text: str, *readers: str) -> str:
        """Have a caller's document taken in; the id of the job."""
        content = "".join(
            f'--b0undary\r\ncontent-disposition: form-data; name="readers"\r\n\r\n{group}\r\n'
            for group in readers
        )
        content += (
            f'--b0undary\r\ncontent-disposition: form-data; name="files"; filename="{name}"\r\n'
            f"content-type: text/plain\r\n\r\n{text}\r\n--b0undary--\r\n"
        )
        kind = {"content-type": "multipart/form-data; boundary=b0undary"}
        status, reply = await self.send(caller, "POST", "/v1/dataprep/ingest", content.encode(), kind)
        assert status == 200, reply
        _, found = await self.send(caller, "GET", "/v1/dataprep/jobs")
        return str(found["jobs"][0]["id"])


@asynccontextmanager
async def opened(folder: Path, store: str = "{component: qdrant-edge}") -> AsyncIterator[House]:
    """A house with a document of each tenant, one of them for the group ``staff`` only.

    Args:
        folder: For its files.
        store: The service that keeps its documents.
    """
    async with AsyncExitStack() as stack:
        rig = FrontRig(folder, stack)
        (folder / "parts.py").write_text(PARTS)
        seen: list[dict[str, str]] = []
        elsewhere = Application(name="elsewhere", version="1", access=Access(hosts=["*"]))

        async def show(request: Request, context: Context) -> Response:
            seen.append(dict(request.headers.items()))
            return Response(200, [], b'{"from": "elsewhere"}', "application/json")

        elsewhere.route("POST", "/v1/elsewhere", show)
        upstream = await served(elsewhere, stack)
        client = Client()
        stack.push_async_callback(client.aclose)
        ann = await made(rig, "ann", tenant="acme", readers=["staff"], roles=["staff"])
        bob = await made(rig, "bob", tenant="acme")
        eve = await made(rig, "eve", tenant="rival", readers=["staff"])
        twin = await made(rig, "twin", tenant="rival", readers=["staff"], owner="ann")
        cyd = await made(rig, "cyd", tenant="acme", readers=["staff"])
        fay, gil = [await made(rig, name, tenant=name) for name in ("fay", "gil")]
        gateway = await rig.gateway(SPEC.replace("UPSTREAM", upstream).replace("STORE", store))
        house = House(rig, gateway)
        house.keys = {"ann": ann, "bob": bob, "cyd": cyd, "eve": eve, "twin": twin, "fay": fay, "gil": gil}
        house.upstream = seen
        house.job = await house.put("ann", "rocket.txt", ACME_TEXT)
        await house.put("ann", "salaries.txt", STAFF_TEXT, "staff")
        await house.put("eve", "recipe.txt", RIVAL_TEXT)
        yield house
