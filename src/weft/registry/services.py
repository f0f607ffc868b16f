"""Live services by name: registered at run time, kept in a file, probed by whoever serves the registry.

The file is the truth, for several gateway processes share it: it is read again when it has changed, and written under
a lock, whole, and renamed into place, so that a reader sees the old list or the new one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from weft.contracts import Contract
from weft.errors import ConflictError, InvalidRequestError, NotFoundError, StateError, did_you_mean

SCHEMA_VERSION: Final = 2
"""Of the file. A file of a higher version is refused and left alone; one of a lower version is migrated when it is
written next."""

MAX_SERVICES: Final = 10_000
"""More registrations than any installation has; it bounds the file and the probes."""

State = Literal["unknown", "ready", "unready"]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


class Registration(Struct, omit_defaults=True):
    """One live service.

    Attributes:
        name: How placements name it: ``at: registry:NAME``.
        contract: Which contract it fulfils.
        url: Its base address.
        digest: Of the contract as the service itself states it; empty when it states none.
        required: The required fields of its contract's requests and replies, as it states them; empty likewise.
        state: As the last probe found it.
        reason: Why it is not ready.
    """

    name: str
    contract: str
    url: str
    digest: str = ""
    required: dict[str, list[str]] = {}
    state: State = "unknown"
    reason: str = ""


class _File(Struct):
    schema_version: int
    services: list[Registration]


def _from_1(content: dict[str, Any]) -> None:
    """Version 1 kept the digest of a service's contract only: what its fields were is not known, and not checked."""
    for service in content["services"]:
        service["required"] = {}


MIGRATIONS: Final[dict[int, Callable[[dict[str, Any]], None]]] = {1: _from_1}
"""What leads from each version of the file to the next."""


class ServiceRegistry:
    """The registrations of one installation.

    Args:
        path: The file; it is made when the first service registers. None keeps them in memory only.

    Raises:
        StateError: The file is damaged or of a newer schema.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._services: dict[str, Registration] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._refresh()

    def _refresh(self) -> None:
        """Take in what another process has written."""
        if self._path is None:
            return
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        except FileNotFoundError:
            stamp = None
        if stamp == self._stamp:
            return
        before = self._services
        self._services = _read(self._path) if stamp is not None else {}
        self._stamp = stamp
        for name, service in self._services.items():
            known = before.get(name)
            if known is not None and known.url == service.url:
                service.state, service.reason = known.state, known.reason

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Change the registrations as the only process that does, and write them down."""
        if self._path is None:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a+b") as file:
            _lock(file)
            try:
                self._refresh()
                yield
                self._write(self._path)
            except OSError:
                self._stamp = (0, 0, 0)  # what is in memory was not written: the file is read again
                raise
            finally:
                _unlock(file)

    def list(self) -> list[Registration]:
        """All registrations, by name."""
        self._refresh()
        return [self._services[name] for name in sorted(self._services)]

    def get(self, name: str) -> Registration:
        """One registration.

        Raises:
            NotFoundError: Nothing has that name.
        """
        self._refresh()
        return self._known(name)

    def find(self, name: str) -> Registration | None:
        """One registration; None: nothing has that name."""
        self._refresh()
        return self._services.get(name)

    def _known(self, name: str) -> Registration:
        try:
            return self._services[name]
        except KeyError:
            names = sorted(self._services)
            raise NotFoundError(
                f"no service is registered as '{name}'",
                hint=did_you_mean(name, names, what="registered services"),
            ) from None

    def add(self, service: Registration) -> Registration:
        """Register ``service``; registering the same again changes nothing.

        Raises:
            ConflictError: The name belongs to a service at another address or of another contract.
            InvalidRequestError: The name or the address is malformed.
        """
        check_name(service.name)
        check_address(service.url)
        with self._writing():
            known = self._services.get(service.name)
            if known is not None and (known.url, known.contract) != (service.url, service.contract):
                raise ConflictError(
                    f"'{service.name}' is taken: it is a {known.contract} at {known.url}",
                    param="name",
                    hint=f"choose another name, or remove it first: weft registry rm {service.name}",
                )
            if known is None and len(self._services) >= MAX_SERVICES:
                raise ConflictError(
                    f"there are {MAX_SERVICES} services registered already, which is the limit"
                )
            self._services[service.name] = service
        return service

    def remove(self, name: str) -> None:
        """Forget a registration.

        Raises:
            NotFoundError: Nothing has that name.
        """
        with self._writing():
            self._known(name)
            del self._services[name]

    def mark(self, name: str, state: State, reason: str = "") -> None:
        """Note what a probe found; kept in memory only, for it is stale when it is read from a file."""
        if (service := self._services.get(name)) is not None:
            service.state, service.reason = state, reason

    def _write(self, path: Path) -> None:
        kept = [
            msgspec.structs.replace(self._services[name], state="unknown", reason="")
            for name in sorted(self._services)
        ]
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode(_File(SCHEMA_VERSION, kept)), indent=2))
        part.replace(path)
        status = path.stat()
        self._stamp = (status.st_mtime_ns, status.st_ino, status.st_size)


def _read(path: Path) -> dict[str, Registration]:
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        version = content.get("schema_version")
        if not isinstance(version, int) or version < 1:
            raise msgspec.ValidationError("it has no schema_version")
        if version > SCHEMA_VERSION:
            raise StateError(
                f"{path} was written by a newer Weft (schema {version}; this one knows {SCHEMA_VERSION})",
                hint="upgrade Weft, or point it at another data folder; the file was not touched",
            )
        for step in range(version, SCHEMA_VERSION):
            MIGRATIONS[step](content)
        file = msgspec.convert(content | {"schema_version": SCHEMA_VERSION}, _File)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise StateError(
            f"{path} is damaged: {error}", hint="restore it, or move it away to start empty"
        ) from error
    return {service.name: service for service in file.services}


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        """Wait for the other process, which holds it for some milliseconds."""
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


def check_name(name: str) -> None:
    """Whether a service may be called that.

    Raises:
        InvalidRequestError: It may not.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            "a service's name is lower-case letters, digits and hyphens, at most 63, and begins with a letter",
            param="name",
        )


def check_address(url: str) -> None:
    """Whether a service may be called so.

    Raises:
        InvalidRequestError: It may not.
    """
    try:
        parts = urlsplit(url)
        is_whole = parts.port is None or parts.port > 0
    except ValueError:  # a port beyond 65,535, a bracket that is not closed
        is_whole = False
    if (
        not is_whole
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.username
        or parts.query
        or parts.fragment
    ):
        raise InvalidRequestError(
            "a service's address is http:// or https://, a host, and perhaps a port and a path",
            param="url",
        )


def differing_field(ours: Contract, theirs: dict[str, list[str]]) -> str | None:
    """The first required field on which a service's own statement differs from ours; None when it fits.

    Args:
        ours: The contract that is expected.
        theirs: :meth:`weft.contracts.Contract.required` as the service states it.

    Returns:
        A phrase such as ``invoke.request needs 'lang: str', which this Weft does not send``.
    """
    for place, fields in ours.required().items():
        stated = theirs.get(place)
        if stated is None:
            return f"it has no {place.partition('.')[0]}"
        # A request field that they require and we do not send; a reply field that we require and they do not send.
        if place.endswith(".request"):
            if extra := sorted(set(stated) - set(fields)):
                return f"{place} needs '{extra[0]}', which this Weft does not require"
        elif missing := sorted(set(fields) - set(stated)):
            return f"{place} lacks '{missing[0]}'"
    return None
