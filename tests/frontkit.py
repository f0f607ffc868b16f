"""Gateways from a Gateway file in this process, on a free port, in front of a scripted model."""

from __future__ import annotations

import io
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from switchkit import served
from weft.gateway import build
from weft.http.client import Client, Endpoint
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.spec.sources import load_whole

TALK = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: "./chat.py:Chat"}
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "1.0.0"
contract: chat
nodes:
  answer: {service: llm, fill_from: request, inputs: {messages: request.messages}}
output: answer
---
"""
"""A megaservice over one model, for a Gateway document to follow."""

CHAT = '''\
from collections.abc import AsyncIterator

from weft.contracts.chat import ChatChunk, ChatRequest, ChatResponse
from weft.testing import ScriptedChat


class Chat(ScriptedChat):
    """Says what the script says; ``seen`` are the requests that it got."""

    seen: list[ChatRequest] = []

    def __init__(self, reply: str = "Good morning to you.") -> None:
        super().__init__(reply)

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        self.seen.append(request)
        return await super().invoke(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        self.seen.append(request)
        async for chunk in super().stream(request):
            yield chunk
'''
"""The model of :data:`TALK`, as a file beside the spec."""

GATEWAY = """\
apiVersion: weft/v1
kind: Gateway
name: front
routes:
"""


class FrontRig:
    """A gateway of one process.

    Attributes:
        folder: Where its files and its state are.
        log: What it wrote.
        app: Of the gateway that was started last.
        built: What it was put together from.
        url: Where that answers.
    """

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.log = io.StringIO()
        self.app: Application | None = None
        self.built: build.Assembly | None = None
        self.url = ""
        (folder / "chat.py").write_text(CHAT)

    def assembly(self, text: str, **options: Any) -> build.Assembly:
        """What one process needs, from the text of a spec."""
        path = self.folder / "front.yaml"
        path.write_text(text)
        spec, components = load_whole(str(path)), Components()
        settings = HostSettings(
            cache_dir=str(self.folder / "cache"), data_dir=str(self.folder / "data"), offline=True
        )
        secrets: dict[str, str] = options.pop("secrets", {})
        log = Log(self.log, name="test", pretty=False)
        return build.Assembly(
            spec,
            check(spec, components),
            components,
            settings=settings,
            secret=secrets.get,
            log=log,
            **options,
        )

    async def gateway(self, text: str, access: Access | None = None, **options: Any) -> Endpoint:
        """Start a gateway from the text of a spec; what it gives asks that gateway."""
        self.built = self.assembly(text, **options)
        self.app = build.gateway(self.built, access or Access())
        self.url = await served(self.app, self.stack)
        return self.endpoint()

    def endpoint(self) -> Endpoint:
        """A client of the gateway that was started last."""
        client = Client()
        self.stack.push_async_callback(client.aclose)
        return client.endpoint(self.url, timeout_s=20)

    def requests(self) -> list[Any]:
        """What the model was asked, in order."""
        return self.seen("chat.py", "Chat")

    def seen(self, file: str, component: str) -> list[Any]:
        """What a component in a file beside the spec was asked, in order; it keeps that as ``seen``."""
        path = str(self.folder / file)
        module = next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == path)
        return list(getattr(module, component).seen)


async def ask(
    gateway: Endpoint,
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> tuple[int, Any, dict[str, str]]:
    """Ask the model ``talk`` a question, with more fields or others: status, JSON, headers of the reply."""
    body = {"model": "talk", "messages": [{"role": "user", "content": "Hello?"}], **fields}
    sent = [("content-type", "application/json"), *(headers or {}).items()]
    reply = await gateway.request("POST", path, msgspec.json.encode(body), headers=sent)
    decoded = msgspec.json.decode(reply.body) if reply.body.startswith((b"{", b"[")) else reply.body
    return reply.status, decoded, dict(reply.headers.items())
