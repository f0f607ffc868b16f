"""How one of several able addresses is chosen: the least busy, the quickest, or the one that knows the beginning.

A balance is a function of the able replicas, the request's key, the time and a number that grows by one with each
choice. It keeps nothing that a replica does not keep itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil, exp
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from weft.contracts.base import fields_of

if TYPE_CHECKING:
    from weft.transport.replicas import Replica


class Balance(Protocol):
    """Chooses among two or more."""

    def __call__(self, able: Sequence[Replica], key: bytes, now_ns: int, turn: int) -> Replica:
        """One of ``able``."""
        ...


def least_busy(able: Sequence[Replica], key: bytes, now_ns: int, turn: int) -> Replica:
    """The replica with the fewest requests under way, in turn among equals."""
    count = len(able)
    chosen = able[turn % count]
    least = chosen.in_flight
    for offset in range(1, count):
        if not least:
            break
        replica = able[(turn + offset) % count]
        if replica.in_flight < least:
            chosen, least = replica, replica.in_flight
    return chosen


class Quickest:
    """The replica that will probably answer first: its latency, times the requests that it would have under way.

    A slow reply counts at once, and is forgotten with time, asked or not: one that was slow once is tried again.
    """

    MEMORY_S: Final = 10.0
    """In this time what is known loses two thirds of its weight."""

    UNKNOWN_S: Final = 0.001
    """Taken for the latency of one that was never asked: it is asked soon, but not by everyone at once."""

    FAILED_S: Final = 1.0
    """Taken for the latency of a failure."""

    def __call__(self, able: Sequence[Replica], key: bytes, now_ns: int, turn: int) -> Replica:
        """See :class:`Balance`."""
        count = len(able)
        best, least = able[turn % count], float("inf")
        for offset in range(count):
            replica = able[(turn + offset) % count]
            cost = self.cost(replica, now_ns)
            if cost < least:
                best, least = replica, cost
        return best

    @classmethod
    def cost(cls, replica: Replica, now_ns: int) -> float:
        """Seconds that a reply will probably take."""
        age_s = (now_ns - replica.stamp_ns) * 1e-9
        latency_s = replica.latency_s * exp(-age_s / cls.MEMORY_S) if replica.latency_s else 0.0
        return max(latency_s, cls.UNKNOWN_S) * (replica.in_flight + 1)

    @classmethod
    def observe(cls, replica: Replica, elapsed_s: float, now_ns: int) -> None:
        """Learn from one reply."""
        known = replica.latency_s
        if elapsed_s < known:
            weight = exp(-(now_ns - replica.stamp_ns) * 1e-9 / cls.MEMORY_S)
            elapsed_s = known * weight + elapsed_s * (1.0 - weight)
        replica.latency_s, replica.stamp_ns = elapsed_s, now_ns


class Prefix:
    """The replica that had the same beginning, unless it has too much to do: consistent hashing with bounded loads.

    Each key orders all replicas (rendezvous hashing): one that comes or goes moves only its own keys. The first in that
    order is asked whose load is not above :data:`BOUND` times the average.

    Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads".
    """

    BOUND: Final = 1.25
    """A replica may have a quarter more than its share before others are asked for its keys."""

    _MASK: Final = (1 << 64) - 1

    def __call__(self, able: Sequence[Replica], key: bytes, now_ns: int, turn: int) -> Replica:
        """See :class:`Balance`."""
        if not key:
            return least_busy(able, key, now_ns, turn)
        hashed = self.seed(key)
        under_way = sum(replica.in_flight for replica in able) + 1
        most = ceil(self.BOUND * under_way / len(able))
        best, highest = None, -1
        for replica in able:
            if replica.in_flight < most and (weight := self._mixed(hashed ^ replica.seed)) > highest:
                best, highest = replica, weight
        assert best is not None  # not all of them have more than their share
        return best

    @classmethod
    def _mixed(cls, value: int) -> int:
        """Every bit of the result depends on every bit of ``value`` (the finalizer of splitmix64)."""
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & cls._MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & cls._MASK
        return value ^ (value >> 31)

    @staticmethod
    def seed(key: bytes | str) -> int:
        """64 bits of a key."""
        data = key.encode() if isinstance(key, str) else key
        return int.from_bytes(blake2b(data, digest_size=8).digest())


_BEGINNINGS: Final = ("messages", "prompt", "input", "query", "text", "texts")
"""Fields with the words that a request begins with, of which the first that is there counts."""


def beginning(body: bytes | None, characters: int) -> bytes:
    """The key of a request in JSON: the first so many characters of its messages, or of what else it asks with."""
    fields = fields_of(body)
    for name in _BEGINNINGS:
        if (found := fields.get(name)) is not None:
            return bytes(found)[:characters]
    return b""


def beginning_of(request: Any, characters: int) -> bytes:
    """The key of a request of a contract: as :func:`beginning`, of what it would be as JSON."""
    for name in _BEGINNINGS:
        if (found := getattr(request, name, None)) is not None:
            return msgspec.json.encode(found)[:characters]
    return b""
