"""The audit log: what is written stays as it was, or it is found that it does not."""

from __future__ import annotations

import asyncio

import pytest

from accesskit import Opener, Wall, tampered
from weft.context import Identity
from weft.errors import UnavailableError
from weft.gateway.access.audit import EVENTS, AuditLog, AuditRecord, digest_of
from weft.gateway.access.keys import KeyStore, NewKey
from weft.gateway.access.refusals import MOST, Refusals
from weft.http.message import Headers, Request
from weft.serve.log import Log

ANN = Identity(caller="ann", tenant="acme", shown="account")


async def written(log: AuditLog, count: int = 5) -> list[AuditRecord]:
    return [await log.record("login", ANN, {"number": n}) for n in range(count)]


async def test_records_are_chained_and_verified(opener: Opener) -> None:
    """Each record has the digest of the one before, whichever process wrote that."""
    one, two = AuditLog(opener()), AuditLog(opener())
    first = await one.record("login", ANN, {"address": "10.0.0.1"})
    second = await two.record("key.revoked", "command line", {"key": "k1"})
    assert (first.number, second.number, second.previous) == (1, 2, first.digest)
    assert await one.verify() == (2, [])
    assert await two.page() == [second, first]
    assert await two.page(event="login") == [first]
    assert await two.page(before=2) == [first]


async def test_two_processes_that_write_at_once_make_one_chain(opener: Opener) -> None:
    """No number is given twice, and no record follows another than the one before it."""
    logs = AuditLog(opener()), AuditLog(opener())
    await asyncio.gather(*(written(log, 10) for log in logs))
    assert await logs[0].verify() == (20, [])


