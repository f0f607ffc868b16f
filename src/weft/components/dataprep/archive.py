"""Zip archives: each file in one becomes a document of its own, with its own outcome."""

from __future__ import annotations

import io
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from zipfile import ZipInfo

from weft.components.dataprep.blocks import RefusedError
from weft.components.dataprep.package import Package
from weft.types import Upload

SUFFIXES: Final = frozenset({".zip"})
TYPES: Final = frozenset({"application/zip", "application/x-zip-compressed"})

MAX_FILES: Final = 1_000
MAX_BYTES: Final = 1_000_000_000
"""Expanded, all files together: that much disk one upload may take for a while."""

_LITTER: Final = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})
"""What systems put into archives unasked; nobody misses them."""

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One file of an archive.

    Attributes:
        name: ``archive.zip/folder/file.pdf``.
        path: Where it was written; its name on disk has nothing of the archive's.
        refused: Why it was not, in words for its owner; then there is no path.
    """

    name: str
    path: str | None = None
    refused: str | None = None


def is_archive(name: str, content_type: str | None) -> bool:
    """Whether a file is an archive of files, by its suffix, else by its content type."""
    suffix = PurePosixPath(name.lower()).suffix
    kind = (content_type or "").partition(";")[0].strip().lower()
    return suffix in SUFFIXES or (not suffix and kind in TYPES)


def unpack(upload: Upload, folder: str, max_file_bytes: int) -> list[Unpacked]:
    """Write the files of an archive into a folder, in their order. Runs in a process that can be killed.

    Args:
        upload: The archive; ``path`` is read when it is given.
        folder: Exists and is empty.
        max_file_bytes: Larger files are refused, each for itself.

    Raises:
        RefusedError: It is none, is beyond a limit, or has no file.
    """
    if upload.path is not None:
        package = Package(Path(upload.path), max_files=MAX_FILES, max_bytes=MAX_BYTES)
    else:
        package = Package(io.BytesIO(upload.content), max_files=MAX_FILES, max_bytes=MAX_BYTES)
    found: list[Unpacked] = []
    for number, entry in enumerate(package.entries):
        parts = [part for part in entry.filename.replace("\\", "/").split("/") if part not in ("", ".")]
        if entry.is_dir() or not parts or _LITTER.intersection(parts):
            continue
        target = Path(folder) / str(number)
        try:
            _check(entry, parts, max_file_bytes)
            package.extract(entry, target)
        except RefusedError as reason:
            shown = "/".join(part for part in parts if part != ".." and not _DRIVE.match(part))
            found.append(Unpacked(f"{upload.name}/{shown}", refused=str(reason)))
        else:
            found.append(Unpacked(f"{upload.name}/{'/'.join(parts)}", path=str(target)))
    if not found:
        raise RefusedError("there is no file in it")
    return found


def _check(entry: ZipInfo, parts: list[str], max_file_bytes: int) -> None:
    name = entry.filename
    if ".." in parts or name.startswith(("/", "\\")) or any(map(_DRIVE.match, parts)):
        raise RefusedError("its name leads out of the archive")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise RefusedError("it is a link, not a file")
    if is_archive(name, None):
        raise RefusedError("it is an archive inside an archive; upload it by itself")
    if entry.file_size > max_file_bytes:
        raise RefusedError(f"it has {entry.file_size:,} bytes; at most {max_file_bytes:,} are taken")
