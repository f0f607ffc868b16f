"""What is kept for a while so that its owner can come back to it: bounded in number, bytes and age.

An owner sees nothing of another's: every name is looked up under its owner, who is never taken from what a caller sends.
One owner who keeps much displaces only what is their own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from weft.store import Database, Schema, Transaction

_TABLE: Final = """\
CREATE TABLE weft_shelf(
  shelf TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL, tenant TEXT NOT NULL, bytes BIGINT NOT NULL,
  expires DOUBLE PRECISION NOT NULL, number BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (shelf, owner, name)
)"""

_INDEXES: Final = (
    "CREATE INDEX weft_shelf_expires ON weft_shelf(shelf, expires)",
    # They have all that is counted and ordered by: no body is read for it.
    "CREATE INDEX weft_shelf_all ON weft_shelf(shelf, number, bytes)",
    "CREATE INDEX weft_shelf_owners ON weft_shelf(shelf, owner, number, bytes)",
    "CREATE INDEX weft_shelf_tenants ON weft_shelf(shelf, tenant, number, bytes)",
)

SCHEMA: Final = Schema("shelf", ((_TABLE, *_INDEXES),))
"""``number`` counts up: the smallest of an owner is what they kept first."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept.

    Attributes:
        entries, size: Of everybody, in number and bytes. A tenant that has more than half of it makes room first.
        owner_entries, owner_size: Of one owner.
        ttl_s: How long.
    """

    entries: int = 10_000
    size: int = 256 * 1024 * 1024
    owner_entries: int = 1_000
    owner_size: int = 64 * 1024 * 1024
    ttl_s: float = 3600.0


class Shelf(Protocol):
    """Keeps texts by owner (see :func:`weft.gateway.protocols.asking.owner_of`) and name."""

    async def put(self, owner: str, name: str, body: bytes) -> None:
        """Keep ``body``, in the place of what had that name; what is larger than the bounds is not kept."""
        ...

    async def claim(self, owner: str, name: str, body: bytes, ttl_s: float) -> bytes | None:
        """Keep ``body`` for so long unless there is something of that name: then that is given back, and nothing changes."""
        ...

    async def get(self, owner: str, name: str) -> bytes | None:
        """What is kept; None: nothing, or no longer."""
        ...

    async def remove(self, owner: str, name: str) -> bool:
        """Keep it no longer. False: there was nothing."""
        ...


@dataclass(slots=True)
class _Kept:
    body: bytes
    expires: float


class MemoryShelf:
    """In this process.

    Args:
        bounds: How much is kept.
        clock: Seconds.
    """

    def __init__(self, bounds: Bounds, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds, self._clock = bounds, clock
        # All, the oldest first; and of each owner, likewise. Every entry lives as long, so the oldest expires first.
        self._all: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._owners: dict[str, OrderedDict[str, int]] = {}
        self._tenants: dict[str, OrderedDict[tuple[str, str], int]] = {}
        self._sizes: dict[tuple[str, str], int] = {}
        """Bytes of each owner and each tenant."""
        self.size = 0

    def __len__(self) -> int:
        return len(self._all)

    async def put(self, owner: str, name: str, body: bytes) -> None:
        """See :class:`Shelf`."""
        self._drop(owner, name)
        self._forget()
        if len(body) > self._bounds.owner_size:
            return
        self._all[owner, name] = _Kept(body, self._clock() + self._bounds.ttl_s)
        tenant = _tenant_of(owner)
        self._owners.setdefault(owner, OrderedDict())[name] = len(body)
        self._tenants.setdefault(tenant, OrderedDict())[owner, name] = len(body)
        for whose in (("owner", owner), ("tenant", tenant)):
            self._sizes[whose] = self._sizes.get(whose, 0) + len(body)
        self.size += len(body)
        self._make_room(owner, tenant)

    async def claim(self, owner: str, name: str, body: bytes, ttl_s: float) -> bytes | None:
        """See :class:`Shelf`. What is claimed here lasts as all does: who claimed it is in this process, and gives it back."""
        known = await self.get(owner, name)
        if known is None:
            await self.put(owner, name, body)
        return known

    async def get(self, owner: str, name: str) -> bytes | None:
        """See :class:`Shelf`."""
        self._forget()
        kept = self._all.get((owner, name))
        return kept.body if kept is not None else None

    async def remove(self, owner: str, name: str) -> bool:
        """See :class:`Shelf`."""
        self._forget()
        return self._drop(owner, name)

    def _make_room(self, owner: str, tenant: str) -> None:
        bounds, own, others = self._bounds, self._owners[owner], self._tenants[tenant]
        while len(own) > bounds.owner_entries or self._sizes["owner", owner] > bounds.owner_size:
            self._drop(owner, next(iter(own)))
        while len(self._all) > bounds.entries or self.size > bounds.size:
            is_much = 2 * len(others) > bounds.entries or 2 * self._sizes["tenant", tenant] > bounds.size
            self._drop(*next(iter(others if is_much else self._all)))

    def _forget(self) -> None:
        now = self._clock()
        while self._all:
            key, kept = next(iter(self._all.items()))
            if kept.expires > now:
                return
            self._drop(*key)

    def _drop(self, owner: str, name: str) -> bool:
        kept = self._all.pop((owner, name), None)
        if kept is None:
            return False
        tenant = _tenant_of(owner)
        size = self._owners[owner].pop(name)
        del self._tenants[tenant][owner, name]
        self.size -= size
        for whose in (("owner", owner), ("tenant", tenant)):
            self._sizes[whose] -= size
        if not self._owners[owner]:
            del self._owners[owner], self._sizes["owner", owner]
        if not self._tenants[tenant]:
            del self._tenants[tenant], self._sizes["tenant", tenant]
        return True


class DatabaseShelf:
    """In a database, for all processes that use it.

    Args:
        database: Where.
        shelf: The name of this shelf in it.
        bounds: How much is kept; of everybody, about.
        clock: Seconds since 1970.
        counts_every: After how many that were put in everybody's are counted.
    """

    def __init__(
        self,
        database: Database,
        shelf: str,
        bounds: Bounds,
        *,
        clock: Callable[[], float] = time.time,
        counts_every: int = 32,
    ) -> None:
        self._database, self._shelf, self._bounds, self._clock = database, shelf, bounds, clock
        self._counts_every, self._put = counts_every, 0
        database.add(SCHEMA)

    async def put(self, owner: str, name: str, body: bytes) -> None:
        """See :class:`Shelf`."""
        if len(body) > self._bounds.owner_size:
            await self.remove(owner, name)
            return
        now = self._clock()
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "DELETE FROM weft_shelf WHERE shelf = ? AND expires <= ?", self._shelf, now
            )
            await transaction.execute(
                "INSERT INTO weft_shelf(shelf, owner, name, tenant, bytes, expires, number, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (shelf, owner, name) DO UPDATE SET body = excluded.body, bytes = excluded.bytes, "
                "expires = excluded.expires, number = excluded.number",
                *self._row(owner, name, body, now + self._bounds.ttl_s),
            )
            await self._make_room(transaction, owner)

    async def claim(self, owner: str, name: str, body: bytes, ttl_s: float) -> bytes | None:
        """See :class:`Shelf`."""
        now = self._clock()
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "DELETE FROM weft_shelf WHERE shelf = ? AND owner = ? AND name = ? AND expires <= ?",
                self._shelf, owner, name, now,
            )  # fmt: skip
            made = await transaction.execute(
                "INSERT INTO weft_shelf(shelf, owner, name, tenant, bytes, expires, number, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (shelf, owner, name) DO NOTHING",
                *self._row(owner, name, body, now + ttl_s),
            )
            if made:
                return None
            rows = await transaction.fetch(
                "SELECT body FROM weft_shelf WHERE shelf = ? AND owner = ? AND name = ?",
                self._shelf,
                owner,
                name,
            )
        return str(rows[0][0]).encode() if rows else None

    async def get(self, owner: str, name: str) -> bytes | None:
        """See :class:`Shelf`."""
        rows = await self._database.fetch(
            "SELECT body FROM weft_shelf WHERE shelf = ? AND owner = ? AND name = ? AND expires > ?",
            self._shelf, owner, name, self._clock(),
        )  # fmt: skip
        return str(rows[0][0]).encode() if rows else None

    async def remove(self, owner: str, name: str) -> bool:
        """See :class:`Shelf`."""
        async with self._database.transaction() as transaction:
            count = await transaction.execute(
                "DELETE FROM weft_shelf WHERE shelf = ? AND owner = ? AND name = ? AND expires > ?",
                self._shelf, owner, name, self._clock(),
            )  # fmt: skip
        return count > 0

    def _row(self, owner: str, name: str, body: bytes, expires: float) -> tuple[object, ...]:
        tenant = _tenant_of(owner)
        return self._shelf, owner, name, tenant, len(body), expires, time.time_ns(), body.decode()

    async def _make_room(self, transaction: Transaction, owner: str) -> None:
        """Drop the oldest of this owner, of its tenant, or of all, beyond what may be kept."""
        bounds, tenant = self._bounds, _tenant_of(owner)
        count, size = await self._held(transaction, "owner", owner)
        await self._drop(transaction, count - bounds.owner_entries, size - bounds.owner_size, "owner", owner)
        self._put += 1
        if self._put % self._counts_every:
            return
        count, size = await self._held(transaction)
        if count <= bounds.entries and size <= bounds.size:
            return
        beyond = count - bounds.entries, size - bounds.size
        count, size = await self._held(transaction, "tenant", tenant)
        is_much = 2 * count > bounds.entries or 2 * size > bounds.size
        await self._drop(transaction, *beyond, *(("tenant", tenant) if is_much else ()))

    async def _held(self, transaction: Transaction, by: str = "shelf", whose: str = "") -> tuple[int, int]:
        """Number and bytes of what is kept, of all or of somebody."""
        rows = await transaction.fetch(
            f"SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM weft_shelf WHERE shelf = ? AND {by} = ?",  # noqa: S608 - a column of ours
            self._shelf, whose or self._shelf,
        )  # fmt: skip
        return int(rows[0][0]), int(rows[0][1])

    async def _drop(
        self, transaction: Transaction, count: int, size: int, by: str = "shelf", whose: str = ""
    ) -> None:
        """Drop at least so many and so many bytes, the oldest first, of all or of somebody."""
        while count > 0 or size > 0:
            oldest = await transaction.fetch(
                "SELECT owner, name, bytes FROM weft_shelf "  # noqa: S608 - a column of ours
                f"WHERE shelf = ? AND {by} = ? ORDER BY number LIMIT ?",
                self._shelf, whose or self._shelf, max(count, 16),
            )  # fmt: skip
            for owner, name, bytes_ in oldest:
                if count <= 0 and size <= 0:
                    return
                await transaction.execute(
                    "DELETE FROM weft_shelf WHERE shelf = ? AND owner = ? AND name = ?",
                    self._shelf, owner, name,
                )  # fmt: skip
                count, size = count - 1, size - int(bytes_)
            if not oldest:
                return


def _tenant_of(owner: str) -> str:
    """With whom an owner shares what is kept at most. It opens nothing: what is kept is looked up by the whole owner."""
    return owner.partition('",')[0]


class Shelves:
    """The shelves of one installation: in memory where one process answers, else in the database that all of them have.

    Args:
        lasting: What outlives a reload; shelves in memory are kept there.
        database: Where several processes keep things; None: there is only this one.
    """

    def __init__(self, lasting: dict[str, Any] | None = None, database: Database | None = None) -> None:
        self._lasting, self._database = {} if lasting is None else lasting, database

    def shelf(self, name: str, bounds: Bounds) -> Shelf:
        """The shelf of this name."""
        if self._database is not None:
            return DatabaseShelf(self._database, name, bounds)
        kept: Shelf = self._lasting.setdefault(f"shelf {name}", MemoryShelf(bounds))
        return kept
