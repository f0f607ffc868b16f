"""Checks where services are placed."""

from __future__ import annotations

from collections.abc import Mapping

from weft.errors import did_you_mean
from weft.plan.services import Service, Services
from weft.registry.components import Components
from weft.spec.problems import Problems


def check_placement(
    services: Services,
    components: Components,
    problems: Problems,
    *,
    workers: int,
    registered: Mapping[str, str] | None,
) -> None:
    """Report unknown services, contracts that do not fit, and exclusive components placed more than once."""
    placement = services.placement
    known: dict[str, Service] = {}
    for service in services.by_key.values():
        for name in services.names_for(service):
            known.setdefault(name, service)
    placed: dict[str, str] = {}
    for name, place in placement.services.items():
        found = known.get(name)
        if found is None:
            hint = did_you_mean(name, list(services.by_key), what="services")
            problems.add(
                "unknown-service", f"there is no service '{name}' to place", place.marks.here, help=hint
            )
            continue
        if found.key in placed:
            message = f"'{name}' and '{placed[found.key]}' are the same service, placed twice"
            problems.add("unknown-service", message, place.marks.here, help=f"place '{found.key}' once")
        placed.setdefault(found.key, name)
    for service in services.by_key.values():
        _check_contract(service, components, problems)
        if registered is not None and service.at.kind == "registry":
            _check_registered(service, problems, registered)
        if service.exclusive:
            _check_exclusive(service, problems, workers=workers)


def _check_contract(service: Service, components: Components, problems: Problems) -> None:
    place = service.place
    if place is None or place.contract is None or "contract" in place.marks.faulty:
        return
    mark = place.marks.value("contract")
    own = service.contract.name if service.contract is not None else None
    if place.contract not in components.contracts and place.contract != own:
        hint = did_you_mean(place.contract, list(components.contracts), what="contracts")
        problems.add("unknown-contract", f"there is no contract '{place.contract}'", mark, help=hint)
    elif own is not None and place.contract != own:
        problems.add(
            "wrong-contract",
            f"the remote service for '{service.key}' is of the contract '{place.contract}', but '{service.key}' is of "
            f"'{own}'",
            mark,
        )


def _check_registered(service: Service, problems: Problems, registered: Mapping[str, str]) -> None:
    assert service.place is not None
    name, mark = service.at.target, service.place.marks.value("at")
    if name not in registered:
        hint = did_you_mean(name, sorted(registered), what="registered services")
        problems.add("unknown-service", f"no service is registered as '{name}'", mark, help=hint)
    elif service.contract is not None and registered[name] != service.contract.name:
        problems.add(
            "wrong-contract",
            f"'{name}' is registered with the contract '{registered[name]}', but '{service.key}' is of "
            f"'{service.contract.name}'",
            mark,
        )


def _check_exclusive(service: Service, problems: Problems, *, workers: int) -> None:
    place = service.place
    if place is None:
        return
    if place.replicas is not None and place.replicas > 1:
        problems.add(
            "exclusive",
            f"component '{service.component}' of service '{service.key}' can only run once, not in {place.replicas} "
            "replicas",
            place.marks.value("replicas"),
            help="leave 'replicas' out",
        )
    if workers > 1 and place.at is not None and place.at.kind == "local":
        problems.add(
            "exclusive",
            f"component '{service.component}' of service '{service.key}' can only run once, and 'local' means in each "
            f"of the {workers} gateway processes",
            place.marks.value("at"),
            help="at: process",
        )
