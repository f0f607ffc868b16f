"""Weights: what a promotion makes of them, and the Gateway file in which they stand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from weft.errors import ConflictError, InvalidRequestError, NotFoundError, SpecError, did_you_mean
from weft.gateway.versions.numbers import newest
from weft.spec.gateway import GatewaySpec, RouteSpec, VersionSpec
from weft.spec.load import loads
from weft.spec.model import Spec
from weft.spec.update import update_yaml

Weights: TypeAlias = dict[str, int]
"""Version to weight, in the order of the file."""

ALL: Final = 100
"""What the weights of a route add up to after a promotion: then they are percentages."""


def route_of(spec: GatewaySpec, name: str) -> RouteSpec:
    """The route of this target or path.

    Raises:
        NotFoundError: There is none; the choices are listed.
        ConflictError: It has no versions.
    """
    for route in spec.routes:
        if name in (route.target, route.path):
            if not route.versions:
                raise ConflictError(
                    f"the route '{route.target}' has no versions",
                    hint="give it versions: in the Gateway file",
                )
            return route
    names = [route.target for route in spec.routes if route.versions]
    raise NotFoundError(
        f"there is no route '{name}'", hint=did_you_mean(name, names, what="routes with versions")
    )


def weights_of(route: RouteSpec) -> Weights:
    """The weights of a route's versions."""
    return {version.version: version.weight for version in route.versions}


def promoted(route: RouteSpec, wanted: str, share: int = ALL) -> Weights:
    """The weights with which ``share`` of a hundred requests get one version; the others share out the rest as before.

    Args:
        route: With versions.
        wanted: The version, or a leading part of it.
        share: 0 to 100.

    Raises:
        NotFoundError: There is no such version.
        InvalidRequestError: The share is none, or nobody would get the rest.
    """
    before = weights_of(route)
    version = newest(before, wanted)
    if version is None:
        raise NotFoundError(
            f"there is no version '{wanted}' of '{route.target}'",
            hint=did_you_mean(wanted, list(before), what="versions"),
        )
    if not 0 <= share <= ALL:
        raise InvalidRequestError(f"the weight is a percentage, 0 to {ALL}, and not {share}", param="weight")
    others = {name: weight for name, weight in before.items() if name != version}
    rest, total = ALL - share, sum(others.values())
    if rest and not total:
        raise InvalidRequestError(
            f"nobody would get the other {rest} %: no other version of '{route.target}' has a weight",
            param="weight",
            hint=f"promote one of them first: {', '.join(others) or 'there is none'}",
        )
    after = {name: rest * weight // total if total else 0 for name, weight in others.items()}
    # What rounding down leaves goes to those that lost most by it.
    left = rest - sum(after.values())
    for name in sorted(others, key=lambda name: -(rest * others[name] % total) if total else 0)[:left]:
        after[name] += 1
    return {name: share if name == version else after[name] for name in before}


def weighted(spec: GatewaySpec, route: RouteSpec, weights: Mapping[str, int]) -> GatewaySpec:
    """The Gateway with other weights in one route."""
    versions = tuple(
        replace(version, weight=weights.get(version.version, version.weight)) for version in route.versions
    )
    changed = replace(route, versions=versions)
    return replace(spec, routes=tuple(changed if one is route else one for one in spec.routes))


class GatewayFile:
    """The file in which a Gateway stands.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def gateway(self) -> GatewaySpec:
        """What it says now.

        Raises:
            SpecError: It does not load.
            ConflictError: It declares no gateway.
        """
        found = loads(self.text(), file=str(self.path)).gateway
        if found is None:
            raise ConflictError(f"{self.path} declares no gateway")
        return found

    def text(self) -> str:
        """Its text.

        Raises:
            ConflictError: It cannot be read.
        """
        try:
            return self.path.read_bytes().decode()
        except OSError as error:
            raise ConflictError(f"{self.path} cannot be read: {error.strerror}") from error

    def set_weights(self, name: str, weights: Mapping[str, int]) -> None:
        """Write other weights of one route; everything else stays as it is, comments included.

        Raises:
            SpecError: The file does not load.
            ConflictError: It cannot be written.
        """
        text = self.text()
        spec = loads(text, file=str(self.path))
        assert spec.gateway is not None  # whoever has weights has looked
        route = route_of(spec.gateway, name)
        wanted = replace(spec, gateway=weighted(spec.gateway, route, weights))
        self.write(_rewritten(text, route, weights, wanted) or update_yaml(text, wanted))

    def write(self, text: str) -> None:
        """Replace its text: whole or not at all, with the rights that it has.

        Raises:
            ConflictError: It cannot be written.
        """
        real = self.path.resolve()  # a link stays one
        part = real.with_name(f".{real.name}.{os.getpid()}.part")
        try:
            part.write_bytes(text.encode())
            part.chmod(real.stat().st_mode & 0o777)
            part.replace(real)
        except OSError as error:
            raise ConflictError(
                f"{self.path} cannot be written: {error.strerror}",
                hint="change the weights where the file comes from, and let it be taken in",
            ) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _rewritten(text: str, route: RouteSpec, weights: Mapping[str, int], wanted: Spec) -> str | None:
    """The text with other numbers and nothing else changed; None where that cannot be done."""
    # From the end, so that what is ahead stays where it is.
    for version in reversed(route.versions):
        weight = weights.get(version.version, version.weight)
        if weight != version.weight:
            text = _with_weight(text, version, weight)
    try:
        return text if loads(text) == wanted else None
    except SpecError:
        return None


def _with_weight(text: str, version: VersionSpec, weight: int) -> str:
    if "\r" in text:
        return text  # other ends of lines: written as a whole
    lines = text.split("\n")
    number, mark = version.marks.value("version"), version.marks.value("weight")
    is_written = mark.line and mark not in (version.marks.here, number)
    if is_written:
        line = lines[mark.line - 1]
        lines[mark.line - 1] = line[: mark.column - 1] + str(weight) + line[mark.end_column - 1 :]
    else:
        line = lines[number.line - 1]
        is_flow = line[number.end_column - 1 :].lstrip()[:1] in (",", "}")
        if is_flow:
            lines[number.line - 1] = (
                f"{line[: number.end_column - 1]}, weight: {weight}{line[number.end_column - 1 :]}"
            )
        else:
            key = version.marks.key("version")
            lines.insert(number.line, f"{' ' * (key.column - 1)}weight: {weight}")
    return "\n".join(lines)
