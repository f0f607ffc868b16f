"""The addresses of one service: the one with the least to do is asked, and one that keeps failing is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from weft.errors import BackendReplyError, BackendStatusError, RequestError, UnreachableError
from weft.http.client import Endpoint
from weft.transport.clock import Clock

FAILURES: Final = 3
"""Failures in a row after which a replica is left alone: two may be bad luck."""

EJECTED_S: Final = 5.0
"""Seconds for which it is left alone the first time; twice as long each further time."""

EJECTED_MOST_S: Final = 60.0
"""The longest: a machine that was repaired must not wait for its work."""


class Replica:
    """One address."""

    __slots__ = ("back_ns", "ejections", "endpoint", "failed", "in_flight", "index")

    def __init__(self, endpoint: Endpoint, index: int) -> None:
        self.endpoint = endpoint
        self.index = index
        self.in_flight = 0
        self.failed = 0
        self.ejections = 0
        self.back_ns = 0


class Replicas:
    """Chooses among addresses.

    With all of them ejected the one that is back soonest is asked: refusing everything is the circuit breaker's decision.
    """

    def __init__(self, endpoints: Sequence[Endpoint], clock: Clock) -> None:
        self._replicas = [Replica(endpoint, index) for index, endpoint in enumerate(endpoints)]
        self._clock = clock
        self._turn = 0

    @property
    def endpoints(self) -> list[Endpoint]:
        """All addresses."""
        return [replica.endpoint for replica in self._replicas]

    def choose(self) -> Replica:
        """The replica with the fewest requests in flight, in turn among equals; it has one more now.

        The caller ends with :meth:`succeeded` or :meth:`failed`.
        """
        replicas = self._replicas
        if len(replicas) == 1:
            chosen = replicas[0]
        else:
            now_ns = self._clock.now_ns()
            self._turn = (self._turn + 1) % len(replicas)
            in_turn = replicas[self._turn :] + replicas[: self._turn]
            able = [replica for replica in in_turn if replica.back_ns <= now_ns]
            chosen = min(able, key=lambda r: r.in_flight) if able else min(in_turn, key=lambda r: r.back_ns)
        chosen.in_flight += 1
        return chosen

    def succeeded(self, replica: Replica) -> None:
        """The request was answered."""
        replica.in_flight -= 1
        replica.failed = replica.ejections = 0

    def failed(self, replica: Replica, error: BaseException) -> None:
        """The request failed, or was cancelled."""
        replica.in_flight -= 1
        if not _is_its_fault(error):
            return
        replica.failed += 1
        if replica.failed >= FAILURES:
            seconds = min(EJECTED_MOST_S, EJECTED_S * 2.0**replica.ejections)
            replica.back_ns = self._clock.now_ns() + int(seconds * 1e9)
            replica.ejections += 1
            replica.failed = 0


def _is_its_fault(error: BaseException) -> bool:
    """Whether an error says that this replica is in trouble (a cancelled or refused request does not)."""
    if isinstance(error, BackendStatusError):
        return error.backend_status >= 500
    return isinstance(error, UnreachableError | BackendReplyError) or (
        isinstance(error, RequestError) and error.status == 503
    )
