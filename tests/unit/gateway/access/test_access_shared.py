"""Several gateways on one PostgreSQL: keys and revocations are everybody's, and nobody waits for a database that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from accesskit import ROUTE, bearer, index_of
from frontkit import FrontRig, ask
from storekit import postgres_schema
from weft.gateway.access.audit import AuditLog
from weft.gateway.access.keys import KeyStore, NewKey
from weft.store import postgresql
from weft.store.postgresql import PostgresDatabase

SHARED = ROUTE + "auth: {keys: true}\nstate: {postgresql: {secret: DB}, stale_s: STALE}\n"

REVOKED_S = 5.0
"""How soon a key that was revoked anywhere is refused everywhere."""


class Line:
    """A line to the database that can be held, or cut."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.is_cut = False
        self.server: asyncio.Server | None = None

    async def open(self) -> int:
        self.server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    def hold(self) -> None:
        """From now on nothing comes through, and nothing ends."""
        self._flows.clear()

    def let_go(self) -> None:
        self._flows.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.close()
            return
        to_reader, to_writer = await asyncio.open_unix_connection(self._socket)
        for source, target in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(self._flow(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _flow(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while block := await source.read(65_536):
                await self._flows.wait()
                target.write(block)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            target.close()

    async def aclose(self) -> None:
        self._flows.set()
        if self.server is not None:
            self.server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[tuple[Line, str]]:
    """A line to a server on a Unix socket, and the URL that goes through it."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    line = Line(f"{query.pop('host')}/.s.PGSQL.5432")
    port = await line.open()
    rest = "&".join(f"{name}={value}" for name, value in query.items())
    try:
        yield line, f"postgresql://{parts.username or 'postgres'}@127.0.0.1:{port}{parts.path}?{rest}"
    finally:
        await line.aclose()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database has tens of milliseconds to answer, instead of seconds."""
    monkeypatch.setattr(postgresql, "TIMEOUT_S", 0.2)


@pytest.mark.slow
async def test_a_key_and_its_revocation_reach_every_gateway(tmp_path: Path, postgres: str) -> None:
    """A key that one gateway made opens the other at once; revoked by a third party, both refuse it within 5 seconds."""
    url = await postgres_schema(postgres)
    async with AsyncExitStack() as stack:
        gateways = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            rig = FrontRig(tmp_path / name, stack)
            gateways.append(await rig.gateway(SHARED.replace("STALE", "60"), secrets={"DB": url}))
        database = PostgresDatabase(url)
        stack.push_async_callback(database.aclose)
        keys = KeyStore(database, AuditLog(database))
        secret = (await keys.create(NewKey("site"), "the test")).secret
        for gateway in gateways:
            assert (await ask(gateway, headers=bearer(secret), stream=False))[0] == 200
        await keys.revoke("site", "the test")
        async with asyncio.timeout(REVOKED_S):
            for gateway in gateways:
                while (await ask(gateway, headers=bearer(secret), stream=False))[0] == 200:
                    await asyncio.sleep(0.05)
        for gateway in gateways:
            assert (await ask(gateway, headers=bearer(secret)))[0] == 401


@pytest.mark.slow
async def test_nobody_waits_for_a_database_that_hangs(tmp_path: Path, postgres: str, quick: None) -> None:
    """Held in the middle of an answer, the known keys go on opening; after the stated time it is 503; then well again."""
    url = await postgres_schema(postgres)
    async with AsyncExitStack() as stack:
        line, through = await stack.enter_async_context(line_to(url))
        database = PostgresDatabase(url)
        stack.push_async_callback(database.aclose)
        secret = (await KeyStore(database, AuditLog(database)).create(NewKey("site"), "the test")).secret
        rig = FrontRig(tmp_path, stack)
        gateway = await rig.gateway(SHARED.replace("STALE", "2"), secrets={"DB": through})
        assert rig.app is not None
        index = index_of(rig.app)
        line.hold()
        async with asyncio.timeout(10):
            while not index.trouble:
                assert (await ask(gateway, headers=bearer(secret), stream=False))[0] == 200
        assert "API keys cannot be looked after" in rig.log.getvalue()
        async with asyncio.timeout(10):
            while (status := (await ask(gateway, headers=bearer(secret), stream=False))[0]) == 200:
                await asyncio.sleep(0.02)
        assert status == 503
        ready = await gateway.request("GET", "/health/ready")
        assert (ready.status, b"no API key can be checked" in ready.body) == (503, True)
        line.let_go()
        async with asyncio.timeout(10):
            while (await ask(gateway, headers=bearer(secret), stream=False))[0] != 200:
                await asyncio.sleep(0.02)
        assert "API keys are looked after again" in rig.log.getvalue()


@pytest.mark.slow
async def test_a_gateway_starts_without_its_database_and_waits_for_it(
    tmp_path: Path, postgres: str, quick: None
) -> None:
    """While there is none it says 503 to who has a key, 401 to who has none, and is not ready; no restart is needed."""
    url = await postgres_schema(postgres)
    async with AsyncExitStack() as stack:
        line, through = await stack.enter_async_context(line_to(url))
        database = PostgresDatabase(url)
        stack.push_async_callback(database.aclose)
        secret = (await KeyStore(database, AuditLog(database)).create(NewKey("site"), "the test")).secret
        line.is_cut = True
        rig = FrontRig(tmp_path, stack)
        gateway = await rig.gateway(SHARED.replace("STALE", "60"), secrets={"DB": through})
        assert (await ask(gateway, headers=bearer(secret)))[0] == 503
        assert (await ask(gateway))[0] == 401
        assert (await gateway.request("GET", "/health/ready")).status == 503
        line.is_cut = False
        async with asyncio.timeout(10):
            while (await ask(gateway, headers=bearer(secret), stream=False))[0] != 200:
                await asyncio.sleep(0.02)
        assert (await gateway.request("GET", "/health/ready")).status == 200


async def test_the_database_is_named_without_its_password(tmp_path: Path) -> None:
    """A secret that is missing is said with its name; what is said of a database has no password in it."""
    async with AsyncExitStack() as stack:
        rig = FrontRig(tmp_path, stack)
        with pytest.raises(Exception, match="the secret 'DB' is not set, which state.postgresql"):
            await rig.gateway(SHARED.replace("STALE", "60"))
        url = "postgresql://weft:hunter2@127.0.0.1:9/front"
        gateway = await rig.gateway(SHARED.replace("STALE", "60"), secrets={"DB": url})
        _, body, _ = await ask(gateway, headers=bearer("weft_0123456789ab_x"))
        ready = await gateway.request("GET", "/health/ready")
        said = rig.log.getvalue() + repr(body) + ready.body.decode()
        assert "127.0.0.1:9/front" in said
        assert "hunter2" not in said
