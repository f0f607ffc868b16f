"""Finding the spec that a person means: a file of theirs, or a packaged example by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from weft.errors import UsageError, did_you_mean


def examples() -> dict[str, Path]:
    """The packaged examples, by name."""
    folder = Path(str(files("weft") / "examples"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file for ``name``.

    Raises:
        UsageError: It is neither a file nor an example; the nearest name is suggested.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = examples()
    if name in known:
        return known[name]
    if path.suffix or "/" in name:
        raise UsageError(f"there is no file '{name}'")
    raise UsageError(
        f"'{name}' is neither a file nor an example", hint=did_you_mean(name, list(known), what="examples")
    )
