"""Tokens that an upstream counted, read out of its replies on their way through."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.http.body import Alike
from weft.http.sse import SSEReader
from weft.transport.sse import around_text
from weft.types import Usage

KEPT_BYTES: Final = 64 * 1024
"""An event that is cut into reads is put together up to this size; a longer one has no usage in it."""

_USAGE: Final = b'"usage"'
_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class _Counts(Struct):
    """Token counts as OpenAI's chat, its Responses and Anthropic's Messages write them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class _Holder(Struct):
    usage: _Counts | None = None


class _Counted(Struct):
    usage: _Counts | None = None
    message: _Holder | None = None
    """Anthropic's first event has its message in it."""
    response: _Holder | None = None
    """The last event of OpenAI's Responses has its response in it."""


_decode = msgspec.json.Decoder(_Counted).decode


class UsageReader:
    """Counts the tokens of one reply for its request, as soon as they are seen.

    Each report replaces the one before it, so far as it says more: servers repeat the sum, or complete it.

    Args:
        context: The request.

    Attributes:
        alike: Events that need not be looked at: whole, and with nothing new in them but a piece of text.
    """

    __slots__ = ("_answered", "_asked", "_context", "_held", "alike")

    def __init__(self, context: Context) -> None:
        self._context = context
        self.alike = Alike()
        self._asked = self._answered = 0
        self._held = b""

    def read(self, body: bytes) -> None:
        """Look into a whole JSON reply, or an event of one."""
        if _USAGE not in body:
            return
        try:
            found = _decode(body)
        except (ValueError, RecursionError):
            return  # nothing that has counts: it is the caller's to read
        for holder in (found, found.message, found.response):
            if holder is not None and (counts := holder.usage) is not None:
                self._count(
                    max(counts.prompt_tokens, counts.input_tokens),
                    max(counts.completion_tokens, counts.output_tokens),
                )

    def pass_on(self, block: bytes) -> bytes:
        """Look at a block of events on its way out; it is not changed."""
        if not self._held and _USAGE not in block and block.endswith(b"\n\n"):
            self.alike.learn(*around_text(block))
            return block
        self.alike.forget()
        data = self._held + block if self._held else block
        if _USAGE in data:
            for event in SSEReader().feed(data):
                self.read(event.data)
        self._held = b"" if data.endswith(b"\n\n") else _unfinished(data)
        return block

    def _count(self, asked: int, answered: int) -> None:
        more_asked, more_answered = max(0, asked - self._asked), max(0, answered - self._answered)
        if more_asked or more_answered:
            self._asked += more_asked
            self._answered += more_answered
            self._context.count(Usage(more_asked, more_answered, more_asked + more_answered))


def _unfinished(data: bytes) -> bytes:
    """What comes behind the last whole event."""
    ends = [at + len(mark) for mark in _ENDS if (at := data.rfind(mark)) >= 0]
    rest = data[max(ends, default=0) :]
    return rest if len(rest) <= KEPT_BYTES else b""
