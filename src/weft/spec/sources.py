"""Files -> one spec, with the files that a Gateway's routes name by ``from:``."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Final

from weft.errors import did_you_mean, nearest
from weft.spec.load import read, texts
from weft.spec.merge import Origin, merge, origins
from weft.spec.model import Spec
from weft.spec.problems import Problems

MAX_LISTED: Final = 8
"""A folder with more specs is not listed when one is not found."""


def load_whole(
    *paths: str | PathLike[str],
    examples: Mapping[str, Path] | None = None,
    kept: Mapping[str, str] | None = None,
) -> Spec:
    """Read a spec from files, and what its Gateway names by ``from:``; where it names nothing, it is :func:`load`.

    Args:
        paths: Spec, Gateway and placement files.
        examples: Packaged specs by name, which ``from:`` may say instead of a file.
        kept: File name to text, as ``sources`` of an earlier result: these are read, and not what the files say now.

    Raises:
        SpecError: Something is wrong; it carries every problem that can be seen without the registry, of all files.
    """
    problems = Problems()
    spec = read_whole(paths, problems, examples=examples, kept=kept)
    problems.raise_if_any()
    return spec


def read_whole(
    paths: tuple[str | PathLike[str], ...],
    problems: Problems,
    *,
    examples: Mapping[str, Path] | None = None,
    kept: Mapping[str, str] | None = None,
) -> Spec:
    """Read as much as there is, for checks that go on although something is wrong; see :func:`load_whole`."""
    files = _Files(examples or {}, kept, problems)
    spec = read(files.texts(*(fspath(path) for path in paths)), problems)
    sources: dict[str, Spec] = {}
    read_already: dict[str, Spec] = {}
    for origin in origins(spec.gateway):
        if origin.text in sources or (file := files.find(origin)) is None:
            continue
        if file not in read_already:
            read_already[file] = read(files.texts(file), problems)
        sources[origin.text] = read_already[file]
    return merge(spec, sources, problems)


class _Files:
    """Where texts come from: the disk, or what was read before."""

    def __init__(
        self, examples: Mapping[str, Path], kept: Mapping[str, str] | None, problems: Problems
    ) -> None:
        self._examples, self._kept, self._problems = examples, kept, problems

    def texts(self, *files: str) -> dict[str, str]:
        """The texts of files; what cannot be read is a problem."""
        if self._kept is None:
            return texts(files, self._problems)
        return {file: self._kept[file] for file in files}

    def find(self, origin: Origin) -> str | None:
        """The file that a ``from:`` means; None where there is none, which is a problem."""
        beside = Path(origin.mark.file).parent / origin.text
        if self._is_there(str(beside)):
            return str(beside)
        if origin.text in self._examples:
            return str(self._examples[origin.text])
        folder = beside.parent
        names = sorted(path.name for path in folder.glob("*.y*ml")) if folder.is_dir() else []
        own = Path(origin.mark.file).name
        names = [name for name in names if name != own]
        if folder != Path(origin.mark.file).parent:
            names = [str(Path(origin.text).parent / name) for name in names]
        if len(names) > MAX_LISTED:
            close = nearest(origin.text, names)
            names = [close] if close is not None else []
        hint = did_you_mean(origin.text, [*names, *self._examples], what="files and examples")
        self._problems.add(
            "unreadable-file",
            f"there is no file '{origin.text}' beside this one, and no example of that name",
            origin.mark,
            help=hint if names or self._examples else None,
        )
        return None

    def _is_there(self, file: str) -> bool:
        return file in self._kept if self._kept is not None else Path(file).is_file()
