"""Components that a program hands over as classes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from msgspec import Struct

from weft.contracts.chat import (
    Chat,
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    ChunkChoice,
    Delta,
)
from weft.types import Message


class Parrot:
    """A chat model that repeats the last message.

    Args:
        prefix: What it says first.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    async def invoke(self, request: ChatRequest) -> ChatResponse:
        text = self._prefix + request.messages[-1].text()
        return ChatResponse("1", "parrot", [Choice(0, Message("assistant", text), "stop")])

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        for word in (self._prefix + request.messages[-1].text()).split():
            yield ChatChunk("1", "parrot", [ChunkChoice(0, Delta(content=word + " "))])


class Question(Struct):
    text: str
    config: str = ""
    """A field whose name is an option of ``node``."""


class Answer(Struct):
    text: str


class Asking:
    """Asks the chat service that it is given."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def invoke(self, request: Question) -> Answer:
        reply = await self._chat.invoke(ChatRequest([Message("user", request.text + request.config)]))
        return Answer(reply.text())
