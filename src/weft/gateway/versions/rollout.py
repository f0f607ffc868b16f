"""Promotion and rollback: the weights in the Gateway file are changed, and what they were is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from weft.errors import ConflictError
from weft.gateway.versions.rollouts import Rollouts
from weft.gateway.versions.weights import ALL, GatewayFile, Weights, promoted, route_of, weights_of


class Change(Struct):
    """What became of a route's weights.

    Attributes:
        route: Its target's name.
        before, after: Version to weight.
    """

    route: str
    before: Weights
    after: Weights


@dataclass(frozen=True, slots=True)
class Step:
    """A change that is written into the file, and what is to be kept of it once it is served.

    Attributes:
        change: What became of the weights.
        keep: Notes in the history that it was made.
    """

    change: Change
    keep: Callable[[], None]


class Rollout:
    """Changes the weights of one Gateway file.

    Args:
        path: The file.
        folder: The data folder, where former weights are kept.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.file, self.rollouts = GatewayFile(path), Rollouts(folder)

    def promote(self, name: str, version: str, share: int = ALL, *, by: str = "") -> Step:
        """Have a version get ``share`` of a hundred requests.

        Raises: as :func:`promoted` and :class:`GatewayFile`.
        """
        route = route_of(self.file.gateway(), name)
        after = promoted(route, version, share)
        change = Change(route.target, weights_of(route), after)
        if change.before == after:
            return Step(change, _nothing)
        self.file.set_weights(name, after)
        return Step(change, lambda: self.rollouts.push(route.target, change.before, by=by, to=version))

    def rollback(self, name: str) -> Step:
        """Go back to the weights before the last promotion.

        Raises:
            ConflictError: There is no way back, or it leads to versions that the file no longer has.
        """
        route = route_of(self.file.gateway(), name)
        now, state = weights_of(route), self.rollouts.latest(route.target)
        if missing := state.weights.keys() - now.keys():
            raise ConflictError(
                f"'{route.target}' no longer has the version {', '.join(sorted(missing))} that it had then",
                hint=f"put it back into the Gateway file, or promote one that is there: {', '.join(now)}",
            )
        after = {version: state.weights.get(version, 0) for version in now}
        self.file.set_weights(name, after)
        return Step(Change(route.target, now, after), lambda: self.rollouts.drop(route.target, state))


def _nothing() -> None:
    """Nothing was changed."""
