"""The addresses of one service or upstream: one is chosen for each request, and one in trouble is left alone.

What is known of an address: how many requests are under way there, how long its replies took, what its last requests
came to (passive health), and what its health path answers, where it is asked for (``transport.health``). One that keeps
failing is ejected, each time for longer; when it is back, one request at a time tries it until one succeeds. Never are
more than half of them ejected: faults that most of them have are not their own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Final

from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    DeadlineError,
    RequestError,
    UnreachableError,
)
from weft.http.client import Endpoint
from weft.spec.gateway import BackendSpec
from weft.transport.balance import Balance, Prefix, Quickest, least_busy
from weft.transport.clock import Clock

FAILURES: Final = 3
"""Failures in a row after which a replica is left alone: two may be bad luck."""

EJECTED_S: Final = 5.0
"""Seconds for which it is left alone the first time; twice as long each further time."""

EJECTED_MOST_S: Final = 60.0
"""The longest: a machine that was repaired must not wait for its work."""

EJECTED_SHARE: Final = 0.5
"""How many of all addresses, rounded up, are left alone at a time."""

WINDOW_S: Final = 10.0
"""What a replica's share of failures is taken of: this long, and what is left of the time before."""

WINDOW_LEAST: Final = 10
"""Requests without which a share says nothing."""

FAULTY_SHARE: Final = 0.5
"""A replica that fails this share of its requests is left alone, if the others together fail half as often at most."""

SLOW_S: Final = 5.0
"""A deadline after less says nothing about who was asked: callers choose theirs."""


class Replica:
    """One address.

    Attributes:
        in_flight: Requests under way.
        latency_s: Of its replies, the recent ones the most, a slow one at once; 0: not known.
        stamp_ns: When that was measured.
        is_well: What its health path says; True where there is none.
        on_trial: Whether it was ejected, and no request has succeeded since.
        back_ns: Until when it is left alone.
        ejections: How often in succession.
        ejected_total, asked_total, failed_total: Since the start.
        seed: Of its place among the prefixes; the same in every process.
    """

    __slots__ = (
        "asked",
        "asked_before",
        "asked_total",
        "back_ns",
        "ejected_total",
        "ejections",
        "endpoint",
        "failed",
        "failed_total",
        "faults",
        "faults_before",
        "in_flight",
        "index",
        "is_well",
        "latency_s",
        "on_trial",
        "seed",
        "stamp_ns",
        "window_ns",
    )

    def __init__(self, endpoint: Endpoint, index: int) -> None:
        self.endpoint = endpoint
        self.index = index
        self.seed = Prefix.seed(endpoint.url)
        self.in_flight = self.failed = self.ejections = 0
        self.latency_s, self.stamp_ns = 0.0, 0
        self.is_well, self.on_trial = True, False
        self.back_ns = self.window_ns = 0
        self.asked = self.faults = self.asked_before = self.faults_before = 0
        self.asked_total = self.failed_total = self.ejected_total = 0

    @property
    def share(self) -> float:
        """Which part of its recent requests failed."""
        asked = self.asked + self.asked_before
        return (self.faults + self.faults_before) / asked if asked else 0.0

    def is_able(self, now_ns: int) -> bool:
        """Whether it may be asked."""
        return self.is_well and self.back_ns <= now_ns and not (self.on_trial and self.in_flight)


