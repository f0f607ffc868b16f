"""A server that sends exactly the bytes that a test gives it, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 500: "Oh No"}


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Sent:
    """One reply: ``blocks`` are written one by one; without ``ends`` the connection breaks off after them."""

    blocks: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()
    ends: bool = True


def json_reply(value: Any, status: int = 200, **headers: str) -> Sent:
    """A JSON reply."""
    return Sent([msgspec.json.encode(value)], status, headers=list(headers.items()))


def sse_reply(*blocks: bytes, ends: bool = True) -> Sent:
    """An event stream."""
    return Sent(blocks, content_type="text/event-stream", ends=ends)


@dataclass
class RawServer:
    """Answers with ``answer``, a reply or a function that makes one from the request."""

    answer: Sent | Callable[[Asked], Sent] = field(default_factory=Sent)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        """Close it, and every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.rstrip().split("\r\n")
        method, path, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, path, headers, msgspec.json.decode(body) if body else None)
        self.asked.append(asked)
        reply = self.answer(asked) if callable(self.answer) else self.answer
        lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Said')}"]
        lines += [f"content-type: {reply.content_type}", "transfer-encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in reply.headers]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        for block in reply.blocks:
            writer.write(b"%x\r\n%b\r\n" % (len(block), block))
            await writer.drain()
        if reply.ends:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        return reply.ends
