"""A database in PostgreSQL, shared by gateways of several machines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

from weft.errors import MissingExtraError, UnavailableError, UsageError
from weft.store.database import Row, Transaction
from weft.store.schema import BASE, VERSIONS, Schema, steps_from

TIMEOUT_S: Final = 5.0
"""For connecting, and for one statement: nobody waits for these but who changes something."""

CONNECTIONS: Final = 4
"""At most, of one process: it asks once a second, and writes now and then."""

_MIGRATING: Final = 0x77656674
"""Of the advisory lock under which one gateway makes the tables, while others wait ("weft")."""


class PostgresDatabase:
    """See :class:`weft.store.Database`.

    Args:
        url: ``postgresql://user:password@host/database``; ``?search_path=NAME`` names a schema other than public.

    Raises:
        UsageError: The URL is none of PostgreSQL's.
    """

    is_shared = True

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres"):
            raise UsageError(
                "state.postgresql is no URL of PostgreSQL's", hint="postgresql://user:password@host/database"
            )
        # The URL has the password: what is said of a server is where it is.
        self.place = f"{parts.hostname or 'localhost'}{f':{parts.port}' if parts.port else ''}{parts.path}"
        self._url = url
        self._schemas: list[Schema] = [BASE]
        self._waiting: list[Schema] = [BASE]
        self._pool: Any = None
        self._opening = asyncio.Lock()

    def add(self, schema: Schema) -> None:
        """See :class:`weft.store.Database`."""
        if schema not in self._schemas:
            self._schemas.append(schema)
            self._waiting.append(schema)

    async def fetch(self, statement: str, *values: Any) -> list[Row]:
        """See :class:`weft.store.Database`."""
        async with self._connection() as connection:
            return await _Statements(connection).fetch(statement, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See :class:`weft.store.Database`."""
        async with self._connection() as connection, connection.transaction():
            yield _Statements(connection)

    async def aclose(self) -> None:
        """See :class:`weft.store.Database`."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        self._waiting = list(self._schemas)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection to a database with all tables; what fails on it is said in the words of a person."""
        asyncpg = _driver()
        try:
            if self._pool is None or self._waiting:
                await self._open(asyncpg)
            async with self._pool.acquire(timeout=TIMEOUT_S) as connection:
                yield connection
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresConnectionError,
            asyncpg.CannotConnectNowError,
        ) as error:
            said = str(error) or f"no answer within {TIMEOUT_S:g} s"
            raise UnavailableError(f"the database {self.place} cannot be reached: {said}") from error
        except asyncpg.IntegrityConstraintViolationError:
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise UnavailableError(f"the database {self.place} refuses: {error}") from error

    async def _open(self, asyncpg: Any) -> None:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=CONNECTIONS,
                    timeout=TIMEOUT_S,
                    command_timeout=TIMEOUT_S,
                    server_settings={"application_name": "weft"},
                )
            if self._waiting:
                async with self._pool.acquire(timeout=TIMEOUT_S) as connection, connection.transaction():
                    await self._migrate(_Statements(connection))
                self._waiting.clear()

    async def _migrate(self, statements: _Statements) -> None:
        await statements.fetch("SELECT pg_advisory_xact_lock(?)", _MIGRATING)
        await statements.execute(VERSIONS)
        for schema in self._waiting:
            found = await statements.fetch("SELECT version FROM weft_schemas WHERE name = ?", schema.name)
            for statement in steps_from(schema, found[0][0] if found else 0, self.place):
                await statements.execute(statement)
            await statements.execute(
                "INSERT INTO weft_schemas VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                schema.name,
                len(schema.steps),
            )


class _Statements:
    """See :class:`weft.store.Transaction`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, statement: str, *values: Any) -> list[Row]:
        return [tuple(row) for row in await self._connection.fetch(_numbered(statement), *values)]

    async def execute(self, statement: str, *values: Any) -> int:
        said: str = await self._connection.execute(_numbered(statement), *values)
        last = said.rpartition(" ")[2]
        return int(last) if last.isdecimal() else 0


@lru_cache(256)
def _numbered(statement: str) -> str:
    """``?, ?`` as ``$1, $2``; our statements have no question mark in a literal."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", statement)


def _driver() -> Any:
    try:
        import asyncpg  # noqa: PLC0415 - an extra: only where PostgreSQL is configured
    except ImportError as error:
        raise MissingExtraError("state.postgresql", package="asyncpg", extra="postgres") from error
    return asyncpg
