"""The ledger by itself: how many buckets it has, whose they are, and what is written down of them."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from weft.errors import StateError
from weft.gateway.limits.buckets import period_of
from weft.gateway.limits.counter import Counter
from weft.gateway.limits.headers import duration
from weft.gateway.limits.ledger import Ledger
from weft.gateway.limits.memory import MemoryStore
from weft.gateway.limits.remote import Beat, Settle, Take
from weft.gateway.limits.subjects import _network
from weft.gateway.limits.terms import DAY, GRANTED, MONTH, PLACES, QUEUED, REFUSED, Ask
from weft.serve.log import Log
from weft.store.sqlite import SqliteDatabase

NOON = int(datetime(2027, 2, 28, 12, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


def ask(subject: str, amount: int = 1, *, most: int = 10, span: int = MINUTE) -> Ask:
    """What a request wants of one limit."""
    return Ask(f"route:key-requests-min|{subject}", most, amount, span)


def test_what_holds_nothing_is_forgotten() -> None:
    """Buckets whose charges do not count any more make room as others come: their number is that of the live ones."""
    ledger = Ledger(max_buckets=1200)
    for second in range(600):
        for n in range(10):
            now = NOON + second * 1000
            ledger.settle(ledger.take([ask(f"{second}-{n}")], now).hold, [None], now)
    assert len(ledger) <= 1200
    assert ledger.take([ask("another")], NOON + 600_000).outcome == GRANTED
    assert not any(name.endswith("||") for name in ledger.buckets)


def test_no_debt_is_forgotten_to_make_room() -> None:
    """When every bucket holds something, those who are new share one: nobody gets more, and who was there keeps theirs."""
    ledger = Ledger(max_buckets=100)
    for n in range(100):
        assert ledger.take([ask(f"old-{n}", 10)], NOON).outcome == GRANTED
    assert [ledger.take([ask(f"new-{n}", 5)], NOON).outcome for n in range(3)] == [GRANTED, GRANTED, REFUSED]
    assert len(ledger) == 101
    assert all(ledger.take([ask(f"old-{n}")], NOON).outcome == REFUSED for n in range(100))
    assert ledger.take([ask("new-7")], NOON + 64_000).outcome == GRANTED


def test_a_bucket_with_a_request_under_way_is_kept() -> None:
    """A request that is longer than its window still has a bucket to charge what it needed beyond its bound."""
    ledger = Ledger()
    verdict = ledger.take([ask("slow", 2)], NOON)
    later = NOON + 10 * MINUTE
    for n in range(50):
        ledger.take([ask(f"other-{n}")], later)
    ledger.settle(verdict.hold, [9], later)
    assert ledger.take([ask("slow", 4)], later).outcome == REFUSED


@pytest.mark.parametrize(
    ("now", "is_day", "ends"),
    [
        ("2027-02-28T12:00", True, "2027-03-01T00:00"),
        ("2028-02-28T23:59", True, "2028-02-29T00:00"),
        ("2027-12-31T00:00", False, "2028-01-01T00:00"),
        ("2028-02-01T00:00", False, "2028-03-01T00:00"),
    ],
)
def test_days_and_months_are_those_of_utc(now: str, ends: str, *, is_day: bool) -> None:
    """A period ends at midnight of UTC, on the first of a month, in leap years too."""
    at, end = (int(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000) for text in (now, ends))
    period, found = period_of(at, is_day=is_day)
    assert found == end
    assert period_of(end - 1, is_day=is_day)[0] == period
    assert period_of(end, is_day=is_day)[0] == period + 1


async def test_budgets_survive_a_restart(tmp_path: Path) -> None:
    """What was used of a day and a month is there again after a restart; what a window held begins anew."""
    now = NOON
    asks = [
        Ask("r:tenant-tokens-day|t", 1000, 600, DAY),
        Ask("r:tenant-cost-month|t", 1000, 700, MONTH),
        ask("t", 9),
    ]

    async def started() -> MemoryStore:
        store = MemoryStore(now_ms=lambda: now, database=SqliteDatabase(tmp_path / "limits.db"))
        await store.start()
        return store

    store = await started()
    verdict = await store.take(asks)
    store.settle(verdict.hold, [500, None, None])
    await store.aclose()
    store = await started()
    again = await store.take([ask._replace(amount=0) for ask in asks])
    assert list(again.left) == [500, 300, 10]
    await store.aclose()
    now += 24 * 3600 * 1000  # it was the last day of its month
    store = await started()
    again = await store.take([ask._replace(amount=0) for ask in asks])
    assert list(again.left) == [1000, 1000, 10]
    await store.aclose()


async def test_what_is_charged_is_written_without_being_asked(tmp_path: Path) -> None:
    """A process that is killed has written what it charged: nothing but the last moments can be lost."""
    path = tmp_path / "limits.db"
    store = MemoryStore(now_ms=lambda: NOON, database=SqliteDatabase(path))
    await store.start()
    await store.take([Ask("r:tenant-tokens-day|t", 1000, 600, DAY)])
    reader = SqliteDatabase(path)
    async with asyncio.timeout(10):
        while not (rows := await reader.fetch("SELECT bucket, used FROM weft_limits")):
            await asyncio.sleep(0.01)
    assert rows == [("r:tenant-tokens-day|t", 600)]
    await reader.aclose()
    await store.aclose()


async def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """Budgets that cannot be read keep the gateway from starting: it would give them out a second time."""
    path = tmp_path / "limits.db"
    path.write_bytes(b"no database" * 1000)
    store = MemoryStore(database=SqliteDatabase(path))
    with pytest.raises(StateError, match="is damaged"):
        await store.start()


def test_the_dead_hold_up_no_queue() -> None:
    """A process that has died while its request was the first of a queue is passed over, long before its lease ends."""
    now = NOON
    counter = Counter(MemoryStore(now_ms=lambda: now), now_ms=lambda: now)
    place = [Ask("r:route-concurrent|r", 1, 1, PLACES, 9)]

    def tell(question):
        return counter.answer([question])[0]

    for me in ("living", "dead"):
        tell(Beat(me, is_new=True, lease_ms=50_000))
    assert tell(Take("living", "1", "", 50_000, place))[0] == GRANTED
    assert tell(Take("dead", "1", "", 50_000, place))[0] == QUEUED
    assert tell(Take("living", "2", "", 50_000, place))[0] == QUEUED
    assert counter.reserved == 1
    tell(Settle("living", "1", [("r:route-concurrent|r", PLACES, 1, -1)]))
    assert tell(Take("living", "3", "2", 50_000, place))[0] == QUEUED
    now += 1_500
    assert tell(Take("living", "4", "2", 50_000, place))[0] == GRANTED
    now += 50_001
    counter.answer([])
    assert counter.reserved == 0


def test_an_address_of_ipv6_is_a_customers() -> None:
    """Of IPv6 all addresses of a /64 are one subject; an IPv4 address in IPv6's form is that of IPv4."""
    assert _network("2001:db8:1:2:3:4:5:6") == _network("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert _network("::ffff:192.0.2.7") == _network("192.0.2.7") == "192.0.2.7"
    assert _network("unix") == "unix"


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0ms"),
        (20, "20ms"),
        (1000, "1s"),
        (6500, "7s"),
        (90_000, "1m30s"),
        (86_399_000, "23h59m59s"),
        (60_000, "1m0s"),
    ],
)
def test_times_are_written_as_openai_writes_them(ms: int, text: str) -> None:
    """Units of a duration as SDKs and people read it."""
    assert duration(ms) == text


async def test_two_gateways_on_one_data_folder_are_told(tmp_path: Path) -> None:
    """Each of them would grant the whole limit: the second one says so, and none does that comes when the first has ended."""
    said = io.StringIO()

    def store() -> MemoryStore:
        log = Log(said, name="limits", pretty=False)
        return MemoryStore(database=SqliteDatabase(tmp_path / "limits.db"), log=log)

    first, second, third = store(), store(), store()
    await first.start()
    assert said.getvalue() == ""
    await second.start()
    assert f"another gateway counts limits in {tmp_path} too" in said.getvalue()
    await second.aclose()
    await first.aclose()
    said.truncate(0)
    await third.start()
    await third.aclose()
    assert "another gateway" not in said.getvalue()
