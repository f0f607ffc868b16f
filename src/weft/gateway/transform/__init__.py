"""How a route changes requests and replies: its ``request:`` and ``response:``, compiled once.

Here belongs what becomes of bodies, events and headers. Here does not belong: which routes there are, who may call
them, and what an expression means (:mod:`weft.expressions`); what can be wrong with a transformation is found when the
file is loaded (:mod:`weft.plan.rules`).
"""

from weft.gateway.transform.program import Step, Transform
from weft.gateway.transform.schema import SchemaStage
from weft.gateway.transform.stage import TransformStage

__all__ = ["SchemaStage", "Step", "Transform", "TransformStage"]
