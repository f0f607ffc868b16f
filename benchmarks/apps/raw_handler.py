"""The chain and the relay on Weft's HTTP server and client alone: what is left for spec, plan, run and gateway to cost.

usage: raw_handler.py PORT BACKEND_PORT CHAT_PORT
"""

from __future__ import annotations

import asyncio
import sys

import msgspec
import uvloop
from msgspec import Raw, Struct

from weft.http.client import Client
from weft.http.message import Request, Response, StreamResponse
from weft.http.server import Server


class _Message(Struct):
    role: str
    content: str


class _Chat(Struct):
    messages: list[_Message]
    model: str = ""
    stream: bool = False


class _Passage(Struct):
    id: str
    text: str


class _Found(Struct):
    retrieved_docs: list[_Passage]


class _Rank(Struct):
    index: int
    score: float


async def main(port: int, backend_port: int, chat_port: int) -> None:
    client = Client()
    backend, chat = (client.endpoint(f"http://127.0.0.1:{each}") for each in (backend_port, chat_port))
    decode = msgspec.json.Decoder(_Chat).decode
    encode = msgspec.json.Encoder().encode
    json_type = (("content-type", "application/json"),)

    async def chain(asked: _Chat) -> Response | StreamResponse:
        question = asked.messages[-1].content
        vectors = await backend.post_json("/embed", {"inputs": [question]}, type=list[Raw])
        found = await backend.post_json(
            "/v1/retrieval", {"text": question, "embedding": vectors[0]}, type=_Found
        )
        texts = [passage.text for passage in found.retrieved_docs]
        ranks = await backend.post_json("/rerank", {"query": question, "texts": texts}, type=list[_Rank])
        best = texts[max(ranks, key=lambda rank: rank.score).index]
        prompt = {"model": "m", "messages": [{"role": "user", "content": f"{best}\n\n{question}"}]}
        body = encode(prompt | {"stream": asked.stream})
        return await ask(body, stream=asked.stream)

    async def ask(body: bytes, *, stream: bool) -> Response | StreamResponse:
        if stream:
            arriving = await chat.stream("POST", "/v1/chat/completions", body, headers=json_type)
            return StreamResponse(body=arriving.body)
        reply = await chat.request("POST", "/v1/chat/completions", body, headers=json_type)
        return Response(status=reply.status, body=reply.body)

    async def handle(request: Request) -> Response | StreamResponse:
        body = await request.read()
        asked = decode(body)
        return await (chain(asked) if asked.model == "chain" else ask(body, stream=asked.stream))

    await Server(handle).listen("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*(int(argument) for argument in sys.argv[1:4])))
