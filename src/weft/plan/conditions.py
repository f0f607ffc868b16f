"""Conditions of nodes: what they read, what they prove, and their closures over the slots of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from weft.errors import did_you_mean
from weft.expressions import Expression, ExpressionError, Unresolved, compile_condition
from weft.expressions.syntax import Has, Logic, Name, Node, Select, parse
from weft.plan.model import Getter
from weft.plan.scope import REQUEST, Scope, Step
from weft.plan.types import UNKNOWN
from weft.spec.model import Condition, Ref

RESPONSE = "response"
"""What ``repeat.until`` calls the node's own response."""


@dataclass(frozen=True, slots=True)
class Test:
    """A checked condition.

    Attributes:
        refs: What it reads, each with its place.
        guards: Nodes that have run whenever the condition is true.
    """

    expression: Expression
    refs: tuple[Ref, ...]
    guards: frozenset[str]

    def over(self, slots: Mapping[str, int]) -> Getter:
        """The condition as a function of the values of a run."""
        return self.expression.bind(lambda name: itemgetter(slots[name]))


def compile_when(scope: Scope, step: Step) -> Test | None:
    """A node's ``when``; None when it has none or a faulty one, which is reported."""
    condition = step.spec.when
    if condition is None:
        return None

    def resolve(name: str) -> Any:
        if name == REQUEST:
            return _known(scope.request)
        if name in scope.steps:
            return _known(scope.steps[name].value)
        names = [*scope.steps]
        return Unresolved(
            f"'{name}' names no node in this megaservice", did_you_mean(name, names, what="nodes")
        )

    expression = _compile(scope, condition, resolve, f"the condition of node '{step.name}'")
    if expression is None:
        return None
    guards = frozenset(_guards(scope, step, condition.text))
    refs = []
    for reading in expression.refs:
        ref = Ref(reading.path[0], reading.path[1:], condition.mark_at(reading.column, reading.end_column))
        refs.append(ref)
        other = scope.steps.get(ref.head)
        if other is not None and other.may_skip and not reading.is_tested and ref.head not in guards:
            scope.problems.add(
                "skipped-ref",
                f"'{ref}' is not there when node '{ref.head}' is skipped, and the condition of node '{step.name}' "
                "needs it",
                ref.mark,
                help=f"ask first: has({_some_field(ref, other)}) && ...",
            )
    return Test(expression, tuple(refs), guards)


def _some_field(ref: Ref, step: Step) -> str:
    if ref.path:
        return str(Ref(ref.head, ref.path[:1]))
    fields = getattr(step.response, "__struct_fields__", ("FIELD",))
    return f"{ref.head}.{fields[0]}"


def compile_until(scope: Scope, step: Step) -> Test | None:
    """A node's ``repeat.until``; None when it has none or a faulty one, which is reported."""
    repeat = step.spec.repeat
    if repeat is None or "until" in repeat.marks.faulty:
        return None

    def resolve(name: str) -> Any:
        if name == RESPONSE:
            return _known(step.response)
        return Unresolved(
            f"'{name}' cannot be read here",
            "the end of a repetition is seen in the node's own response: response.FIELD",
        )

    expression = _compile(scope, repeat.until, resolve, f"'until' of node '{step.name}'")
    return Test(expression, (), frozenset()) if expression is not None else None


def _known(type_: Any) -> Any:
    return Any if type_ is UNKNOWN else type_


def _compile(
    scope: Scope, condition: Condition, resolve: Callable[[str], Any], what: str
) -> Expression | None:
    try:
        return compile_condition(condition.text, resolve=resolve)
    except ExpressionError as error:
        mark = condition.mark_at(error.column, error.end_column)
        scope.problems.add("bad-condition", f"{what}: {error.message}", mark, help=error.hint)
        return None


def _guards(scope: Scope, step: Step, text: str) -> Iterator[str]:
    """Nodes of which the condition proves that they ran: ``has(node.field)``, or the node's own condition in it."""
    tree = parse(text)
    proven = {_source(text, part) for part in _conjuncts(tree)}
    for part in _conjuncts(tree):
        if isinstance(part, Has):
            root: Node = part.field
            while isinstance(root, Select):
                root = root.target
            if isinstance(root, Name):
                yield root.name
    for other in scope.steps.values():
        condition = other.spec.when
        if other is step or condition is None or other.spec.on_error == "skip":
            continue
        needed = {_source(condition.text, part) for part in _conjuncts(parse(condition.text))}
        if needed <= proven:
            yield other.name


def _conjuncts(tree: Node) -> Iterator[Node]:
    """The parts that must all be true."""
    if isinstance(tree, Logic) and tree.is_and:
        for part in tree.parts:
            yield from _conjuncts(part)
    else:
        yield tree


def _source(text: str, part: Node) -> str:
    return "".join(text[part.span[0] - 1 : part.span[1] - 1].split())
