"""The chain as a LangGraph graph of four nodes, behind FastAPI and uvicorn, with aiohttp in the nodes.

usage: langgraph_chain.py PORT BACKEND_PORT CHAT_PORT
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

import aiohttp
import uvicorn
from fastapi import FastAPI
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel


class Message(BaseModel):
    """One message of a chat."""

    role: str
    content: str


class ChatRequest(BaseModel):
    """What is asked."""

    messages: list[Message]
    model: str = "m"
    max_tokens: int | None = None
    stream: bool = False


class State(TypedDict, total=False):
    """What the nodes hand on."""

    question: str
    embedding: list[float]
    texts: list[str]
    best: str
    answer: dict[str, Any]


def application(backend: str, chat: str) -> FastAPI:
    """The application."""
    session: aiohttp.ClientSession

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal session
        connector = aiohttp.TCPConnector(limit=256)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=60)
        ) as session:
            yield

    async def call(url: str, body: dict) -> Any:
        async with session.post(url, json=body) as reply:
            reply.raise_for_status()
            return await reply.json()

    async def embed(state: State) -> State:
        return {"embedding": (await call(f"{backend}/embed", {"inputs": [state["question"]]}))[0]}

    async def retrieve(state: State) -> State:
        body = {"text": state["question"], "embedding": state["embedding"]}
        found = await call(f"{backend}/v1/retrieval", body)
        return {"texts": [passage["text"] for passage in found["retrieved_docs"]]}

    async def rerank(state: State) -> State:
        ranks = await call(f"{backend}/rerank", {"query": state["question"], "texts": state["texts"]})
        return {"best": state["texts"][max(ranks, key=lambda rank: rank["score"])["index"]]}

    async def answer(state: State) -> State:
        messages = [{"role": "user", "content": f"{state['best']}\n\n{state['question']}"}]
        return {"answer": await call(f"{chat}/v1/chat/completions", {"model": "m", "messages": messages})}

    builder = StateGraph(State)
    nodes = {"embed": embed, "retrieve": retrieve, "rerank": rerank, "generate": answer}
    for name, node in nodes.items():
        builder.add_node(name, node)
    for before, after in zip([START, *nodes], [*nodes, END], strict=True):
        builder.add_edge(before, after)
    graph = builder.compile()
    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def chain(request: ChatRequest) -> dict[str, Any]:
        return (await graph.ainvoke({"question": request.messages[-1].content}))["answer"]

    return app


if __name__ == "__main__":
    own, *others = sys.argv[1:4]
    app = application(*(f"http://127.0.0.1:{port}" for port in others))
    uvicorn.run(app, host="127.0.0.1", port=int(own), access_log=False, log_level="warning")
