"""Several databases of one file in one process: what one does leaves the locks of the others alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weft.store.sqlite import SqliteDatabase

PROBE = """\
import fcntl, sys
with open(sys.argv[1], "rb+") as file:
    try:
        # The bytes on which SQLite's readers have their shared lock (os_unix.c: SHARED_FIRST, SHARED_SIZE).
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000000 + 2)
    except OSError:
        print("locked")
    else:
        print("free")
"""


def seen_by_others(path: Path) -> str:
    """Whether another process finds the file in use."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's locks are what is lost")
async def test_a_second_database_of_a_file_leaves_the_first_ones_lock(tmp_path: Path) -> None:
    """Else another process that closes the file last takes away the log that this one writes to, and damages it."""
    path = tmp_path / "gateway.sqlite"
    first, second = SqliteDatabase(path), SqliteDatabase(path)
    await first.fetch("SELECT 1")
    assert seen_by_others(path) == "locked"
    await second.fetch("SELECT 1")
    assert seen_by_others(path) == "locked"
    await second.aclose()
    assert seen_by_others(path) == "locked"
    await first.aclose()
