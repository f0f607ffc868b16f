"""What was used of days and months, written down, so that a restart does not give it out again.

Written in batches, off the way of any request: what was charged is in the file at the latest :data:`FLUSH_S` and one
write (some milliseconds) after it was. So a process that is killed, or a machine that loses its power, forgets what was
granted in its last quarter of a second, and nothing else. What was reserved and not settled then stays charged in full.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from weft.errors import WeftError
from weft.gateway.limits.buckets import Calendar, period_of
from weft.gateway.limits.ledger import Ledger
from weft.gateway.limits.terms import DAY, MONTH
from weft.serve.log import Log
from weft.store import Database, Schema

FILE: Final = "limits.db"
"""In the data folder."""

FLUSH_S: Final = 0.25
"""Between two writes: one costs a flush of the disk, and this is what a killed process may forget."""

SCHEMA: Final = Schema(
    "limits",
    (
        (
            "CREATE TABLE weft_limits(bucket TEXT PRIMARY KEY, span BIGINT NOT NULL, period BIGINT NOT NULL, used BIGINT NOT NULL)",
        ),
    ),
)

ROWS: Final = 200
"""In one statement: as many as SQLite's 999 values allow, and no more that wait for each other."""


class Keeper:
    """Keeps the calendar periods of a ledger in a database.

    Args:
        database: Where.
        ledger: Of what.
        now_ms: Since 1970.
        log: Where it is said that writing fails, and that somebody else writes there too.
    """

    def __init__(self, database: Database, ledger: Ledger, *, now_ms: Callable[[], int], log: Log) -> None:
        self._database, self._ledger, self._now_ms, self._log = database, ledger, now_ms, log
        self._task: asyncio.Task[None] | None = None
        self._has_failed = False
        self._pruned = -1
        self._lock: int | None = None
        database.add(SCHEMA)

    async def start(self) -> None:
        """Read what was used, and write it down from now on.

        Raises:
            StateError: The file is damaged, or of a newer Weft.
        """
        place = Path(self._database.place)
        self._lock = _locked(place.with_suffix(".lock"))
        if self._lock is None:
            self._log.warning(
                f"another gateway counts limits in {place.parent} too: each of them grants the whole limits by itself; "
                "give each a folder of its own (--data), or have them count together (state.redis)"
            )
        await self._prune()
        for bucket, span, period, used in await self._database.fetch(
            "SELECT bucket, span, period, used FROM weft_limits"
        ):
            self._ledger.restore(bucket, span, period, used)
        self._task = asyncio.create_task(self._write())

    async def aclose(self) -> None:
        """Write what is not written yet."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self.flush()
        await self._database.aclose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            if self._ledger.changed:
                await self.flush()

    async def flush(self) -> None:
        """Write what has changed; what cannot be written now is tried again."""
        changed = self._ledger.changed
        buckets = list(changed)
        changed.clear()
        try:
            for start in range(0, len(buckets), ROWS):
                await self._put(buckets[start : start + ROWS])
            await self._prune()
        except (WeftError, asyncio.CancelledError) as error:
            changed.update(buckets)
            if isinstance(error, asyncio.CancelledError):
                raise
            if not self._has_failed:
                self._log.failure("what limits have counted cannot be written down", cause=error)
            self._has_failed = True
        else:
            self._has_failed = False

    async def _put(self, buckets: list[Calendar]) -> None:
        if not buckets:
            return
        values: list[Any] = []
        for bucket in buckets:
            values += (bucket.name, bucket.span, bucket.period, bucket.used)
        async with self._database.transaction() as transaction:
            await transaction.execute(
                f"INSERT INTO weft_limits(bucket, span, period, used) VALUES {', '.join(['(?, ?, ?, ?)'] * len(buckets))} "  # noqa: S608 - the text is ours
                "ON CONFLICT (bucket) DO UPDATE SET span = excluded.span, period = excluded.period, used = excluded.used",
                *values,
            )

    async def _prune(self) -> None:
        """Forget, once a day, what is over."""
        now_ms = self._now_ms()
        day, _ = period_of(now_ms, is_day=True)
        if day == self._pruned:
            return
        month, _ = period_of(now_ms, is_day=False)
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "DELETE FROM weft_limits WHERE (span = ? AND period < ?) OR (span = ? AND period < ?)",
                DAY,
                day,
                MONTH,
                month,
            )
        self._pruned = day


def _locked(path: Path) -> int | None:
    """A file that no other process has locked, open; its lock goes with it, however this one ends. None: one has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file of its own: who opens a database's file and closes it takes the locks of this process on it away.
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415 - not on Windows

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
    return file
