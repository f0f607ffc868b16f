"""The services that a spec makes: which component, which contract, where.

A service is shared (``services:``), or belongs to a node that names its component inline. Its *key* is its name: a
shared service's own, an inline node's name, or ``megaservice/node`` where that name is taken or the megaservice is
nested in another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.contracts import Contract
from weft.errors import ComponentError, did_you_mean
from weft.registry.components import ComponentInfo, Components, UnknownComponentError, check_config
from weft.spec.likeness import nested_name
from weft.spec.model import (
    LOCAL,
    At,
    NodeSpec,
    Place,
    PlacementSpec,
    Resources,
    SecretRef,
    ServiceSpec,
    Spec,
)
from weft.spec.problems import Problems


@dataclass(frozen=True, slots=True)
class Placed:
    """One service as it is to be started or called.

    Attributes:
        key: Its name among all services.
        at: Where it runs.
        component: What it is made of there.
        config: Its config there; secrets are still :class:`SecretRef`.
        uses: Constructor parameter to the key of the service that it is given.
        folder: What a component in a file is relative to.
        contract: Name of its contract.
        version: Version of the component.
        replicas, resources: As placed; for a process only.
    """

    key: str
    at: At
    component: str
    config: Mapping[str, Any]
    uses: Mapping[str, str]
    folder: Path
    contract: str
    version: str = ""
    replicas: int = 1
    resources: Resources | None = None

    @property
    def megaservice(self) -> str | None:
        """The megaservice that it is, when it is one."""
        return nested_name(self.component)

    @property
    def is_remote(self) -> bool:
        """Whether it is called over a connection."""
        return self.at.kind != "local"


@dataclass(slots=True)
class Service:
    """A service while it is checked. ``contract`` and ``info`` are None when a fault left them unknown."""

    key: str
    spec: ServiceSpec | NodeSpec
    component: str
    config: Mapping[str, Any]
    uses: Mapping[str, str]
    owner: str | None = None
    """The megaservice whose inline node it is."""
    place: Place | None = None
    at: At = LOCAL
    info: ComponentInfo | None = None
    contract: Contract | None = None
    exclusive: bool = False
    replaced: bool = False
    """Whether the placement names another component."""

    @property
    def nested(self) -> str | None:
        """The megaservice that it is, when it is one."""
        return nested_name(self.component)

    @property
    def is_remote(self) -> bool:
        """Whether it is called over a connection."""
        return self.at.kind != "local"

    @property
    def folder(self) -> Path:
        """What a component in a file is relative to: the file that names it."""
        by_place = self.replaced and self.place is not None
        marks = self.place.marks if by_place and self.place is not None else self.spec.marks
        return Path(marks.here.file).parent if marks.here.line else Path()

    @property
    def is_placed(self) -> bool:
        """Whether the placement says by name where it runs."""
        return self.place is not None and self.place.at is not None

    def placed(self) -> Placed:
        """What the program that starts it needs."""
        place = self.place
        return Placed(
            key=self.key,
            at=self.at,
            component=self.component,
            config=self.config,
            uses=self.uses,
            folder=self.folder,
            contract=self.contract.name if self.contract is not None else "",
            version=self.info.version if self.info is not None else "",
            replicas=place.replicas or 1 if place is not None else 1,
            resources=place.resources if place is not None else None,
        )


ContractOf = Callable[[str], Contract | None]
"""The contract of a megaservice by name; None when a fault left it unknown."""


@dataclass(slots=True)
class Services:
    """All services of a spec, by key, in the order of the files."""

    spec: Spec
    placement: PlacementSpec
    by_key: dict[str, Service] = field(default_factory=dict)
    inline: dict[tuple[str, str], str] = field(default_factory=dict)
    """Megaservice and node to the key of the node's own service."""

    def of_node(self, megaservice: str, node: NodeSpec) -> Service | None:
        """The service that a node calls; None when there is none of that name."""
        if node.service is not None:
            return self.by_key.get(node.service) if node.service in self.spec.services else None
        key = self.inline.get((megaservice, node.name))
        return self.by_key[key] if key is not None else None

    def shared(self) -> list[str]:
        """Names of the shared services."""
        return list(self.spec.services)

    def names_for(self, service: Service) -> Iterator[str]:
        """What a placement may call a service: its key, and ``megaservice/name`` through each that is nested."""
        yield service.key
        for name, megaservice in self.spec.megaservices.items():
            for node in megaservice.nodes.values():
                if self.of_node(name, node) is not service:
                    continue
                inner = node.service or node.name
                yield f"{name}/{inner}"
                for outer in self.by_key.values():
                    if outer.nested == name:
                        yield f"{outer.key}/{inner}"


