"""What ``weft check --explain`` prints: every reference expanded, levels, both variants, what streams, where it runs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import replace

from weft.plan.graph import levels
from weft.plan.model import Plan
from weft.plan.scope import Scope, Step
from weft.plan.services import Placed
from weft.spec.model import First, Input, ListOf, Ref, Value

_WIDTH = 80


def explain(plans: Mapping[str, Plan], placed: Mapping[str, Placed]) -> str:
    """What ``weft check --explain`` prints: the services and where they run, then each megaservice."""
    lines = ["services"]
    for service in placed.values():
        where = str(service.at) + (f" x {service.replicas}" if service.replicas > 1 else "")
        lines.append(f"  {service.key}  {service.component} ({service.contract})  {where}")
        lines += [f"      {slot} = {target}" for slot, target in service.uses.items()]
    parts = ["\n".join(lines)] if placed else []
    return "\n\n".join([*parts, *(plan.explanation for plan in plans.values())])


def explain_plan(scope: Scope, plan: Plan, output: Input, edges: Mapping[str, Iterable[str]]) -> Plan:
    """The plan with its explanation."""
    return replace(plan, explanation="\n".join(_lines(scope, plan, output, edges)))


def _lines(scope: Scope, plan: Plan, output: Input, edges: Mapping[str, Iterable[str]]) -> list[str]:
    parameters = [p.name for p in scope.spec.parameters.values()]
    title = f"{plan.name} {plan.version}: {plan.contract.name}"
    lines = [title + (f", with {', '.join(parameters)}" if parameters else ""), ""]
    level = levels(edges)
    live = {node.name for node in plan.streamed.nodes if node.stream} if plan.streamed is not None else set()
    always = {node.name for node in plan.whole.nodes if node.stream}
    for number in range(1, max(level.values(), default=0) + 1):
        lines.append(f"level {number}")
        for name in scope.steps:
            if level[name] == number:
                lines += _node(scope.steps[name], live, always)
    lines.append(f"output  {show(output)}")
    lines.append("")
    lines += _variants(plan, live, always)
    read = sorted(plan.consumed)
    return [*lines, *_wrapped("request fields that are read", read)]


def _node(step: Step, live: set[str], always: set[str]) -> list[str]:
    spec, service = step.spec, step.service
    assert service is not None
    assert step.operation is not None
    operation = "" if step.operation.name == "invoke" else f".{step.operation.name}"
    where = "" if service.at.kind == "local" else f" at {service.at}"
    lines = [f"  {step.name}  ->  {service.key}{operation} ({service.component}){where}"]
    for name, bound in step.inputs.items():
        if bound.origin != "fill_from":
            by = "  (flow)" if bound.origin == "flow" else ""
            lines += _folded(f"      {name} = {show(bound.expression)}{by}", indent=10)
    if filled := [name for name, bound in step.inputs.items() if bound.origin == "fill_from"]:
        lines += _wrapped(f"      filled from {spec.fill_from}", filled, indent=10)
    if spec.each is not None:
        lines.append(
            f"      {spec.each.field} = each of {show(spec.each.items)}, {spec.each.at_once} at once"
        )
    if spec.when is not None:
        lines.append(f"      when {spec.when.text}")
    if spec.repeat is not None:
        limit = "" if spec.repeat.on_limit == "error" else ", then the last"
        lines.append(
            f"      repeat until {spec.repeat.until.text}, at most {spec.repeat.at_most} times{limit}"
        )
    notes = [f"timeout {spec.timeout_s:g} s"] if spec.timeout_s is not None else []
    notes += [f"{spec.retry.attempts} attempts"] if spec.retry is not None else []
    notes += [f"falls back to {spec.fallback}"] if spec.fallback is not None else []
    notes += ["an error skips it"] if spec.on_error == "skip" else []
    notes += [f"observes {spec.observes}"] if spec.observes is not None else []
    notes += ["streams"] if step.name in always else ["streams when asked to"] if step.name in live else []
    return [*lines, f"      {'; '.join(notes)}"] if notes else lines


def _variants(plan: Plan, live: set[str], always: set[str]) -> list[str]:
    whole = (
        _wrapped("stream: false  streams inside", sorted(always))
        if always
        else ["stream: false  nothing streams"]
    )
    if not plan.contract.streams:
        return [*whole, f"stream: true   not part of the contract '{plan.contract.name}'"]
    if plan.streamed is None:
        return [*whole, "stream: true   not possible: the output does not stream"]
    return [
        *whole,
        *_wrapped("stream: true   streams", [n.name for n in plan.streamed.nodes if n.name in live]),
    ]


def _wrapped(head: str, words: list[str], *, indent: int = 4) -> list[str]:
    lines = [f"{head}: "]
    for index, word in enumerate(words):
        piece = word if index == len(words) - 1 else f"{word}, "
        if len(lines[-1]) + len(piece.rstrip()) > _WIDTH:
            lines.append(" " * indent)
        lines[-1] += piece
    return [line.rstrip() for line in lines] if words else [f"{head}: none"]


def _folded(line: str, *, indent: int) -> list[str]:
    """A line that may be too long, broken between words."""
    if len(line) <= _WIDTH:
        return [line]
    return textwrap.wrap(
        line, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def show(expression: Input) -> str:
    """An input as it would be written."""
    match expression:
        case Ref():
            return str(expression)
        case Value(value):
            text = repr(value)
            return text if len(text) <= 40 else text[:37] + "..."
        case First(choices):
            return "first of " + ", ".join(show(choice) for choice in choices)
        case ListOf(items):
            return f"[{', '.join(show(item) for item in items)}]"
    return "?"
