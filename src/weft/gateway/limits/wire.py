"""Streams of foreign servers: they are asked what they cost, and whether they have said all of it is watched.

A server of OpenAI's kind says so only when it is asked (``stream_options.include_usage``): it is, and the event that the
caller has not asked for is left out again. The relay counts what is said (:mod:`weft.gateway.upstream.usage`); a stream
that breaks off has not said all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from weft.gateway.passage import Passage, Reply
from weft.http.message import StreamResponse
from weft.transport.sse import is_usage_only

MAX_EVENT_BYTES: Final = 64 * 1024
"""Of an event that is held until it is whole; a longer one is none that tells a cost."""

_MARK: Final = b'"usage"'


class Wire:
    """One request to a foreign server.

    Attributes:
        is_whole: Whether its reply has come to its end.
    """

    __slots__ = ("_drops", "_rest", "is_whole")

    def __init__(self, *, drops: bool) -> None:
        self._drops = drops
        self._rest = b""
        self.is_whole = False

    def watch(self, reply: Reply) -> Reply:
        """The reply to send: the same, watched to its end."""
        if not isinstance(reply, StreamResponse):
            self.is_whole = True
            return reply
        inner, finish = reply.pass_on, reply.finish

        def pass_on(block: bytes) -> bytes:
            return self._pass(block if inner is None else inner(block))

        def finished(error: Exception | None) -> bytes | None:
            self.is_whole = error is None
            rest, self._rest = self._rest, b""
            tail = finish(error) if finish is not None else None
            return rest + (tail or b"") if rest else tail

        if not self._drops:
            return replace(reply, finish=finished)
        # What the relay need not look at has no usage in it, either.
        return replace(reply, pass_on=pass_on, finish=finished)

    def _pass(self, block: bytes) -> bytes:
        """The whole events of what came, without the one that the caller has not asked for."""
        if self._rest:
            block, self._rest = self._rest + block, b""
        mark = b"\r\n\r\n" if b"\r\n\r\n" in block else b"\n\n"
        if not block.endswith(mark):
            whole, found, rest = block.rpartition(mark)
            if len(rest) <= MAX_EVENT_BYTES:
                block, self._rest = whole + found, rest
        if _MARK not in block:
            return block
        events = block.split(mark)
        return mark.join(event for event in events if not (_MARK in event and is_usage_only(_data(event))))


def _data(event: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))


def asking(passage: Passage) -> Wire:
    """Have a foreign server say what its reply costs; the relay sees to it that the words can be read here."""
    body: dict[str, Any] = passage.body() if passage.has_json else {}
    options = body.get("stream_options")
    if not _must_be_asked(passage, body) or (
        isinstance(options, dict) and options.get("include_usage") is True
    ):
        return Wire(drops=False)
    passage.replace({**body, "stream_options": {**(options or {}), "include_usage": True}})
    return Wire(drops=True)


def _must_be_asked(passage: Passage, body: dict[str, Any]) -> bool:
    """Whether it is a streamed chat in OpenAI's form, and not in Anthropic's, whose servers say it unasked."""
    upstream = passage.rule.upstream
    path = (upstream.path if upstream is not None else None) or passage.rule.path
    return (
        body.get("stream") is True
        and isinstance(body.get("messages"), list)
        and not path.endswith("/messages")
    )
