"""Whether a service of one compiled spec is the same as one of another, so that what runs can go on running."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from weft.plan.services import Placed, plain
from weft.spec.model import SecretRef


def identities(
    placed: Mapping[str, Placed],
    *,
    secret: Callable[[str], str | None],
    endpoints: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str | None]:
    """What each service is, by key: the same text for what can stand for each other, None for what never can.

    Component and its version (of a component in a file, its content), config with its secrets, where it runs, and the
    same of everything that it uses. A megaservice belongs to one compilation, and so does what uses one.

    Args:
        placed: All services; what a service uses is among them.
        secret: Gives a secret by name.
        endpoints: Where the supervisor runs those that have a process of their own.
    """
    found: dict[str, str | None] = {}

    def identity(key: str) -> str | None:
        if key not in found:
            found[key] = _identity(placed[key], identity, secret, (endpoints or {}).get(key, ()))
        return found[key]

    for key in placed:
        identity(key)
    return found


def _identity(
    placed: Placed,
    identity: Callable[[str], str | None],
    secret: Callable[[str], str | None],
    endpoints: Sequence[str],
) -> str | None:
    uses = {slot: identity(used) for slot, used in placed.uses.items()}
    if placed.megaservice is not None or None in uses.values():
        return None
    resources = placed.resources
    parts = [
        placed.component,
        placed.version,
        str(placed.folder) if ".py:" in placed.component else "",
        plain(placed.config),
        [secret(name) for name in _secrets(placed.config)],
        uses,
        str(placed.at),
        placed.replicas,
        [resources.cpu, resources.memory, resources.gpu] if resources is not None else None,
        list(endpoints),
    ]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _secrets(value: object) -> list[str]:
    if isinstance(value, SecretRef):
        return [value.name]
    if isinstance(value, Mapping):
        return [name for item in value.values() for name in _secrets(item)]
    if isinstance(value, list | tuple):
        return [name for item in value for name in _secrets(item)]
    return []
