"""The chain with FastAPI, uvicorn and aiohttp, as their documentation has it done.

usage: fastapi_chain.py PORT BACKEND_PORT CHAT_PORT
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from fastapi import FastAPI
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


class Choice(BaseModel):
    """One answer."""

    index: int
    message: Message
    finish_reason: str | None


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatResponse(BaseModel):
    """What is answered."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


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

    async def call(url: str, body: dict) -> object:
        async with session.post(url, json=body) as reply:
            reply.raise_for_status()
            return await reply.json()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def chain(request: ChatRequest) -> ChatResponse:
        question = request.messages[-1].content
        vectors = await call(f"{backend}/embed", {"inputs": [question]})
        found = await call(f"{backend}/v1/retrieval", {"text": question, "embedding": vectors[0]})
        texts = [passage["text"] for passage in found["retrieved_docs"]]
        ranks = await call(f"{backend}/rerank", {"query": question, "texts": texts})
        best = texts[max(ranks, key=lambda rank: rank["score"])["index"]]
        messages = [{"role": "user", "content": f"{best}\n\n{question}"}]
        return ChatResponse(**await call(f"{chat}/v1/chat/completions", {"model": "m", "messages": messages}))

    return app


if __name__ == "__main__":
    own, *others = sys.argv[1:4]
    app = application(*(f"http://127.0.0.1:{port}" for port in others))
    uvicorn.run(app, host="127.0.0.1", port=int(own), access_log=False, log_level="warning")
