"""The jobs of an installation in one SQLite file: what was handed in, by whom, and what became of each file.

A job is in here before its sender is answered, and its files are on disk. What has not ended is gone on with by the
next process, however this one ended: a file that was being stored is looked up in the store, any other is begun again. Every row carries its tenant.

Everything blocks; it is called from one thread, and the file belongs to one process at a time.
"""
# ruff: noqa: S608 - only our own lists of columns are put together; every value is bound

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from weft.contracts.dataprep import Counts
from weft.errors import NotFoundError, StateError, UnavailableError
from weft.types import FileOutcome

KEPT: Final = 200
"""Jobs of a tenant that are remembered after they have ended."""

WEIGHT: Final = 4_096
"""What a file costs beside its bytes, in bytes: of the shortest files a thousand are no moment's work either."""

_STEPS: Final = (
    """
    CREATE TABLE jobs(
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, caller TEXT NOT NULL, readers TEXT, collection TEXT NOT NULL,
        options TEXT NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0, busy_s REAL NOT NULL DEFAULT 0,
        created_at REAL NOT NULL, ended_at REAL
    );
    CREATE INDEX jobs_of_tenant ON jobs(tenant, created_at);
    CREATE TABLE items(
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, tenant TEXT NOT NULL, collection TEXT NOT NULL,
        place INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, content_type TEXT, path TEXT,
        size INTEGER NOT NULL, result TEXT, digest TEXT, pages INTEGER NOT NULL DEFAULT 0,
        outcome TEXT, became TEXT, ended INTEGER
    );
    CREATE INDEX items_of_job ON items(job, ended);
    CREATE INDEX items_to_do ON items(job, place, number) WHERE ended IS NULL;
    CREATE INDEX items_by_name ON items(tenant, collection, name) WHERE ended IS NULL;
    CREATE TABLE documents(
        tenant TEXT NOT NULL, collection TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
        title TEXT, pages INTEGER, size INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT,
        PRIMARY KEY (tenant, collection, name)
    ) WITHOUT ROWID;
    """,
)
"""What leads from each schema version to the next; the version of a file is the number of steps it has had."""

SCHEMA: Final = len(_STEPS)

_encode = msgspec.json.Encoder().encode


class Options(Struct, omit_defaults=True):
    """How the files of a job are to be taken in."""

    size: int
    overlap: int
    replace: bool = False
    again: bool = False
    readers: list[str] | None = None


class NewItem(Struct):
    """A file on its way into the journal.

    Attributes:
        path: Below the folder of kept files; None: there is none (a link), or the file has ended.
        outcome: Of a file that has ended before it began.
    """

    name: str
    kind: Literal["file", "link"] = "file"
    content_type: str | None = None
    path: str | None = None
    size: int = 0
    outcome: FileOutcome | None = None


class Fact(Struct):
    """What is known of a document beside its passages."""

    digest: str
    title: str | None
    pages: int | None
    size: int
    outcome: str
    reason: str | None


class Ended(Struct):
    """What became of a file.

    Attributes:
        pages: How many it counts for.
        digest: Of its content, where it was read.
        fact: Of one that went in.
    """

    outcome: FileOutcome
    pages: int = 0
    digest: str | None = None
    fact: Fact | None = None


_decode_outcome = msgspec.json.Decoder(FileOutcome).decode
_decode_ended = msgspec.json.Decoder(Ended).decode


class Item(Struct):
    """A file that has not ended.

    Attributes:
        result: What will have become of it once the store has it, where it was being stored.
    """

    number: int
    job: str
    place: int
    name: str
    kind: str
    content_type: str | None
    path: str | None
    size: int
    result: Ended | None


class JobRow(Struct):
    """A job as it is kept."""

    id: str
    tenant: str
    caller: str
    readers: list[str] | None
    collection: str
    options: Options
    cancelled: bool
    busy_s: float
    created_at: float
    ended_at: float | None


class Tally(Struct):
    """Sums over the files of a job.

    Attributes:
        done_weight: Of those that were read, in bytes; what was left as it is tells nothing of how long the rest takes.
        left_weight: Of those that have not ended.
    """

    files: int
    ended: int
    pages: int
    counts: Counts
    done_weight: int
    left_weight: int


