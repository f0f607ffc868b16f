"""Checks what the routes of a Gateway file lead to."""

from __future__ import annotations

from collections.abc import Callable

from weft.contracts import Contract
from weft.errors import did_you_mean
from weft.spec.gateway import RouteSpec
from weft.spec.model import Spec
from weft.spec.problems import Problems

ContractOf = Callable[[str], Contract | None]


def check_routes(spec: Spec, problems: Problems, contract_of: ContractOf) -> None:
    """Report targets that are not there, and versions of one target that fulfil different contracts."""
    for route in spec.gateway.routes if spec.gateway is not None else ():
        if route.from_ is None and not route.versions:
            _check_target(spec, route, problems)
        elif route.target not in spec.served and route.target not in spec.services:
            problems.add(
                "unknown-service",
                f"what '{route.target}' is comes from another file, which was not read",
                route.marks.value("versions" if route.versions else "from"),
                help="weft check and weft up read it; a program does with weft.spec.sources.load_whole",
            )
        _check_contracts(spec, route, problems, contract_of)


def _check_target(spec: Spec, route: RouteSpec, problems: Problems) -> None:
    for what, name, known in (
        ("megaservice", route.megaservice, spec.megaservices),
        ("service", route.service, spec.services),
    ):
        if name is None or not name or name in known:
            continue
        hint = did_you_mean(name, list(known), what=f"{what}s here") + "; of another file: from: FILE"
        problems.add(
            "unknown-service",
            f"there is no {what} '{name}'",
            route.marks.value(what),
            help=hint if known else "from: FILE, the spec that declares it",
        )


def _check_contracts(spec: Spec, route: RouteSpec, problems: Problems, contract_of: ContractOf) -> None:
    keys = spec.served.get(route.target, ())
    if len(keys) < 2 or len(keys) != len(route.versions):
        return
    first = contract_of(keys[0])
    for key, version in zip(keys[1:], route.versions[1:], strict=True):
        contract = contract_of(key)
        if first is not None and contract is not None and contract.name != first.name:
            problems.add(
                "wrong-contract",
                f"version {version.version} is of the contract '{contract.name}', and version "
                f"{route.versions[0].version} of '{first.name}'",
                version.marks.value("from"),
                help="versions of one route fulfil one contract; another one is another route",
            )
