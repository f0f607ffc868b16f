"""A whole gateway in this process, over real sockets, and what must be left of a request when it is over: nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec

from weft.gateway import build
from weft.http.client import Client, Endpoint, Reply, StreamReply
from weft.http.server import Server
from weft.observe.journal import ENDINGS
from weft.plan import check
from weft.registry.components import Components
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.hosts import HostSettings
from weft.serve.log import Log
from weft.spec.load import load
from weft.testing.faulty import WATCHDOG_S

JSON = [("content-type", "application/json")]
CHAT = "/v1/chat/completions"


async def eventually(holds: Callable[[], bool], what: str = "") -> None:
    """Wait until it holds; a machine that is busy may need a while to close sockets."""
    try:
        async with asyncio.timeout(WATCHDOG_S):
            while not holds():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(what or "it did not come about") from None


class Weft:
    """A running gateway, as its clients see it and from the inside."""

    def __init__(self, app: Application, server: Server, assembly: build.Assembly, client: Client) -> None:
        self.app, self.server, self.assembly = app, server, assembly
        self._client = client
        self.port = 0
        self._tasks_at_rest: set[asyncio.Task[Any]] = set()

    @property
    def endpoint(self) -> Endpoint:
        """What clients send requests to."""
        return self._client.endpoint(f"http://127.0.0.1:{self.port}", timeout_s=WATCHDOG_S)

    async def ask(self, path: str, body: Any, *headers: tuple[str, str]) -> Reply:
        """POST, and the whole reply, streamed or not."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.endpoint.request("POST", path, data, headers=[*JSON, *headers])

    async def stream(self, path: str, body: Any, *headers: tuple[str, str]) -> StreamReply:
        """POST, and a reply that is still arriving."""
        return await self.endpoint.stream("POST", path, msgspec.json.encode(body), headers=[*JSON, *headers])

    def at_rest(self) -> None:
        """Take the tasks of now as those that a gateway without requests has."""
        self._tasks_at_rest = asyncio.all_tasks()

    def backend_connections(self) -> list[Any]:
        """Every connection of the gateway to other servers."""
        egress = self.assembly.hosts.egress
        pools = [pool for client in (egress.named, egress.inner) for pool in client._pools.values()]
        return [connection for pool in pools for connection in pool._all]

    def busy(self) -> list[Any]:
        """Those of them that a request still has."""
        return [connection for connection in self.backend_connections() if not connection.is_idle]

    def unfinished_steps(self) -> list[Any]:
        """Steps that the journal has a start of and no end."""
        started: dict[int, Any] = {}
        for event in self.assembly.journal.events():
            started[event[1]] = event
            if event[3] in ENDINGS:
                del started[event[1]]
        return list(started.values())

    async def nothing_left(self) -> None:
        """Wait until nothing is left of any request: no task, no busy connection, no count, no open step."""

        def extra() -> set[asyncio.Task[Any]]:
            here = asyncio.current_task()
            return {t for t in asyncio.all_tasks() - self._tasks_at_rest if t is not here and not t.done()}

        await eventually(lambda: not self.server.in_flight, "requests are in flight")
        await eventually(lambda: not self.busy(), "connections to backends are busy")
        await eventually(lambda: not extra(), f"tasks are left: {extra()}")
        await eventually(
            lambda: self.app.in_flight == 0, f"{self.app.in_flight} requests are counted as in flight"
        )
        text = (await self.endpoint.request("GET", "/metrics")).body.decode()
        # The one is the request for the metrics.
        assert "weft_http_requests_in_flight 1\n" in text
        assert self.unfinished_steps() == []
        # A task whose error nobody took would say so now.
        gc.collect()


@asynccontextmanager
async def weft(
    folder: Path, *documents: str, files: Sequence[Path] = (), rests: bool = True
) -> AsyncIterator[Weft]:
    """Run a gateway.

    Args:
        folder: For its files and its data.
        documents: Of the spec, without ``apiVersion``.
        files: Spec files to which the documents are added.
        rests: Whether nothing of any request must be left at the end.
    """
    text = "\n---\n".join(f"apiVersion: weft/v1\n{dedent(document).strip()}" for document in documents)
    file = folder / "spec.yaml"
    file.write_text(text + "\n")
    spec = load(*(str(path) for path in files), str(file))
    components = Components()
    assembly = build.Assembly(
        spec,
        check(spec, components),
        components,
        settings=HostSettings(str(folder / "cache"), str(folder / "data")),
        secret={}.get,
        log=Log(name="test"),
    )
    app = build.gateway(assembly, Access())
    server = Server(app, on_error=app.on_error)
    client = Client()
    running = Weft(app, server, assembly, client)
    running.port = await server.listen("127.0.0.1", 0)
    await app.start()
    try:
        # A first request makes what stays: the connection of the client, timers.
        await running.endpoint.request("GET", "/health/live")
        running.at_rest()
        yield running
        if rests:
            await running.nothing_left()
    finally:
        await client.aclose()
        await server.aclose()
        await app.stop()
        assert running.backend_connections() == []


def chat(text: str = "Hi", *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"messages": [{"role": "user", "content": text}], "stream": stream, **fields}


def sse(body: bytes) -> list[bytes]:
    """The data of each event; what is no event is a fault."""
    events = body.replace(b"\r\n", b"\n").split(b"\n\n")
    assert events[-1] == b"", f"the stream ends within an event: {body[-200:]!r}"
    found = [event for event in events[:-1] if event]
    assert all(event.startswith(b"data: ") for event in found), found
    return [event[6:] for event in found]


def words(events: Sequence[bytes]) -> str:
    """What the chunks of a chat say."""
    said = []
    for data in events:
        if data == b"[DONE]":
            continue
        for choice in msgspec.json.decode(data).get("choices", ()):
            said.append(choice["delta"].get("content") or "")
    return "".join(said)
