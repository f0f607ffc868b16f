"""Another application in the place of one that serves: made ready beside it, swapped between two requests."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from weft.context import Context
from weft.errors import ConflictError, NotReadyError, UsageError
from weft.http.client import Client, Endpoint
from weft.http.message import Request, Response
from weft.serve import ports, succession
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.log import Log
from weft.serve.serving import Serving, Stop
from weft.serve.succession import Succession


class App:
    """An application that says its name; a request for ``/held`` waits until it is released."""

    def __init__(self, name: str) -> None:
        self.app = Application(
            name=name, version="1", access=Access(), log=Log(io.StringIO(), name="test", pretty=False)
        )
        self.held, self.released = asyncio.Event(), asyncio.Event()
        self.is_ready = True
        self.stopped = False

        async def say(request: Request, context: Context) -> Response:
            if request.path == "/held":
                self.held.set()
                await self.released.wait()
            return Response(200, (), name.encode(), "text/plain")

        async def stop() -> None:
            self.stopped = True

        async def ready() -> bool:
            return self.is_ready

        for path in ("/", "/held"):
            self.app.route("GET", path, say)
        self.app.on_stop.append(stop)
        self.app.ready_checks[f"of {name}"] = ready

    async def make(self) -> Application:
        return self.app


@asynccontextmanager
async def served(first: App) -> AsyncIterator[tuple[Serving, Succession, Endpoint]]:
    """A process that serves an application."""
    serving, stop, started = Serving(first.app), Stop(), asyncio.Event()
    listener = ports.bind("127.0.0.1", 0)
    listener.listen()
    await serving.listen(listener)

    async def on_started() -> None:
        started.set()

    running = asyncio.create_task(serving.run(stop, on_started=on_started))
    client = Client()
    try:
        await started.wait()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield serving, Succession(serving, ready_timeout_s=0.05), client.endpoint(url, timeout_s=10)
    finally:
        await client.aclose()
        stop.ask()
        stop.ask()
        await running


async def said(endpoint: Endpoint, path: str = "/") -> str:
    return (await endpoint.request("GET", path)).body.decode()


async def test_the_next_request_goes_to_what_was_prepared() -> None:
    """Before the commit nothing that is asked notices; after it the connection that is open gets the other one."""
    one, two = App("one"), App("two")
    async with served(one) as (serving, following, endpoint):
        await following.prepare(two.make)
        assert await said(endpoint) == "one"
        assert following.commit()
        assert await said(endpoint) == "two"
        await serving.settled()
        assert one.stopped
        assert not two.stopped
    assert two.stopped


async def test_what_was_before_ends_when_its_requests_have() -> None:
    """A request under way is answered by what it began with, and counts as long as it is."""
    one, two = App("one"), App("two")
    async with served(one) as (serving, following, endpoint):
        asking = asyncio.create_task(said(endpoint, "/held"))
        await one.held.wait()
        await following.prepare(two.make)
        following.commit()
        assert await said(endpoint) == "two"
        assert serving.app.in_flight == 1
        assert not one.stopped
        one.released.set()
        assert await asking == "one"
        await serving.settled()
        assert one.stopped
        assert serving.app.in_flight == 0


async def test_what_is_not_ready_takes_nobodys_place() -> None:
    """It is given up with its name, and everything it has begun ends."""
    one, two = App("one"), App("two")
    two.is_ready = False
    async with served(one) as (_, following, endpoint):
        with pytest.raises(NotReadyError, match=r"not ready within 0\.05 s: of two: not ready"):
            await following.prepare(two.make)
        assert two.stopped
        assert not following.commit()
        assert await said(endpoint) == "one"


async def test_what_was_not_ready_before_keeps_nothing_from_changing() -> None:
    """A server that is away is no reason to hold on to an old file."""
    one, two = App("one"), App("two")
    one.is_ready = two.is_ready = False
    two.app.ready_checks = {"of one": two.app.ready_checks["of two"]}
    async with served(one) as (_, following, endpoint):
        await following.prepare(two.make)
        following.commit()
        assert await said(endpoint) == "two"


async def test_what_fails_to_start_leaves_nothing_behind() -> None:
    """The error is the caller's, and the next one can be prepared."""
    one, two, three = App("one"), App("two"), App("three")

    async def fail() -> None:
        raise UsageError("it cannot")

    two.app.on_start.append(fail)
    async with served(one) as (_, following, endpoint):
        with pytest.raises(UsageError, match="it cannot"):
            await following.prepare(two.make)
        await following.prepare(three.make)
        with pytest.raises(ConflictError, match="another reload is under way"):
            await following.prepare(two.make)
        await following.abandon()
        assert three.stopped
        assert await said(endpoint) == "one"


async def test_nothing_takes_a_place_while_a_change_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is being switched would be lost; so would one that was switched while the other started."""
    monkeypatch.setattr(succession, "CHANGING_TIMEOUT_S", 0.05)
    one, two, three = App("one"), App("two"), App("three")
    async with served(one) as (_, following, _):
        one.app.changing = lambda: None
        with pytest.raises(ConflictError, match="being changed at run time"):
            await following.prepare(two.make)
        changes = iter([0, 1])
        one.app.changing = lambda: next(changes)
        with pytest.raises(ConflictError, match="changed at run time meanwhile"):
            await following.prepare(three.make)
        assert three.stopped
