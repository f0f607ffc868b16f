"""An application behind a real server, and a client for it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from weft.http.client import Client, Endpoint
from weft.http.server import Server
from weft.serve.application import Access, Application
from weft.serve.log import Log

Serve = Callable[[Application], Awaitable[Endpoint]]


@pytest.fixture
def logged() -> io.StringIO:
    """What the application of :func:`app` logs."""
    return io.StringIO()


@pytest.fixture
def app(logged: io.StringIO) -> Application:
    """An application without routes and without a token."""
    return Application(
        name="test",
        version="1.2.3",
        access=Access(),
        build_id="b1",
        log=Log(logged, name="test", pretty=False),
    )


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start an application, serve it on a free port; gives an endpoint for it."""
    async with AsyncExitStack() as stack:

        async def start(app: Application) -> Endpoint:
            await app.start()
            server = Server(app, on_error=app.on_error)
            port = await server.listen("127.0.0.1", 0)
            client = Client()
            stack.push_async_callback(app.stop)
            stack.push_async_callback(server.aclose)
            stack.push_async_callback(client.aclose)
            return client.endpoint(f"http://127.0.0.1:{port}", timeout_s=10)

        yield start
