"""Circuit breakers: a service that keeps failing is left alone for a while, and then asked by one request at a time."""

from __future__ import annotations

from typing import Final, Literal

from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    DeadlineError,
    RequestError,
    UnavailableError,
    UnreachableError,
)
from weft.transport.clock import Clock

FAILURES: Final = 5
"""Failures in a row that open a circuit: more than a restart's worth of unlucky requests, less than a minute of them."""

OPEN_S: Final = 5.0
"""Seconds that a circuit stays open before one request tries again: a process restarts in that time."""

State = Literal["closed", "open", "half-open"]


def counts_as_failure(error: BaseException) -> bool:
    """Whether an error says that the service itself is in trouble (a refused request does not)."""
    if isinstance(error, BackendStatusError):
        return error.backend_status >= 500
    return isinstance(error, UnreachableError | BackendReplyError | DeadlineError | UnavailableError)


class Breaker:
    """The circuit to one endpoint.

    Closed: requests pass. After ``failures`` in a row it opens: requests fail at once. After ``open_s`` it is half-open:
    one request passes; its success closes the circuit, its failure opens it again.

    Args:
        name: The endpoint, for the message.
        clock: Measures how long it is open.

    Attributes:
        is_calm: Whether it is closed and the last request did not fail: then there is nothing to ask it, nor to tell it
            of a success.
    """

    __slots__ = ("_clock", "_failed", "_failures", "_name", "_open_ns", "_opened_ns", "_probing", "is_calm")

    def __init__(self, name: str, clock: Clock, *, failures: int = FAILURES, open_s: float = OPEN_S) -> None:
        self._name, self._clock = name, clock
        self._failures, self._open_ns = failures, int(open_s * 1e9)
        self._failed = 0
        self._opened_ns: int | None = None
        self._probing = False
        self.is_calm = True

    @property
    def state(self) -> State:
        """What it would do with a request now."""
        if self._opened_ns is None:
            return "closed"
        return "open" if self._clock.now_ns() - self._opened_ns < self._open_ns else "half-open"

    def admit(self) -> None:
        """Ask to pass; what passes must end in :meth:`succeeded`, :meth:`failed` or :meth:`abandoned`.

        Raises:
            UnavailableError: The circuit is open.
        """
        if self._opened_ns is None:
            return
        if self.state == "open" or self._probing:
            raise UnavailableError(
                f"the circuit to {self._name} is open after {self._failed} failures in a row"
            )
        self._probing = True

    def succeeded(self) -> None:
        """The request was answered."""
        self._failed = 0
        self._opened_ns = None
        self._probing = False
        self.is_calm = True

    def failed(self, error: RequestError) -> None:
        """The request failed."""
        if not counts_as_failure(error):
            self.succeeded()
            return
        self._failed += 1
        self.is_calm = False
        if self._probing or self._failed >= self._failures:
            self._opened_ns = self._clock.now_ns()
        self._probing = False

    def settle(self, error: BaseException | None) -> None:
        """However the request ended; None is well."""
        if error is None:
            self.succeeded()
        elif isinstance(error, RequestError):
            self.failed(error)
        else:
            self.abandoned()

    def abandoned(self) -> None:
        """The request was cancelled: it says nothing about the service."""
        self._probing = False


class Breakers:
    """The breakers of one process, by endpoint."""

    def __init__(self, clock: Clock, *, failures: int = FAILURES, open_s: float = OPEN_S) -> None:
        self._clock, self._failures, self._open_s = clock, failures, open_s
        self._breakers: dict[str, Breaker] = {}

    def of(self, endpoint: str) -> Breaker:
        """The breaker of an endpoint; the same one for everyone who calls it."""
        breaker = self._breakers.get(endpoint)
        if breaker is None:
            breaker = Breaker(endpoint, self._clock, failures=self._failures, open_s=self._open_s)
            self._breakers[endpoint] = breaker
        return breaker

    def states(self) -> dict[str, State]:
        """Endpoint to state, for metrics and pages."""
        return {endpoint: breaker.state for endpoint, breaker in self._breakers.items()}
