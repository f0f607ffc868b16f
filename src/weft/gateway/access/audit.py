"""The audit log: who changed what, who was let in, who was refused. It is added to and never changed.

Each record has the digest of the one before it, and its own digest is over that and everything it says. So a record that
was changed, taken out, put in or moved no longer fits its neighbours, and :meth:`AuditLog.verify` says which. Who can
write to the database can also make the whole chain anew: against that a digest is noted elsewhere now and then (the
process's own log has the last one with every record) and compared with ``weft audit verify --noted NUMBER:DIGEST``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.context import Identity
from weft.serve.log import masked
from weft.store import Database, Row, Schema, Transaction, next_number

SCHEMA: Final = Schema(
    "audit",
    (
        (
            (
                "CREATE TABLE weft_audit(number BIGINT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, event TEXT NOT NULL, "
                "actor TEXT NOT NULL, tenant TEXT NOT NULL, details TEXT NOT NULL, previous TEXT NOT NULL, "
                "digest TEXT NOT NULL)"
            ),
        ),
    ),
)

COUNTER: Final = "audit"

BEGINNING: Final = "0" * 64
"""What the first record has for the digest of the one before it."""

PAGE: Final = 1000
"""Records that are verified at a time."""

EVENTS: Final = {
    "key.created": "An API key was made.",
    "key.revoked": "An API key was revoked.",
    "key.rotated": "An API key got a new secret.",
    "account.invited": "A person was invited.",
    "account.created": "An invitation was taken up.",
    "account.changed": "An account's roles, tenant or password were changed.",
    "account.removed": "An account was removed.",
    "login": "A person logged in.",
    "logout": "A person logged out.",
    "refused": "A caller was refused; what is alike and comes soon after is counted in one record.",
    "version.promoted": "Another version of a route gets the requests.",
    "version.rolled-back": "The version before gets the requests again.",
    "config.reloaded": "The gateway's files were read again.",
    "config.refused": "Files that were changed do not load; what ran before goes on.",
}
"""What is recorded. A part that records something else adds it here."""

_encode = msgspec.json.Encoder(order="sorted").encode


class AuditRecord(Struct):
    """One record.

    Attributes:
        number: From 1, without gaps.
        at: Seconds since 1970.
        event: One of :data:`EVENTS`.
        actor: Who did it: a caller's name, ``key:ID``, ``command line`` with the user's name.
        tenant: Of the actor.
        details: What was done to what; never a secret.
        previous: The digest of the record before.
        digest: Of this record.
    """

    number: int
    at: float
    event: str
    actor: str
    tenant: str
    details: dict[str, Any]
    previous: str
    digest: str


class Fault(Struct):
    """A place where the chain is broken."""

    number: int
    what: str


class AuditLog:
    """The log in a database that several processes write to.

    Args:
        database: Where.
        noted: Told number and digest of each record that was written, for a place that the database's owner has no hand on.
        now_s: The clock on the wall.
    """

    def __init__(
        self,
        database: Database,
        *,
        noted: Callable[[AuditRecord], object] = lambda _: None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        database.add(SCHEMA)
        self._database, self._noted, self._now_s = database, noted, now_s

    async def record(
        self, event: str, by: Identity | str, details: Mapping[str, Any] | None = None
    ) -> AuditRecord:
        """Write one record.

        Args:
            event: One of :data:`EVENTS`.
            by: Who did it.
            details: What a reader needs to know of it: names and ids, no secrets.

        Raises:
            UnavailableError: The database is away; whether what was done stands is the caller's to decide.
        """
        async with self._database.transaction() as transaction:
            record = await self.append(transaction, event, by, details)
        self.tell(record)
        return record

    async def append(
        self,
        transaction: Transaction,
        event: str,
        by: Identity | str,
        details: Mapping[str, Any] | None = None,
    ) -> AuditRecord:
        """Write one record together with what it tells of; when that is done, :meth:`tell` of it."""
        assert event in EVENTS, event
        actor, tenant = (by, "") if isinstance(by, str) else (actor_of(by), by.tenant)
        number = await next_number(transaction, COUNTER)
        before = await transaction.fetch("SELECT digest FROM weft_audit WHERE number = ?", number - 1)
        # A record that is missing breaks the chain where it is missing, and keeps nobody from working.
        previous = str(before[0][0]) if before else BEGINNING
        # Whoever writes a key where none belongs, in a path or a name, has not made it public by that.
        text = masked(_encode(dict(details or {})).decode())
        at = round(self._now_s(), 3)
        digest = digest_of(number, at, event, actor, tenant, text, previous)
        await transaction.execute(
            "INSERT INTO weft_audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            number, at, event, actor, tenant, text, previous, digest,
        )  # fmt: skip
        return AuditRecord(number, at, event, actor, tenant, _decoded(text), previous, digest)

    def tell(self, record: AuditRecord) -> None:
        """Note a record elsewhere, once its transaction is done."""
        self._noted(record)

    async def page(self, *, event: str = "", before: int | None = None, most: int = 100) -> list[AuditRecord]:
        """The last records, the newest first.

        Args:
            event: Only of this kind; empty: all.
            before: Only those with a smaller number.
            most: How many.
        """
        rows = await self._database.fetch(
            "SELECT number, at, event, actor, tenant, details, previous, digest FROM weft_audit "
            "WHERE number < ? AND (? = '' OR event = ?) ORDER BY number DESC LIMIT ?",
            before if before is not None else 1 << 62, event, event, most,
        )  # fmt: skip
        return [_record(row) for row in rows]

    async def verify(self, *, noted: Mapping[int, str] | None = None) -> tuple[int, list[Fault]]:
        """Read the whole chain.

        Args:
            noted: Digests by number that were noted elsewhere.

        Returns:
            How many records there are, and where the chain is broken: nowhere, if nothing was changed.
        """
        faults: list[Fault] = []
        count, last, previous = 0, 0, BEGINNING
        left = dict(noted or {})
        while rows := await self._database.fetch(
            "SELECT number, at, event, actor, tenant, details, previous, digest FROM weft_audit "
            "WHERE number > ? ORDER BY number LIMIT ?",
            last, PAGE,
        ):  # fmt: skip
            for row in rows:
                number = int(row[0])
                if number != last + 1:
                    faults.append(Fault(last + 1, _missing(last + 1, number - 1)))
                elif row[6] != previous:
                    faults.append(Fault(number, "it does not follow the record before it"))
                if row[7] != digest_of(number, *row[1:7]):
                    faults.append(Fault(number, "it was changed after it was written"))
                wanted = left.pop(number, None)
                if wanted is not None and wanted != row[7]:
                    faults.append(Fault(number, "it is not the record that was noted"))
                count, last, previous = count + 1, number, str(row[7])
        counted = await self._database.fetch("SELECT number FROM weft_counters WHERE name = ?", COUNTER)
        written = int(counted[0][0]) if counted else 0
        if written > last:
            faults.append(Fault(last + 1, _missing(last + 1, written)))
        faults += [Fault(number, "it was noted, and is not here") for number in left if number > written]
        return count, faults


def actor_of(identity: Identity) -> str:
    """How a caller is named in the log."""
    if identity.key:
        return f"key:{identity.key} ({identity.caller})" if identity.caller else f"key:{identity.key}"
    return identity.caller or "anonymous"


def digest_of(
    number: int, at: float, event: str, actor: str, tenant: str, details: str, previous: str
) -> str:
    """The digest of a record: SHA-256 of its fields as a JSON array, in this order, with the digest before it."""
    return hashlib.sha256(
        _encode([number, round(float(at), 3), event, actor, tenant, details, previous])
    ).hexdigest()


def _record(row: Row) -> AuditRecord:
    number, at, event, actor, tenant, details, previous, digest = row
    return AuditRecord(number, at, event, actor, tenant, _decoded(details), previous, digest)


def _decoded(details: str) -> dict[str, Any]:
    """The details; a record that was tampered with is shown as it is."""
    try:
        return msgspec.json.decode(details, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"unreadable": details}


def _missing(first: int, last: int) -> str:
    return "it is missing" if first == last else f"it is missing, and all up to {last}"
