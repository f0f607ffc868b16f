"""A chat reply told again in the words of another protocol, event by event as it comes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from weft.contracts.chat import ChatResponse, ChunkChoice
from weft.errors import BackendReplyError
from weft.http.message import Response, StreamResponse
from weft.http.sse import SSEReader
from weft.types import Usage

DONE = b"[DONE]"


class Said(Struct):
    """One event of a chat stream: a chunk, or the error that ended it. A route's transformation may have left fields out."""

    id: str = ""
    model: str = ""
    created: int = 0
    choices: list[ChunkChoice] = []
    usage: Usage | None = None
    error: dict[str, Any] | None = None


_decode_said = msgspec.json.Decoder(Said).decode
_decode_whole = msgspec.json.Decoder(ChatResponse).decode


class Teller(Protocol):
    """Writes one streamed reply in another protocol's events."""

    def say(self, said: Said) -> bytes:
        """What one chunk becomes; may be nothing."""
        ...

    def end(self) -> bytes:
        """The last events of a stream that ended well."""
        ...

    def fail(self, error: dict[str, Any]) -> bytes:
        """The last event of one that failed in the middle, from OpenAI's error object."""
        ...


class Telling:
    """A stream of chat chunks on its way into another protocol: the reply's ``pass_on`` and ``finish``.

    What the chat reply itself does with each block and with the end is done first, so that what it keeps (a deadline, a
    connection, a count) is kept as it would be without the translation.

    Args:
        reply: The chat reply.
        teller: Writes the other protocol.

    Attributes:
        is_over: Whether the last event has been told.
    """

    __slots__ = ("_finish", "_pass_on", "_reader", "is_over", "teller")

    def __init__(self, reply: StreamResponse, teller: Teller) -> None:
        self._pass_on, self._finish, self.teller = reply.pass_on, reply.finish, teller
        self._reader, self.is_over = SSEReader(), False

    def pass_on(self, block: bytes) -> bytes:
        """The events that a block completes, in the other protocol."""
        if self._pass_on is not None:
            block = self._pass_on(block)
        return self._told(block) if block else b""

    def finish(self, error: Exception | None) -> bytes | None:
        """The last events; None: nothing has gone out, and the error is told by a status."""
        tail = self._finish(error) if self._finish is not None else None
        if tail is None and error is not None:
            return None
        told = self._told(tail) if tail else b""
        if not self.is_over:
            self.is_over = True
            told += self.teller.end()
        return told

    def _told(self, block: bytes) -> bytes:
        told = []
        for event in self._reader.feed(block):
            if self.is_over or event.event != "message":
                continue  # what is added for those who know of it (the journal) has no words in another protocol
            if event.data == DONE:
                self.is_over = True
                told.append(self.teller.end())
                continue
            said = self._read(event.data)
            if said.error is not None:
                self.is_over = True
                told.append(self.teller.fail(said.error))
            else:
                told.append(self.teller.say(said))
        return told[0] if len(told) == 1 else b"".join(told)

    def _read(self, data: bytes) -> Said:
        try:
            return _decode_said(data)
        except (ValueError, RecursionError) as error:
            raise BackendReplyError(f"an event of the stream is no chat chunk: {error}") from error


def told(reply: StreamResponse, teller: Teller) -> StreamResponse:
    """The same stream in another protocol; a backend's bytes still come straight from its connection."""
    telling = Telling(reply, teller)
    return replace(reply, pass_on=telling.pass_on, finish=telling.finish, alike=None)


def whole(reply: Response) -> ChatResponse:
    """A whole chat reply.

    Raises:
        BackendReplyError: It is none.
    """
    try:
        return _decode_whole(reply.body)
    except (ValueError, RecursionError) as error:
        raise BackendReplyError(f"the reply is no chat response: {error}") from error
