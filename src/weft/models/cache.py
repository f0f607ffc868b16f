"""Models on disk: where they are, what is recorded of them, who may change them.

::

    <cache>/models/<name>/manifest.json            what is there: digests, sizes, licence, source
    <cache>/models/<name>/<digest, 16 digits>/...  the files
    <cache>/models/<name>/incoming/...             a download that can go on, or files that a person put there
    <cache>/models/<name>/lock                     held by the process that fetches or removes

A model is there when its manifest says so and its files have the recorded sizes: the folder is renamed into place
whole, then the manifest. Readers take no lock. A manifest of a newer schema is never touched.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Final

import msgspec

from weft.errors import StateError

SCHEMA: Final = 1
"""Version of :class:`Manifest`. A reader refuses a higher one."""

DIGEST_DIGITS: Final = 16
"""Of a digest, in a folder's name: 64 bits tell any two builds of a model apart and keep paths short."""

LOCK_POLL_S: Final = 0.1
"""Between looks at a lock that another process holds; file locks cannot be awaited portably."""

READ_BYTES: Final = 1 << 20
"""Read at once when hashing or copying."""


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a model as it was when it was put there; ``name`` is relative to the model's folder."""

    role: str
    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded of a model in the cache."""

    schema: int = SCHEMA
    reference: str
    kind: str
    source: str
    digest: str
    folder: str
    files: tuple[StoredFile, ...]
    licence: str | None = None
    licence_url: str | None = None
    prepare: str | None = None

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)


class _Schema(msgspec.Struct):
    schema: int = 0


class Cache:
    """The models folder of one cache directory."""

    def __init__(self, cache_dir: Path) -> None:
        self.root = cache_dir / "models"

    def folder(self, reference: str) -> Path:
        """Where a model's files, manifest and lock are; the name tells any two references apart."""
        if re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", reference):
            return self.root / reference
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", reference.partition("#")[0])[-60:].strip("-.")
        return self.root / f"{readable}_{hashlib.sha256(reference.encode()).hexdigest()[:8]}"

    def incoming(self, reference: str) -> Path:
        """Where a model's files are gathered; whole files that a person puts there are taken instead of fetched."""
        return self.folder(reference) / "incoming"

    def manifest(self, reference: str) -> Manifest | None:
        """What is recorded of a model; None if nothing readable is.

        Raises:
            StateError: It was written by a newer version.
        """
        return self.read(self.folder(reference))

    def read(self, folder: Path) -> Manifest | None:
        """Likewise, by folder."""
        path = folder / "manifest.json"
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        with suppress(msgspec.DecodeError):
            schema = msgspec.json.decode(text, type=_Schema).schema
            if schema > SCHEMA:
                raise StateError(
                    f"{path} has schema {schema}, and this version of Weft knows up to {SCHEMA}; it was left as it is",
                    hint="update Weft, or set another cache folder with WEFT_CACHE_DIR",
                )
            return msgspec.json.decode(text, type=Manifest)
        return None

    def manifests(self) -> list[Manifest]:
        """What is recorded of every model here that this version can read, by name."""
        found = []
        for folder in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            with suppress(StateError):
                if manifest := self.read(folder):
                    found.append(manifest)
        return found

    def is_whole(self, manifest: Manifest) -> bool:
        """Whether every file is there in its recorded size."""
        folder = self.folder(manifest.reference) / manifest.folder
        return all(_size(folder / file.name) == file.size for file in manifest.files)

    def damage(self, manifest: Manifest, report: Callable[[int], None]) -> str | None:
        """The first file that does not have its recorded bytes; None: all do. Reads all of them."""
        folder = self.folder(manifest.reference) / manifest.folder
        for file in manifest.files:
            if _size(folder / file.name) != file.size or sha256_of(folder / file.name, report) != file.sha256:
                return file.name
        return None

    def paths(self, manifest: Manifest) -> dict[str, Path]:
        """Each file's path by its role."""
        folder = self.folder(manifest.reference) / manifest.folder
        return {file.role: folder / file.name for file in manifest.files}

    def commit(self, staged: Path, manifest: Manifest) -> None:
        """Move a folder with all of a model's files into place, and record it."""
        home = self.folder(manifest.reference)
        target = home / manifest.folder
        if target.exists():
            shutil.rmtree(target)
        staged.replace(target)
        temporary = home / "manifest.json.new"
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(home / "manifest.json")
        for stale in home.iterdir():  # what an earlier version of this model left
            if stale.is_dir() and stale.name != manifest.folder:
                shutil.rmtree(stale, ignore_errors=True)

    def remove(self, reference: str) -> int:
        """Delete a model; returns how many bytes were freed. The caller holds its lock."""
        self.manifest(reference)  # refuses what a newer version wrote
        home = self.folder(reference)
        files = [path for path in home.rglob("*") if path.is_file()]
        freed = sum(path.stat().st_size for path in files)
        for path in home.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()
        return freed

    @asynccontextmanager
    async def locked(self, reference: str) -> AsyncIterator[None]:
        """Hold a model's lock, waiting for it; it ends with the process, however that ends."""
        home = self.folder(reference)
        home.mkdir(parents=True, exist_ok=True)
        with (home / "lock").open("a+b") as file:
            while not _try_lock(file):  # noqa: ASYNC110 - the other holder is another process
                await asyncio.sleep(LOCK_POLL_S)
            try:
                yield
            finally:
                _unlock(file)


def sha256_of(path: Path, report: Callable[[int], None]) -> str:
    """A file's SHA-256; ``report`` gets the bytes of each step and may stop it by raising."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            total.update(chunk)
            report(len(chunk))
    return total.hexdigest()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
