"""The state of an embedded store on disk: its schema, step by step, and the lock on its folder."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from weft.errors import StateError

SCHEMA_STEPS: Final = (
    """
    CREATE TABLE files(
        tenant TEXT NOT NULL, collection TEXT NOT NULL, name TEXT NOT NULL,
        digest TEXT NOT NULL, stored_at REAL NOT NULL,
        PRIMARY KEY (tenant, collection, name)
    ) WITHOUT ROWID;
    CREATE TABLE passages(
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant TEXT NOT NULL, collection TEXT NOT NULL, file TEXT NOT NULL, id TEXT NOT NULL,
        text TEXT NOT NULL, heading TEXT NOT NULL,
        document BLOB NOT NULL, readers TEXT, fields TEXT NOT NULL, embedding BLOB NOT NULL,
        UNIQUE (tenant, collection, id)
    );
    CREATE INDEX passages_of_file ON passages(tenant, collection, file);
    CREATE VIRTUAL TABLE words USING fts5(
        text, heading, content = 'passages', content_rowid = 'number',
        tokenize = 'porter unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER words_in AFTER INSERT ON passages BEGIN
        INSERT INTO words(rowid, text, heading) VALUES (new.number, new.text, new.heading);
    END;
    CREATE TRIGGER words_out AFTER DELETE ON passages BEGIN
        INSERT INTO words(words, rowid, text, heading)
        VALUES ('delete', old.number, old.text, old.heading);
    END;
    """,
    """
    ALTER TABLE passages ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
    UPDATE passages SET position = coalesce(json_extract(CAST(document AS TEXT), '$.start'), 0);
    DROP INDEX passages_of_file;
    CREATE INDEX passages_of_file ON passages(tenant, collection, file, position, number);
    """,
    """
    CREATE TABLE manifests(
        tenant TEXT NOT NULL, collection TEXT NOT NULL, manifest TEXT NOT NULL,
        PRIMARY KEY (tenant, collection)
    ) WITHOUT ROWID;
    CREATE TABLE notes(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
)
"""What leads from each schema version to the next; the version of a file is the number of steps it has had."""

SCHEMA: Final = len(SCHEMA_STEPS)


def newer_schema(path: Path, version: int) -> StateError:
    """The error for state that a newer version wrote."""
    return StateError(
        f"{path} was written by a newer version of Weft (schema {version}; this version knows up to {SCHEMA})",
        hint="update Weft, or name another folder in the store's config: path",
    )


def lock(path: Path) -> closing[sqlite3.Connection]:
    """Hold ``path`` for this process until the result is closed or the process ends, however it ends.

    A transaction on an SQLite file of its own: it works on every system, and a lock cannot be left behind.

    Raises:
        StateError: Another process holds it.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        raise StateError(
            f"the document store {path.parent} is in use by another process",
            hint="stop that one (is Weft running twice?), or name another folder in the store's config: path",
        ) from error
    return closing(connection)
