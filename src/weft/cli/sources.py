"""What ``weft ingest`` hands in: files, what is in folders, and links; each with the name that it gets as a document."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weft.errors import UsageError

BATCH_FILES = 100
BATCH_BYTES = 32 * 1024 * 1024
"""Of one request: it is in memory here, and must fit what servers take at once (100 MiB)."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file or link.

    Attributes:
        name: The document's.
        path: None: it is a link.
        size: In bytes; 0 for a link.
    """

    name: str
    path: Path | None = None
    size: int = 0


@dataclass(slots=True)
class Found:
    """What the arguments of the command stand for.

    Attributes:
        skipped: Files of folders that are of no kind that is read, by their suffix.
    """

    sources: list[Source] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def find(arguments: Iterable[str]) -> Found:
    """Files as they are named; of folders what is not hidden and of a kind that is read; links.

    A file of a folder is called by its path from there, the folder's own name first: ``handbook/pay/index.html``.

    Raises:
        UsageError: There is no such file or folder, or two files would have the same name.
    """
    from weft.components.dataprep.kinds import is_read

    found = Found()
    for argument in arguments:
        if argument.startswith(("http://", "https://")):
            found.sources.append(Source(argument))
            continue
        path = Path(argument)
        if path.is_dir():
            top = path.resolve()
            for file in _visible(top):
                if is_read(file.name):
                    name = (Path(top.name) / file.relative_to(top)).as_posix()
                    found.sources.append(Source(name, file, file.stat().st_size))
                else:
                    found.skipped[file.suffix.lower() or "(no suffix)"] += 1
        elif path.is_file():
            found.sources.append(Source(path.name, path, path.stat().st_size))
        else:
            raise UsageError(f"there is no file or folder '{argument}'")
    _check_names(found.sources)
    return found


def _visible(folder: Path) -> Iterator[Path]:
    """The files below a folder, in order, without hidden ones; links to folders are not followed."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root) / name
            if not name.startswith(".") and path.is_file():
                yield path


def _check_names(sources: Iterable[Source]) -> None:
    by_name: dict[str, Source] = {}
    for source in sources:
        other = by_name.setdefault(source.name, source)
        if other is not source and other.path is not None and source.path is not None:
            if other.path.resolve() == source.path.resolve():
                continue
            raise UsageError(
                f"two files are called '{source.name}': {other.path} and {source.path}",
                hint="name a folder that both are in, or hand one of them in by itself into another --collection",
            )


def unchanged(source: Source, digests: Mapping[str, str]) -> bool:
    """Whether a file is in already with the same content, by what the server says is in."""
    if source.path is None or source.name not in digests:
        return False
    with source.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digests[source.name]


def batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Sources in requests of a bounded size."""
    batch: list[Source] = []
    size = 0
    for source in sources:
        if batch and (len(batch) >= BATCH_FILES or size + source.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += source.size
    if batch:
        yield batch