_JOB = "id, tenant, caller, readers, collection, options, cancelled, busy_s, created_at, ended_at"
_ITEM = "number, job, place, name, kind, content_type, path, size, result"


class Jobs:
    """One SQLite file of jobs.

    Args:
        path: The file; it is made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Make or migrate the file, and hold it for this process.

        Raises:
            StateError: Another process has it, a newer version wrote it, or it is damaged.
        """
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            # One process works on the jobs: two would do everything twice. The lock ends with the process.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            _check_version(self._path, version)
            for step in range(version, SCHEMA):
                connection.executescript(f"BEGIN; {_STEPS[step]} PRAGMA user_version = {step + 1}; COMMIT;")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            connection.close()
            if "locked" not in str(error):
                raise self._damaged(error) from error
            raise StateError(
                f"the documents' jobs in {self._path} are another process's",
                hint="stop that one: is Weft running twice on this data folder?",
            ) from error
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self._damaged(error) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _damaged(self, error: sqlite3.DatabaseError) -> StateError:
        return StateError(
            f"the documents' jobs in {self._path} cannot be read: {error}",
            hint="move the file away: documents that are in stay in, what had not ended has to be handed in again",
        )

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise UnavailableError("the documents' jobs are closed")
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which an exception undoes."""
        connection = self._db
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    # Jobs.

    def add(self, job: JobRow, items: Sequence[NewItem]) -> None:
        """Keep a job with its files: when this returns, it is on disk."""
        with self._writing() as db:
            readers = None if job.readers is None else _encode(job.readers).decode()
            db.execute(
                f"INSERT INTO jobs({_JOB}) VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?, NULL)",
                (
                    job.id,
                    job.tenant,
                    job.caller,
                    readers,
                    job.collection,
                    _encode(job.options).decode(),
                    job.created_at,
                ),
            )
            for place, item in enumerate(items):
                _insert(db, job.id, job.tenant, job.collection, place, item)

    def job(self, id: str, tenant: str) -> JobRow:
        """One job of a tenant.

        Raises:
            NotFoundError: It has none of that id.
        """
        row = self._db.execute(
            f"SELECT {_JOB} FROM jobs WHERE id = ? AND tenant = ?", (id, tenant)
        ).fetchone()
        if row is None:
            raise NotFoundError(
                f"there is no job '{id}'", param="id", hint=f"the last {KEPT} that have ended are remembered"
            )
        return _job(row)

    def jobs(self, tenant: str, *, active: bool, limit: int) -> list[JobRow]:
        """The newest jobs of a tenant."""
        rows = self._db.execute(
            f"SELECT {_JOB} FROM jobs WHERE tenant = ? AND (ended_at IS NULL OR NOT ?)"
            " ORDER BY created_at DESC, rowid DESC LIMIT ?",
            (tenant, active, limit),
        )
        return [_job(row) for row in rows]

    def unended(self) -> list[JobRow]:
        """Every tenant's jobs that have not ended, the oldest first."""
        rows = self._db.execute(f"SELECT {_JOB} FROM jobs WHERE ended_at IS NULL ORDER BY created_at, rowid")
        return [_job(row) for row in rows]

    def end_if_done(self, id: str, *, busy_s: float) -> bool:
        """Note how long a job has been worked on; end it if its files have all ended. Whether it has ended."""
        with self._writing() as db:
            db.execute("UPDATE jobs SET busy_s = ? WHERE id = ?", (busy_s, id))
            if db.execute("SELECT 1 FROM items WHERE job = ? AND ended IS NULL LIMIT 1", (id,)).fetchone():
                return False
            db.execute(
                "UPDATE jobs SET ended_at = ? WHERE id = ? AND ended_at IS NULL", (round(time.time(), 3), id)
            )
            db.execute(
                "DELETE FROM jobs WHERE ended_at IS NOT NULL AND tenant = (SELECT tenant FROM jobs WHERE id = ?1)"
                " AND id NOT IN (SELECT id FROM jobs WHERE ended_at IS NOT NULL"
                " AND tenant = (SELECT tenant FROM jobs WHERE id = ?1) ORDER BY ended_at DESC, rowid DESC LIMIT ?2)",
                (id, KEPT),
            )
        return True

    def note_cancelled(self, id: str) -> None:
        """Note that somebody wants a job ended."""
        with self._writing() as db:
            db.execute("UPDATE jobs SET cancelled = 1 WHERE id = ? AND ended_at IS NULL", (id,))

    def tally(self, id: str) -> Tally:
        """Sums over the files of a job."""
        files = ended = pages = done = left = 0
        counts = Counts()
        rows = self._db.execute(
            "SELECT became, count(*), sum(pages), sum(size + ?) FROM items WHERE job = ? GROUP BY became",
            (WEIGHT, id),
        )
        for kind, number, its_pages, weight in rows:
            files += number
            if kind is None:
                left += weight
                continue
            ended += number
            pages += its_pages
            setattr(counts, kind, number)
            if kind in ("ingested", "partly"):
                done += weight
        return Tally(files, ended, pages, counts, done, left)

    # Files of jobs.

    def waiting(self) -> tuple[int, int]:
        """How many files of all tenants have not ended, and their bytes."""
        files, size = self._db.execute(
            "SELECT count(*), total(size) FROM items WHERE ended IS NULL"
        ).fetchone()
        return int(files), int(size)

    def next(self, job: str, *, at_work: Collection[int]) -> Item | None:
        """The next file of a job; one of the same name that was handed in before must have ended."""
        row = self._db.execute(
            f"SELECT {_ITEM} FROM items i WHERE job = ? AND ended IS NULL"
            " AND number NOT IN (SELECT value FROM json_each(?)) AND NOT EXISTS (SELECT 1 FROM items o"
            " WHERE o.ended IS NULL AND o.tenant = i.tenant AND o.collection = i.collection AND o.name = i.name"
            " AND o.number < i.number) ORDER BY place, number LIMIT 1",
            (job, _encode(list(at_work)).decode()),
        ).fetchone()
        if row is None:
            return None
        number, job, place, name, kind, content_type, path, size, result = row
        known = None if result is None else _decode_ended(result)
        return Item(number, job, place, name, kind, content_type, path, size, known)

    def twin(self, item: Item) -> tuple[str | None, FileOutcome] | None:
        """Digest and outcome of the file of the same name that the same job had before this one."""
        row = self._db.execute(
            "SELECT digest, outcome FROM items WHERE job = ? AND name = ? AND number < ? AND ended IS NOT NULL"
            " AND became NOT IN ('cancelled', 'failed') ORDER BY number LIMIT 1",
            (item.job, item.name, item.number),
        ).fetchone()
        return None if row is None else (row[0], _decode_outcome(row[1]))

    def storing(self, number: int, result: Ended) -> None:
        """Note what will have become of a file once the store has it."""
        with self._writing() as db:
            db.execute("UPDATE items SET result = ? WHERE number = ?", (_encode(result).decode(), number))

    def end(self, number: int, ended: Ended) -> None:
        """Note what became of a file."""
        outcome, fact = ended.outcome, ended.fact
        with self._writing() as db:
            row = db.execute(
                "UPDATE items SET outcome = ?, became = ?, digest = ?, pages = ?, path = NULL, result = NULL,"
                " ended = (SELECT coalesce(max(ended), 0) + 1 FROM items o WHERE o.job = items.job)"
                " WHERE number = ? AND ended IS NULL RETURNING tenant, collection, name",
                (_encode(outcome).decode(), outcome.outcome, ended.digest, ended.pages, number),
            ).fetchone()
            if row is not None and fact is not None:
                db.execute(
                    "INSERT OR REPLACE INTO documents(tenant, collection, name, digest, title, pages, size, outcome,"
                    " reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, fact.digest, fact.title, fact.pages, fact.size, fact.outcome, fact.reason),
                )

    def expand(self, item: Item, members: Iterable[NewItem]) -> None:
        """Put the files of an archive in its place."""
        with self._writing() as db:
            tenant, collection = db.execute(
                "DELETE FROM items WHERE number = ? RETURNING tenant, collection", (item.number,)
            ).fetchone()
            for member in members:
                _insert(db, item.job, tenant, collection, item.place, member)

    def unended_items(
        self, tenant: str, *, job: str | None = None, collection: str | None = None, name: str | None = None
    ) -> list[int]:
        """The files that wait in a job, in a collection or under a name there: their numbers, oldest first."""
        rows = self._db.execute(
            "SELECT number FROM items WHERE ended IS NULL AND tenant = ?1 AND (?2 IS NULL OR job = ?2)"
            " AND (?3 IS NULL OR collection = ?3) AND (?4 IS NULL OR name = ?4) ORDER BY number",
            (tenant, job, collection, name),
        )
        return [number for (number,) in rows]

    def cancel(self, numbers: Sequence[int]) -> list[str]:
        """End files that have not begun; the paths that are not needed any more."""
        with self._writing() as db:
            rows = db.execute(
                "SELECT number, job, name, path FROM items WHERE ended IS NULL"
                " AND number IN (SELECT value FROM json_each(?)) ORDER BY number",
                (_encode(list(numbers)).decode(),),
            ).fetchall()
            last: dict[str, int] = {}
            for number, job, name, _ in rows:
                if job not in last:
                    last[job] = db.execute(
                        "SELECT coalesce(max(ended), 0) FROM items WHERE job = ?", (job,)
                    ).fetchone()[0]
                last[job] += 1
                db.execute(
                    "UPDATE items SET outcome = ?, became = 'cancelled', path = NULL, ended = ? WHERE number = ?",
                    (_encode(FileOutcome(name, "cancelled")).decode(), last[job], number),
                )
        return [path for *_, path in rows if path is not None]

    def outcomes(self, job: str) -> list[FileOutcome]:
        """What became of each file of a job that has ended, in the order in which they were handed in."""
        rows = self._db.execute(
            "SELECT outcome FROM items WHERE job = ? AND ended IS NOT NULL ORDER BY place, number", (job,)
        )
        return [_decode_outcome(outcome) for (outcome,) in rows]

    def ended(self, job: str, *, after: int, limit: int) -> list[FileOutcome]:
        """The same in the order in which they ended, a part of it."""
        rows = self._db.execute(
            "SELECT outcome FROM items WHERE job = ? AND ended > ? ORDER BY ended LIMIT ?",
            (job, after, limit),
        )
        return [_decode_outcome(outcome) for (outcome,) in rows]

    def paths(self) -> set[str]:
        """The kept files that are still needed."""
        rows = self._db.execute("SELECT path FROM items WHERE ended IS NULL AND path IS NOT NULL")
        return {path for (path,) in rows}

    # Documents.

    def facts(self, tenant: str, collection: str) -> dict[str, Fact]:
        """What is known of the documents of a collection, by name."""
        rows: list[Any] = self._db.execute(
            "SELECT name, digest, title, pages, size, outcome, reason FROM documents"
            " WHERE tenant = ? AND collection = ?",
            (tenant, collection),
        ).fetchall()
        return {name: Fact(*fields) for name, *fields in rows}

    def forget(self, tenant: str, collection: str, name: str | None = None) -> None:
        """Forget a document, or all of a collection."""
        with self._writing() as db:
            db.execute(
                "DELETE FROM documents WHERE tenant = ? AND collection = ? AND (? IS NULL OR name = ?)",
                (tenant, collection, name, name),
            )


