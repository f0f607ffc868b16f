"""What is kept for callers: bounded in number, bytes and age, each owner's own, in memory and in a database alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storekit import postgres_schema
from weft.gateway.protocols.shelf import Bounds, DatabaseShelf, MemoryShelf, Shelf, Shelves
from weft.store import Database
from weft.store.postgresql import PostgresDatabase
from weft.store.sqlite import SqliteDatabase

BOUNDS = Bounds(entries=6, size=600, owner_entries=3, owner_size=300, ttl_s=10)


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Shelf, Clock]]:
    clock = Clock()
    if request.param == "memory":
        yield MemoryShelf(BOUNDS, clock=clock), clock
        return
    database: Database = SqliteDatabase(tmp_path / "shelf.sqlite")
    if request.param == "postgresql":
        database = PostgresDatabase(await postgres_schema(request.getfixturevalue("postgres")))
    yield DatabaseShelf(database, "some", BOUNDS, clock=clock, counts_every=1), clock
    await database.aclose()


async def names_of(shelf: Shelf, owner: str) -> list[str]:
    return [name for name in "abcdefgh" if await shelf.get(owner, name) is not None]


async def test_what_is_put_is_had_by_its_owner_until_it_is_removed(kept: tuple[Shelf, Clock]) -> None:
    """Another owner has nothing of that name, and removes nothing."""
    shelf, _ = kept
    await shelf.put("o", "a", b"1")
    await shelf.put("o", "a", b"2")
    assert await shelf.get("o", "a") == b"2"
    assert await shelf.get("p", "a") is None
    assert not await shelf.remove("p", "a")
    assert await shelf.remove("o", "a")
    assert not await shelf.remove("o", "a")
    assert await shelf.get("o", "a") is None


async def test_it_is_kept_so_long(kept: tuple[Shelf, Clock]) -> None:
    """When its time is up it is gone, and can neither be had nor removed."""
    shelf, clock = kept
    await shelf.put("o", "a", b"1")
    clock.now += 9.9
    assert await shelf.get("o", "a") == b"1"
    clock.now += 0.2
    assert await shelf.get("o", "a") is None
    assert not await shelf.remove("o", "a")


async def test_an_owner_displaces_only_what_is_their_own(kept: tuple[Shelf, Clock]) -> None:
    """Beyond their number or bytes their oldest go; another's stay."""
    shelf, _ = kept
    await shelf.put("p", "a", b"1")
    for name in "abcdef":
        await shelf.put("o", name, b"1")
    assert await names_of(shelf, "o") == ["d", "e", "f"]
    await shelf.put("o", "g", b"x" * 250)
    await shelf.put("o", "h", b"x" * 250)
    assert await names_of(shelf, "o") == ["h"]
    assert await names_of(shelf, "p") == ["a"]


async def test_what_is_too_large_is_not_kept(kept: tuple[Shelf, Clock]) -> None:
    """Nor is what had that name before."""
    shelf, _ = kept
    await shelf.put("o", "a", b"1")
    await shelf.put("o", "a", b"x" * 301)
    assert await shelf.get("o", "a") is None


async def test_all_together_are_bounded(kept: tuple[Shelf, Clock]) -> None:
    """Beyond the number of all, the oldest of all go."""
    shelf, _ = kept
    for owner in "opq":
        for name in "abc":
            await shelf.put(owner, name, b"1")
    assert [await names_of(shelf, owner) for owner in "opq"] == [[], ["a", "b", "c"], ["a", "b", "c"]]


async def test_a_tenant_with_many_callers_makes_room_first(kept: tuple[Shelf, Clock]) -> None:
    """More of its callers displace its own, and not what another tenant keeps."""
    shelf, _ = kept
    await shelf.put('["b","anna"]', "a", b"1")
    for caller in range(9):
        await shelf.put(f'["a","caller {caller}"]', "a", b"1")
    assert await shelf.get('["b","anna"]', "a") == b"1"
    assert await shelf.get('["a","caller 8"]', "a") == b"1"
    assert await shelf.get('["a","caller 0"]', "a") is None


async def test_the_first_claim_holds(kept: tuple[Shelf, Clock]) -> None:
    """A second is given what the first has kept, until that is removed."""
    shelf, _ = kept
    assert await shelf.claim("o", "a", b"1", 5) is None
    assert await shelf.claim("o", "a", b"2", 5) == b"1"
    assert await shelf.claim("p", "a", b"3", 5) is None
    await shelf.remove("o", "a")
    assert await shelf.claim("o", "a", b"4", 5) is None


async def test_a_claim_in_a_database_ends_with_its_time(tmp_path: Path) -> None:
    """Who claimed it may have died: then it is free again, well before a reply would be."""
    clock, database = Clock(), SqliteDatabase(tmp_path / "shelf.sqlite")
    shelf = DatabaseShelf(database, "some", BOUNDS, clock=clock)
    await shelf.claim("o", "a", b"1", 5)
    clock.now += 5.1
    assert await shelf.claim("o", "a", b"2", 5) is None
    await database.aclose()


async def test_processes_share_a_database_and_its_shelves_are_apart(tmp_path: Path) -> None:
    """What one process keeps another has; on another shelf there is nothing of that name."""
    databases = [SqliteDatabase(tmp_path / "shelf.sqlite") for _ in range(2)]
    one, other = (Shelves({}, database) for database in databases)
    await one.shelf("responses", BOUNDS).put("o", "a", b"1")
    assert await other.shelf("responses", BOUNDS).get("o", "a") == b"1"
    assert await other.shelf("idempotency", BOUNDS).get("o", "a") is None
    for database in databases:
        await database.aclose()


async def test_memory_outlives_a_reload() -> None:
    """Shelves that are made anew over what lasts have what was kept."""
    lasting: dict[str, object] = {}
    await Shelves(lasting).shelf("responses", BOUNDS).put("o", "a", b"1")
    assert await Shelves(lasting).shelf("responses", BOUNDS).get("o", "a") == b"1"
