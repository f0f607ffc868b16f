"""A database in one SQLite file of the data folder, shared by the processes of this machine."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from weft.errors import StateError, UnavailableError
from weft.store.database import Row, Transaction
from weft.store.schema import BASE, VERSIONS, Schema, steps_from

R = TypeVar("R")

BUSY_TIMEOUT_S: Final = 5.0
"""How long a statement waits for another process's transaction, which takes milliseconds."""


BUSY_PAUSE_S: Final = 0.005


class SqliteDatabase:
    """See :class:`weft.store.Database`.

    One connection, and one thread that it belongs to: statements are short, and their order is that of the calls.

    Args:
        path: The file; it is made when it is not there, for this user only.
    """

    is_shared = False

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, str(path)
        self._schemas: list[Schema] = [BASE]
        self._waiting: list[Schema] = [BASE]
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()

    def add(self, schema: Schema) -> None:
        """See :class:`weft.store.Database`."""
        if schema not in self._schemas:
            self._schemas.append(schema)
            self._waiting.append(schema)

    async def fetch(self, statement: str, *values: Any) -> list[Row]:
        """See :class:`weft.store.Database`."""
        async with self._turn:
            return await self._run(lambda connection: connection.execute(statement, values).fetchall())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See :class:`weft.store.Database`."""
        async with self._turn:
            try:
                await self._run(lambda connection: connection.execute("BEGIN IMMEDIATE"))
                yield _Statements(self._run)
                await self._run(lambda connection: connection.execute("COMMIT"))
            except BaseException:
                await asyncio.shield(self._run(_undo))
                raise

    async def aclose(self) -> None:
        """See :class:`weft.store.Database`."""
        async with self._turn:
            thread, self._thread = self._thread, None
            connection, self._connection = self._connection, None
            self._waiting = list(self._schemas)
            if thread is not None:
                if connection is not None:
                    await asyncio.wrap_future(thread.submit(connection.close))
                thread.shutdown(wait=False)

    async def _run(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run something with the connection, in its thread."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="weft store")
        return await asyncio.wrap_future(self._thread.submit(self._work, work))

    def _work(self, work: Callable[[sqlite3.Connection], R]) -> R:
        try:
            return work(self._opened())
        except (sqlite3.OperationalError, OSError) as error:
            raise UnavailableError(f"the file {self.place} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise StateError(
                f"{self.place} is damaged: {error}", hint="restore it, or move it away to start empty"
            ) from error

    def _opened(self) -> sqlite3.Connection:
        connection = self._connection
        if connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Made by us, so that nobody else of this machine can read it. One that is there must not be opened, only to be
            # closed again: that would take away the locks that another connection of this process has on it, without which
            # other processes damage the file.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
            )
            try:
                _write_ahead(connection)
                # FULL: a revocation that was acknowledged survives a power cut.
                connection.execute("PRAGMA synchronous = FULL")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        if self._waiting:
            self._migrate(connection)
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(VERSIONS)
            for schema in self._waiting:
                found = connection.execute(
                    "SELECT version FROM weft_schemas WHERE name = ?", (schema.name,)
                ).fetchone()
                for statement in steps_from(schema, found[0] if found else 0, self.place):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO weft_schemas VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                    (schema.name, len(schema.steps)),
                )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        self._waiting.clear()


class _Statements:
    """See :class:`weft.store.Transaction`."""

    def __init__(self, run: Callable[[Callable[[sqlite3.Connection], Any]], Any]) -> None:
        self._run = run

    async def fetch(self, statement: str, *values: Any) -> list[Row]:
        rows: list[Row] = await self._run(lambda connection: connection.execute(statement, values).fetchall())
        return rows

    async def execute(self, statement: str, *values: Any) -> int:
        count: int = await self._run(lambda connection: connection.execute(statement, values).rowcount)
        return count


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have readers and one writer not wait for each other.

    Turning that on is the one statement for which SQLite does not wait for others by itself: two processes that start at
    once would be told that the file is locked.
    """
    last = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(BUSY_PAUSE_S)
        else:
            return


def _undo(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
