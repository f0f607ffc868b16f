"""Logins that failed, counted by account and by address, for all gateways together: beyond a number one has to wait."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from weft.errors import OverloadedError
from weft.store import Database, Schema

SCHEMA: Final = Schema(
    "attempts",
    (
        (
            "CREATE TABLE weft_attempts(subject TEXT PRIMARY KEY, count BIGINT NOT NULL, since DOUBLE PRECISION NOT NULL)",
            "CREATE INDEX weft_attempts_since ON weft_attempts(since)",
        ),
    ),
)

WINDOW_S: Final = 900.0
"""Counts begin anew a quarter of an hour after the first of them."""

PER_PAIR: Final = 5
"""Attempts on one account from one address: whoever has forgotten a password knows by then."""

PER_ACCOUNT: Final = 30
"""From everywhere: a botnet makes 2,880 guesses a day at one account. More than a pair may, so that nobody can lock
somebody out from one address."""

PER_ADDRESS: Final = 30
"""On whatever accounts: an office behind one address logs in on Monday morning."""


MAX_WAITS: Final = 10_000
"""Subjects that one process remembers as having to wait; the others are counted in the database."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that was counted."""

    subjects: tuple[str, ...]


class Attempts:
    """Counts attempts before they are made, so that a thousand at once are not a thousand guesses.

    Args:
        database: Where.
        now_s: The clock on the wall.
    """

    def __init__(self, database: Database, *, now_s: Callable[[], float] = time.time) -> None:
        database.add(SCHEMA)
        self._database, self._now_s = database, now_s
        self._waits: OrderedDict[str, float] = OrderedDict()

    async def begin(self, account: str, address: str | None) -> Attempt:
        """Count an attempt.

        Args:
            account: As it was typed. Only a digest is kept: people type passwords into this field.
            address: Of who tries.

        Raises:
            OverloadedError: There were too many; ``retry_after_s`` says when the next one is heard.
            UnavailableError: The database is away.
        """
        now_s = self._now_s()
        name, place = _digest(account), network_of(address)
        limits = ((f"{name} {place}", PER_PAIR), (name, PER_ACCOUNT), (place, PER_ADDRESS))
        wait_s = max(self._waits.get(subject, 0.0) - now_s for subject, _ in limits)
        if wait_s > 0:  # whoever is told to wait, and does not, costs the database nothing
            raise too_many(wait_s)
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM weft_attempts WHERE since < ?", now_s - WINDOW_S)
            for subject, most in limits:
                rows = await transaction.fetch(
                    "INSERT INTO weft_attempts(subject, count, since) VALUES (?, 1, ?) "
                    "ON CONFLICT (subject) DO UPDATE SET count = weft_attempts.count + 1 RETURNING count, since",
                    subject,
                    now_s,
                )
                if int(rows[0][0]) > most:
                    wait_s = max(wait_s, self._wait(subject, float(rows[0][1]) + WINDOW_S) - now_s)
        if wait_s > 0:
            raise too_many(wait_s)
        return Attempt(tuple(subject for subject, _ in limits))

    async def succeeded(self, attempt: Attempt) -> None:
        """The password was right: the account's counts begin anew, and this one does not count for the address."""
        pair, name, place = attempt.subjects
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM weft_attempts WHERE subject IN (?, ?)", pair, name)
            await transaction.execute("UPDATE weft_attempts SET count = count - 1 WHERE subject = ?", place)

    def _wait(self, subject: str, until: float) -> float:
        """Remember for how long a subject is not heard."""
        self._waits[subject] = until
        if len(self._waits) > MAX_WAITS:
            self._waits.popitem(last=False)
        return until

    async def forget(self, accounts: Sequence[str]) -> None:
        """Let these accounts be tried again: an administrator has looked into it.

        At once here; where somebody has just been told to wait, when that is over.
        """
        for subject in [
            subject for subject in self._waits if subject.partition(" ")[0] in map(_digest, accounts)
        ]:
            del self._waits[subject]
        async with self._database.transaction() as transaction:
            for account in accounts:
                name = _digest(account)
                await transaction.execute(
                    "DELETE FROM weft_attempts WHERE subject = ? OR subject LIKE ?", name, f"{name} %"
                )


def too_many(wait_s: float) -> OverloadedError:
    """The refusal of one who has to wait."""
    return OverloadedError("there were too many attempts to log in", retry_after_s=max(1, math.ceil(wait_s)))


def network_of(address: str | None) -> str:
    """What counts as one address: of IPv6 the network of a household, for one machine has as many addresses as it likes."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "somewhere"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _digest(account: str) -> str:
    return hashlib.sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:32]
