"""A small ASGI server on h11, to run Weft as an ASGI application: one task per connection, messages as the standard says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Self

import h11


class AsgiServer:
    """Serves an ASGI application on a free port; ``errors`` are what the application raised."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.port = 0
        self.errors: list[Exception] = []
        self.sent: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls, app: Any) -> Self:
        """Listen."""
        server = cls(app)
        server._server = await asyncio.start_server(server._on_connection, "127.0.0.1", 0)
        server.port = server._server.sockets[0].getsockname()[1]
        return server

    async def aclose(self) -> None:
        """End it, and every connection."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await _Connection(self, reader, writer).run()
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


class _Connection:
    def __init__(
        self, server: AsgiServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.wire = h11.Connection(h11.SERVER)
        self.incoming = asyncio.Lock()
        self.is_gone = False

    async def _event(self) -> Any:
        async with self.incoming:
            while (event := self.wire.next_event()) is h11.NEED_DATA:
                data = b""
                with suppress(ConnectionError):
                    data = await self.reader.read(16384)
                self.wire.receive_data(data)
        return event

    async def run(self) -> None:
        while True:
            event = await self._event()
            if not isinstance(event, h11.Request):
                return
            target, _, query = event.target.partition(b"?")
            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": event.http_version.decode(),
                "method": event.method.decode(),
                "scheme": "http",
                "path": target.decode(),
                "raw_path": target,
                "query_string": query,
                "root_path": "",
                "headers": [(bytes(name), bytes(value)) for name, value in event.headers],
                "client": self.writer.get_extra_info("peername")[:2],
                "server": ("127.0.0.1", self.server.port),
            }
            self.is_read = self.is_complete = False
            try:
                await self.server.app(scope, self._receive, self._send)
            except Exception as error:  # noqa: BLE001 - kept for the test to see
                self.server.errors.append(error)
                return
            while self.wire.their_state is h11.SEND_BODY:
                await self._event()
            if self.wire.our_state is not h11.DONE or self.wire.their_state is not h11.DONE:
                return
            self.wire.start_next_cycle()

    async def _receive(self) -> dict[str, Any]:
        if self.is_complete or self.is_gone:
            return {"type": "http.disconnect"}
        if self.is_read:
            async with self.incoming:
                with suppress(ConnectionError):
                    # No pipelining here: whatever comes before the reply is the end.
                    await self.reader.read(1)
            return {"type": "http.disconnect"}
        try:
            event = await self._event()
        except h11.RemoteProtocolError:
            event = h11.ConnectionClosed()
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        if isinstance(event, h11.EndOfMessage):
            self.is_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        self.is_gone = True
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.server.sent.append(message)
        if message["type"] == "http.response.start":
            await self._write(h11.Response(status_code=message["status"], headers=message["headers"]))
            return
        if message.get("body"):
            await self._write(h11.Data(data=message["body"]))
        if not message.get("more_body", False):
            await self._write(h11.EndOfMessage())
            self.is_complete = True

    async def _write(self, event: Any) -> None:
        data = self.wire.send(event)
        if data:
            self.writer.write(data)
            with suppress(ConnectionError):
                await self.writer.drain()
