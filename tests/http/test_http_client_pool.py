"""Connections of the client: kept, checked, shared fairly, bounded, and never left behind."""

from __future__ import annotations

import asyncio

import pytest
from wirekit import WATCHDOG_S, answering, eventually, json_reply, read_request, until_closed

from weft.errors import DeadlineError, OverloadedError, UnavailableError, UnreachableError
from weft.http.client import Client, ClientLimits

ONE = json_reply(b"1")


class Gate:
    """A backend's conversation that answers each request when it is let: ``arrived`` in order, ``open()`` one or all."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self._turns = asyncio.Semaphore(0)

    def open(self, count: int = 1) -> None:
        for _ in range(count):
            self._turns.release()

    async def __call__(self, reader, writer) -> None:
        while True:
            request = await read_request(reader)
            self.arrived.append(request.split()[1].decode())
            await self._turns.acquire()
            writer.write(ONE)
            await writer.drain()


@pytest.fixture
async def small():
    """A client of two connections and three waiting requests."""
    client = Client(limits=ClientLimits(max_connections=2, max_waiting=3))
    yield client
    await client.aclose()
    assert client.open_connections == 0


async def test_connection_is_kept(backend, client) -> None:
    """Requests one after the other use one connection."""
    server = await backend(answering(ONE, close=False))
    for _ in range(5):
        assert await client.endpoint(server.url).get_json("/") == 1
    assert server.connections == 1


async def test_close_is_honoured(backend, client) -> None:
    """A reply with ``connection: close``, or of HTTP/1.0, ends its connection."""
    for reply in (
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\n1",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
    ):
        server = await backend(answering(reply, close=False))
        for _ in range(2):
            assert (await client.endpoint(server.url).request("GET", "/")).body == b"1"
        assert server.connections == 2


class Stale:
    """Answers the first request of a connection, and closes when the second has come, before (or within) its reply."""

    def __init__(self, last_words: bytes = b"") -> None:
        self.requests: list[bytes] = []
        self._last_words = last_words
        self._is_first = True

    async def __call__(self, reader, writer) -> None:
        is_first, self._is_first = self._is_first, False
        while True:
            self.requests.append(await read_request(reader))
            if is_first and len(self.requests) == 2:
                writer.write(self._last_words)
                await writer.drain()
                return
            writer.write(ONE)


@pytest.mark.parametrize(
    ("method", "idempotent", "is_resent"),
    [
        ("GET", None, True),
        ("PUT", None, True),
        ("DELETE", None, True),
        ("POST", None, False),
        ("PATCH", None, False),
        ("POST", True, True),
        ("GET", False, False),
    ],
)
async def test_stale_connection(backend, client, method, idempotent, is_resent) -> None:
    """A kept connection that dies before the reply's first byte: sent again, once, if the request is idempotent."""
    stale = Stale()
    server = await backend(stale)
    endpoint = client.endpoint(server.url)
    await endpoint.request("GET", "/")
    if is_resent:
        assert (await endpoint.request(method, "/", idempotent=idempotent)).body == b"1"
    else:
        with pytest.raises(UnreachableError, match="before the reply"):
            await endpoint.request(method, "/", idempotent=idempotent)
    assert len(stale.requests) == 2 + is_resent


