"""Second servers to switch to: scripted models that answer in OpenAI's form, and a gateway that asks one of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from weft.context import Context
from weft.contracts.chat import CONTRACT as CHAT
from weft.contracts.chat import ChatChunk, ChatRequest
from weft.contracts.embedding import CONTRACT as EMBEDDING
from weft.errors import ModelNotFoundError
from weft.gateway import build, chosen
from weft.http.client import Client, Endpoint
from weft.http.message import Request, Response
from weft.http.server import Server
from weft.megaservice import Services
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.serve.operations import operation_routes
from weft.spec.load import load
from weft.testing import ScriptedChat, ScriptedEmbedder

JSON = [("content-type", "application/json")]
CHOICES = "/v1/models/choices"

SPEC = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: openai-chat, config: {url: "URL", model: first}}
expose: [llm]
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "1.0.0"
contract: chat
nodes:
  named: {component: "./named.py:Named", uses: {chat: llm}, inputs: {messages: request.messages}}
  answer: {service: llm, fill_from: request, inputs: {messages: named.messages}}
output: answer
"""

NAMED = """\
from msgspec import Struct
from weft.contracts.chat import Chat
from weft.types import Empty, Message


class Messages(Struct):
    messages: list[Message]


class Named:
    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    async def invoke(self, request: Messages) -> Messages:
        model = (await self.chat.describe(Empty())).model
        return Messages([Message("system", f"You are {model}."), *request.messages])
"""
"""A node that uses the service: it tells the model its name."""


class HeldChat(ScriptedChat):
    """Says nothing while ``held`` is cleared.

    Attributes:
        asked: Set once somebody waits for it.
    """

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.held, self.asked = asyncio.Event(), asyncio.Event()
        self.held.set()

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        self.asked.set()
        await self.held.wait()
        async for chunk in super().stream(request):
            yield chunk


class SecondServer:
    """A server with some models; each says its own name.

    Attributes:
        url: Where it is.
        chats: The script of each model, by its name.
        running: Its application, once it is started.
        seen: Headers of the requests for its list of models.
    """

    def __init__(self, *models: str, key: str | None = None, facts: dict[str, Any] | None = None) -> None:
        self.chats = {model: HeldChat(f"I am {model}, as the script says.") for model in models}
        self.embedder = ScriptedEmbedder()
        self.seen: list[dict[str, str]] = []
        self.url = ""
        self._key, self._facts = key, facts or {}

    def app(self) -> Application:
        log = Log(io.StringIO(), name="second", pretty=False)
        app = Application(name="second", version="1", access=Access(self._key, hosts=["*"]), log=log)

        async def listing(request: Request, context: Context) -> Response:
            self.seen.append({name.decode(): value.decode() for name, value in request.headers.raw})
            data = [
                {"id": model, "object": "model", "owned_by": "script"} | self._facts for model in self.chats
            ]
            return Response(200, (), msgspec.json.encode({"object": "list", "data": data}))

        def chat(model: str) -> HeldChat:
            if model not in self.chats:
                raise ModelNotFoundError(f"there is no model '{model}'", param="model")
            return self.chats[model]

        async def call(operation: str, request: Any) -> Any:
            if operation == "invoke":
                return await chat(request.model).invoke(request)
            return await next(iter(self.chats.values())).describe(request)

        def stream(operation: str, request: Any) -> Any:
            return chat(request.model).stream(request)

        async def embed(operation: str, request: Any) -> Any:
            return await self.embedder.invoke(request)

        app.route("GET", "/v1/models", listing, errors="openai")
        operation_routes(app, CHAT, call, stream)
        operation_routes(app, EMBEDDING, embed)
        return app

    async def start(self, stack: AsyncExitStack) -> SecondServer:
        self.running = self.app()
        self.url = await served(self.running, stack)
        return self


async def served(app: Application, stack: AsyncExitStack) -> str:
    """Start an application and serve it on a free port; both end with ``stack``."""
    await app.start()
    stack.push_async_callback(app.stop)
    server = Server(app, on_error=app.on_error)
    port = await server.listen("127.0.0.1", 0)
    stack.push_async_callback(server.aclose)
    return f"http://127.0.0.1:{port}"


class Rig:
    """A gateway whose model is on a server, in this process.

    Attributes:
        first: The server of the spec.
        app, services: Of the gateway that was started last.
        log: What the gateway wrote.
    """

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.first = SecondServer("first")
        self.log = io.StringIO()
        self.spec = SPEC
        self.hosts: list[str] = []
        self.offline = True

    def assembly(self) -> build.Assembly:
        path = self.folder / "talk.yaml"
        (self.folder / "named.py").write_text(NAMED)
        path.write_text(self.spec.replace("URL", f"{self.first.url}/v1"))
        spec, components, found = load(str(path)), Components(), chosen.read(self.folder)
        settings = HostSettings(
            cache_dir=str(self.folder / "cache"),
            data_dir=str(self.folder),
            offline=self.offline,
            hosts=self.hosts,
        )
        return build.Assembly(
            spec,
            check(chosen.applied(spec, found.services), components),
            components,
            settings=settings,
            secret={}.get,
            log=Log(self.log, name="test", pretty=False),
            chosen=found,
        )

    async def gateway(self, access: Access | None = None) -> Endpoint:
        if not self.first.url:
            await self.first.start(self.stack)
        assembly = self.assembly()
        make = assembly.services

        def services(only: str | None = None) -> Services:
            self.services = make(only)
            return self.services

        assembly.services = services  # type: ignore[method-assign]
        self.app = build.gateway(assembly, access or Access())
        url = await served(self.app, self.stack)
        client = Client()
        self.stack.push_async_callback(client.aclose)
        return client.endpoint(url, timeout_s=20)

    async def second(self, *models: str, **options: Any) -> SecondServer:
        return await SecondServer(*models, **options).start(self.stack)


async def send(
    server: Endpoint, method: str, path: str, body: Any = None, headers: list[tuple[str, str]] | None = None
) -> tuple[int, Any]:
    content = msgspec.json.encode(body) if body is not None else b""
    sent = [*(JSON if body is not None else []), *(headers or [])]
    reply = await server.request(method, path, content, headers=sent)
    return reply.status, msgspec.json.decode(reply.body) if reply.body else None


async def says(server: Endpoint, model: str = "talk") -> str:
    """What a question is answered with."""
    question = {"model": model, "messages": [{"role": "user", "content": "Who are you?"}]}
    status, body = await send(server, "POST", "/v1/chat/completions", question)
    assert status == 200, body
    return str(body["choices"][0]["message"]["content"])


LOCAL_CHAT = '''\
from pathlib import Path
from typing import ClassVar

from weft.errors import ComponentError
from weft.testing import ScriptedChat


class Local(ScriptedChat):
    """Runs here: it writes down when it is closed, and may fail to start."""

    unsupported: ClassVar[frozenset[str]] = frozenset({"reasoning_effort"})

    def __init__(self, *, model: str = "local", folder: str) -> None:
        super().__init__(f"I am {model}, as the script says.")
        self._folder = folder

    async def aclose(self) -> None:
        (Path(self._folder) / "closed").write_text("yes")
'''
"""A model of this process in a file beside the spec."""
