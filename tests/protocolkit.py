"""A model that says what a test has written down, chunk by chunk: words, thoughts, calls, citations."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from frontkit import GATEWAY, TALK, FrontRig

SPEAKER = '''\
import asyncio
import json
from collections.abc import AsyncIterator

import msgspec

from weft.contracts.chat import ChatChunk, ChatRequest, ChatResponse, collect
from weft.errors import BackendReplyError


class Chat:
    """Says the chunks that it is configured with; where one waits, it says so and waits for the gate."""

    seen: list[ChatRequest] = []
    running = 0
    waits = asyncio.Event()
    gate = asyncio.Event()
    ended = asyncio.Event()

    def __init__(self, chunks: str) -> None:
        self._chunks = chunks

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        return collect([chunk async for chunk in self.stream(request)])

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        self.seen.append(request)
        type(self).running += 1
        try:
            for chunk in json.loads(self._chunks):
                if "fails" in chunk:
                    raise BackendReplyError(chunk["fails"])
                if "waits" in chunk:
                    self.waits.set()
                    await self.gate.wait()
                    continue
                yield msgspec.convert({"id": "said-1", "model": "speaker", "choices": []} | chunk, ChatChunk)
        finally:
            type(self).running -= 1
            self.ended.set()
'''

SPOKEN = """\
apiVersion: weft/v1
kind: Services
services:
  llm: {component: "./chat.py:Chat", config: {chunks: CHUNKS}}
---
apiVersion: weft/v1
kind: Megaservice
name: talk
version: "1.0.0"
contract: chat
description: Talks.
nodes:
  answer: {service: llm, fill_from: request, inputs: {messages: request.messages}}
output: answer
"""


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk that adds these fields to the message."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def usage(asked: int, said: int) -> dict[str, Any]:
    """The chunk with the usage."""
    return {"usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}}


def call(index: int, arguments: str, *, name: str | None = None, id_: str | None = None) -> dict[str, Any]:
    """A chunk with a part of a tool call."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return delta(tool_calls=[{"index": index, "function": function} | ({"id": id_} if id_ else {})])


CITED = {
    "url_citation": {"start_index": 4, "end_index": 7, "title": "Handbook", "url": "http://here/p/7"},
    "marker": 1,
    "start_index": 4,
    "end_index": 7,
    "document_id": "p7",
    "title": "Handbook",
    "source": "handbook.pdf",
    "quote": "Thirty days.",
}
"""An annotation as a megaservice that cites makes it."""


WAITS = {"waits": True}
"""The model goes on when its gate is opened."""


def model_of(rig: FrontRig) -> Any:
    """The class of the model that runs: what it was asked, how many answers it is giving, its gate."""
    file = str(rig.folder / "chat.py")
    return next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == file).Chat


async def speaking(rig: FrontRig, chunks: Sequence[dict[str, Any]], routes: str = "") -> None:
    """Start a gateway whose model says these chunks; without ``routes``, without a Gateway file."""
    (rig.folder / "chat.py").write_text(SPEAKER)
    text = SPOKEN.replace("CHUNKS", json.dumps(json.dumps(list(chunks))))
    await rig.gateway(text + (f"---\n{GATEWAY}{routes}" if routes else ""))


RELAYING = SPOKEN.replace(
    '"./chat.py:Chat", config: {chunks: CHUNKS}', 'openai-chat, config: {url: "URL/v1", model: talk}'
)


async def relaying(rig: FrontRig) -> None:
    """Start a gateway whose model is behind another one, and whose bytes it hands on."""
    await rig.gateway(TALK.removesuffix("---\n"))
    await rig.gateway(
        RELAYING.replace("URL", rig.url) + f"---\n{GATEWAY}  - {{path: /v1/greet, megaservice: talk}}\n"
    )
