"""Sugar into references: ``flow`` and ``fill_from``.

``flow: a >> b >> c`` binds each input that is still open to the nearest upstream node that has a field of the same
name and type, else to the request. Where that node may be skipped, the next nearest follows it in a ``first:``. Two
nodes equally near are a fault. ``fill_from: REF`` binds what is then still open from one value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import FieldInfo

from weft.plan.scope import REQUEST, Bound, Scope, Step
from weft.plan.types import UNKNOWN, assignable, fields_of, is_struct, members
from weft.spec.model import First, Input, Ref
from weft.spec.problems import NOWHERE, Mark

ADDRESSING: Final = frozenset({"model", "stream", "stream_options"})
"""Fields that config and the plan's variant set: sugar never binds them."""


def open_fields(step: Step) -> Iterator[FieldInfo]:
    """Fields of a node's request that nothing binds yet and that sugar may bind."""
    if step.operation is None:
        return
    bound = ADDRESSING | {*step.inputs, *step.spec.inputs}
    if step.spec.each is not None:
        bound |= {step.spec.each.field}
    unsupported = step.unsupported()
    for field in fields_of(step.operation.request).values():
        # A required field is bound although the component does nothing with it: the request needs it.
        if field.name not in bound and (field.required or field.name not in unsupported):
            yield field


def expand_fill_from(scope: Scope, step: Step) -> None:
    """Bind what is open from the fields of one value."""
    ref = step.spec.fill_from
    if ref is None:
        return
    source = scope.type_of(ref)
    if source is UNKNOWN:
        return
    if not is_struct(source):
        message = f"'{ref}' has no fields to fill inputs from"
        scope.problems.add(
            "type-mismatch", message, ref.mark, help="fill_from takes the request, or a node's response"
        )
        return
    available = fields_of(source)
    for field in list(open_fields(step)):
        if field.name in available and same_type(available[field.name].type, field.type):
            step.inputs[field.name] = Bound(Ref(ref.head, (*ref.path, field.name), ref.mark), "fill_from")


def same_type(source: Any, target: Any) -> bool:
    """Whether a field may be bound without being asked: its type is known and fits."""
    if source is UNKNOWN or target is UNKNOWN:
        return False
    if any(member is Any for member in members(source)):
        return bool(source == target)
    return assignable(source, target)


def expand_flow(scope: Scope, step: Step, *, from_request: bool) -> None:
    """Bind what is open from upstream.

    Args:
        scope: The megaservice.
        step: The node.
        from_request: Whether what no node has is bound from the request.
    """
    flow = scope.spec.flow
    if flow is None or all(step.name != s.name for chain in flow.chains for s in chain):
        return
    rings = list(_rings(scope, step.name))
    mark = next((s.mark for chain in flow.chains for s in chain if s.name == step.name), NOWHERE)
    for field in list(open_fields(step)):
        found = _nearest(scope, step, field, rings, mark, from_request=from_request)
        if found is not None:
            step.inputs[field.name] = Bound(found, "flow")


def _rings(scope: Scope, name: str) -> Iterator[list[str]]:
    """The nodes upstream of one, nearest first: those one step away, two steps away, ..."""
    assert scope.spec.flow is not None
    seen = {name}
    ring = [name]
    while ring:
        above = {n: None for below in ring for n in scope.spec.flow.before(below) if n not in seen}
        ring = list(above)
        seen |= set(ring)
        if ring:
            yield ring


def _nearest(
    scope: Scope, step: Step, field: FieldInfo, rings: list[list[str]], mark: Mark, *, from_request: bool
) -> Input | None:
    choices: list[Input] = []
    for ring in rings:
        fitting = [n for n in ring if n in scope.steps and _has(scope, Ref(n, (field.name,)), field)]
        if len(fitting) > 1:
            listed = " and ".join(f"'{n}.{field.name}'" for n in fitting)
            scope.problems.add(
                "ambiguous-flow",
                f"'{field.name}' of node '{step.name}' could come from {listed}, which are equally near",
                mark,
                help=f"say which, in node '{step.name}': inputs: {{{field.name}: {fitting[0]}.{field.name}}}",
            )
        choices += [Ref(name, (field.name,), mark) for name in fitting]
        if any(not scope.steps[name].may_skip for name in fitting):
            return _first(choices, mark)
    if from_request and _has(scope, Ref(REQUEST, (field.name,)), field):
        choices.append(Ref(REQUEST, (field.name,), mark))
    return _first(choices, mark)


def _has(scope: Scope, ref: Ref, field: FieldInfo) -> bool:
    return same_type(scope.type_of(ref, report=False), field.type)


def _first(choices: list[Input], mark: Mark) -> Input | None:
    if len(choices) < 2:
        return choices[0] if choices else None
    return First(tuple(choices), mark)
