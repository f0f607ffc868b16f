"""Several addresses of one service: which one is asked, which is left alone, and when another is asked as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from runkit import FakeClock
from upstreamkit import WATCHDOG_S, Backend, whole
from weft.errors import (
    BackendReplyError,
    BackendStatusError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    RequestError,
    UnreachableError,
)
from weft.http.client import Client, Endpoint
from weft.run import RetryBudget
from weft.spec.gateway import BackendSpec
from weft.transport.attempts import Attempts
from weft.transport.balance import Prefix, beginning, beginning_of
from weft.transport.health import HealthChecks
from weft.transport.replicas import EJECTED_S, WINDOW_LEAST, Replica, Replicas

GONE = UnreachableError("nobody listens")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def several(client: Client, clock: FakeClock, count: int = 3, **spec: object) -> Replicas:
    """Addresses where nobody listens, used as ``spec`` says."""
    return Replicas(endpoints(client, count), clock, BackendSpec(**spec))  # type: ignore[arg-type]


def endpoints(client: Client, count: int) -> list[Endpoint]:
    return [client.endpoint(f"http://127.0.0.1:{port}") for port in range(1, count + 1)]


def take(replicas: Replicas, wanted: Replica) -> Replica:
    """Choose until it is this one; the others are given back."""
    held = []
    while (chosen := replicas.choose()) is not wanted:
        held.append(chosen)
    for other in held:
        replicas.succeeded(other)
    return wanted


# Latency.


async def test_the_quickest_is_asked_the_most(client: Client, clock: FakeClock) -> None:
    """An address that answers in a fifth of the time gets several times as many requests."""
    replicas = several(client, clock, 2, balance="latency")
    times = {0: 0.01, 1: 0.05}
    asked = [0, 0]
    for _ in range(20):
        for replica in [replicas.choose() for _ in range(6)]:
            asked[replica.index] += 1
            clock.advance(0.001)
            replicas.measured(replica, times[replica.index])
            replicas.succeeded(replica)
    assert asked[0] > 3 * asked[1] > 0


async def test_one_slow_reply_counts_at_once_and_is_forgotten(client: Client, clock: FakeClock) -> None:
    """A peak turns requests away in the same moment; an address that is not asked is tried again later."""
    replicas = several(client, clock, 2, balance="latency")
    first, second = replicas.all
    for replica in (first, second):
        replicas.measured(replica, 0.01)
    replicas.measured(first, 5.0)
    for _ in range(20):
        replicas.measured(second, 0.01)
        assert replicas.choose() is second
        replicas.succeeded(second)
    clock.advance(90)
    replicas.measured(second, 0.01)
    assert replicas.choose() is first


async def test_failing_at_once_is_not_taken_for_quick(client: Client, clock: FakeClock) -> None:
    """An address that refuses in no time does not draw requests to itself."""
    replicas = several(client, clock, 2, balance="latency")
    bad, good = replicas.all
    replicas.measured(good, 0.3)
    replicas.failed(take(replicas, bad), GONE)
    assert replicas.choose() is good


# Prefixes.


def ask_with(replicas: Replicas, key: bytes) -> Replica:
    replica = replicas.choose(key)
    replicas.succeeded(replica)
    return replica


async def test_the_same_beginning_leads_to_the_same_address(client: Client, clock: FakeClock) -> None:
    """Always, in every process; and many beginnings are spread over all addresses."""
    one, other = (several(client, clock, 4, balance="prefix") for _ in range(2))
    keys = [b"prompt %d" % number for number in range(400)]
    homes = {key: ask_with(one, key).index for key in keys}
    assert homes == {key: ask_with(other, key).index for key in reversed(keys)}
    counts = [list(homes.values()).count(index) for index in range(4)]
    assert all(60 < count < 140 for count in counts), counts


async def test_an_address_that_is_left_alone_moves_only_its_own_beginnings(
    client: Client, clock: FakeClock
) -> None:
    """The others keep theirs, and those that moved come back with it."""
    replicas = several(client, clock, 4, balance="prefix")
    keys = [b"prompt %d" % number for number in range(200)]
    homes = {key: ask_with(replicas, key) for key in keys}
    gone = replicas.all[2]
    replicas.set_well(gone, False)
    moved = {key: ask_with(replicas, key) for key in keys}
    assert all((moved[key] is homes[key]) == (homes[key] is not gone) for key in keys)
    replicas.set_well(gone, True)
    assert homes == {key: ask_with(replicas, key) for key in keys}


async def test_a_popular_beginning_spills_over(client: Client, clock: FakeClock) -> None:
    """No address has more than a quarter above its share under way, however alike the requests are."""
    replicas = several(client, clock, 4, balance="prefix")
    for number in range(1, 101):
        replicas.choose(b"the one prompt")
        most = max(replica.in_flight for replica in replicas.all)
        assert most <= Prefix.BOUND * (number / 4) + 1


def test_a_beginning_is_that_of_the_messages() -> None:
    """Fields before and after do not count, nor does what comes after so many characters."""
    start = '"messages": [{"role": "system", "content": "' + "You are kind. " * 20
    bodies = [f'{{{start} {more}"}}], "x": 1}}'.encode() for more in ("Hello", "Bye")]
    assert len({beginning(body, 200) for body in bodies}) == 1
    assert len({beginning(body, 2000) for body in bodies}) == 2
    assert beginning(b'{"model": "m", ' + bodies[0][1:], 200) == beginning(bodies[0], 200)
    assert beginning(b"[1]", 10) == beginning(b"", 10) == beginning(None, 10) == b""
    assert beginning(b'{"prompt":"abc"}', 3) == b'"ab'


def test_a_beginning_of_a_typed_request_is_that_of_its_json() -> None:
    """A service's request has the key that its JSON would have."""
    from weft.contracts.embedding import EmbeddingRequest

    assert beginning_of(EmbeddingRequest(texts=["one", "two"]), 6) == b'["one"'


