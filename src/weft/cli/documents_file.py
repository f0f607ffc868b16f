"""Documents in a file: one JSON object a line, each passage with its vector, so that nothing needs to be made again.

The first line says what the file is. Then, collection by collection, what it was made with; file by file, its passages and,
when they are all there, the file. A file that was cut off in the middle is noticed: its last line is missing.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from msgspec import Struct

from weft.contracts.archive import KeptCollection, KeptFile, Snapshot
from weft.contracts.manifest import Manifest
from weft.errors import StateError, UsageError
from weft.types import Document

SCHEMA: Final = 1
"""Version of the lines; a newer one is refused."""

MAX_LINE: Final = 64 * 1024 * 1024
"""Bytes of one line: a passage of a long text with a long vector has a hundredth of it."""


class Header(Struct, tag="weft-documents", tag_field="kind"):
    """The first line."""

    schema: int


class CollectionLine(Struct, tag="collection", tag_field="kind", omit_defaults=True):
    """A collection, before its files."""

    tenant: str
    name: str
    manifest: Manifest | None = None


class PassageLine(Struct, tag="passage", tag_field="kind", omit_defaults=True):
    """A passage, before its file."""

    tenant: str
    collection: str
    file: str
    document: Document


class FileLine(Struct, tag="file", tag_field="kind", omit_defaults=True):
    """A file, after all of its passages."""

    tenant: str
    collection: str
    name: str
    digest: str = ""
    stored_at: float = 0.0
    chunks: int = 0

    def kept(self) -> KeptFile:
        """As a store knows it."""
        return KeptFile(self.tenant, self.collection, self.name, self.digest, self.stored_at, self.chunks)


class EndLine(Struct, tag="end", tag_field="kind"):
    """The last line."""

    files: int
    passages: int


Line = Header | CollectionLine | PassageLine | FileLine | EndLine

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


async def lines(
    snapshot: Snapshot, *, tenant: str | None = None, collection: str | None = None
) -> AsyncIterator[Line]:
    """A store's content, a bounded part of it in memory at a time."""
    yield Header(SCHEMA)
    files = passages = 0

    def is_wanted(of_tenant: str, name: str) -> bool:
        return (tenant is None or of_tenant == tenant) and (collection is None or name == collection)

    for one in await snapshot.collections():
        if is_wanted(one.tenant, one.name):
            yield CollectionLine(one.tenant, one.name, one.manifest)
    for file in await snapshot.files():
        if not is_wanted(file.tenant, file.collection):
            continue
        count = 0
        async for batch in snapshot.passages(file):
            for document in batch:
                count += 1
                yield PassageLine(file.tenant, file.collection, file.name, document)
        files, passages = files + 1, passages + count
        yield FileLine(file.tenant, file.collection, file.name, file.digest, file.stored_at, count)
    yield EndLine(files, passages)


def written(line: Line) -> bytes:
    """A line as it stands in the file."""
    return _encode(line) + b"\n"


def read(file: IO[bytes], name: str) -> Iterator[Line]:
    """The lines of a file, after the first; the last is the end.

    Raises:
        StateError: It is no such file, a newer version wrote it, or it was cut off.
    """
    number = 0
    last: Line | None = None
    while data := file.readline(MAX_LINE + 1):
        number += 1
        if len(data) > MAX_LINE:
            raise StateError(f"{name}:{number}: the line is too long to be one of ours")
        try:
            line: Any = _decode(data)
        except msgspec.DecodeError as error:
            raise StateError(f"{name}:{number}: this is no line of documents: {error}") from error
        if number == 1:
            if not isinstance(line, Header):
                raise StateError(f"{name} is no file of documents: its first line does not say so")
            if line.schema > SCHEMA:
                raise StateError(
                    f"{name} was written by a newer version of Weft (schema {line.schema}; this version knows up to "
                    f"{SCHEMA})",
                    hint="update Weft",
                )
            continue
        last = line
        yield line
    if not isinstance(last, EndLine):
        raise StateError(f"{name} ends in the middle, after line {number}", hint="take another copy of it")


@contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """A file to read, packed or not; ``-`` is the standard input."""
    if path == "-":
        yield sys.stdin.buffer
        return
    if not Path(path).is_file():
        raise UsageError(f"there is no file '{path}'")
    with Path(path).open("rb") as plain:
        is_packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if not is_packed:
            yield plain
            return
        with gzip.open(plain, "rb") as unpacked:
            yield unpacked  # type: ignore[misc]  # it reads bytes


@contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """A file to write, packed where its name ends in ``.gz``; ``-`` is the standard output. It is there when it is whole."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder '{target.parent}'")
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as plain:
            if path.endswith(".gz"):
                with gzip.open(plain, "wb", compresslevel=3) as packed:
                    yield packed  # type: ignore[misc]  # it takes bytes
            else:
                yield plain
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def kept_collection(line: CollectionLine) -> KeptCollection:
    """As a store knows it."""
    return KeptCollection(line.tenant, line.name, line.manifest)
