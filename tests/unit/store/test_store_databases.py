"""The same promises of both databases: tables are made once, transactions are whole, a newer Weft's are left alone."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from storekit import postgres_schema
from weft.errors import StateError, UnavailableError, UsageError
from weft.store import Database, Schema, next_number
from weft.store.postgresql import PostgresDatabase
from weft.store.sqlite import SqliteDatabase

ONE = Schema("toys", (("CREATE TABLE weft_toys(name TEXT PRIMARY KEY, price BIGINT NOT NULL)",),))
TWO = Schema("toys", (*ONE.steps, ("ALTER TABLE weft_toys ADD COLUMN colour TEXT",)))

Opener = Callable[[], Database]


@pytest.fixture(params=["sqlite", "postgresql"])
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens the same database again and again."""
    opened: list[Database] = []
    if request.param == "sqlite":

        def make() -> Database:
            return SqliteDatabase(tmp_path / "data" / "gateway.sqlite")
    else:
        url = await postgres_schema(request.getfixturevalue("postgres"))

        def make() -> Database:
            return PostgresDatabase(url)

    def opener() -> Database:
        database = make()
        opened.append(database)
        return database

    yield opener
    for database in opened:
        await database.aclose()


async def test_tables_are_made_and_what_is_written_lasts(opener: Opener) -> None:
    """What one connection has written is there for the next one, which finds the tables made."""
    first = opener()
    first.add(ONE)
    async with first.transaction() as transaction:
        assert await transaction.execute("INSERT INTO weft_toys VALUES (?, ?)", "ball", 3) == 1
    second = opener()
    second.add(ONE)
    assert await second.fetch("SELECT name, price FROM weft_toys WHERE price > ?", 2) == [("ball", 3)]


async def test_an_exception_undoes_a_transaction(opener: Opener) -> None:
    """Nothing of a transaction that fails is kept, and the database goes on working."""
    database = opener()
    database.add(ONE)
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO weft_toys VALUES (?, ?)", "ball", 3)
            raise ZeroDivisionError
    assert await database.fetch("SELECT name FROM weft_toys") == []


async def test_cancellation_undoes_a_transaction(opener: Opener) -> None:
    """A task that is cancelled within a transaction leaves nothing of it behind."""
    database = opener()
    database.add(ONE)
    inside = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO weft_toys VALUES (?, ?)", "ball", 3)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.fetch("SELECT name FROM weft_toys") == []


async def test_a_new_step_is_taken_and_a_newer_schema_is_refused(opener: Opener) -> None:
    """An older database is brought up to date; the older Weft then refuses it and says what to do."""
    old = opener()
    old.add(ONE)
    await old.fetch("SELECT * FROM weft_toys")
    new = opener()
    new.add(TWO)
    assert await new.fetch("SELECT colour FROM weft_toys") == []
    late = opener()
    late.add(ONE)
    with pytest.raises(
        StateError, match=r"newer version of Weft \(toys: schema 2; this version knows up to 1"
    ):
        await late.fetch("SELECT * FROM weft_toys")


async def test_numbers_count_up_and_one_that_was_not_kept_is_given_again(opener: Opener) -> None:
    """Counters have no gaps: a transaction that fails gives its number back."""
    database = opener()
    async with database.transaction() as transaction:
        assert await next_number(transaction, "toys") == 1
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as transaction:
            assert await next_number(transaction, "toys") == 2
            raise ZeroDivisionError
    async with database.transaction() as transaction:
        assert await next_number(transaction, "toys") == 2
        assert await next_number(transaction, "others") == 1


async def test_two_transactions_that_count_follow_one_another(opener: Opener) -> None:
    """Who has a number keeps everybody else from the next one until it is written."""
    one, two = opener(), opener()
    one.add(ONE)
    two.add(ONE)
    seen: list[int] = []

    async def write(database: Database) -> None:
        for _ in range(10):
            async with database.transaction() as transaction:
                number = await next_number(transaction, "toys")
                await transaction.execute("INSERT INTO weft_toys VALUES (?, ?)", f"toy {number}", number)
                rows = await transaction.fetch("SELECT count(*) FROM weft_toys")
                seen.append(rows[0][0] - number)

    await asyncio.gather(write(one), write(two))
    assert seen == [0] * 20


async def test_the_file_is_for_this_user_only(tmp_path: Path) -> None:
    """Nobody else of the machine may read the file."""
    database = SqliteDatabase(tmp_path / "gateway.sqlite")
    await database.fetch("SELECT 1")
    await database.aclose()
    assert stat.S_IMODE((tmp_path / "gateway.sqlite").stat().st_mode) == 0o600


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A file that is no database is an error that says which file, and it stays as it is."""
    path = tmp_path / "gateway.sqlite"
    path.write_bytes(b"nonsense " * 1000)
    database = SqliteDatabase(path)
    with pytest.raises(StateError, match="gateway.sqlite is damaged"):
        await database.fetch("SELECT 1")
    await database.aclose()
    assert path.read_bytes().startswith(b"nonsense")


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    """What is said of a database that cannot be reached has its address, and no password."""
    database = PostgresDatabase("postgresql://weft:hunter2@127.0.0.1:9/front")
    with pytest.raises(UnavailableError, match="127.0.0.1:9/front cannot be reached") as caught:
        await database.fetch("SELECT 1")
    assert "hunter2" not in str(caught.value)
    await database.aclose()


def test_another_kind_of_url_is_refused() -> None:
    """Only PostgreSQL's URLs are taken, and the refusal does not repeat the URL."""
    with pytest.raises(UsageError, match="postgresql://user:password@host/database") as caught:
        PostgresDatabase("mysql://weft:hunter2@db/front")
    assert "hunter2" not in str(caught.value)
