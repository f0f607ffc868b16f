"""The ways in which servers go wrong, each a function that answers one request; :mod:`weft.testing.faulty` serves them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, cast

import msgspec

HUGE_BYTES: Final = 1 << 30
"""Of the bodies that nobody should hold. They are made while they are sent."""

WORDS: Final = ("one ", "two ", "three ", "four ", "größer ", "end")
"""What a chat answers: several chunks, and letters of more than one byte to be cut in."""

USAGE: Final = {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}
"""What that answer cost."""

_BLOCK: Final = 65536


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came.

    Attributes:
        headers: Names in lower case.
        at: The event loop's time when it was complete.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    def json(self) -> Any:
        """The body, decoded; None where it is empty."""
        return msgspec.json.decode(self.body) if self.body else None

    @property
    def streams(self) -> bool:
        """Whether a stream is asked for."""
        asked = self.json()
        return isinstance(asked, dict) and asked.get("stream") is True


@dataclass(frozen=True, slots=True)
class GoodReply:
    """What a server that is well would answer.

    Attributes:
        events: The data of server-sent events, ``[DONE]`` not among them; None: a whole reply.
    """

    body: bytes = b"{}"
    events: Sequence[bytes] | None = None

    @property
    def content_type(self) -> str:
        """Of a body or of events."""
        return "application/json" if self.events is None else "text/event-stream"

    def whole(self) -> bytes:
        """All bytes of the body, the end of a stream included."""
        if self.events is None:
            return self.body
        return b"".join(b"data: %b\n\n" % data for data in (*self.events, b"[DONE]"))


def good_reply(asked: Asked) -> GoodReply:
    """The answer to a chat, reranking or embedding request in any of the forms that Weft's contracts know."""
    path, request = asked.path.partition("?")[0], asked.json()
    if path.endswith("/chat/completions"):
        return chat_reply(WORDS, stream=asked.streams)
    if path.endswith("/rerank"):
        texts = request["texts"]
        ranking = [{"index": n, "score": 1 - n / (len(texts) + 1)} for n in range(len(texts))]
        return GoodReply(msgspec.json.encode(ranking))
    if path.endswith("/reranking"):
        documents = [{**document, "score": 0.5} for document in request["documents"]]
        return GoodReply(msgspec.json.encode({"documents": documents}))
    if path.endswith("/embeddings"):
        given = request["input"]
        texts = [given] if isinstance(given, str) else given
        data = [{"object": "embedding", "index": n, "embedding": [0.6, 0.8]} for n in range(len(texts))]
        return GoodReply(msgspec.json.encode({"object": "list", "model": "m", "data": data, "usage": USAGE}))
    return GoodReply()


def chat_reply(words: Sequence[str], *, stream: bool) -> GoodReply:
    """A chat answer made of ``words``, one for each chunk."""
    if not stream:
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE}
        return GoodReply(msgspec.json.encode(body))
    head = {"id": "1", "object": "chat.completion.chunk", "model": "m"}
    choices: list[Any] = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in words]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    events = [msgspec.json.encode({**head, "choices": [choice]}) for choice in choices]
    events.append(msgspec.json.encode({**head, "choices": [], "usage": USAGE}))
    return GoodReply(events=events)


class Wire(Protocol):
    """The connection that a request came on."""

    async def send(self, data: bytes) -> None:
        """Write; waits while the client does not read."""
        ...

    def close(self) -> None:
        """End it when everything is sent."""
        ...

    def reset(self) -> None:
        """End it with a reset."""
        ...