# Ejection.


async def test_no_more_than_half_are_left_alone(client: Client, clock: FakeClock) -> None:
    """A fault that all addresses have leaves two of four in use."""
    replicas = several(client, clock, 4)
    for _ in range(40):
        replicas.failed(replicas.choose(), GONE)
    assert sum(replica.back_ns > clock.now_ns() for replica in replicas.all) == 2


async def test_one_request_at_a_time_tries_an_address_that_is_back(client: Client, clock: FakeClock) -> None:
    """Until it succeeds, the others get the rest; a failure then leaves it alone for twice as long."""
    replicas = several(client, clock, 2)
    bad = replicas.all[0]
    for _ in range(3):
        replicas.failed(take(replicas, bad), GONE)
    clock.advance(EJECTED_S)
    chosen = [replicas.choose() for _ in range(6)]
    assert chosen.count(bad) == 1
    replicas.failed(bad, GONE)
    clock.advance(EJECTED_S)
    assert bad not in [replicas.choose() for _ in range(6)]
    clock.advance(EJECTED_S)
    assert bad in [replicas.choose() for _ in range(2)]
    replicas.succeeded(bad)
    for replica in replicas.all:
        replica.in_flight = 0
    assert [replicas.choose() for _ in range(6)].count(bad) == 3


async def test_an_address_that_fails_most_of_the_time_is_an_outlier(client: Client, clock: FakeClock) -> None:
    """Failures with a success between them count too, where the others do better."""
    replicas = several(client, clock, 3)
    bad = replicas.all[0]
    for _ in range(WINDOW_LEAST):
        for replica in replicas.all[1:]:
            replica.in_flight += 1
            replicas.succeeded(replica)
    outcomes = 0
    while not bad.ejected_total:
        assert outcomes < 2 * WINDOW_LEAST
        bad.in_flight += 1
        outcomes += 1
        if outcomes % 3 == 0:
            replicas.succeeded(bad)
        else:
            replicas.failed(bad, GONE)
    assert outcomes >= WINDOW_LEAST


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("no"),
        BackendStatusError("no", backend_status=404),
        OverloadedError("busy"),
        DeadlineError("the caller was in a hurry", elapsed_s=0.01),
        asyncio.CancelledError(),
    ],
)
async def test_what_callers_do_ejects_nobody(client: Client, clock: FakeClock, error: BaseException) -> None:
    """Refused, hurried and abandoned requests say nothing about the address."""
    replicas = several(client, clock, 2)
    for _ in range(20):
        replicas.failed(replicas.choose(), error)
    assert [replica.ejected_total for replica in replicas.all] == [0, 0]
    assert [replica.in_flight for replica in replicas.all] == [0, 0]


# Attempts.


