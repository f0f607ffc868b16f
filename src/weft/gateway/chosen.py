"""What was chosen while the application ran, kept for the next start: one file in the data folder.

It may hold keys, so only its owner may read it. What it says is a placement: it replaces a service's component and
config by another of the same contract, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.errors import StateError
from weft.spec.model import At, Place, SecretRef, Spec

FILE: Final = "models.json"
"""In the data folder."""

SCHEMA_VERSION: Final = 1

MIGRATIONS: Final[dict[int, Callable[[dict[str, Any]], None]]] = {}
"""What leads from each version of the file to the next."""


class Choice(Struct):
    """What takes a service's place.

    Attributes:
        model: As it was asked for: a URL, a path, a name.
        component, config: What that stands for; keys are named in the config as ``{"secret": NAME}``.
    """

    model: str
    component: str
    config: dict[str, Any]


class Chosen(Struct):
    """All of them.

    Attributes:
        services: By the service's name.
        secrets: Keys by name.
    """

    services: dict[str, Choice] = {}
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Chosen({self.services!r}, secrets of {sorted(self.secrets)})"


class _File(Struct):
    schema_version: int
    services: dict[str, Choice]
    secrets: dict[str, str]


def secret_name(service: str) -> str:
    """The name under which a service's key is kept."""
    return f"chosen-{service}"


def with_choice(chosen: Chosen, service: str, choice: Choice | None, key: str | None) -> Chosen:
    """Another value with one service's choice changed, or, with None, forgotten."""
    services = {name: known for name, known in chosen.services.items() if name != service}
    secrets = {name: value for name, value in chosen.secrets.items() if name != secret_name(service)}
    if choice is not None:
        services[service] = choice
        if key:
            secrets[secret_name(service)] = key
    return Chosen(services, secrets)


def read(folder: Path) -> Chosen:
    """What was chosen in this data folder; nothing, where there is no file.

    Raises:
        StateError: The file is damaged or was written by a newer version; it is left as it is.
    """
    path = folder / FILE
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
    except FileNotFoundError:
        return Chosen()
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise StateError(
            f"{path} is damaged: {_without_values(error)}",
            hint="restore it, or move it away: the models of the spec are used then",
        ) from None  # the error of the decoder may quote what is in the file
    return Chosen(file.services, file.secrets)


def write(folder: Path, chosen: Chosen) -> None:
    """Keep what was chosen; whole or not at all, and readable by its owner only."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with suppress(FileNotFoundError):
        part.unlink()
    content = _File(SCHEMA_VERSION, chosen.services, chosen.secrets)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def applied(spec: Spec, choices: Mapping[str, Choice]) -> Spec:
    """The spec with each choice in its placement; services that it does not have are left out."""
    places = dict(spec.placement.services)
    for service, choice in choices.items():
        if service not in spec.services:
            continue
        before = places.get(service) or Place(service)
        places[service] = replace(
            before,
            at=before.at if before.at is not None and before.at.kind in ("local", "process") else None,
            component=choice.component,
            config=_with_secrets(choice.config),
            uses=None,
            contract=None,
        )
    return replace(spec, placement=replace(spec.placement, services=places))


def pinned(spec: Spec, where: Mapping[str, At]) -> Spec:
    """The spec with these services placed where they are, whatever would move them."""
    places = dict(spec.placement.services)
    for service, at in where.items():
        places[service] = replace(places.get(service) or Place(service), at=at)
    return replace(spec, placement=replace(spec.placement, services=places))


def _with_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"secret"}:
            return SecretRef(str(value["secret"]))
        return {name: _with_secrets(item) for name, item in value.items()}
    return [_with_secrets(item) for item in value] if isinstance(value, list) else value


def _without_values(error: Exception) -> str:
    """What msgspec says is wrong; it quotes no values, but for a key's name."""
    return str(error) if isinstance(error, msgspec.MsgspecError) else type(error).__name__