@pytest.mark.parametrize("last_words", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_nothing_is_resent_after_the_first_byte(backend, client, last_words) -> None:
    """After any byte of a reply the server may have acted: the request is not sent again."""
    stale = Stale(last_words)
    endpoint = client.endpoint((await backend(stale)).url)
    await endpoint.request("GET", "/")
    with pytest.raises(Exception, match="ended in its head"):
        await endpoint.request("GET", "/")
    assert len(stale.requests) == 2


async def test_fresh_connection_is_not_tried_again(backend, client) -> None:
    """A server that always closes is asked once, or twice at most: never in a loop."""
    server = await backend(answering(b""))
    with pytest.raises(UnreachableError):
        await client.endpoint(server.url).request("GET", "/")
    assert server.connections == 1


async def test_connection_closed_while_idle_is_not_used(backend, client) -> None:
    """A connection that the server closed between requests is seen before it is used, even for a POST."""
    server = await backend(answering(ONE, close=True))
    endpoint = client.endpoint(server.url)
    for _ in range(3):
        assert await endpoint.post_json("/", {}) == 1
        await eventually(lambda: client.open_connections == 0)
    assert server.connections == 3


async def test_long_idle_connection_is_looked_at(backend, client) -> None:
    """After a second of idling, a connection is polled before use: what the loop has not yet read is seen."""
    done = asyncio.Event()

    async def conversation(reader, writer) -> None:
        await read_request(reader)
        writer.write(ONE)
        await done.wait()
        writer.write(b"unasked")
        await until_closed(reader)

    server = await backend(conversation)
    endpoint = client.endpoint(server.url)
    assert await endpoint.get_json("/") == 1
    (connection,) = next(iter(client._pools.values())).idle
    connection.transport.pause_reading()
    done.set()
    await eventually(lambda: not connection.is_usable(connection.idle_since + 2))
    assert connection.is_usable(connection.idle_since + 0.5)
    connection.transport.resume_reading()
    await eventually(lambda: client.open_connections == 0)


async def test_idle_connections_expire(backend) -> None:
    """An unused connection is closed after its time."""
    server = await backend(answering(ONE, close=False))
    client = Client(limits=ClientLimits(idle_timeout_s=0.05))
    assert await client.endpoint(server.url).get_json("/") == 1
    await eventually(lambda: client.open_connections == 0)
    await client.aclose()


async def test_waiting_is_fair_and_bounded(backend, small) -> None:
    """Beyond the connections requests wait in order; beyond the waiting ones they are refused at once."""
    gate = Gate()
    server = await backend(gate)
    endpoint = small.endpoint(server.url)
    tasks = []
    for i in range(5):
        tasks.append(asyncio.ensure_future(endpoint.request("GET", f"/{i}")))
        await asyncio.sleep(0)
    await eventually(lambda: len(gate.arrived) == 2)
    with pytest.raises(OverloadedError):
        await endpoint.request("GET", "/refused")
    for done in range(1, 4):
        gate.open()
        await eventually(lambda: len(gate.arrived) == 2 + done)  # noqa: B023 - awaited within the turn of the loop
    gate.open(2)
    await asyncio.gather(*tasks)
    assert sorted(gate.arrived[:2]) == ["/0", "/1"]
    assert gate.arrived[2:] == ["/2", "/3", "/4"]
    assert server.connections == 2


async def test_newcomer_does_not_overtake(backend, small) -> None:
    """A connection that is given back goes to who waits, not to who asks in the same turn."""
    gate = Gate()
    endpoint = small.endpoint((await backend(gate)).url)
    first = [asyncio.ensure_future(endpoint.request("GET", f"/{i}")) for i in range(2)]
    await eventually(lambda: len(gate.arrived) == 2)
    waiting = asyncio.ensure_future(endpoint.request("GET", "/waiting"))
    await asyncio.sleep(0)
    tasks: list[asyncio.Future[object]] = []

    def ask(_: object) -> None:
        tasks.append(asyncio.ensure_future(endpoint.request("GET", "/newcomer")))

    served = first[int(gate.arrived[0][1:])]
    served.add_done_callback(ask)
    gate.open()
    await served
    await eventually(lambda: len(gate.arrived) == 3)
    gate.open(3)
    await asyncio.gather(*first, waiting, *tasks)
    assert gate.arrived[2:] == ["/waiting", "/newcomer"]


async def test_bound_holds_while_connections_die(backend, small) -> None:
    """Connections that end under requests that wait make room for as many as end, whoever asks in between."""
    most = now = 0

    async def conversation(reader, writer) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        try:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1")
            await until_closed(reader)
        finally:
            now -= 1

    server = await backend(conversation)
    endpoint = small.endpoint(server.url)
    pool = small.pool(endpoint._origin)
    seen = 0

    async def ask(count: int) -> None:
        nonlocal seen
        for _ in range(count):
            try:
                await endpoint.request("GET", "/")
            except OverloadedError:
                await asyncio.sleep(0)
            seen = max(seen, pool.open_connections)

    async with asyncio.timeout(WATCHDOG_S):
        await asyncio.gather(*[ask(20) for _ in range(5)])
    assert seen <= 2
    assert most <= 3  # the server learns of an end a moment after the client
    await eventually(lambda: pool.open_connections == 0)


async def test_slot_is_counted_for_who_was_woken(backend, small) -> None:
    """A request that asks between a waiter's being woken and its running does not make one connection too many."""
    gate = Gate()
    endpoint = small.endpoint((await backend(gate)).url)
    busy = [asyncio.ensure_future(endpoint.request("GET", f"/{i}")) for i in range(2)]
    await eventually(lambda: len(gate.arrived) == 2)
    pool = small.pool(endpoint._origin)
    waiting = asyncio.ensure_future(endpoint.request("GET", "/waiting"))
    await asyncio.sleep(0)
    lost = next(iter(pool._all))
    lost.transport.abort()
    while pool.waiting:
        await asyncio.sleep(0)
    newcomer = asyncio.ensure_future(endpoint.request("GET", "/newcomer"))
    for _ in range(3):
        await asyncio.sleep(0)
        assert pool.open_connections <= 2
    gate.open(4)
    results = await asyncio.gather(*busy, waiting, newcomer, return_exceptions=True)
    assert sum(isinstance(result, Exception) for result in results) == 1


async def test_connection_that_ends_on_its_way_to_a_waiter(backend) -> None:
    """A connection that is closed in the moment it is handed on is not used: the waiter gets a new one."""
    server = await backend(answering(ONE, close=False))
    client = Client(limits=ClientLimits(max_connections=1))
    endpoint = client.endpoint(server.url)
    assert await endpoint.get_json("/") == 1
    pool = client.pool(endpoint._origin)
    (connection,) = pool.idle
    pool.idle.clear()
    waiting = asyncio.ensure_future(endpoint.get_json("/", timeout_s=WATCHDOG_S))
    await asyncio.sleep(0)
    pool.release(connection)
    connection.eof_received()
    connection.connection_lost(None)
    connection.transport.abort()
    assert await waiting == 1
    assert server.connections == 2
    await client.aclose()


async def test_waiting_has_a_deadline(backend, small) -> None:
    """A request that gets no connection in time says so, and leaves no place taken."""
    gate = Gate()
    endpoint = small.endpoint((await backend(gate)).url)
    busy = [asyncio.ensure_future(endpoint.request("GET", "/")) for _ in range(2)]
    await eventually(lambda: len(gate.arrived) == 2)
    with pytest.raises(DeadlineError, match="no connection became free"):
        await endpoint.request("GET", "/", timeout_s=0.05)
    assert not small.pool(endpoint._origin).waiting
    gate.open(2)
    await asyncio.gather(*busy)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_cancelling_closes_the_connection(backend, client, is_stream) -> None:
    """A cancelled request is seen by the server at once; nothing of it is kept."""
    arrived = asyncio.Event()

    async def conversation(reader, writer) -> None:
        await read_request(reader)
        if is_stream:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        arrived.set()
        await until_closed(reader)
        raise ConnectionError

    server = await backend(conversation)
    endpoint = client.endpoint(server.url)

    async def ask() -> None:
        if is_stream:
            async with await endpoint.stream("GET", "/") as reply:
                async for _ in reply.body:
                    pass
        else:
            await endpoint.request("GET", "/")

    task = asyncio.ensure_future(ask())
    async with asyncio.timeout(WATCHDOG_S):
        await arrived.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.gone.wait()
    await eventually(lambda: client.open_connections == 0)


async def test_cancelling_in_every_turn_leaks_nothing(backend, small) -> None:
    """Whenever requests are cancelled, the pool comes back to what it was, and still works."""
    server = await backend(answering(ONE, close=False))
    endpoint = small.endpoint(server.url)
    for turns in range(40):
        tasks = [asyncio.ensure_future(endpoint.request("GET", "/")) for _ in range(4)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await endpoint.request("GET", "/")).body == b"1"
        pool = small.pool(endpoint._origin)
        await eventually(lambda: pool.open_connections == len(pool.idle))  # noqa: B023 - awaited here
        assert not pool.waiting


async def test_closing_fails_what_is_under_way(backend, client) -> None:
    """``aclose`` ends requests in flight, waiting and dialling; each says that the client was closed."""
    gate = Gate()
    server = await backend(gate)
    closing = Client(limits=ClientLimits(max_connections=1))
    endpoint = closing.endpoint(server.url)
    busy, waiting = (asyncio.ensure_future(endpoint.request("GET", "/")) for _ in range(2))
    await eventually(lambda: len(gate.arrived) == 1)
    dialling = asyncio.ensure_future(
        closing.endpoint(server.url.replace("127.0.0.1", "localhost")).request("GET", "/")
    )
    await asyncio.sleep(0)
    await closing.aclose()
    for task in (busy, waiting, dialling):
        with pytest.raises(UnavailableError):
            await task
    await eventually(lambda: closing.open_connections == 0)
    with pytest.raises(UnavailableError):
        await endpoint.request("GET", "/")