def gather(spec: Spec, placement: PlacementSpec, *, split: bool) -> Services:
    """Name every service and say where it runs; nothing is looked up yet.

    Args:
        spec: The spec.
        placement: Where services run.
        split: Every shared service that the placement leaves in the gateway's process gets one of its own.
    """
    services = Services(spec, placement)
    for name, shared in spec.services.items():
        services.by_key[name] = Service(name, shared, shared.component, shared.config, shared.uses)
    nested = {nested_name(s.component) for s in spec.services.values()}
    nested |= {nested_name(n.component or "") for m in spec.megaservices.values() for n in m.nodes.values()}
    taken = Counter(
        node.name
        for m in spec.megaservices.values()
        for node in m.nodes.values()
        if node.component is not None
    )
    for name, megaservice in spec.megaservices.items():
        for node in megaservice.nodes.values():
            if node.component is None:
                continue
            plain = taken[node.name] == 1 and node.name not in spec.services and name not in nested
            key = node.name if plain else f"{name}/{node.name}"
            services.by_key[key] = Service(key, node, node.component, node.config, node.uses, owner=name)
            services.inline[name, node.name] = key
    for service in services.by_key.values():
        _place(services, service, split=split)
    return services


def _place(services: Services, service: Service, *, split: bool) -> None:
    placement = services.placement
    places = [
        placement.services[n] for n in dict.fromkeys(services.names_for(service)) if n in placement.services
    ]
    place = service.place = places[0] if places else None
    # An inline node belongs to its megaservice: the default moves what is shared, not what a graph is made of.
    default = placement.default.at if service.owner is None else LOCAL
    service.at = place.at if place is not None and place.at is not None else default
    if split and service.owner is None and service.at.kind == "local" and service.nested is None:
        service.at = At("process")
    if place is None:
        return
    if place.component is not None:
        service.component, service.replaced = place.component, True
        service.config, service.uses = place.config or {}, place.uses or {}
    else:
        service.config = place.config if place.config is not None else service.config
        service.uses = place.uses if place.uses is not None else service.uses


def plain(value: Any) -> Any:
    """A config with its secrets as the registry knows them: ``{"secret": NAME}``."""
    if isinstance(value, SecretRef):
        return {"secret": value.name}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


