"""What keeps a failing service from being asked too often: circuit breakers, the retry budget, replicas left alone."""

from __future__ import annotations

import pytest

from runkit import FakeClock
from weft.errors import (
    BackendStatusError,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
    UnreachableError,
)
from weft.http.client import Client
from weft.run import Breakers, RetryBudget
from weft.run.breaker import FAILURES, OPEN_S, Breaker
from weft.transport.replicas import EJECTED_S, Replicas
from weft.transport.replicas import FAILURES as REPLICA_FAILURES

GONE = UnreachableError("nobody listens")


def opened(clock: FakeClock) -> Breaker:
    """A breaker after as many failures as it takes."""
    breaker = Breaker("service 'x'", clock)
    for _ in range(FAILURES):
        breaker.admit()
        breaker.failed(GONE)
    return breaker


def test_a_circuit_opens_after_failures_in_a_row() -> None:
    """Then nothing passes, and the error says why."""
    breaker = opened(FakeClock())
    assert breaker.state == "open"
    with pytest.raises(
        UnavailableError, match="the circuit to service 'x' is open after 5 failures in a row"
    ):
        breaker.admit()


def test_a_success_starts_the_count_again() -> None:
    """Failures with successes between them open nothing."""
    breaker = Breaker("x", FakeClock())
    for _ in range(FAILURES * 2):
        breaker.failed(GONE)
        breaker.succeeded()
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    "error", [InvalidRequestError("no"), ServiceError("no"), BackendStatusError("no", backend_status=404)]
)
def test_a_refused_request_is_no_failure_of_the_service(error: ServiceError) -> None:
    """What is wrong with the request says nothing about who was asked."""
    breaker = Breaker("x", FakeClock())
    for _ in range(FAILURES * 2):
        breaker.failed(error)
    assert breaker.state == "closed"


def test_one_request_tries_whether_the_service_is_back() -> None:
    """Half-open: one passes, others wait for how it ends; its success closes the circuit."""
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(OPEN_S)
    assert breaker.state == "half-open"
    breaker.admit()
    with pytest.raises(UnavailableError):
        breaker.admit()
    breaker.succeeded()
    assert breaker.state == "closed"


def test_a_failed_try_opens_the_circuit_again() -> None:
    """For as long as the first time; a try that was cancelled says nothing, and another may try."""
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(OPEN_S)
    breaker.admit()
    breaker.abandoned()
    breaker.admit()
    breaker.failed(GONE)
    assert breaker.state == "open"
    clock.advance(OPEN_S)
    assert breaker.state == "half-open"


def test_all_callers_of_a_service_share_its_circuit() -> None:
    """It is found by name."""
    breakers = Breakers(FakeClock())
    assert breakers.of("a") is breakers.of("a")
    breakers.of("a").failed(GONE)
    assert breakers.states() == {"a": "closed"}


def test_retries_are_a_fifth_of_the_load() -> None:
    """After the reserve of an idle process, five first attempts bring one retry."""
    budget = RetryBudget()
    while budget.withdraw():
        pass
    assert budget.refused == 1
    granted = 0
    for _ in range(100):
        budget.deposit()
        granted += budget.withdraw()
    assert granted in (19, 20)  # a fifth is no binary fraction


def test_a_quiet_time_saves_no_more_than_the_reserve() -> None:
    """However many first attempts there were."""
    budget = RetryBudget(reserve=3.0)
    for _ in range(1000):
        budget.deposit()
    assert budget.tokens == 3.0


async def test_the_replica_with_the_least_to_do_is_asked() -> None:
    """In turn among equals."""
    client = Client()
    replicas = Replicas([client.endpoint(f"http://127.0.0.1:{port}") for port in (1, 2, 3)], FakeClock())
    asked = [replicas.choose() for _ in range(3)]
    assert len({id(replica) for replica in asked}) == 3
    replicas.succeeded(asked[1])
    assert replicas.choose() is asked[1]
    await client.aclose()


async def test_a_failing_replica_is_left_alone_for_a_while() -> None:
    """Twice as long the second time; with all of them left alone, the one that is back soonest is asked."""
    client, clock = Client(), FakeClock()
    replicas = Replicas([client.endpoint(f"http://127.0.0.1:{port}") for port in (1, 2)], clock)
    bad = replicas.choose()
    replicas.failed(bad, GONE)

    def fail_it() -> None:
        for _ in range(REPLICA_FAILURES):
            while (chosen := replicas.choose()) is not bad:
                replicas.succeeded(chosen)
            replicas.failed(bad, GONE)

    def is_asked() -> bool:
        chosen = [replicas.choose() for _ in range(4)]
        for replica in chosen:
            replicas.succeeded(replica) if replica is not bad else replicas.failed(
                replica, InvalidRequestError("no")
            )
        return bad in chosen

    replicas.succeeded(_one(replicas, bad))
    fail_it()
    assert not is_asked()
    clock.advance(EJECTED_S)
    assert is_asked()
    fail_it()
    clock.advance(EJECTED_S)
    assert not is_asked()
    clock.advance(EJECTED_S)
    assert is_asked()
    await client.aclose()


def _one(replicas: Replicas, wanted: object) -> object:
    """Choose until it is this one."""
    while (chosen := replicas.choose()) is not wanted:
        replicas.succeeded(chosen)
    return chosen
