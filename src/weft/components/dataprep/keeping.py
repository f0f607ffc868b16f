"""The files that were handed in and have not ended: kept in a folder of this service, gone when they have.

Everything blocks; it is called from threads.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from weft.components.dataprep.blocks import RefusedError
from weft.components.dataprep.jobs import NewItem
from weft.components.dataprep.names import ALL, safe_name
from weft.errors import UnavailableError
from weft.types import FileOutcome, Upload

STALE_S: Final = 3_600.0
"""An upload that nobody has taken over an hour after it arrived is one whose server ended in between."""


class Kept:
    """A folder of files, by job.

    Args:
        folder: It is made when it is not there.
        spool: Where the server puts uploads as they arrive; on the same disk, so that they are moved and not copied.
        max_file_bytes: Larger files are refused.
    """

    def __init__(self, folder: Path, spool: Path, *, max_file_bytes: int) -> None:
        self._folder, self._spool, self._max_file_bytes = folder, spool, max_file_bytes

    def path(self, name: str) -> Path:
        """Where a kept file is."""
        return self._folder / name

    def take(self, job: str, uploads: Sequence[Upload]) -> list[NewItem]:
        """Take uploads over: each is a file of the job, or has ended as refused.

        Raises:
            UnavailableError: They cannot be written; nothing of them is left.
        """
        try:
            (self._folder / job).mkdir(parents=True)
            return [self._take(f"{job}/{number}", upload) for number, upload in enumerate(uploads)]
        except OSError as error:
            self.drop(job)
            raise UnavailableError(f"the upload cannot be kept: {error.strerror}") from error

    def _take(self, path: str, upload: Upload) -> NewItem:
        name = safe_name(upload.name)
        if not name or name == ALL:
            reason = f"{upload.name!r} cannot be a document's name"
            return NewItem(name or "?", outcome=FileOutcome(name or "?", "refused", reason))
        target = self._folder / path
        try:
            if upload.path is None:
                size = self._check(len(upload.content))
                target.write_bytes(upload.content)
            else:
                source = self._spooled(upload.path)
                size = self._check(source.stat().st_size)
                source.replace(target)
        except RefusedError as reason:
            return NewItem(name, outcome=FileOutcome(name, "refused", str(reason)))
        return NewItem(name, "file", upload.content_type, path, size)

    def _check(self, size: int) -> int:
        if size > self._max_file_bytes:
            raise RefusedError(f"it has {size:,} bytes; at most {self._max_file_bytes:,} are taken")
        return size

    def _spooled(self, name: str) -> Path:
        # A path may come from anyone who can post JSON: only what the server itself has spooled is opened.
        try:
            path = Path(name).resolve()
            if path.is_relative_to(self._spool.resolve()) and path.is_file():
                return path
        except (OSError, ValueError):  # a name that no file can have
            pass
        raise RefusedError("its upload is not there any more")

    def folder(self, name: str) -> Path:
        """An empty folder for what is in an archive."""
        path = self._folder / f"{name}.files"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def relative(self, path: str) -> str:
        """A path below the folder, as it is kept in the journal."""
        return Path(path).relative_to(self._folder).as_posix()

    def drop(self, name: str) -> None:
        """Delete a kept file, or all of a job's."""
        path = self._folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            return
        with suppress(OSError):  # one that is left is swept away at the next start
            path.unlink(missing_ok=True)

    def sweep(self, needed: Collection[str], *, now: float) -> None:
        """Delete what no job needs: a process that was killed leaves such things behind."""
        wanted = {self._folder / name for name in needed}
        for root, _, files in os.walk(self._folder, topdown=False):
            for file in files:
                if (path := Path(root) / file) not in wanted:
                    path.unlink(missing_ok=True)
            if Path(root) != self._folder:
                with suppress(OSError):  # it is not empty
                    Path(root).rmdir()
        if self._spool.is_dir():
            for path in self._spool.iterdir():
                if now - path.stat().st_mtime > STALE_S:
                    shutil.rmtree(path, ignore_errors=True)


def digest_of(upload: Upload) -> str:
    """SHA-256 of a file's content, in hex."""
    if upload.path is None:
        return hashlib.sha256(upload.content).hexdigest()
    with Path(upload.path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
