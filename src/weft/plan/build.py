"""The id of a build: what an answer was made by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

from weft.plan.model import Plan
from weft.spec.model import Spec


def build_id(spec: Spec, plan: Plan, versions: Mapping[str, str], models: Mapping[str, str]) -> str:
    """A digest of all that an answer depends on; the same on every machine.

    Args:
        spec: What the files say, the effective placement in it; marks and comments do not count.
        plan: The megaservice; its contract and those of its nodes count.
        versions: Component to version.
        models: Model to the digest of its files.

    Returns:
        16 hexadecimal digits.
    """
    contracts = {plan.contract.name: plan.contract.digest()}
    for node in plan.whole.nodes:
        contracts[node.service] = f"{node.operation.request.__name__} {node.operation.response.__name__}"
    parts = [plan.name, plan.version, _data(spec), contracts, dict(versions), dict(models)]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:16]


def _data(value: Any) -> Any:
    """Frozen data as JSON can hold it, without what does not count when two specs are compared."""
    if is_dataclass(value) and not isinstance(value, type):
        data = {f.name: _data(getattr(value, f.name)) for f in fields(value) if f.compare}
        return {"": type(value).__name__, **data}
    if isinstance(value, Mapping):
        return {key: _data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_data(item) for item in value]
    return value
