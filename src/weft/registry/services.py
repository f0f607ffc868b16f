"""Live services by name: registered at run time, kept in a file, probed by whoever serves the registry.

The file is written whole and renamed into place, so that a reader sees the old list or the new one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from weft.contracts import Contract
from weft.errors import ConflictError, InvalidRequestError, NotFoundError, StateError, did_you_mean

SCHEMA_VERSION = 1
"""Of the file. A file of a higher version is refused and left alone."""

MAX_SERVICES = 10_000
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
        state: As the last probe found it.
        reason: Why it is not ready.
    """

    name: str
    contract: str
    url: str
    digest: str = ""
    state: State = "unknown"
    reason: str = ""


class _File(Struct):
    schema_version: int
    services: list[Registration]


class ServiceRegistry:
    """The registrations of one installation. Not for several processes at once: the gateway owns it.

    Args:
        path: The file; it is made when the first service registers. None keeps them in memory only.

    Raises:
        StateError: The file is damaged or of a newer schema.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._services: dict[str, Registration] = {}
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            version = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw]).get(
                "schema_version"
            )
            number = msgspec.json.decode(version, type=int) if version is not None else 0
            if number > SCHEMA_VERSION:
                raise StateError(
                    f"{path} was written by a newer Weft (schema {number}; this one knows {SCHEMA_VERSION})",
                    hint="upgrade Weft, or point it at another data folder; the file was not touched",
                )
            content = msgspec.json.decode(path.read_bytes(), type=_File)
        except msgspec.DecodeError as error:
            raise StateError(
                f"{path} is damaged: {error}", hint="restore it, or move it away to start empty"
            ) from error
        self._services = {service.name: service for service in content.services}

    def list(self) -> list[Registration]:
        """All registrations, by name."""
        return [self._services[name] for name in sorted(self._services)]

    def get(self, name: str) -> Registration:
        """One registration.

        Raises:
            NotFoundError: Nothing has that name.
        """
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
        if not _NAME.fullmatch(service.name):
            raise InvalidRequestError(
                "a service's name is lower-case letters, digits and hyphens, at most 63, and begins with a letter",
                param="name",
            )
        parts = urlsplit(service.url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise InvalidRequestError(
                "a service's address is http:// or https://, a host, and perhaps a port and a path",
                param="url",
            )
        known = self._services.get(service.name)
        if known is not None and (known.url, known.contract) != (service.url, service.contract):
            raise ConflictError(
                f"'{service.name}' is taken: it is a {known.contract} at {known.url}",
                param="name",
                hint=f"choose another name, or remove it first: weft registry remove {service.name}",
            )
        if known is None and len(self._services) >= MAX_SERVICES:
            raise ConflictError(f"there are {MAX_SERVICES} services registered already, which is the limit")
        self._services[service.name] = service
        self._write()
        return service

    def remove(self, name: str) -> None:
        """Forget a registration.

        Raises:
            NotFoundError: Nothing has that name.
        """
        self.get(name)
        del self._services[name]
        self._write()

    def mark(self, name: str, state: State, reason: str = "") -> None:
        """Note what a probe found; kept in memory only, for it is stale when it is read from a file."""
        if (service := self._services.get(name)) is not None:
            service.state, service.reason = state, reason

    def _write(self) -> None:
        if self._path is None:
            return
        kept = [msgspec.structs.replace(service, state="unknown", reason="") for service in self.list()]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode(_File(SCHEMA_VERSION, kept)), indent=2))
        part.replace(self._path)


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
