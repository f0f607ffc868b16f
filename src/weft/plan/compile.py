"""Spec + registry -> plans: the order in which everything is looked up, checked and compiled.

Services first (component, contract, config, ``uses``), then each megaservice: its contract and request, what its nodes'
inputs are bound to, whether the types fit, which nodes may be skipped, in which order they run, what streams. A fault
leaves a thing *unknown*, which is not reported again; whatever can still be checked is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from weft.contracts import Contract
from weft.errors import UsageError, did_you_mean
from weft.plan.assemble import assemble
from weft.plan.contract import own_contract
from weft.plan.flow import expand_fill_from, expand_flow
from weft.plan.front import check_front
from weft.plan.graph import find_cycles, in_order
from weft.plan.inputs import bind_explicit
from weft.plan.limits import check_limits
from weft.plan.model import Plan, Spending
from weft.plan.nodes import check_modifiers, find_operation
from weft.plan.output import contract_of_output, find_output
from weft.plan.placing import check_placement
from weft.plan.routes import check_routes
from weft.plan.scope import Scope, Step
from weft.plan.services import Placed, Service, ServiceChecker, gather
from weft.plan.spending import of_service
from weft.plan.types import UNKNOWN
from weft.registry.components import Components
from weft.spec.model import At, PlacementSpec, Spec
from weft.spec.problems import Problems


@dataclass(frozen=True, slots=True)
class Plans(Mapping[str, Plan]):
    """Everything that a spec makes.

    Attributes:
        plans: The plan of each megaservice, by its key: its name, for all but further versions of one.
        placed: Every service by key, in an order in which they can be started.
        spending: What one request to a service may make models do, by its key; the service itself, if it is one.
    """

    plans: dict[str, Plan]
    placed: dict[str, Placed] = field(default_factory=dict)
    spending: dict[str, Spending] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Plan:
        return self.plans[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.plans)

    def __len__(self) -> int:
        return len(self.plans)


def check(
    spec: Spec,
    components: Components,
    *,
    placement: PlacementSpec | None = None,
    split: bool = False,
    workers: int = 1,
    registered: Mapping[str, str] | None = None,
    problems: Problems | None = None,
) -> Plans:
    """Check a spec and compile all of its megaservices. Contacts nothing and makes no instance.

    Args:
        spec: What the files say.
        components: What is installed.
        placement: Where services run; the spec's own by default.
        split: Whether every shared service gets a process of its own.
        workers: How many gateway processes there will be.
        registered: Contract by name of the services that are registered, for ``at: registry:NAME``; None: not looked at.
        problems: What is known to be wrong already: it is reported together with what is found here.

    Raises:
        SpecError: With all problems at once, in file order.
    """
    found = problems if problems is not None else Problems(dict(spec.sources))
    compiler = Compiler(
        spec,
        components,
        found,
        placement or spec.placement,
        split=split,
        workers=workers,
        registered=registered,
    )
    plans = compiler.run()
    check_front(spec, plans, plans.placed, components, found)
    found.raise_if_any()
    return plans


def compile_plan(
    spec: Spec,
    name: str,
    components: Components,
    *,
    placement: PlacementSpec | None = None,
    split: bool = False,
    workers: int = 1,
) -> Plan:
    """The plan of one megaservice; the whole spec is checked.

    Raises:
        SpecError: With all problems at once, in file order.
        UsageError: There is no such megaservice.
    """
    if name not in spec.megaservices:
        hint = did_you_mean(name, list(spec.megaservices), what="megaservices")
        raise UsageError(f"there is no megaservice '{name}'", hint=hint)
    return check(spec, components, placement=placement, split=split, workers=workers)[name]


def resolve_placement(
    spec: Spec,
    placement: PlacementSpec | None,
    components: Components,
    *,
    split: bool = False,
    workers: int = 1,
) -> dict[str, Placed]:
    """Where every service runs and what it is made of there, each after those that it uses.

    Inline nodes are services of the node's own name; a nested megaservice's are ``docsum/node``. With ``split`` every
    shared service has a process of its own, and inline nodes stay with the gateway; under several workers every
    exclusive service has one.

    Raises:
        SpecError: The spec or the placement is wrong.
    """
    return check(spec, components, placement=placement, split=split, workers=workers).placed


class Compiler:
    """Compiles one spec once."""

    def __init__(
        self,
        spec: Spec,
        components: Components,
        problems: Problems,
        placement: PlacementSpec,
        *,
        split: bool,
        workers: int,
        registered: Mapping[str, str] | None,
    ) -> None:
        self._spec, self._components, self._problems = spec, components, problems
        self._workers, self._registered = workers, registered
        self.services = gather(spec, placement, split=split)
        self._checker = ServiceChecker(self.services, components, problems, self._contract_of)
        self._resolving: set[str] = set()
        self._resolved: set[str] = set()
        self._contracts: dict[str, Contract | None] = {}
        self._plans: dict[str, Plan | None] = {}

    def run(self) -> Plans:
        """Check everything and compile every megaservice that has no fault."""
        for service in self.services.by_key.values():
            self._resolve(service)
            if self._workers > 1 and service.exclusive and not service.is_remote and not service.is_placed:
                service.at = At("process")  # one process of its own, which all workers call
        for service in self.services.by_key.values():
            self._checker.check_uses(service)
        edges = self._service_edges()
        cycles = find_cycles(edges)
        for cycle in cycles:
            self._report_cycle(cycle)
        check_placement(
            self.services,
            self._components,
            self._problems,
            workers=self._workers,
            registered=self._registered,
        )
        self._check_exposed()
        check_routes(self._spec, self._problems, self._contract_of)
        if not cycles:
            for name in self._spec.megaservices:
                self._plan(name)
        plans = {name: plan for name, plan in self._plans.items() if plan is not None}
        order = [] if cycles else in_order(edges)
        by_name = {name: plans[name] for name in self._spec.megaservices if name in plans}
        spending = {key: of_service(self.services.by_key[key], self.services) for key in order}
        check_limits(self._spec, self._problems, by_name, spending)
        return Plans(by_name, {key: self.services.by_key[key].placed() for key in order}, spending)

    def _resolve(self, service: Service) -> None:
        if service.key in self._resolved or service.key in self._resolving:
            return
        self._resolving.add(service.key)
        self._checker.resolve(service)
        self._resolving.discard(service.key)
        self._resolved.add(service.key)

    def _service_edges(self) -> dict[str, list[str]]:
        """Each service to those that it needs: what it uses, and, for a megaservice, what its nodes call."""
        edges: dict[str, list[str]] = {}
        for service in self.services.by_key.values():
            needed = [target for target in service.uses.values() if target in self._spec.services]
            if service.nested is not None:
                needed += self._called_by(service.nested)
            edges[service.key] = list(dict.fromkeys(needed))
        return edges

    def _called_by(self, megaservice: str) -> list[str]:
        called: list[str] = []
        spec = self._spec.megaservices.get(megaservice)
        for node in spec.nodes.values() if spec is not None else ():
            service = self.services.of_node(megaservice, node)
            called += [service.key] if service is not None else []
            called += [node.fallback] if node.fallback in self._spec.services else []
        return list(dict.fromkeys(called))

    def _report_cycle(self, cycle: list[str]) -> None:
        service = self.services.by_key[cycle[-1]]
        following = cycle[0]
        own = service.place is not None and (service.replaced or service.place.uses is not None)
        marks = service.place.marks if own and service.place is not None else service.spec.marks
        slot = next((slot for slot, target in service.uses.items() if target == following), None)
        mark = marks.value("uses", slot) if slot is not None else service.spec.marks.value("component")
        path = " -> ".join([*cycle, following])
        self._problems.add("cycle", f"services need each other in a circle: {path}", mark)

    def _check_exposed(self) -> None:
        for index, name in enumerate(self._spec.expose):
            if name not in self._spec.services:
                mark = self._spec.expose_marks[index] if index < len(self._spec.expose_marks) else None
                hint = did_you_mean(name, list(self._spec.services), what="services")
                if mark is not None:
                    self._problems.add("unknown-service", f"there is no service '{name}'", mark, help=hint)

    def _contract_of(self, name: str) -> Contract | None:
        """The contract of a megaservice; None after a fault, or while it is asked for in a circle."""
        if name not in self._contracts:
            self._contracts[name] = None
            scope = self._scope(name)
            base = contract_of_output(scope, self._components)
            if base is not None:
                spec = self._spec.megaservices[name]
                self._contracts[name] = own_contract(base, name, spec.parameters, self._problems)
        return self._contracts[name]

    def _scope(self, name: str) -> Scope:
        """The megaservice's nodes with their services."""
        spec = self._spec.megaservices[name]
        scope = Scope(spec, self._problems, {}, key=name)
        for node in spec.nodes.values():
            step = scope.steps[node.name] = Step(node)
            step.service = self.services.of_node(name, node)
            if step.service is None:
                continue
            self._resolve(step.service)
            step.contract = step.service.contract
            if step.contract is not None:
                step.operation = find_operation(step, step.contract)
        return scope

    def _plan(self, name: str) -> Plan | None:
        if name not in self._plans:
            self._plans[name] = None
            self._plans[name] = self._compile(name)
        return self._plans[name]

    def _compile(self, name: str) -> Plan | None:
        before = len(self._problems)
        scope = self._scope(name)
        for step in scope.steps.values():
            check_modifiers(scope, step, self.services)
            if step.service is not None and step.service.nested in self._spec.megaservices:
                assert step.service.nested is not None
                step.nested = self._plan(step.service.nested)
        scope.contract = self._contract_of(name)
        scope.request = scope.contract.primary.request if scope.contract is not None else UNKNOWN
        for step in scope.steps.values():
            bind_explicit(scope, step)
            expand_flow(scope, step, from_request=step.spec.fill_from is None)
            expand_fill_from(scope, step)
            expand_flow(scope, step, from_request=True)
        output = find_output(scope)
        plan = assemble(scope, output, self.services)
        return plan if len(self._problems) == before else None
