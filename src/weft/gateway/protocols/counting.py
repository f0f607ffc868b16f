"""About how many tokens a conversation has, where its model's own tokenizer cannot be asked."""

from __future__ import annotations

from typing import Final

import msgspec

from weft.components.rag.budget import PER_MESSAGE, PER_PROMPT, tokens
from weft.contracts.chat import ChatRequest

MEDIA_TOKENS: Final = 1_600
"""Of a picture, as large as most models look at one."""

_encode = msgspec.json.Encoder().encode


def tokens_of(request: ChatRequest) -> int:
    """An estimate that tokenizers of a usual vocabulary seldom go beyond; English prose takes about half of it."""
    total = PER_PROMPT
    for message in request.messages:
        total += PER_MESSAGE + tokens(message.text())
        if isinstance(message.content, list):
            total += MEDIA_TOKENS * sum(part.type != "text" for part in message.content)
        if message.tool_calls:
            total += tokens(_encode(message.tool_calls).decode())
    for what in (request.tools, request.response_format):
        if what:
            total += tokens(_encode(what).decode())
    return total
