"""Spec + registry -> Plan: the checked graph as pure data, ready to run.

Here belongs: what references mean, which types fit, what streams, where services run, and every fault that needs the
registry to be seen. Here does not belong: anything that reads a file, opens a connection or makes an instance.
"""

from weft.plan.build import build_id
from weft.plan.compile import Plans, check, compile_plan, resolve_placement
from weft.plan.contract import widen
from weft.plan.explain import explain
from weft.plan.limits import price_name
from weft.plan.model import (
    PENDING,
    SKIPPED,
    Absent,
    Each,
    Getter,
    ModelCall,
    Plan,
    PlanNode,
    Repeat,
    Spending,
    Values,
    Variant,
)
from weft.plan.services import Placed

__all__ = [
    "PENDING",
    "SKIPPED",
    "Absent",
    "Each",
    "Getter",
    "ModelCall",
    "Placed",
    "Plan",
    "PlanNode",
    "Plans",
    "Repeat",
    "Spending",
    "Values",
    "Variant",
    "build_id",
    "check",
    "compile_plan",
    "explain",
    "price_name",
    "resolve_placement",
    "widen",
]