class Sending:
    """Answers for each address as it is told: an error is raised, a future waited for, anything else returned."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []
        self.ended: list[int] = []

    async def __call__(self, replica: Replica) -> object:
        self.asked.append(replica.index)
        answer = self.answers.pop(0)
        try:
            if isinstance(answer, asyncio.Future):
                return await answer
        except asyncio.CancelledError:
            self.ended.append(replica.index)
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer


def attempting(replicas: Replicas, clock: FakeClock, budget: RetryBudget | None = None) -> Attempts[object]:
    def judge(result: object) -> RequestError | None:
        return BackendStatusError("no", backend_status=result) if isinstance(result, int) else None

    return Attempts(replicas, budget or RetryBudget(), clock, judge=judge, random=lambda: 0.5)


async def test_another_address_is_asked_after_a_failure(client: Client, clock: FakeClock) -> None:
    """At once, and not the one that failed."""
    replicas = several(client, clock, 3, attempts=3)
    send = Sending(GONE, GONE, "well")
    result, replica = await attempting(replicas, clock).ask(send)
    assert (result, len(set(send.asked))) == ("well", 3)
    assert (replica.index, replica.in_flight) == (send.asked[-1], 1)


async def test_the_last_failure_is_handed_up(client: Client, clock: FakeClock) -> None:
    """After so many attempts as are allowed, what was raised last is raised."""
    replicas = several(client, clock, 3, attempts=2)
    with pytest.raises(UnreachableError, match="second"):
        await attempting(replicas, clock).ask(Sending(GONE, UnreachableError("second"), "late"))
    assert all(not replica.in_flight for replica in replicas.all)


async def test_a_reply_that_means_trouble_is_handed_up_when_it_is_the_last(
    client: Client, clock: FakeClock
) -> None:
    """It is the caller's to read: nothing is raised, and it still counts as under way."""
    replicas = several(client, clock, 2, attempts=2)
    result, replica = await attempting(replicas, clock).ask(Sending(503, 502))
    assert (result, replica.in_flight) == (502, 1)
    assert sum(each.in_flight for each in replicas.all) == 1


@pytest.mark.parametrize(
    ("error", "repeatable", "asked"),
    [
        (UnreachableError("refused"), False, 2),
        (BackendStatusError("x", backend_status=503), False, 2),
        (OverloadedError("busy"), False, 2),
        (BackendStatusError("x", backend_status=502), False, 1),
        (BackendReplyError("cut"), False, 1),
        (BackendStatusError("x", backend_status=502), True, 2),
        (BackendReplyError("cut"), True, 2),
        (BackendStatusError("x", backend_status=400), True, 1),
        (InvalidRequestError("no"), True, 1),
        (DeadlineError("late"), True, 1),
    ],
)
async def test_only_what_is_safe_is_asked_again(
    client: Client, clock: FakeClock, error: RequestError, repeatable: bool, asked: int
) -> None:
    """A request that may not be sent twice is sent again only where nothing was done with it."""
    send = Sending(error, "well")
    replicas = several(client, clock, 2)
    asking = attempting(replicas, clock).ask(send, repeatable=repeatable)
    if asked == 2:
        assert (await asking)[0] == "well"
    else:
        with pytest.raises(type(error)):
            await asking
    assert len(send.asked) == asked


async def test_what_was_sent_is_not_sent_again_unless_it_may_be(client: Client, clock: FakeClock) -> None:
    """A connection that ended after the request went out may have done its work."""
    lost = UnreachableError("ended")
    lost.was_sent = True
    for repeatable in (False, True):
        send = Sending(lost, "well")
        asking = attempting(several(client, clock, 2), clock).ask(send, repeatable=repeatable)
        if repeatable:
            assert (await asking)[0] == "well"
        else:
            with pytest.raises(UnreachableError):
                await asking


async def test_retries_stop_when_the_budget_is_spent(client: Client, clock: FakeClock) -> None:
    """However many requests fail, retries add a fifth."""
    replicas = several(client, clock, 2)
    attempts = attempting(replicas, clock, RetryBudget(reserve=2.0))
    for _ in range(50):
        with pytest.raises(UnreachableError):
            await attempts.ask(Sending(GONE, GONE))
    assert 10 <= attempts.retried <= 2 + 50 // 5


async def test_nothing_is_asked_again_past_the_deadline(client: Client, clock: FakeClock) -> None:
    """A caller who has gone by then is not worked for."""
    replicas = several(client, clock, 1)
    send = Sending(GONE, "well")
    with pytest.raises(UnreachableError):
        await attempting(replicas, clock).ask(send, deadline_ns=clock.now_ns() + 1000)
    assert len(send.asked) == 1


# Hedging.


