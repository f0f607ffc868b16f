"""A server that takes documents in for real, in a thread of its own, for tests of what talks to one."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import Any, Self

from click.testing import CliRunner, Result

from ingestkit import Kit, started
from weft.cli.main import group
from weft.contracts import dataprep
from weft.http.server import Server
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.log import Log
from weft.serve.operations import operation_routes


class House:
    """A server in a thread of its own, and the command line pointed at it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_up = threading.Event()
        self.kit: Kit
        self.url = ""
        self.sent: list[str] = []
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        app = Application(
            name="documents", version="1", access=Access(), log=Log(io.StringIO(), pretty=False)
        )
        app.spool = self._folder / "uploads"
        async with started(self._folder) as self.kit:

            async def call(operation: str, request: Any) -> Any:
                if operation == "ingest":
                    self.sent += [file.name for file in request.files] + request.links
                return await getattr(self.kit.documents, operation)(request)

            operation_routes(app, dataprep.CONTRACT, call)
            server = Server(app, on_error=app.on_error)
            await app.start()
            self.url = f"http://127.0.0.1:{await server.listen('127.0.0.1', 0)}"
            self._is_up.set()
            await self._stop.wait()
            await server.aclose()
            await app.stop()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def run(self, *line: str) -> Result:
        return CliRunner().invoke(group, [*line, "--url", self.url])

    def done(self, *line: str) -> str:
        result = self.run(*line)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output
