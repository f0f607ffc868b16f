"""Whatever is kept and asked for: caches and shelves stay within their bounds, and count what they have."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weft.gateway.cache.entries import Entries, Entry
from weft.gateway.protocols.shelf import Bounds, MemoryShelf

names = st.integers(0, 9)
owners = st.sampled_from("abc")
sizes = st.integers(0, 60)
steps = st.lists(
    st.tuples(st.sampled_from(["put", "get", "remove", "wait"]), owners, names, sizes), max_size=60
)


class Clock:
    """Seconds, as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(steps)
def test_a_cache_is_within_its_bounds(taken: list[tuple[str, str, int, int]]) -> None:
    """Number and bytes; what it gives is what was put last under that key, no older than it may be."""
    clock = Clock()
    kept = Entries(8, 200, 5, clock=clock)
    last: dict[bytes, tuple[bytes, float]] = {}
    for what, tenant, name, size in taken:
        key = f"{tenant}{name}".encode()
        if what == "put":
            body = b"x" * size
            kept.put(
                key, Entry(body, clock.now, tenant, b"g" if size % 2 else b"", [1.0] if size % 2 else ())
            )
            last[key] = (body, clock.now)
        elif what == "get":
            found = kept.get(key)
            if found is not None:
                assert (found.body, found.made) == last[key]
                assert clock.now - found.made < 5
        elif what == "remove":
            kept.near(b"g", [1.0], 0.5)
        else:
            clock.now += size / 20
        assert len(kept) <= 8
        assert kept.size <= 200
        assert kept.size == sum(entry.size for entry in kept._entries.values())


@given(steps)
def test_a_shelf_is_within_its_bounds(taken: list[tuple[str, str, int, int]]) -> None:
    """Number and bytes, of all and of each owner; who put something last and not too much since has it."""
    asyncio.run(_shelf(taken))


async def _shelf(taken: list[tuple[str, str, int, int]]) -> None:
    clock = Clock()
    bounds = Bounds(entries=8, size=200, owner_entries=4, owner_size=100, ttl_s=5)
    shelf = MemoryShelf(bounds, clock=clock)
    last: dict[tuple[str, str], tuple[bytes, float]] = {}
    for what, owner, number, size in taken:
        name, found = str(number), None
        if what == "put":
            last[owner, name] = (b"x" * size, clock.now)
            await shelf.put(owner, name, b"x" * size)
            assert await shelf.get(owner, name) == b"x" * size
        elif what == "get":
            found = await shelf.get(owner, name)
            assert found is None or (found, True) == (
                last[owner, name][0],
                clock.now - last[owner, name][1] < 5,
            )
        elif what == "remove":
            await shelf.remove(owner, name)
            assert await shelf.get(owner, name) is None
        else:
            clock.now += size / 20
        assert len(shelf) <= 8
        assert shelf.size <= 200
        own: Any = [n for n in range(10) if await shelf.get(owner, str(n)) is not None]
        assert len(own) <= 4
