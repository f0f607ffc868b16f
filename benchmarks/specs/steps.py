"""The two steps of the chain that are not services."""

from __future__ import annotations

from msgspec import Struct

from weft.types import Document, Message


class Conversation(Struct):
    """What the user said."""

    messages: list[Message]


class Asked(Struct):
    """The question."""

    query: str


class Question:
    """The last message is the question."""

    async def invoke(self, request: Conversation) -> Asked:
        """Take it."""
        return Asked(request.messages[-1].text())


class Found(Struct):
    """A question and what was found."""

    query: str
    documents: list[Document]


class Prompted(Struct):
    """What the model is asked."""

    messages: list[Message]


class Prompt:
    """Puts the best passage before the question."""

    async def invoke(self, request: Found) -> Prompted:
        """Write the prompt."""
        passage = request.documents[0].text if request.documents else ""
        return Prompted([Message("user", f"{passage}\n\n{request.query}")])
