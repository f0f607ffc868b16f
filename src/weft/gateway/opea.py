"""OPEA's form of a chat request and of a streamed reply, on a megaservice's own route (``/v1/chatqna``).

Differences from OpenAI's: ``messages`` may be a string, ``stream`` is true unless said otherwise, ``max_tokens`` is
1024 unless said otherwise, ``model`` is ignored, and a stream is ``data: b'token'`` lines (a Python bytes literal)
unless OpenAI's chunks are asked for with ``?format=openai`` or ``Accept: text/event-stream; format=openai``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from weft.context import Context
from weft.contracts.base import invalid
from weft.contracts.chat import ChatChunk
from weft.errors import InvalidRequestError, did_you_mean
from weft.types import Usage

_decode = msgspec.json.Decoder(dict[str, Any]).decode

FIELDS = frozenset(
    {
        "messages", "model", "stream", "max_tokens", "temperature", "top_p", "top_k", "repetition_penalty",
        "frequency_penalty", "presence_penalty", "k", "search_type", "fetch_k", "lambda_mult", "score_threshold",
        "distance_threshold", "index_name", "top_n", "chat_template", "user", "language", "tool_choice", "stop", "n",
        "seed", "input", "response_format", "tools",
    }
)  # fmt: skip
"""Every field of OPEA's table; a route accepts them all, and says in ``x-weft-ignored`` which it did not use."""

MAX_NAMES: Final = 32
"""Ignored fields that a reply names: more than OPEA's own table has that go unused."""

MAX_NAME: Final = 64
"""Characters of each."""

FORMATS: Final = ("opea", "openai")
"""What the events of ``/v1/chatqna`` can be asked to be; the first is what they are unless asked."""


def decode(body: bytes, request_type: type[Any], consumed: frozenset[str]) -> tuple[Any, list[str]]:
    """The request Struct that an OPEA client's body stands for.

    Args:
        body: JSON.
        request_type: The megaservice's request, with its parameters.
        consumed: Fields that the megaservice reads.

    Returns:
        The request, and the fields that were sent and are not used, sorted.

    Raises:
        InvalidRequestError: Not JSON, no ``messages``, or a field of the wrong type.
    """
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(error) from error
    messages = fields.get("messages")
    if isinstance(messages, str):
        fields["messages"] = [{"role": "user", "content": messages}]
    elif not messages:
        raise InvalidRequestError("'messages' is missing: a string, or a list of messages", param="messages")
    fields.setdefault("stream", True)
    if (
        "max_tokens" in consumed
        and fields.get("max_tokens") is None
        and fields.get("max_completion_tokens") is None
    ):
        fields["max_tokens"] = 1024
    fields.pop("model", None)
    ignored = sorted(set(fields) - consumed - {"messages", "stream", "user", "stream_options"})
    known = request_type.__struct_fields__
    try:
        request = msgspec.convert(
            {name: value for name, value in fields.items() if name in known}, request_type
        )
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    return request, ignored


def told(names: Sequence[str]) -> str:
    """Names of fields as a header: they are the caller's, who may write anything, and a thousand of them."""
    shown = ", ".join(quote(name[:MAX_NAME], safe=" /:;+@$") for name in names[:MAX_NAMES])
    return f"{shown}, ..." if len(names) > MAX_NAMES else shown


def wants_openai(query: str, accept: str | None) -> bool:
    """Whether the client asked for OpenAI's chunks, by ``?format=openai`` or in its ``Accept``.

    Raises:
        InvalidRequestError: The query asks for another form than the two that there are.
    """
    asked = [pair[7:] for pair in query.split("&") if pair.startswith("format=")]
    for name in asked:
        if name not in FORMATS:
            raise InvalidRequestError(
                f"there is no format '{name}'",
                param="format",
                hint=did_you_mean(name, FORMATS, what="formats"),
            )
    if asked:
        return asked[-1] == "openai"
    return accept is not None and "format=openai" in accept.replace(" ", "")


async def events(chunks: AsyncIterator[ChatChunk], context: Context) -> AsyncIterator[bytes]:
    """Each piece of text as ``data: b'...'``; the end is the caller's to write. Tokens are counted to the request."""
    usage: Usage | None = None
    async for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            if choice.index == 0 and choice.delta.content:
                yield b"data: %b\n\n" % repr(choice.delta.content.encode()).encode()
    if context.tally is not None:
        context.tally.add(usage)
