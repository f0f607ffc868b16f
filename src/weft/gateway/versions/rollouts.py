"""The weights that routes had before, so that a promotion can be taken back: one file in the data folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.errors import ConflictError, StateError
from weft.gateway.versions.weights import Weights

FILE: Final = "rollouts.json"
"""In the data folder."""

SCHEMA_VERSION: Final = 1

MIGRATIONS: Final[dict[int, Callable[[dict[str, Any]], None]]] = {}
"""What leads from each version of the file to the next."""

MAX_STATES: Final = 20
"""Of each route: further back is what version control is for."""


class State(Struct):
    """The weights of a route before they were changed.

    Attributes:
        weights: Version to weight.
        until: When they were changed, in seconds since 1970.
        by: Who changed them; empty: whoever has the file.
        to: What was promoted.
    """

    weights: Weights
    until: int
    by: str = ""
    to: str = ""


class _File(Struct):
    schema_version: int
    routes: dict[str, list[State]] = {}


class Rollouts:
    """The former weights of each route.

    Args:
        folder: The data folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def states(self, route: str) -> list[State]:
        """Of one route, by its target's name, the latest last.

        Raises:
            StateError: The file is damaged or was written by a newer version.
        """
        return self._read().routes.get(route, [])

    def push(self, route: str, weights: Weights, *, by: str = "", to: str = "") -> None:
        """Keep the weights that a route has until now."""
        with self._locked():
            file = self._read()
            states = file.routes.setdefault(route, [])
            states.append(State(dict(weights), int(time.time()), by, to))
            del states[:-MAX_STATES]
            self._write(file)

    def latest(self, route: str) -> State:
        """The weights that a route had before those that it has.

        Raises:
            ConflictError: It had none.
        """
        states = self.states(route)
        if not states:
            raise ConflictError(
                f"'{route}' had no other weights that are known here",
                hint="weft gateway promote says which version gets how much",
            )
        return states[-1]

    def drop(self, route: str, state: State) -> None:
        """Forget weights that a route has gone back to."""
        with self._locked():
            file = self._read()
            states = file.routes.get(route, [])
            if state in states:
                states.remove(state)
                self._write(file)

    def _read(self) -> _File:
        try:
            content = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Any])
            version = content.get("schema_version")
            if not isinstance(version, int) or version < 1:
                raise msgspec.ValidationError("it has no schema_version")
            if version > SCHEMA_VERSION:
                raise StateError(
                    f"{self._path} was written by a newer Weft (schema {version}; this one knows {SCHEMA_VERSION})",
                    hint="upgrade Weft, or point it at another data folder; the file was not touched",
                )
            for step in range(version, SCHEMA_VERSION):
                MIGRATIONS[step](content)
            return msgspec.convert(content | {"schema_version": SCHEMA_VERSION}, _File)
        except FileNotFoundError:
            return _File(SCHEMA_VERSION)
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise StateError(
                f"{self._path} is damaged: {error}",
                hint="restore it, or move it away: nothing but the way back of promotions is in it",
            ) from error

    def _write(self, file: _File) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f"{FILE}.{os.getpid()}.part")
        with part.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        part.replace(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time, of those that have this data folder."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as lock:
            if sys.platform != "win32":
                import fcntl  # noqa: PLC0415 - not on Windows

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