async def test_a_second_address_is_asked_when_the_first_takes_long(client: Client, clock: FakeClock) -> None:
    """The first reply counts, the work at the other is ended, and both are counted as they should be."""
    replicas = several(client, clock, 2, hedge_after_s=0.2)
    never: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    send, budget = Sending(never, "second"), RetryBudget()
    attempts = attempting(replicas, clock, budget)
    result, replica = await attempts.ask(send, repeatable=True)
    assert (result, attempts.hedged, budget.tokens) == ("second", 1, 9.0)
    assert send.ended == [send.asked[0]]
    assert [each.in_flight for each in (replicas.all[send.asked[0]], replica)] == [0, 1]


async def test_only_what_may_be_sent_twice_is_hedged(client: Client, clock: FakeClock) -> None:
    """A chat that is not said to be idempotent waits for its one reply."""
    replicas = several(client, clock, 2, hedge_after_s=0.2)
    first: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    send = Sending(first, "second")
    asking = asyncio.ensure_future(attempting(replicas, clock).ask(send))
    for _ in range(5):
        await asyncio.sleep(0)
    first.set_result("first")
    assert (await asking)[0] == "first"
    assert len(send.asked) == 1


async def test_a_hedge_needs_the_budget(client: Client, clock: FakeClock) -> None:
    """With nothing left of it, one address is waited for."""
    replicas = several(client, clock, 2, hedge_after_s=0.2)
    first: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    send = Sending(first, "second")
    asking = asyncio.ensure_future(
        attempting(replicas, clock, RetryBudget(reserve=0.0)).ask(send, repeatable=True)
    )
    for _ in range(10):
        await asyncio.sleep(0)
    first.set_result("first")
    assert ((await asking)[0], len(send.asked)) == ("first", 1)


async def test_a_hedge_that_fails_leaves_the_first_to_answer(client: Client, clock: FakeClock) -> None:
    """One bad reply of two is waited out."""
    replicas = several(client, clock, 2, hedge_after_s=0.2)
    first: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    send = Sending(first, GONE)
    asking = asyncio.ensure_future(attempting(replicas, clock).ask(send, repeatable=True))
    while len(send.asked) < 2:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    first.set_result("first")
    result, replica = await asking
    assert (result, replica.index) == ("first", send.asked[0])
    assert sum(each.in_flight for each in replicas.all) == 1


async def test_a_caller_that_leaves_ends_both(client: Client, clock: FakeClock) -> None:
    """Neither address works on for nobody, and nothing is counted as under way."""
    replicas = several(client, clock, 2, hedge_after_s=0.2)
    loop = asyncio.get_running_loop()
    send = Sending(loop.create_future(), loop.create_future())
    asking = asyncio.ensure_future(attempting(replicas, clock).ask(send, repeatable=True))
    while len(send.asked) < 2:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert sorted(send.ended) == [0, 1]
    assert [replica.in_flight for replica in replicas.all] == [0, 0]


# Health.


async def test_an_unwell_address_is_not_asked_until_it_is_well(client: Client, clock: FakeClock) -> None:
    """After so many bad looks in a row it is left out; after a good one it is asked again."""
    async with AsyncExitStack() as stack:
        backends = [await Backend().start(stack) for _ in range(2)]
        spec = BackendSpec(health="/health", unwell_after=2)
        replicas = Replicas([client.endpoint(backend.url) for backend in backends], clock, spec)
        changes: asyncio.Queue[Replica] = asyncio.Queue()
        checks = HealthChecks(replicas, clock, on_change=changes.put_nowait, random=lambda: 0.5)
        backends[1].reply = whole(b"", status="500 No")
        await checks.start()
        stack.push_async_callback(checks.aclose)
        async with asyncio.timeout(WATCHDOG_S):
            assert await changes.get() is replicas.all[1]
            assert len(backends[1].seen) >= 2
            assert {replicas.choose().index for _ in range(6)} == {0}
            backends[1].reply = whole(b"")
            assert await changes.get() is replicas.all[1]
        assert {replicas.choose().index for _ in range(20)} == {0, 1}
        assert {seen.target for seen in backends[1].seen} == {"/health"}


async def test_with_all_unwell_all_are_asked(client: Client, clock: FakeClock) -> None:
    """A health path that is wrong takes nothing down."""
    replicas = several(client, clock, 2, health="/nothing")
    for replica in replicas.all:
        replicas.set_well(replica, False)
    assert replicas.choose() is not None
