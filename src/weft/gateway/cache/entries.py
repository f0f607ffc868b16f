"""The replies of one route's cache: bounded in number, bytes and age, found by key, or by likeness within a group.

A *key* is a digest of all that an answer depends on. A *group* is a digest of all of that but the question: likeness is
looked for among the entries of one group, and of no other, however alike two questions are.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

MAX_ALIKE: Final = 256
"""Questions of one group that likeness is looked for among: the newest. A look at all of them takes about 2 ms (384
numbers each, Python 3.11; a tenth of that from 3.12 on), and meanwhile nothing else happens."""


def _product(a: Sequence[float], b: Sequence[float]) -> float:
    return float(sum(map(mul, a, b)))


_sum_of_products: Final[Callable[[Sequence[float], Sequence[float]], float]] = getattr(
    math, "sumprod", _product
)
"""``math.sumprod`` is new in Python 3.12."""


@dataclass(slots=True)
class Entry:
    """A reply.

    Attributes:
        body: Encoded.
        made: When, by the clock of the entries.
        tenant: Whose it is.
        group: Where it can be found by likeness; empty: nowhere.
        vector: Of its question, of length 1.
    """

    body: bytes
    made: float
    tenant: str
    group: bytes = b""
    vector: Sequence[float] = ()

    @property
    def size(self) -> int:
        """Its bytes; a number of a vector takes 32 with its list."""
        return len(self.body) + 32 * len(self.vector)


class Entries:
    """See the module.

    Args:
        max_entries, max_bytes: Kept at most. One tenant has no more than half of either while there are others.
        ttl_s: How long each is kept.
        clock: Seconds.
    """

    def __init__(
        self, max_entries: int, max_bytes: int, ttl_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_entries, self._max_bytes, self._ttl_s, self._clock = max_entries, max_bytes, ttl_s, clock
        self._entries: OrderedDict[bytes, Entry] = (
            OrderedDict()
        )  # the one that was not asked for longest is first
        self._tenants: dict[str, OrderedDict[bytes, Entry]] = {}
        self._groups: dict[bytes, OrderedDict[bytes, Entry]] = {}
        self._sizes: dict[str, int] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Entry | None:
        """The entry of this key, if there is one that still holds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self.age_s(entry) >= self._ttl_s:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        self._tenants[entry.tenant].move_to_end(key)
        return entry

    def near(self, group: bytes, vector: Sequence[float], least: float) -> Entry | None:
        """The entry of a group whose question is the most alike, if it is at least this much alike."""
        best, found = least, None
        for key, entry in self._groups.get(group, {}).items():
            if len(entry.vector) != len(vector):
                continue
            likeness = _sum_of_products(entry.vector, vector)
            # In favour of what is exactly as alike as asked for: sums of products are a little off.
            if likeness >= best - 1e-9:
                best, found = max(best, likeness), key
        return self.get(found) if found is not None else None

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep an entry, in the place of what had that key."""
        self._drop(key)
        if entry.size > self._max_bytes // 2:
            return
        self._entries[key] = entry
        self._tenants.setdefault(entry.tenant, OrderedDict())[key] = entry
        self._sizes[entry.tenant] = self._sizes.get(entry.tenant, 0) + entry.size
        self.size += entry.size
        if entry.group:
            group = self._groups.setdefault(entry.group, OrderedDict())
            group[key] = entry
            if len(group) > MAX_ALIKE:
                self._drop(next(iter(group)))
        self._make_room(entry.tenant)

    def age_s(self, entry: Entry) -> float:
        """How old an entry is."""
        return self._clock() - entry.made

    def now(self) -> float:
        """The clock's time."""
        return self._clock()

    def _make_room(self, tenant: str) -> None:
        while len(self._entries) > self._max_entries or self.size > self._max_bytes:
            own = self._tenants[tenant]
            is_much = (2 * len(own) > self._max_entries or 2 * self._sizes[tenant] > self._max_bytes) and len(
                own
            ) > 1
            self._drop(next(iter(own)) if is_much else next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.size -= entry.size
        self._sizes[entry.tenant] -= entry.size
        own = self._tenants[entry.tenant]
        del own[key]
        if not own:
            del self._tenants[entry.tenant], self._sizes[entry.tenant]
        if entry.group:
            group = self._groups[entry.group]
            del group[key]
            if not group:
                del self._groups[entry.group]


def unit(vector: Sequence[float]) -> Sequence[float]:
    """The vector with a length of 1; empty where it has none."""
    length = math.sqrt(_sum_of_products(vector, vector))
    return [number / length for number in vector] if length else ()