CHANGES = {
    "details": ("UPDATE weft_audit SET details = '{\"number\":9}' WHERE number = 3", 3, "changed"),
    "actor": ("UPDATE weft_audit SET actor = 'bob' WHERE number = 3", 3, "changed"),
    "event": ("UPDATE weft_audit SET event = 'logout' WHERE number = 1", 1, "changed"),
    "time": ("UPDATE weft_audit SET at = at + 1 WHERE number = 5", 5, "changed"),
    "tenant": ("UPDATE weft_audit SET tenant = '' WHERE number = 2", 2, "changed"),
    "one deleted": ("DELETE FROM weft_audit WHERE number = 3", 3, "it is missing"),
    "first deleted": ("DELETE FROM weft_audit WHERE number < 3", 1, "missing, and all up to 2"),
    "last deleted": ("DELETE FROM weft_audit WHERE number > 3", 4, "missing, and all up to 5"),
    "all deleted": ("DELETE FROM weft_audit", 1, "missing, and all up to 5"),
    "moved": ("UPDATE weft_audit SET number = 7 WHERE number = 5", 5, "missing, and all up to 6"),
    "put in": (
        "INSERT INTO weft_audit SELECT 6, at, event, actor, tenant, details, previous, digest FROM weft_audit WHERE number = 5",
        6,
        "changed",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_changed_or_deleted_is_found(opener: Opener, change: str) -> None:
    """A record that was changed, taken out, put in or moved is named by its number."""
    database = opener()
    log = AuditLog(database)
    await written(log)
    statement, number, said = CHANGES[change]
    await tampered(database, statement)
    _, faults = await log.verify()
    assert any(fault.number == number and said in fault.what for fault in faults), faults


async def test_a_record_that_was_made_anew_breaks_the_chain_after_it(opener: Opener) -> None:
    """Who changes a record and works out its digest anew is found at the record that follows."""
    database = opener()
    log = AuditLog(database)
    records = await written(log)
    digest = digest_of(3, records[2].at, "login", "bob", "acme", '{"number":2}', records[1].digest)
    await tampered(database, "UPDATE weft_audit SET actor = 'bob', digest = ? WHERE number = 3", digest)
    _, faults = await log.verify()
    assert [(fault.number, fault.what) for fault in faults] == [
        (4, "it does not follow the record before it")
    ]


async def test_a_chain_that_was_made_anew_is_found_by_a_noted_digest(opener: Opener) -> None:
    """What the process's own log has of a record shows that the whole log was written anew, or cut."""
    database, noted = opener(), list[AuditRecord]()
    log = AuditLog(database, noted=noted.append)
    await written(log)
    known = {record.number: record.digest for record in noted}
    assert await log.verify(noted=known) == (5, [])
    await tampered(database, "DELETE FROM weft_audit")
    await tampered(database, "DELETE FROM weft_counters")
    await written(log, 3)
    assert (await log.verify())[1] == []
    _, faults = await log.verify(noted=known)
    assert [fault.number for fault in faults] == [1, 2, 3, 4, 5]


async def test_work_goes_on_after_tampering_and_the_break_stays(opener: Opener) -> None:
    """A log with a record missing takes further ones, and goes on saying which is missing."""
    database = opener()
    log = AuditLog(database)
    await written(log)
    await tampered(database, "DELETE FROM weft_audit WHERE number = 5")
    await written(log, 1)
    count, faults = await log.verify()
    assert (count, [fault.number for fault in faults]) == (5, [5])


async def test_a_key_and_its_record_are_made_together_or_not_at_all(opener: Opener) -> None:
    """A change that cannot be recorded is not made."""
    database, wall = opener(), Wall()

    class Broken(AuditLog):
        async def append(self, *args: object) -> AuditRecord:  # type: ignore[override]
            raise UnavailableError("the disk is full")

    keys = KeyStore(database, AuditLog(database), now_s=wall)
    await keys.create(NewKey("site"), "the test")
    broken = KeyStore(database, Broken(database), now_s=wall)
    for change in (
        broken.create(NewKey("other"), "t"),
        broken.revoke("site", "t"),
        broken.rotate("site", "t"),
    ):
        with pytest.raises(UnavailableError):
            await change
    assert [(key.name, key.revoked_at, key.old_until) for key in await keys.listed()] == [
        ("site", None, None)
    ]


async def test_every_change_of_a_key_is_recorded_with_who_made_it(opener: Opener) -> None:
    """Created, rotated, revoked: by whom, of which key, and no secret."""
    database = opener()
    log = AuditLog(database)
    keys = KeyStore(database, log)
    made = await keys.create(NewKey("site", roles=["editor"]), ANN)
    rotated = await keys.rotate("site", Identity(caller="bob", key="k9", shown="key"))
    await keys.revoke("site", "command line (root)")
    records = list(reversed(await log.page()))
    assert [(record.event, record.actor) for record in records] == [
        ("key.created", "ann"),
        ("key.rotated", "key:k9 (bob)"),
        ("key.revoked", "command line (root)"),
    ]
    assert {record.details["key"] for record in records} == {made.key.id}
    assert records[0].details["roles"] == ["editor"]
    for secret in (made.secret, rotated.secret):
        assert secret not in repr(records)


def test_every_event_is_described() -> None:
    """What can be recorded has a sentence for the documentation."""
    assert all(said.endswith(".") for said in EVENTS.values())


# Refusals.


def refused(path: str = "/v1/greet", peer: str = "10.0.0.1") -> Request:
    return Request("POST", path, "", path, Headers([]), peer=peer)


async def test_alike_refusals_are_one_record_with_a_count(opener: Opener) -> None:
    """A client that tries again and again fills no disk."""
    log = AuditLog(opener())
    refusals = Refusals(log, log=Log(name="test"))
    for _ in range(1000):
        refusals.note(refused(), None, "this API key was revoked")
    refusals.note(refused(peer="10.0.0.2"), ANN, "it needs the role 'admin'")
    await refusals.stop()
    found = [(record.actor, record.details) for record in reversed(await log.page())]
    assert found == [
        (
            "unknown",
            {
                "address": "10.0.0.1",
                "asked": "POST /v1/greet",
                "why": "this API key was revoked",
                "times": 1000,
            },
        ),
        (
            "ann",
            {
                "address": "10.0.0.2",
                "asked": "POST /v1/greet",
                "why": "it needs the role 'admin'",
                "times": 1,
            },
        ),
    ]


async def test_a_flood_of_different_refusals_stays_bounded(opener: Opener) -> None:
    """However many paths and addresses there are: some records, and one that counts the rest."""
    log = AuditLog(opener())
    refusals = Refusals(log, log=Log(name="test"))
    for number in range(10_000):
        refusals.note(refused("/x" * 5000 + str(number), f"10.0.{number % 256}.1"), None, "who are you?")
    await refusals.stop()
    records = await log.page()
    assert len(records) == MOST + 1
    assert sum(record.details["times"] for record in records) == 10_000
    assert all(len(record.details.get("asked", "")) < 300 for record in records)


async def test_refusals_that_cannot_be_recorded_are_kept(opener: Opener) -> None:
    """While the database is away they are counted on, and written when it is back."""

    class Away(AuditLog):
        is_away = True

        async def record(self, *args: object) -> AuditRecord:  # type: ignore[override]
            if self.is_away:
                raise UnavailableError("the database cannot be reached")
            return await super().record(*args)  # type: ignore[arg-type]

    log = Away(opener())
    refusals = Refusals(log, log=Log(name="test"))
    refusals.note(refused(), None, "who are you?")
    await refusals.flush()
    refusals.note(refused(), None, "who are you?")
    log.is_away = False
    await refusals.stop()
    assert [record.details["times"] for record in await log.page()] == [2]
