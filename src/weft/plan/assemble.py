"""From checked nodes to a plan: order, closures, the two variants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from weft.plan.code import Code
from weft.plan.conditions import Test, compile_until, compile_when
from weft.plan.explain import explain_plan
from weft.plan.graph import find_cycles, in_order, reachable
from weft.plan.inputs import check_inputs, report_skipped
from weft.plan.model import Each, Plan, PlanNode, Repeat, Variant
from weft.plan.nodes import carried, check_each, check_repeat
from weft.plan.output import check_output
from weft.plan.scope import REQUEST, Scope, Step
from weft.plan.services import Services
from weft.plan.spending import spending_of
from weft.plan.types import fields_of, without_streams
from weft.plan.variants import OUTPUT, Streams, find_streams, readers
from weft.spec.model import Faulty, Input, Ref, references
from weft.spec.problems import Mark


def assemble(scope: Scope, output: Input | None, services: Services) -> Plan | None:
    """Check the graph as a whole and compile it; None when a fault makes that impossible."""
    tests = {name: compile_when(scope, step) for name, step in scope.steps.items()}
    ends = {name: compile_until(scope, step) for name, step in scope.steps.items()}
    for name, step in scope.steps.items():
        test = tests[name]
        guards = test.guards if test is not None else frozenset[str]()
        check_inputs(scope, step, guards)
        check_each(scope, step)
        check_repeat(scope, step)
        if step.spec.each is not None:
            report_skipped(scope, step.spec.each.items, guards, f"what node '{name}' maps over")
    if output is not None:
        check_output(scope, output)
        report_skipped(scope, output, frozenset(), "the output")
    _check_observers(scope)
    edges = {name: list(dict.fromkeys(_needs(step, tests[name]))) for name, step in scope.steps.items()}
    edges = {name: [n for n in needed if n in edges] for name, needed in edges.items()}
    cycles = find_cycles(edges)
    for cycle in cycles:
        _report_cycle(scope, cycle)
    if output is None or isinstance(output, Faulty) or cycles:
        return None
    _report_unused(scope, edges, output)
    conditions = {name: frozenset(_beside_inputs(step, tests[name])) for name, step in scope.steps.items()}
    found = readers(scope, output, conditions)
    whole = find_streams(scope, output, found, streamed=False)
    streamed = None
    if scope.contract is not None and scope.contract.streams:
        streamed = find_streams(scope, output, found, streamed=True)
    if scope.problems.has_errors or scope.contract is None:
        return None
    order = in_order(edges)
    for slot, name in enumerate(order, start=1):
        scope.steps[name].slot = slot
    maker = _Maker(scope, output, tests=tests, ends=ends, edges=edges, order=order)
    plan = Plan(
        name=scope.spec.name,
        version=scope.spec.version,
        description=scope.spec.description,
        contract=scope.contract,
        whole=maker.variant(whole, streamed=False),
        streamed=maker.variant(streamed, streamed=True)
        if streamed is not None and streamed.is_possible
        else None,
        services=tuple(_all_services(scope, services)),
        consumed=frozenset(_consumed(scope, output, tests)),
        timeout_s=scope.spec.timeout_s,
        key=scope.key or scope.spec.name,
        spending=spending_of(scope, services),
    )
    return explain_plan(scope, plan, output, edges)


def _beside_inputs(step: Step, test: Test | None) -> Iterator[str]:
    """Nodes that a node needs for something else than its inputs."""
    if test is not None:
        yield from (ref.head for ref in test.refs)
    if step.spec.each is not None:
        yield from (ref.head for ref in references(step.spec.each.items))


def _needs(step: Step, test: Test | None) -> Iterator[str]:
    yield from _beside_inputs(step, test)
    for bound in step.inputs.values():
        yield from (ref.head for ref in references(bound.expression))
    for (
        expression
    ) in step.spec.inputs.values():  # one that was refused still says what the node means to read
        yield from (ref.head for ref in references(expression))
    if step.spec.fill_from is not None:
        yield step.spec.fill_from.head
    if step.spec.observes is not None:
        yield step.spec.observes


def _report_cycle(scope: Scope, cycle: list[str]) -> None:
    """Report a circle at the reference in it that stands first in the file."""
    pairs = [(name, cycle[(index + 1) % len(cycle)]) for index, name in enumerate(cycle)]
    marks = [
        (_mark_of_edge(scope.steps[reader], needed), index) for index, (reader, needed) in enumerate(pairs)
    ]
    mark, first = min(marks)
    turned = [*cycle[first:], *cycle[:first]]
    path = " -> ".join([*turned, turned[0]])
    scope.problems.add("cycle", f"nodes need each other in a circle: {path}", mark, help=_CYCLE_HELP)


_CYCLE_HELP = "a graph has no circles: 'repeat' runs one node again, 'each' maps it over a list"


def _mark_of_edge(step: Step, needed: str) -> Mark:
    expressions = [bound.expression for bound in step.inputs.values()] or list(step.spec.inputs.values())
    if step.spec.each is not None:
        expressions.append(step.spec.each.items)
    for expression in expressions:
        for ref in references(expression):
            if ref.head == needed:
                return ref.mark
    if step.spec.observes == needed:
        return step.spec.marks.value("observes")
    return step.spec.marks.value("when")


def _report_unused(scope: Scope, edges: Mapping[str, Iterable[str]], output: Input) -> None:
    """Report the nodes that no other node reads; what only they read is not reported again."""
    if _has_unknown_heads(scope):
        return  # a misspelt reference may be the one that needs the node
    roots = [ref.head for ref in references(output)]
    roots += [
        name for name, step in scope.steps.items() if step.spec.effect or step.spec.observes is not None
    ]
    idle = (
        scope.steps.keys() - reachable(edges, roots) - {head for needed in edges.values() for head in needed}
    )
    for name in sorted(idle - _ahead_of_unknown(scope)):
        scope.problems.add(
            "unused-node",
            f"nothing needs node '{name}'",
            scope.steps[name].spec.marks.here,
            help="read it, take it out, or say that it is meant: effect: true",
        )


def _ahead_of_unknown(scope: Scope) -> set[str]:
    """The nodes that the flow might bind to one of which nobody knows what it takes, its component being unknown."""
    flow = scope.spec.flow
    if flow is None:
        return set()
    unknown = [name for name, step in scope.steps.items() if step.operation is None]
    above = {name: flow.before(name) for name in scope.steps}
    return set(reachable(above, unknown))


def _has_unknown_heads(scope: Scope) -> bool:
    heads = {
        ref.head
        for step in scope.steps.values()
        for expression in step.spec.inputs.values()
        for ref in references(expression)
    }
    heads |= {step.spec.fill_from.head for step in scope.steps.values() if step.spec.fill_from is not None}
    return not heads <= {REQUEST, *scope.steps}


def _check_observers(scope: Scope) -> None:
    for step in scope.steps.values():
        watched = step.spec.observes
        if watched is None or watched not in scope.steps:
            continue
        mark = step.spec.marks.value("observes")
        if scope.steps[watched].operation is not None and not scope.steps[watched].streams:
            message = f"node '{step.name}' observes '{watched}', which does not stream"
            scope.problems.add(
                "stream", message, mark, help=f"leave 'observes' out and read it as an input: {watched}"
            )
            continue
        if step.operation is None:
            continue
        fields = fields_of(step.operation.request)
        taking = [
            name
            for name, bound in step.inputs.items()
            if any(ref.head == watched for ref in references(bound.expression))
        ]
        if not taking:
            message = f"node '{step.name}' observes '{watched}' and has no input that takes it"
            scope.problems.add("stream", message, mark, help=f"inputs: {{FIELD: {watched}}}")
        for name in taking:
            if without_streams(fields[name].type) is None:
                scope.problems.add(
                    "stream",
                    f"'{name}' of node '{step.name}' takes nothing but a stream, and '{watched}' does not stream when "
                    "the caller wants a whole reply",
                    step.spec.marks.value("inputs", name),
                    help="an observer takes both: annotate the field 'Stream[Chunk] | Response'",
                )


def _consumed(scope: Scope, output: Input, tests: Mapping[str, Test | None]) -> Iterator[str]:
    """Fields of the request that something reads."""
    every = list(references(output))
    for name, step in scope.steps.items():
        test = tests[name]
        every += test.refs if test is not None else ()
        every += [ref for bound in step.inputs.values() for ref in references(bound.expression)]
        if step.spec.each is not None:
            every += references(step.spec.each.items)
    for ref in every:
        if ref.head == REQUEST:
            yield from [str(ref.path[0])] if ref.path else scope.request_fields()


def _all_services(scope: Scope, services: Services) -> list[str]:
    """Keys of the services that the megaservice needs, directly or not, each after what it uses."""
    edges: dict[str, list[str]] = {}
    todo: list[str] = []
    for step in scope.steps.values():
        assert step.service is not None
        todo.append(step.service.key)
        todo += [step.spec.fallback] if step.spec.fallback is not None else []
    while todo:
        key = todo.pop(0)
        if key in edges:
            continue
        service = services.by_key[key]
        edges[key] = list(service.uses.values())
        if service.nested is not None:
            for node in services.spec.megaservices[service.nested].nodes.values():
                inner = services.of_node(service.nested, node)
                edges[key] += [inner.key] if inner is not None else []
                edges[key] += [node.fallback] if node.fallback is not None else []
        todo += edges[key]
    return in_order(edges)


class _Maker:
    """Makes the nodes of both variants."""

    def __init__(
        self,
        scope: Scope,
        output: Input,
        *,
        tests: Mapping[str, Test | None],
        ends: Mapping[str, Test | None],
        edges: Mapping[str, Iterable[str]],
        order: list[str],
    ) -> None:
        self._scope, self._output, self._tests, self._ends = scope, output, tests, ends
        self._edges, self._order = edges, order
        steps = scope.steps.values()
        self._slots = {REQUEST: 0} | {step.name: step.slot for step in steps}
        self._code = Code(
            self._slots,
            frozenset(step.name for step in steps if step.may_skip),
            frozenset(step.name for step in steps if step.spec.each is not None),
        )

    def variant(self, streams: Streams, *, streamed: bool) -> Variant:
        """The graph for one kind of reply."""
        output = self._output
        is_node = isinstance(output, Ref) and not output.path and output.head != REQUEST
        return Variant(
            stream=streamed,
            nodes=tuple(self._node(self._scope.steps[name], streams) for name in self._order),
            output=self._code.getter(output),
            output_slot=self._slots[output.head] if is_node and isinstance(output, Ref) else None,
            output_needs=tuple(sorted({self._slots[ref.head] for ref in references(output)} - {0})),
            output_collects=tuple(sorted(self._slots[name] for name in streams.collects.get(OUTPUT, ()))),
        )

    def _node(self, step: Step, streams: Streams) -> PlanNode:
        spec = step.spec
        assert step.service is not None
        assert step.operation is not None
        test = self._tests[step.name]
        inputs = {name: bound.expression for name, bound in step.inputs.items()}
        return PlanNode(
            slot=step.slot,
            name=step.name,
            service=step.service.key,
            component=step.service.component,
            operation=step.operation,
            needs=tuple(sorted(self._slots[name] for name in self._edges[step.name])),
            build=self._code.request(
                step.operation.request,
                inputs,
                fields_of(step.operation.request),
                empty=spec.each.field if spec.each is not None else None,
            ),
            when=test.over(self._slots) if test is not None else None,
            stream=step.name in streams.live,
            collects=tuple(sorted(self._slots[name] for name in streams.collects.get(step.name, ()))),
            observes=self._slots[spec.observes] if spec.observes is not None else None,
            on_error=spec.on_error,
            each=self._each(step),
            repeat=self._repeat(step),
            timeout_s=spec.timeout_s,
            retries=spec.retry.attempts - 1 if spec.retry is not None else 0,
            fallback=spec.fallback,
            effect=spec.effect,
        )

    def _each(self, step: Step) -> Each | None:
        each, items = step.spec.each, step.items
        if each is None or items is None:
            return None
        return Each(self._code.getter(items), each.field, each.at_once)

    def _repeat(self, step: Step) -> Repeat | None:
        repeat, end = step.spec.repeat, self._ends[step.name]
        if repeat is None or end is None:
            return None
        return Repeat(end.over({"response": 0}), repeat.at_most, repeat.on_limit, carried(step))