class Exchange:
    """One request, and the wire on which a behaviour answers it.

    Attributes:
        asked: The request.
        reply: What a server that is well would answer.
        pause_s: Between the bytes of a slow server.
    """

    def __init__(self, wire: Wire, asked: Asked, reply: GoodReply, pause_s: float) -> None:
        self._wire = wire
        self.asked, self.reply, self.pause_s = asked, reply, pause_s

    async def send(self, data: bytes) -> None:
        """Write as it is; waits while the client does not read."""
        await self._wire.send(data)

    async def head(
        self, status: int = 200, content_type: str = "", *, length: int | None = None, **fields: str
    ) -> None:
        """Write a reply's head; without ``length`` the body comes in chunks."""
        lines = [f"HTTP/1.1 {status} Said", f"content-type: {content_type or self.reply.content_type}"]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def chunk(self, data: bytes) -> None:
        """Write one chunk of a body; an empty one ends it."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def begin(self, events: int = 2) -> None:
        """Write the head and the start of the good reply: some bytes of a whole one, some events of a stream."""
        await self.head()
        if self.reply.events is None:
            await self.chunk(self.reply.body[:10])
        else:
            for data in self.reply.events[:events]:
                await self.chunk(b"data: %b\n\n" % data)

    async def answer(self, body: bytes, *, status: int = 200, content_type: str = "", **fields: str) -> None:
        """Write a whole reply."""
        await self.head(status, content_type, length=len(body), **fields)
        await self.send(body)

    async def forever(self) -> None:
        """Do nothing until the client goes away."""
        await asyncio.Event().wait()

    def close(self) -> None:
        """End the connection when everything is sent."""
        self._wire.close()

    def reset(self) -> None:
        """End the connection with a reset instead of an end of file."""
        self._wire.reset()


Behaviour: TypeAlias = Callable[[Exchange], Awaitable[None]]
"""Answers one request, well or not. It is cancelled when the client goes away."""

BEHAVIOURS: Final[dict[str, Behaviour]] = {}
"""Every behaviour by its name; what it does is its docstring."""

REFUSED: Final = "refused"
"""The behaviour of a server that is not there: its port is taken, and nobody listens."""


def _behaviour(run: Behaviour) -> Behaviour:
    name: str = cast("Any", run).__name__
    BEHAVIOURS[name.strip("_").replace("_", "-")] = run
    return run


# Replies that are whole, and say the wrong thing.


@_behaviour
async def well(x: Exchange) -> None:
    """Nothing is wrong."""
    await x.answer(x.reply.whole())


@_behaviour
async def _status_500(x: Exchange) -> None:
    """The server failed and says so, in OpenAI's form."""
    error = {"error": {"message": "CUDA out of memory", "type": "server_error", "param": None, "code": None}}
    await x.answer(msgspec.json.encode(error), status=500, content_type="application/json")


@_behaviour
async def _html_504(x: Exchange) -> None:
    """A proxy in front of the server gave up."""
    page = b"<html><head><title>504 Gateway Time-out</title></head><body>nginx</body></html>"
    await x.answer(page, status=504, content_type="text/html")


@_behaviour
async def _status_503(x: Exchange) -> None:
    """The server is starting."""
    await x.answer(b'{"detail":"loading the model"}', status=503, content_type="application/json")


@_behaviour
async def _status_429(x: Exchange) -> None:
    """The server is full, and says when to come back."""
    error = b'{"error":{"message":"the queue is full"}}'
    await x.answer(error, status=429, content_type="application/json", retry_after="7")


@_behaviour
async def _status_401(x: Exchange) -> None:
    """The server wants a key that it was not given."""
    error = b'{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}'
    await x.answer(error, status=401, content_type="application/json")


@_behaviour
async def _redirect(x: Exchange) -> None:
    """What is asked for is said to be somewhere else."""
    await x.answer(b"", status=302, content_type="text/html", location="http://127.0.0.1:9/elsewhere")


@_behaviour
async def _no_content(x: Exchange) -> None:
    """A success without a body."""
    await x.send(b"HTTP/1.1 204 No Content\r\n\r\n")


@_behaviour
async def _empty_body(x: Exchange) -> None:
    """The right type, and nothing in it."""
    await x.answer(b"")


@_behaviour
async def _wrong_type(x: Exchange) -> None:
    """A captive portal's page where JSON or events should be."""
    await x.answer(b"<html><body>Please log in</body></html>", content_type="text/html")


@_behaviour
async def _wrong_shape(x: Exchange) -> None:
    """JSON, and not what was asked for."""
    data = b'{"hello":"world"}'
    await x.answer(data if x.reply.events is None else b"data: %b\n\ndata: [DONE]\n\n" % data)


