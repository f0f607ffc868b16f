"""From a Gateway file to the limits of its routes."""

from __future__ import annotations

from collections.abc import Callable

from weft.gateway.limits.expected import Expecting
from weft.gateway.limits.memory import MemoryStore
from weft.gateway.limits.meters import EVERYTHING, compiled
from weft.gateway.limits.stage import LimitStage
from weft.gateway.limits.terms import Store
from weft.plan import Plans
from weft.spec.gateway import GatewaySpec, RouteSpec


class Limits:
    """The limits of one gateway process.

    Args:
        plans: What runs now.

    Attributes:
        store: Where what was used is kept.
    """

    def __init__(self, plans: Callable[[], Plans]) -> None:
        self._plans = plans
        self.store: Store = MemoryStore()

    def stage(self, gateway: GatewaySpec, rule: RouteSpec) -> LimitStage | None:
        """The stage of a route; None: nothing limits it."""
        meters = [*compiled(rule.limits, rule.path), *compiled(gateway.limits, EVERYTHING)]
        if not meters:
            return None
        expecting = None
        if any(meter.kind in ("tokens", "cost") for meter in meters):
            expecting = Expecting(gateway, rule, self._plans)
        return LimitStage(meters, self.store, expecting=expecting)
