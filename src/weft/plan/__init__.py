"""Spec + registry -> Plan: the checked graph as pure data, ready to run.

Here belongs: what references mean, which types fit, what streams, where services run, and every fault that needs the
registry to be seen. Here does not belong: anything that reads a file, opens a connection or makes an instance.
"""

from weft.plan.compile import Plans, check, compile_plan
from weft.plan.model import (
    PENDING,
    SKIPPED,
    Absent,
    Each,
    Getter,
    Plan,
    PlanNode,
    Repeat,
    Values,
    Variant,
)

__all__ = [
    "PENDING",
    "SKIPPED",
    "Absent",
    "Each",
    "Getter",
    "Plan",
    "PlanNode",
    "Plans",
    "Repeat",
    "Values",
    "Variant",
    "check",
    "compile_plan",
]
