"""Applications and components that the end-to-end tests of serving put into real processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from weft.context import Context
from weft.contracts.chat import (
    CONTRACT,
    ChatChunk,
    ChatDescription,
    ChatRequest,
    ChatResponse,
    Choice,
    ChunkChoice,
    Delta,
)
from weft.errors import ComponentError
from weft.http.client import Client
from weft.http.message import Request, Response
from weft.observe.metrics import Metrics
from weft.serve.application import Access, Application
from weft.serve.health import health_routes
from weft.serve.operations import operation_routes
from weft.serve.scrape import metrics_route
from weft.serve.worker import Worker
from weft.types import Empty, Message


class EchoChat:
    """Answers with the last message; one word a chunk, each when the file ``gate`` has grown by a byte."""

    def __init__(self, gate: str = "") -> None:
        self._gate = gate

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        text = request.messages[-1].text()
        if text == "die":
            os.kill(os.getpid(), 9)
        return ChatResponse("1", "echo", [Choice(0, Message("assistant", f"{text} {os.getpid()}"), "stop")])

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        for number, word in enumerate(request.messages[-1].text().split()):
            if word == "fail":
                raise RuntimeError("as asked")
            while number and self._gate and os.path.getsize(self._gate) < number:  # noqa: PTH202
                await asyncio.sleep(0.005)
            yield ChatChunk("1", "echo", [ChunkChoice(0, Delta(content=word + " "))])

    async def describe(self, request: Empty) -> ChatDescription:
        return ChatDescription(model="echo")


async def service(arguments: Any, worker: Worker) -> Application:
    """A service process with an :class:`EchoChat`."""
    if arguments.get("refuse"):
        raise ComponentError("the component refuses", hint="as the test wants it")
    if arguments.get("crash"):
        os._exit(7)
    metrics = Metrics()
    app = Application(name=worker.name, version="1", access=Access(), metrics=metrics, log=worker.log)
    chat = EchoChat(arguments.get("gate", ""))
    operation_routes(
        app, CONTRACT, lambda name, request: getattr(chat, name)(request), lambda _, r: chat.stream(r)
    )
    if arguments.get("never_ready"):
        app.ready_checks["model"] = _still_loading
    health_routes(app)
    metrics.counter("test_service_total", "Of the service.").bind().add(1)
    return app


async def _still_loading() -> str:
    return "the model is still loading"


async def gateway(arguments: Any, worker: Worker) -> Application:
    """A gateway that hands everything to the service ``llm``."""
    metrics = Metrics()
    app = Application(name="gateway", version="1", access=Access(), metrics=metrics, log=worker.log)
    app.private = Application(name=worker.name, version="1", access=Access())
    client = Client()
    llm = client.endpoint(worker.endpoints["llm"][0])

    async def ask(request: Request, context: Context) -> Response:
        reply = await llm.request(
            "POST",
            "/v1/chat/completions",
            request.body or b"",
            headers=[("content-type", "application/json")],
        )
        return Response(reply.status, (), reply.body)

    async def who(request: Request, context: Context) -> Response:
        return Response(200, (), msgspec.json.encode({"name": worker.name, "pid": os.getpid()}))

    async def llm_ready() -> bool:
        return (await llm.request("GET", "/health/ready")).status == 200

    app.route("POST", "/ask", ask)
    app.route("GET", "/who", who)
    app.ready_checks["llm"] = llm_ready
    app.on_stop.append(client.aclose)
    health_routes(app)
    metrics_route(app, metrics, process=worker.name, peers=worker.peers, client=client)
    return app
