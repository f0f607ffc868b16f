"""Connections to a PostgreSQL server, and what goes wrong with them in the words of a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from weft.errors import (
    ComponentError,
    ConflictError,
    InvalidRequestError,
    MissingExtraError,
    ServiceError,
    UnavailableError,
    UnreachableError,
)

SETTINGS: Final = {
    # The conditions of a search decide which index is the right one: a plan made for any value would not know.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "application_name": "weft",
    "hnsw.iterative_scan": "strict_order",
}
"""What every connection is opened with."""


class Connections:
    """A bounded pool of connections, opened when they are needed.

    Args:
        url: ``postgresql://user:password@host/database``.
        most: How many at once.
        timeout_s: For connecting, and for one statement.
        ef_search: See pgvector's ``hnsw.ef_search``.

    Raises:
        ComponentError: The URL is none of PostgreSQL's.
    """

    def __init__(self, url: str, *, most: int, timeout_s: float, ef_search: int) -> None:
        self._url, self._most, self._timeout_s = url, most, timeout_s
        self._settings = SETTINGS | {"hnsw.ef_search": str(ef_search)}
        self._pool: Any = None
        self._asyncpg: Any = None
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres"):
            raise ComponentError(
                "pgvector: the url is none of PostgreSQL's", hint="postgresql://user:password@host/database"
            )
        # The URL has the password: what is said of a server is where it is.
        self.place = f"{parts.hostname or 'localhost'}{f':{parts.port}' if parts.port else ''}{parts.path}"

    async def open(self) -> None:
        """Load the driver; nothing is contacted.

        Raises:
            MissingExtraError: It is not installed.
        """
        try:
            import asyncpg
        except ImportError as error:
            raise MissingExtraError("pgvector", package="asyncpg", extra="postgres") from error
        self._asyncpg = asyncpg
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._most,
            timeout=self._timeout_s,
            command_timeout=self._timeout_s,
            server_settings=self._settings,
        )

    async def aclose(self) -> None:
        """Close the connections, each when its statement is done, or at once after the time for one."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(min(self._timeout_s, 5.0)):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One connection; what fails on it is an error of this service.

        Raises:
            UnreachableError: There is no server, or it does not let us in.
            ServiceError: It refused a statement, or took too long.
        """
        if self._pool is None:
            raise UnavailableError("the document store is closed")
        asyncpg = self._asyncpg
        try:
            async with self._pool.acquire(timeout=self._timeout_s) as connection:
                yield connection
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise UnreachableError(
                f"PostgreSQL refuses the connection: {error}", endpoint=self.place
            ) from error
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
            if isinstance(error, TimeoutError):
                raise ServiceError(
                    f"PostgreSQL gave no answer within {self._timeout_s:g} s", endpoint=self.place
                ) from error
            raise UnreachableError(f"PostgreSQL cannot be reached: {error}", endpoint=self.place) from error
        except asyncpg.LockNotAvailableError as error:
            raise ConflictError(
                "somebody has been reading all documents for a while (a backup?)",
                hint="run this again when that is done",
            ) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if isinstance(error, asyncpg.DataError):
                # A character or a number that PostgreSQL cannot hold; our own statements are not at fault.
                raise InvalidRequestError(f"PostgreSQL cannot take a value: {error}") from error
            raise ServiceError(f"PostgreSQL refused a statement: {error}", endpoint=self.place) from error

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """A connection that sees one state of the database until the block ends."""
        async with (
            self.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        """A connection in a transaction, which an exception undoes."""
        async with self.connection() as connection, connection.transaction():
            yield connection