def _check_version(path: Path, version: int) -> None:
    if version > SCHEMA:
        raise StateError(
            f"{path} was written by a newer version of Weft (schema {version}; this version knows up to {SCHEMA})",
            hint="update Weft",
        )


def _insert(
    db: sqlite3.Connection, job: str, tenant: str, collection: str, place: int, item: NewItem
) -> None:
    cursor = db.execute(
        "INSERT INTO items(job, tenant, collection, place, name, kind, content_type, path, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (job, tenant, collection, place, item.name, item.kind, item.content_type, item.path, item.size),
    )
    if item.outcome is not None:
        db.execute(
            "UPDATE items SET outcome = ?, became = ?, path = NULL,"
            " ended = (SELECT coalesce(max(ended), 0) + 1 FROM items WHERE job = ?) WHERE number = ?",
            (_encode(item.outcome).decode(), item.outcome.outcome, job, cursor.lastrowid),
        )


def _job(row: Sequence[Any]) -> JobRow:
    id_, tenant, caller, readers, collection, options, cancelled, busy_s, created_at, ended_at = row
    return JobRow(
        id_, tenant, caller, None if readers is None else msgspec.json.decode(readers, type=list[str]), collection,
        msgspec.json.decode(options, type=Options), bool(cancelled), busy_s, created_at, ended_at,
    )  # fmt: skip
