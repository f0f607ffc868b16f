"""Servers for upstream routes to lead to: each answers with the very bytes that a test gives it, and tells who left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

WATCHDOG_S = 10.0
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'


def whole(body: bytes, *, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> bytes:
    """A reply with its length."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def streamed(*blocks: bytes, kind: str = "text/event-stream", extra: str = "") -> list[bytes]:
    """A chunked reply, as the writes that make it."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{extra}transfer-encoding: chunked\r\n\r\n".encode()
    return [head, *(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks), b"0\r\n\r\n"]


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for known, value in self.headers if known == name), None)


class Backend:
    """A server on a free port.

    Attributes:
        seen: The requests, in their order.
        reply: What is written for one; a list is written piece by piece, with a turn of the loop in between.
        gate: Waited for before a reply is begun; set at first.
        asked: Released once for each request that arrived.
        busy: Requests that are not answered and whose connection stands.
        connections: That stand.
    """

    def __init__(self, reply: bytes | list[bytes] | None = None) -> None:
        self.seen: list[Seen] = []
        self.reply: bytes | list[bytes] = whole(b'{"ok":true}') if reply is None else reply
        self.answer: Callable[[Seen, asyncio.StreamWriter], Awaitable[None]] = self._answer
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Semaphore(0)
        self.busy = self.connections = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, stack: AsyncExitStack, *, port: int = 0) -> Backend:
        """Listen until ``stack`` ends."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        stack.push_async_callback(self.stop)
        return self

    async def stop(self) -> None:
        """Stop listening, and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_asked(self, times: int = 1) -> None:
        """Return when so many more requests have arrived."""
        async with asyncio.timeout(WATCHDOG_S):
            for _ in range(times):
                await self.asked.acquire()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        ahead = b""
        try:
            while True:
                seen = await _read(reader, ahead)
                self.seen.append(seen)
                self.busy += 1
                self.asked.release()
                answering = asyncio.ensure_future(self.answer(seen, writer))
                next_byte = asyncio.ensure_future(reader.read(1))
                try:
                    done, _ = await asyncio.wait({answering, next_byte}, return_when=asyncio.FIRST_COMPLETED)
                    if next_byte in done and not next_byte.result():
                        seen.left.set()
                        return
                    await answering  # a next request may begin before the end of this answer is noticed here
                finally:
                    self.busy -= 1
                    answering.cancel()
                    next_byte.cancel()
                    await asyncio.gather(answering, next_byte, return_exceptions=True)
                ahead = b"" if next_byte.cancelled() else next_byte.result()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        await self.gate.wait()
        pieces = [self.reply] if isinstance(self.reply, bytes) else self.reply
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)


async def _read(reader: asyncio.StreamReader, ahead: bytes) -> Seen:
    head = (ahead + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head[:-4].split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = int(dict(headers).get("content-length", "0"))
    return Seen(method, target, headers, await reader.readexactly(length))