@_behaviour
async def _truncated_json(x: Exchange) -> None:
    """JSON that stops in the middle, in a reply whose framing is whole."""
    if x.reply.events is None:
        await x.answer(x.reply.body[: len(x.reply.body) // 2])
    else:
        cut = x.reply.events[0][:20]
        await x.answer(b"data: %b\n\ndata: [DONE]\n\n" % cut)


@_behaviour
async def _error_with_200(x: Exchange) -> None:
    """An error in the body of a success; in a stream, its first and only event."""
    error = b'{"error":{"message":"CUDA out of memory"}}'
    await x.answer(error if x.reply.events is None else b"data: %b\n\n" % error)


# Framing that is broken.


@_behaviour
async def _length_longer(x: Exchange) -> None:
    """More bytes are promised than come."""
    whole = x.reply.whole()
    await x.head(length=len(whole) + 10)
    await x.send(whole)
    x.close()


@_behaviour
async def _length_shorter(x: Exchange) -> None:
    """Fewer bytes are promised than come."""
    whole = x.reply.whole()
    await x.head(length=len(whole) - 10)
    await x.send(whole)


@_behaviour
async def _not_http(x: Exchange) -> None:
    """Another protocol answers on this port."""
    await x.send(b"-ERR unknown command 'POST'\r\n-ERR unknown command 'host:'\r\n\r\n")
    x.close()


@_behaviour
async def _closed(x: Exchange) -> None:
    """The connection ends before any byte of the reply."""
    x.close()


@_behaviour
async def _cut_in_head(x: Exchange) -> None:
    """The connection ends within the head."""
    await x.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    x.close()


@_behaviour
async def _cut_in_body(x: Exchange) -> None:
    """The connection ends within the body; in a stream, within its third event."""
    await x.begin()
    if x.reply.events is not None:
        await x.chunk(b"data: " + x.reply.events[2][:10])
    x.close()


@_behaviour
async def _cut_between_events(x: Exchange) -> None:
    """The connection ends between two events of a stream; elsewhere, within the body."""
    await x.begin()
    x.close()


@_behaviour
async def _reset(x: Exchange) -> None:
    """The connection is reset instead of answered."""
    x.reset()


@_behaviour
async def _reset_in_body(x: Exchange) -> None:
    """The connection is reset within the body."""
    await x.begin()
    # What was sent must arrive before the reset, which throws away what is still under way.
    await asyncio.sleep(0.02)
    x.reset()


# Time.


@_behaviour
async def _silence(x: Exchange) -> None:
    """Nothing ever comes."""
    await x.forever()


@_behaviour
async def _silence_in_body(x: Exchange) -> None:
    """The reply begins (a stream: with two events), and nothing more comes."""
    await x.begin()
    await x.forever()


@_behaviour
async def _slow_head(x: Exchange) -> None:
    """The head comes one byte a second."""
    await _drip(x, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")


@_behaviour
async def _slow_body(x: Exchange) -> None:
    """The body comes one byte a second."""
    whole = x.reply.whole()
    await x.head(length=len(whole))
    await _drip(x, whole)


async def _drip(x: Exchange, data: bytes) -> None:
    for n in range(len(data)):
        await x.send(data[n : n + 1])
        await asyncio.sleep(x.pause_s)


# Streams.


@_behaviour
async def _byte_by_byte(x: Exchange) -> None:
    """Nothing is wrong, but every byte comes in a chunk and a packet of its own."""
    await _in_pieces(x, x.reply.whole(), 1)


@_behaviour
async def _carriage_returns(x: Exchange) -> None:
    """Nothing is wrong; lines end with CR LF, and every byte comes in a chunk and a packet of its own."""
    await _in_pieces(x, x.reply.whole().replace(b"\n", b"\r\n"), 1)


async def _in_pieces(x: Exchange, data: bytes, size: int) -> None:
    await x.head()
    for n in range(0, len(data), size):
        await x.chunk(data[n : n + size])  # the one who reads gets its turn, and so reads this piece alone
    await x.chunk(b"")


@_behaviour
async def _error_in_stream(x: Exchange) -> None:
    """Two events, then an error, and the end."""
    await x.begin()
    await x.chunk(b'data: {"error":{"message":"CUDA out of memory","type":"server_error","code":500}}\n\n')
    await x.chunk(b"")


@_behaviour
async def _error_then_done(x: Exchange) -> None:
    """Two events, then an error, and ``[DONE]`` all the same."""
    await x.begin()
    await x.chunk(b'data: {"error":{"message":"CUDA out of memory"}}\n\ndata: [DONE]\n\n')
    await x.chunk(b"")


@_behaviour
async def _no_end(x: Exchange) -> None:
    """A stream that just stops after two events: no reason to finish, no ``[DONE]``, framing whole."""
    await x.begin()
    await x.chunk(b"")


# Size.


@_behaviour
async def _huge_body(x: Exchange) -> None:
    """A JSON text, or one event, of 1 GiB that says nothing of its length."""
    await x.head()
    await x.chunk(b'{"text":"' if x.reply.events is None else b"data: ")
    await _flood(x, b"x" * _BLOCK)


@_behaviour
async def _huge_length(x: Exchange) -> None:
    """A body that says that it has 1 GiB."""
    await x.head(length=HUGE_BYTES)
    block = b"x" * _BLOCK
    for _ in range(HUGE_BYTES // _BLOCK):
        await x.send(block)


@_behaviour
async def _huge_stream(x: Exchange) -> None:
    """A stream of 1 GiB, all its events well."""
    await x.head()
    event = b"data: %b\n\n" % (x.reply.events or (b"{}",))[0]
    await _flood(x, event * (_BLOCK // len(event)))


async def _flood(x: Exchange, block: bytes) -> None:
    for _ in range(HUGE_BYTES // len(block)):
        await x.chunk(block)
    await x.chunk(b"")
