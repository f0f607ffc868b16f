"""From a Gateway file to the limits of its routes."""

from __future__ import annotations

from weft.gateway.limits.memory import MemoryStore
from weft.gateway.limits.meters import compiled
from weft.gateway.limits.stage import LimitStage
from weft.gateway.limits.terms import Store
from weft.spec.gateway import GatewaySpec, RouteSpec


class Limits:
    """The limits of one gateway process.

    Args:
        spec: The file.

    Attributes:
        store: Where what was used is kept.
    """

    def __init__(self, spec: GatewaySpec) -> None:
        self._spec = spec
        self.store: Store = MemoryStore()

    def stage(self, rule: RouteSpec) -> LimitStage | None:
        """The stage of a route; None: it has no limits."""
        meters = compiled(rule.limits, rule.path)
        return LimitStage(meters, self.store) if meters else None