class Replicas:
    """Chooses among addresses.

    With none of them able the one that is back soonest is asked: refusing everything is the circuit breaker's decision.

    Args:
        endpoints: The addresses.
        clock: Time.
        spec: How they are used.
        random: Between 0 and 1.

    Attributes:
        all: Every address, in the order of the file.
        uses_prefix: Whether :meth:`choose` looks at the key.
        measures: Whether :meth:`measured` is of use.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        clock: Clock,
        spec: BackendSpec | None = None,
        *,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.spec = spec = spec or BackendSpec()
        self.all = [Replica(endpoint, index) for index, endpoint in enumerate(endpoints)]
        self._clock = clock
        self._turn = 0
        self._is_calm = True
        self._random = random
        self.uses_prefix = spec.balance == "prefix" and len(self.all) > 1
        self.measures = spec.balance == "latency" and len(self.all) > 1
        self._balance: Balance = least_busy
        if spec.balance == "latency":
            self._balance = Quickest()
        elif spec.balance == "prefix":
            self._balance = Prefix()

    @property
    def endpoints(self) -> list[Endpoint]:
        """All addresses."""
        return [replica.endpoint for replica in self.all]

    def choose(self, key: bytes = b"", avoid: Collection[Replica] = ()) -> Replica:
        """The replica for one request; it has one more under way now.

        The caller ends with :meth:`succeeded` or :meth:`failed`.

        Args:
            key: Requests with the same one belong together; empty: with none.
            avoid: Not these, if there are others.
        """
        replicas = self.all
        if len(replicas) == 1:
            chosen = replicas[0]
        else:
            now_ns = self._clock.now_ns()
            able: Sequence[Replica] = replicas
            if avoid or not self._is_calm:
                able = self._able(now_ns, avoid)
            self._turn += 1
            if not able:
                chosen = min(
                    (replica for replica in replicas if replica not in avoid) if avoid else replicas,
                    key=lambda replica: (not replica.is_well, replica.back_ns),
                    default=replicas[self._turn % len(replicas)],
                )
            else:
                chosen = able[0] if len(able) == 1 else self._balance(able, key, now_ns, self._turn)
        chosen.in_flight += 1
        return chosen

    def _able(self, now_ns: int, avoid: Collection[Replica]) -> list[Replica]:
        able = [replica for replica in self.all if replica.is_able(now_ns)]
        if len(able) == len(self.all) and not any(replica.on_trial for replica in able):
            self._is_calm = True
        return [replica for replica in able if replica not in avoid]

    def measured(self, replica: Replica, elapsed_s: float) -> None:
        """A reply, or its first part, came after so long."""
        Quickest.observe(replica, elapsed_s, self._clock.now_ns())

    def succeeded(self, replica: Replica) -> None:
        """The request was answered."""
        replica.in_flight -= 1
        replica.asked_total += 1
        replica.failed = 0
        if len(self.all) == 1:
            return
        now_ns = self._clock.now_ns()
        self._count(replica, now_ns)
        replica.on_trial = False
        if replica.ejections and now_ns - replica.back_ns > _ejected_ns(replica.ejections - 1):
            replica.ejections = 0  # it has been well for as long as it was left alone

    def failed(self, replica: Replica, error: BaseException) -> None:
        """The request failed, or was cancelled."""
        replica.in_flight -= 1
        if not isinstance(error, Exception):
            return
        replica.asked_total += 1
        if not is_its_fault(error):
            replica.on_trial = False  # it has answered
            return
        replica.failed_total += 1
        replica.failed += 1
        if len(self.all) == 1:
            return
        now_ns = self._clock.now_ns()
        self._count(replica, now_ns)
        replica.faults += 1
        if self.measures:
            # What fails at once must not be taken for quick.
            Quickest.observe(replica, max(Quickest.FAILED_S, replica.latency_s), now_ns)
        if replica.on_trial or replica.failed >= FAILURES or self._is_outlier(replica):
            self._eject(replica, now_ns)

    def set_well(self, replica: Replica, is_well: bool) -> None:
        """Be told what its health path says."""
        replica.is_well = is_well
        self._is_calm = self._is_calm and is_well

    def _count(self, replica: Replica, now_ns: int) -> None:
        if now_ns - replica.window_ns > WINDOW_S * 1e9:
            is_next = now_ns - replica.window_ns < 2 * WINDOW_S * 1e9
            replica.asked_before, replica.faults_before = (
                (replica.asked, replica.faults) if is_next else (0, 0)
            )
            replica.asked = replica.faults = 0
            replica.window_ns = now_ns
        replica.asked += 1

    def _is_outlier(self, replica: Replica) -> bool:
        if replica.asked + replica.asked_before < WINDOW_LEAST or replica.share < FAULTY_SHARE:
            return False
        others = [other for other in self.all if other is not replica]
        asked = sum(other.asked + other.asked_before for other in others)
        faults = sum(other.faults + other.faults_before for other in others)
        return not asked or faults / asked <= replica.share / 2

    def _eject(self, replica: Replica, now_ns: int) -> None:
        ejected = sum(other.back_ns > now_ns for other in self.all if other is not replica)
        if ejected + 1 > max(1, int(len(self.all) * EJECTED_SHARE + 0.5)):
            return
        replica.back_ns = now_ns + _ejected_ns(replica.ejections)
        replica.ejections += 1
        replica.ejected_total += 1
        replica.failed = 0
        replica.on_trial = True
        self._is_calm = False


def _ejected_ns(times: int) -> int:
    return int(min(EJECTED_MOST_S, EJECTED_S * 2.0 ** min(times, 10)) * 1e9)


def is_its_fault(error: BaseException) -> bool:
    """Whether an error says that this replica is in trouble (a cancelled or refused request does not)."""
    if isinstance(error, BackendStatusError):
        return error.backend_status >= 500
    if isinstance(error, DeadlineError):
        return error.elapsed_s is not None and error.elapsed_s >= SLOW_S
    if isinstance(error, UnreachableError | BackendReplyError):
        return True
    return isinstance(error, RequestError) and error.status == 503