class ServiceChecker:
    """Looks every service up and checks it; faults go into ``problems``."""

    def __init__(
        self, services: Services, components: Components, problems: Problems, contract_of: ContractOf
    ) -> None:
        self._services, self._components, self._problems = services, components, problems
        self._contract_of = contract_of

    def resolve(self, service: Service) -> None:
        """Find a service's component and contract, and check its config. Idempotent by being called once each."""
        declared = self._find(service, service.spec.component or "", service.spec)
        if not service.replaced:
            service.info, service.contract = declared
            self._config(
                service,
                service.spec if service.place is None or service.place.config is None else service.place,
            )
        else:
            self._config_of_declared(service, declared[0])
            assert service.place is not None
            service.info, service.contract = self._find(service, service.component, service.place)
            self._config(service, service.place)
            self._same_contract(service, declared[1])
            service.contract = declared[1] or service.contract  # what the nodes were written for
        service.exclusive = service.info is not None and service.info.exclusive

    def _find(
        self, service: Service, component: str, where: ServiceSpec | NodeSpec | Place
    ) -> tuple[ComponentInfo | None, Contract | None]:
        if "component" in where.marks.faulty:
            return None, None
        mark = where.marks.value("component")
        nested = nested_name(component)
        if nested is not None:
            if nested not in self._services.spec.megaservices:
                hint = did_you_mean(nested, list(self._services.spec.megaservices), what="megaservices")
                self._problems.add(
                    "unknown-component", f"there is no megaservice '{nested}'", mark, help=hint
                )
                return None, None
            return None, self._contract_of(nested)
        try:
            info = self._components.get(component, folder=Path(mark.file).parent if mark.line else Path())
        except UnknownComponentError as error:
            self._problems.add("unknown-component", error.message, mark, help=error.hint)
            return None, None
        except ComponentError as error:
            self._problems.add("broken-component", error.message, mark, help=error.hint)
            return None, None
        config = where.config if where.config is not None else service.config
        try:
            return info, self._components.contract_of(info, plain(config))
        except ComponentError as error:
            at = where.marks.value("config", "contract") if "contract" in (config or {}) else mark
            self._problems.add("unknown-contract", error.message, at, help=error.hint)
            return info, None

    def _config(self, service: Service, where: ServiceSpec | NodeSpec | Place) -> None:
        if service.nested is not None and service.config:
            message = "a megaservice takes no config: what it is made of says it all"
            self._problems.add("unknown-config", message, where.marks.key("config"))
        if service.nested is not None and service.uses:
            message = "a megaservice uses no services: its nodes name theirs"
            self._problems.add("unknown-slot", message, where.marks.key("uses"))
        if service.info is not None and "config" not in where.marks.faulty:
            self._check_config(service.info, service.config, where)

    def _config_of_declared(self, service: Service, info: ComponentInfo | None) -> None:
        spec = service.spec
        if info is not None and "config" not in spec.marks.faulty:
            self._check_config(info, spec.config, spec)

    def _check_config(
        self, info: ComponentInfo, config: Mapping[str, Any], where: ServiceSpec | NodeSpec | Place
    ) -> None:
        for fault in check_config(info, plain(config)):
            if fault.code == "unknown-contract":
                continue  # said when the contract was looked for
            if not fault.path:
                mark = where.marks.value("component")
            elif fault.code == "unknown-config":
                mark = where.marks.key("config", *fault.path)
            else:
                mark = where.marks.value("config", *fault.path)
            self._problems.add(fault.code, fault.message, mark, help=fault.hint)

    def _same_contract(self, service: Service, declared: Contract | None) -> None:
        place, contract = service.place, service.contract
        if place is None or contract is None or declared is None or contract.name == declared.name:
            return
        self._problems.add(
            "wrong-contract",
            f"'{place.component}' is of the contract '{contract.name}', but service '{service.key}' is of "
            f"'{declared.name}'",
            place.marks.value("component"),
            help="a placement may replace a component by another of the same contract only",
        )

    def check_uses(self, service: Service) -> None:
        """Check what a service uses: names, contracts, and that nothing required is open."""
        if service.info is None:
            return
        own = service.place is not None and (service.replaced or service.place.uses is not None)
        where: ServiceSpec | NodeSpec | Place = service.spec
        if own and service.place is not None:
            where = service.place
        if "uses" in where.marks.faulty:
            return
        slots = {slot.name: slot for slot in service.info.slots}
        for name, target in service.uses.items():
            slot = slots.get(name)
            if slot is None:
                hint = did_you_mean(name, list(slots), what="slots") if slots else None
                message = f"component '{service.component}' uses no service '{name}'"
                self._problems.add("unknown-slot", message, where.marks.key("uses", name), help=hint)
                continue
            used = self._services.by_key.get(target) if target in self._services.spec.services else None
            mark = where.marks.value("uses", name)
            if used is None:
                hint = did_you_mean(target, self._services.shared(), what="services")
                self._problems.add("unknown-service", f"there is no service '{target}'", mark, help=hint)
            elif used.contract is not None and used.contract.name != slot.contract.name:
                fitting = [s for s in self._services.shared() if self._is_of(s, slot.contract)]
                self._problems.add(
                    "wrong-contract",
                    f"'{name}' of component '{service.component}' takes a service of the contract "
                    f"'{slot.contract.name}', and '{target}' is of '{used.contract.name}'",
                    mark,
                    help=f"services of that contract: {', '.join(fitting)}" if fitting else None,
                )
        for slot in slots.values():
            if not slot.optional and slot.name not in service.uses:
                fitting = [s for s in self._services.shared() if self._is_of(s, slot.contract)]
                example = fitting[0] if fitting else "SERVICE"
                self._problems.add(
                    "missing-slot",
                    f"component '{service.component}' needs a service of the contract '{slot.contract.name}' "
                    f"as '{slot.name}'",
                    where.marks.value("component"),
                    help=f"uses: {{{slot.name}: {example}}}",
                )

    def _is_of(self, name: str, contract: Contract) -> bool:
        found = self._services.by_key[name].contract
        return found is not None and found.name == contract.name
