"""Zip files that strangers made: what is in them is known and bounded before anything of it is expanded.

Office files and EPUB books are such files too.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from weft.components.dataprep.blocks import RefusedError

MAX_RATIO: Final = 200
"""Expanded to packed size. Text and spreadsheets come to 5 to 50; a file that is made to be a bomb, to 1,000."""

ALWAYS_FINE: Final = 20_000_000
"""Expanded bytes up to which the ratio is nobody's business: a small file of zeros harms no one."""

_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED: Final = 0x1
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError)


class Package:
    """A zip file within limits.

    Args:
        source: Its path, or the open file.
        max_files: More entries are refused.
        max_bytes: More expanded bytes, of all entries together, are refused.

    Raises:
        RefusedError: It is none, or beyond a limit; nothing has been expanded.
    """

    def __init__(self, source: Path | IO[bytes], *, max_files: int, max_bytes: int) -> None:
        try:
            self._zip = zipfile.ZipFile(source)
        except _BROKEN as error:
            raise RefusedError(f"it is not a zip file that can be read: {error}") from error
        entries = self._zip.infolist()
        if len(entries) > max_files:
            raise RefusedError(f"it packs {len(entries):,} files; at most {max_files:,} are taken")
        expanded = sum(entry.file_size for entry in entries)
        if expanded > max_bytes:
            raise RefusedError(
                f"it expands to {expanded:,} bytes; at most {max_bytes:,} are taken (a zip bomb is refused unopened)"
            )
        packed = sum(entry.compress_size for entry in entries)
        if expanded > ALWAYS_FINE and expanded > packed * MAX_RATIO:
            raise RefusedError(
                f"it expands {expanded // max(packed, 1):,}-fold, to {expanded:,} bytes; more than {MAX_RATIO}-fold is taken"
                " for a zip bomb and refused unopened"
            )
        self._check_overlap(entries)
        self.entries = entries

    def _check_overlap(self, entries: list[zipfile.ZipInfo]) -> None:
        """Entries that share bytes are how a small file holds petabytes; no program packs so."""
        end = 0
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            if entry.header_offset < end:
                raise RefusedError("its entries overlap, as those of a zip bomb do; it is refused unopened")
            end = entry.header_offset + entry.compress_size

    def __contains__(self, name: str) -> bool:
        return name in self._zip.NameToInfo

    def check(self, entry: zipfile.ZipInfo) -> None:
        """Refuse an entry that cannot be expanded.

        Raises:
            RefusedError: It is encrypted, or packed in a way that is not read.
        """
        if entry.flag_bits & _ENCRYPTED:
            raise RefusedError("it is protected with a password; remove the protection and upload it again")
        if entry.compress_type not in _METHODS:
            raise RefusedError(
                "it is packed with a method that is not read; pack it with the usual one (deflate)"
            )

    def read(self, name: str) -> bytes:
        """The bytes of an entry.

        Raises:
            RefusedError: There is no such entry, or it cannot be expanded.
        """
        try:
            entry = self._zip.getinfo(name)
        except KeyError as error:
            raise RefusedError(f"it is broken: there is no '{name[:200]}' in it") from error
        self.check(entry)
        try:
            return self._zip.read(entry)
        except _BROKEN as error:
            raise RefusedError(f"it is broken: {error}") from error

    def extract(self, entry: zipfile.ZipInfo, target: Path) -> None:
        """Write an entry to a file whose name is ours.

        Raises:
            RefusedError: It cannot be expanded.
        """
        self.check(entry)
        try:
            with self._zip.open(entry) as source, target.open("xb") as out:
                left = entry.file_size  # what the limits were checked against; never more
                while left > 0 and (piece := source.read(min(left, 1 << 20))):
                    out.write(piece)
                    left -= len(piece)
        except _BROKEN as error:
            target.unlink(missing_ok=True)
            raise RefusedError(f"it is broken: {error}") from error

    def pieces(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        """The bytes of an entry, bit by bit.

        Raises:
            RefusedError: It cannot be expanded.
        """
        self.check(entry)
        try:
            with self._zip.open(entry) as source:
                while piece := source.read(1 << 16):
                    yield piece
        except _BROKEN as error:
            raise RefusedError(f"it is broken: {error}") from error
