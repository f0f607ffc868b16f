"""Checks what is bound to the inputs of a node: names, types, what may be skipped, what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from weft.errors import did_you_mean, nearest
from weft.plan.scope import REQUEST, Bound, Scope, Step
from weft.plan.types import (
    UNKNOWN,
    article,
    assignable,
    element,
    fields_of,
    members,
    show,
    stream_chunk,
    without_streams,
)
from weft.registry.config import reason
from weft.spec.model import Faulty, First, Input, ListOf, Ref, Value
from weft.spec.problems import Mark

Guards = frozenset[str]
"""Nodes that have run whenever the reader runs, whatever else may skip them."""


def bind_explicit(scope: Scope, step: Step) -> None:
    """Take over what the spec binds by name."""
    if step.operation is None:
        for expression in step.spec.inputs.values():
            check_references(scope, expression)
        return
    fields = fields_of(step.operation.request)
    for name, expression in step.spec.inputs.items():
        if name in fields:
            step.inputs[name] = Bound(expression, "inputs")
            continue
        check_references(scope, expression)
        scope.problems.add(
            "unknown-field",
            f"the request of node '{step.name}' ({step.operation.request.__name__}) has no field '{name}'",
            step.spec.marks.key("inputs", name),
            help=did_you_mean(name, list(fields), what="fields"),
        )


def check_references(scope: Scope, expression: Input) -> None:
    """Report references that name nothing; where no type is asked for."""
    match expression:
        case Ref():
            scope.type_of(expression)
        case First(inner) | ListOf(inner):
            for part in inner:
                check_references(scope, part)


def check_inputs(scope: Scope, step: Step, guards: Guards) -> None:
    """Check every binding against the field's type; convert literals; report what is missing."""
    if step.operation is None:
        return
    fields = fields_of(step.operation.request)
    for name, bound in list(step.inputs.items()):
        field = fields[name]
        where = f"'{name}' of node '{step.name}'"
        expression = check_value(scope, bound.expression, field.type, where)
        step.inputs[name] = Bound(expression, bound.origin)
        if field.required or isinstance(expression, ListOf):
            report_skipped(scope, expression, guards, where)
    if "inputs" in step.spec.marks.faulty:
        return
    written = [*step.spec.inputs, *([step.spec.each.field] if step.spec.each is not None else [])]
    # A misspelt field is one fault, not two: the field that it was meant to be is not missing as well.
    meant = {*step.inputs, *(name if name in fields else nearest(name, list(fields)) for name in written)}
    for field in fields.values():
        if field.required and field.name not in meant:
            _missing(scope, step, field.name, field.type)


def _missing(scope: Scope, step: Step, name: str, type_: Any) -> None:
    assert step.operation is not None
    choices = [*_sources(scope, step, name, type_)]
    example = choices[0] if choices else "REFERENCE"
    hint = f"inputs: {{{name}: {example}}}" + (f"; also: {', '.join(choices[1:4])}" if choices[1:] else "")
    scope.problems.add(
        "missing-input",
        f"node '{step.name}' has no input for '{name}', {article(show(type_))} that "
        f"{step.operation.request.__name__} requires",
        step.spec.marks.here,
        help=hint,
    )


def _sources(scope: Scope, step: Step, name: str, type_: Any) -> Iterator[str]:
    """References that would fit an input: fields of the same name first."""
    heads = [REQUEST, *(other for other in scope.steps if other != step.name)]
    candidates = [Ref(head, (name,)) for head in heads]
    for ref in candidates:
        found = scope.type_of(ref, report=False)
        if found is not UNKNOWN and assignable(found, type_):
            yield str(ref)


def check_value(scope: Scope, expression: Input, target: Any, where: str) -> Input:
    """The expression with its literals converted; faults are reported at their own places."""
    match expression:
        case Ref():
            _check_ref(scope, expression, target, where)
            return expression
        case First(choices, mark):
            return First(tuple(check_value(scope, choice, target, where) for choice in choices), mark)
        case ListOf(items, mark):
            item = element(without_streams(target) or UNKNOWN)
            if item is None:
                lists = [element(member) for member in members(target) if element(member) is not None]
                item = lists[0] if lists else None
            if item is None:
                _mismatch(scope, mark, "a list", target, where)
                item = UNKNOWN
            return ListOf(tuple(check_value(scope, part, item, where) for part in items), mark)
        case Value(value, mark):
            return Value(_literal(scope, value, target, where, mark), mark)
        case Faulty():
            return expression


def _check_ref(scope: Scope, ref: Ref, target: Any, where: str) -> None:
    found = scope.type_of(ref)
    if found is UNKNOWN or target is UNKNOWN:
        return
    chunk = stream_chunk(target)
    if chunk is not None and not ref.path and ref.head in scope.steps:
        step = scope.steps[ref.head]
        whole = without_streams(target)
        if step.operation is not None and step.streams and step.operation.chunk is chunk:
            return
        if whole is None:
            message = f"{where} takes a stream of {show(chunk)}, and '{ref}' gives none"
            scope.problems.add("stream", message, ref.mark)
            return
        target = whole
    if not assignable(found, target):
        _mismatch(scope, ref.mark, f"'{ref}', {article(show(found))},", target, where)


def _mismatch(scope: Scope, mark: Mark, what: str, target: Any, where: str) -> None:
    message = f"{what} does not fit {where}, which takes {article(show(target))}"
    scope.problems.add("type-mismatch", message, mark)


def _literal(scope: Scope, value: Any, target: Any, where: str, mark: Mark) -> Any:
    plain = without_streams(target) if target is not UNKNOWN else UNKNOWN
    if plain is UNKNOWN:
        return value
    if plain is None:
        _mismatch(scope, mark, "a literal", target, where)
        return value
    if Raw in members(plain) and value is not None:
        return Raw(msgspec.json.encode(value))
    try:
        return msgspec.convert(value, plain, strict=True)
    except (msgspec.ValidationError, TypeError) as error:
        message = f"the literal does not fit {where}, which takes {article(show(target))}{reason(error)}"
        scope.problems.add("type-mismatch", message, mark)
        return value


def report_skipped(scope: Scope, expression: Input, guards: Guards, where: str) -> None:
    """Report what would leave a place empty that must not be."""
    for ref in may_be_skipped(scope, expression, guards):
        step = scope.steps[ref.head]
        why = "its 'when' is false" if step.spec.when is not None else "it fails ('on_error: skip')"
        scope.problems.add(
            "skipped-ref",
            f"'{ref}' is not there when node '{ref.head}' is skipped because {why}, and {where} is required",
            ref.mark,
            help=f"give a fallback: {{first: [{ref}, ...]}}",
        )


def may_be_skipped(scope: Scope, expression: Input, guards: Guards) -> list[Ref]:
    """The references whose absence would leave the expression without a value; none: it always has one."""
    match expression:
        case Ref(head):
            step = scope.steps.get(head)
            return [expression] if step is not None and step.may_skip and head not in guards else []
        case First(choices):
            absent = [may_be_skipped(scope, choice, guards) for choice in choices]
            return [ref for refs in absent for ref in refs] if all(absent) else []
        case ListOf(items):
            return [ref for item in items for ref in may_be_skipped(scope, item, guards)]
    return []
