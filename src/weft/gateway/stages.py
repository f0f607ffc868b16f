"""Which stages each route of a Gateway file has, and in which order."""

from __future__ import annotations

from weft.gateway.assembly import Assembly
from weft.gateway.bounds import BodyStage
from weft.gateway.cache.build import cache_of
from weft.gateway.front import StagesOf
from weft.gateway.load.stage import TimeStage
from weft.gateway.passage import Stage
from weft.gateway.protocols.build import idempotency_of, shelves_of
from weft.gateway.transform import SchemaStage, TransformStage
from weft.gateway.upstream.fallback import FallbackStage
from weft.gateway.versions.mirror import MirrorStage
from weft.gateway.versions.stage import VersionStage, versions_of
from weft.plan.front import whole_fields
from weft.plan.schemas import RequestSchema
from weft.spec.gateway import RouteSpec


def stages_of(assembly: Assembly) -> StagesOf:
    """What a route of the Gateway file does with its requests, the outermost first."""
    limits, gateway, shelves = assembly.limits, assembly.spec.gateway, shelves_of(assembly)

    def stages(rule: RouteSpec) -> list[Stage]:
        found: list[Stage] = [TimeStage(rule)] if rule.timeout_s is not None else []
        if rule.max_body_bytes is not None:
            found.append(BodyStage(rule.max_body_bytes))
        if assembly.desk is not None and (access := assembly.desk.stage(rule)) is not None:
            found.append(access)
        found.append(idempotency_of(assembly, rule, shelves))
        versions = versions_of(rule, assembly.targets.get(rule.target, ()))
        if versions:
            found.append(VersionStage(rule, versions))
        if rule.schema:
            found.append(SchemaStage(RequestSchema(rule.schema)))
        if rule.request is not None or rule.response is not None:
            keys = assembly.spec.served.get(rule.target, (rule.target,))
            plans = assembly.plans
            whole = whole_fields(rule, keys, plans, plans.placed, assembly.components)
            found.append(TransformStage(rule, whole=whole))
        if limits is not None and gateway is not None and (limit := limits.stage(gateway, rule)) is not None:
            found.append(limit)
        if (cache := cache_of(assembly, rule)) is not None:
            found.append(cache)
        if rule.backends is not None and rule.backends.fallback:
            found.append(FallbackStage(rule, assembly.ways, assembly.metrics))
        if rule.load is not None:
            found.append(assembly.load_stage(rule))
        if any(version.spec.mirror for version in versions):
            # Innermost: what is refused, or answered by a cache, is not copied, and a copy takes nobody's place.
            mirror = MirrorStage(rule, versions, assembly.metrics, log=assembly.log)
            assembly.on_stop.append(mirror.stop)
            found.append(mirror)
        return found

    return stages
