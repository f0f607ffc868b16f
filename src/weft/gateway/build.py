"""From a spec to the application of one process: the whole gateway, or one service behind it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from weft.contracts.dataprep import IngestRequest
from weft.errors import MissingExtraError, UsageError
from weft.gateway.app import Gateway
from weft.gateway.assembly import REGISTRY_FILE, Assembly
from weft.gateway.cache.build import corpus_of
from weft.gateway.choices import Choices
from weft.gateway.description import describe
from weft.gateway.front import Front
from weft.gateway.listeners import furnish, grpc_doors
from weft.gateway.live import LiveServices
from weft.gateway.login.login import Login
from weft.gateway.pages import add_pages
from weft.gateway.protocols.build import shelves_of
from weft.gateway.siblings import Siblings, obeying_route
from weft.gateway.stages import stages_of
from weft.gateway.switch import Switcher
from weft.gateway.targets import Target
from weft.gateway.upstream.routes import Upstreams
from weft.gateway.upstream.watching import Watch
from weft.gateway.versions.reporting import Recorder, report_reloads
from weft.gateway.versions.routes import rollout_routes
from weft.megaservice import Services
from weft.plan import Plan, Plans
from weft.plan.services import plain
from weft.registry.components import ignored_fields
from weft.serve.access import Access
from weft.serve.application import Application, Beside
from weft.serve.doors import Door
from weft.serve.health import health_routes
from weft.serve.openapi import documentation_routes
from weft.serve.operations import operation_routes, scoped
from weft.serve.renewal import Reloads
from weft.serve.scrape import metrics_route
from weft.serve.uploads import inlined
from weft.spec.model import Spec
from weft.transport.signing import ContextSigner

__all__ = ["REGISTRY_FILE", "Assembly", "gateway", "service"]


def gateway(
    assembly: Assembly,
    access: Access,
    *,
    process: str = "",
    peers: Mapping[str, str] | None = None,
    reloads: Reloads | None = None,
) -> Application:
    """The application that users talk to."""
    plans = assembly.plans
    first = next(iter(plans.values()), None)
    assembly.processes = 1 + len(_others(process, peers or {}))
    app = _untouched(assembly, access, first)
    assembly.open_limits(app, peers or {})
    services = assembly.services()
    health_routes(app)
    if assembly.desk is not None:
        if assembly.desk.authenticator is not None:
            assembly.refuse_strangers_tenants()
        assembly.desk.add_to(app, assembly.service_signer)
    if (login := _login(assembly)) is not None:
        login.add_to(app)
    # The routes are there from the beginning: while models load, a request is told that, and not that it has lost its way.
    megaservices = {key: _megaservice(plans[key], services) for key in _served_keys(assembly.spec, plans)}
    exposed = [_exposed(assembly, key, services) for key in _exposed_keys(assembly.spec)]
    for key, target in megaservices.items():
        target.build_id = assembly.build_id(plans[key])
        assembly.targets.setdefault(target.name, []).append(target)
    front = Front(assembly.spec.gateway, stages_of(assembly)) if assembly.spec.gateway is not None else None
    if assembly.spec.gateway is not None:
        furnish(app, assembly.spec.gateway)
    served = Gateway(app, [*megaservices.values(), *exposed], front, shelves_of(assembly))
    served.add_routes()
    app.path_of = served.path_of
    if assembly.spec.gateway is not None and (doors := grpc_doors(assembly.spec.gateway)):
        app.beside = [_grpc(app, door, shares=len(_gateways(process, peers)) > 1) for door in doors]
    if front is not None:
        watch = Watch(assembly.metrics, assembly.clock, log=assembly.log)
        upstreams = Upstreams(front, assembly.hosts.egress, assembly.secret, services.tools, watch)
        upstreams.add_routes(app, assembly.ways)
        for target in (*megaservices.values(), *exposed):
            if front.admits(target.name):
                assembly.ways[target.name] = served.stand_in(target)

    def switched() -> None:
        """What is told of a service is what is true of the one that took its place."""
        if first is not None:
            app.build_id = assembly.build_id(assembly.plans[first.key])
        for key, target in megaservices.items():
            plan = assembly.plans[key]
            target.build_id = assembly.build_id(plan)
            target.switch(consumed=plan.consumed, unsupported=target.unsupported, component=target.component)
        for target in exposed:
            now = _exposed(assembly, target.name, services)
            target.switch(consumed=now.consumed, unsupported=now.unsupported, component=now.component)

    start = _start(app, assembly, services, refuses_misfits=True)
    app.on_start.append(start)
    app.on_stop.append(services.aclose)
    if front is not None:
        app.on_start.append(partial(watch.start, services))
        app.on_stop.append(watch.aclose)
    switcher = Switcher(assembly.choosing, services, app, log=assembly.log, on_commit=switched)
    app.on_stop.append(switcher.stop)
    app.on_stop += assembly.on_stop
    choices = Choices(
        assembly.choosing,
        services,
        switcher,
        components=assembly.components,
        models=assembly.hosts.models,
        host=assembly.hosts.host("models"),
        progress=assembly.progress,
        folder=assembly.folder,
        siblings=_siblings(assembly, process, peers or {}),
    )
    choices.add_routes(app)
    app.changing = lambda: None if choices.is_busy or switcher.is_busy else switcher.switches
    if assembly.signer is not None:
        inside = app.private = _inside(assembly, process, assembly.signer)
        obeying_route(inside, switcher, assembly.signer, of=app, look=choices.switches, cancel=choices.cancel)
    metrics_route(
        app,
        assembly.metrics,
        process=process,
        peers=peers,
        client=assembly.hosts.egress.inner,
        signed=assembly.signed_inside,
    )
    live = LiveServices(
        assembly.registry,
        dict(assembly.components.contracts),
        assembly.hosts.host("registry"),
        log=assembly.log,
        signed=assembly.signed,
    )
    live.add_routes(app)
    if reloads is not None:
        is_first = process in ("", "gateway", "gateway-1")
        recorder = Recorder(assembly.desk.audit if assembly.desk is not None else None, assembly.log)
        report_reloads(app, reloads, assembly.metrics, recorder, is_first=is_first)
        rollout_routes(app, assembly.spec, reloads, recorder, assembly.folder)
    documentation_routes(app)
    add_pages(app, login)
    if front is not None:
        describe(app, front.spec, [*megaservices.values(), *exposed])
    return app


def _untouched(assembly: Assembly, access: Access, first: Plan | None) -> Application:
    """The gateway's application, without a route: named after what it serves."""
    if first is not None:
        build = assembly.build_id(first)
        return assembly.application(
            first.name, first.version, access, build, first.description, verifier=assembly.service_signer
        )
    front = assembly.spec.gateway
    if front is None or all(rule.upstream is None and rule.service is None for rule in front.routes):
        raise UsageError(
            "this spec has no megaservice", hint="add a document of kind: Megaservice, or use: weft serve"
        )
    return assembly.application(
        front.name, "", access, "", front.description, verifier=assembly.service_signer
    )


def _inside(assembly: Assembly, process: str, signer: ContextSigner) -> Application:
    """What siblings reach of a gateway process, on its private address: nothing that users do, and only signed."""
    return Application(
        name=process,
        version="",
        access=Access(hosts=["*"]),
        verifier=signer,
        only_signed=True,
        log=assembly.log,
    )


def service(assembly: Assembly, key: str, access: Access) -> Application:
    """One service as an application of its own: a microservice."""
    placed = assembly.plans.placed[key]
    # Its callers are this installation's processes, or, for a service by itself, who has the key of the services.
    verifier = assembly.signer or assembly.service_signer
    app = assembly.application(
        key, placed.version, access, "", verifier=verifier, only_signed=verifier is not None
    )
    services = assembly.services(only=key)
    health_routes(app)

    start_services = _start(app, assembly, services, refuses_misfits=False)

    async def start() -> None:
        await start_services()
        transport = services.transports[key]
        streams = transport.contract.streams
        operation_routes(
            app,
            transport.contract,
            transport.call,
            transport.stream if streams else None,
            service=key,
            component=placed.component,
        )
        documentation_routes(app)

    app.on_start.append(start)
    app.on_stop.append(services.aclose)
    switcher = Switcher(assembly.choosing, services, app, log=assembly.log)
    app.on_stop.append(switcher.stop)
    if assembly.signer is not None:
        obeying_route(app, switcher, assembly.signer)
    metrics_route(app, assembly.metrics)
    return app


def _login(assembly: Assembly) -> Login | None:
    """How people log in, where the Gateway file says who may call."""
    spec, desk = assembly.spec.gateway, assembly.desk
    if spec is None or spec.auth is None or desk is None:
        return None
    return Login(spec, desk, egress=assembly.hosts.egress, secret=assembly.secret, log=assembly.log)


def _others(process: str, peers: Mapping[str, str]) -> dict[str, str]:
    """The other gateway processes of this installation."""
    return {name: peers[name] for name in _gateways(process, peers) if name != process}


def _siblings(assembly: Assembly, process: str, peers: Mapping[str, str]) -> Siblings:
    """The other gateway processes, and those that run a service each."""
    gateways = _others(process, peers)
    return Siblings(assembly.signer, assembly.hosts.egress.inner, gateways, assembly.endpoints or {})


def _start(
    app: Application, assembly: Assembly, services: Services, *, refuses_misfits: bool
) -> Callable[[], Awaitable[None]]:
    """Starts the services; in the gateway, one that is elsewhere and does not fit keeps it from starting."""
    elsewhere = assembly.elsewhere()

    async def start() -> None:
        if refuses_misfits:
            elsewhere.refuse(await elsewhere.look())
        await services.start()
        for key, transport in services.transports.items():
            app.ready_checks[key] = elsewhere.check(key, transport) if key in elsewhere else transport.ready

    return start


def _gateways(process: str, peers: Mapping[str, str] | None) -> list[str]:
    """The gateway processes of this installation."""
    return [name for name in peers or {} if re.fullmatch(r"gateway(-\d+)?", name)] or [process]


def _grpc(app: Application, door: Door, *, shares: bool) -> Beside:
    try:
        from weft.gateway.grpc.interface import INTERFACE_PATH, interface_route  # noqa: PLC0415 - an optional extra
        from weft.gateway.grpc.server import GrpcServer  # noqa: PLC0415 - the same
    except ImportError as error:
        raise MissingExtraError("grpc", package=error.name or "grpcio", extra="grpc") from error
    if INTERFACE_PATH not in app.router.exact:
        interface_route(app)
    return GrpcServer(app, door, shares=shares)


def _exposed_keys(spec: Spec) -> list[str]:
    """The services that answer on their contract's routes; behind a Gateway file, those that its routes lead to."""
    if spec.gateway is None:
        return list(spec.expose)
    return [rule.service for rule in spec.gateway.routes if rule.service is not None]


def _served_keys(spec: Spec, plans: Plans) -> list[str]:
    """The megaservices that can be asked; behind a Gateway file, those that its routes lead to, each in its versions."""
    if spec.gateway is None:
        return list(plans)
    wanted = [rule.megaservice for rule in spec.gateway.routes if rule.megaservice is not None]
    return [key for name in wanted for key in spec.served.get(name, (name,)) if key in plans]


def _megaservice(plan: Plan, services: Services) -> Target:
    def call(operation: str, request: Any) -> Awaitable[Any]:
        return services.runners[plan.key].invoke(request)

    def stream(operation: str, request: Any) -> Any:
        return services.runners[plan.key].stream(request)

    return Target(
        plan.name,
        plan.version,
        plan.contract,
        call,
        stream if plan.streamed is not None else None,
        # A plan is one operation: a megaservice has no others of its contract.
        {plan.operation.name: plan.operation},
        consumed=plan.consumed,
        description=plan.description,
        component=f"megaservice/{plan.name}",
    )


def _exposed(assembly: Assembly, key: str, services: Services) -> Target:
    placed = assembly.plans.placed[key]
    if placed.megaservice is not None:
        return replace(_megaservice(assembly.plans[placed.megaservice], services), name=key, version="")
    info = assembly.components.get(placed.component, folder=placed.folder)
    contract = assembly.components.contract_of(info, placed.config)

    async def call(operation: str, request: Any) -> Any:
        if placed.at.kind in ("url", "registry") and isinstance(request, IngestRequest):
            request = await inlined(request)
        return await services.transports[key].call(operation, request)

    def stream(operation: str, request: Any) -> Any:
        return services.transports[key].stream(operation, request)

    return Target(
        key,
        "",
        contract,
        corpus_of(assembly).noting(scoped(contract, call))
        if contract.name == "dataprep"
        else scoped(contract, call),
        stream if contract.streams else None,
        contract.operations,
        unsupported=ignored_fields(info, plain(placed.config)),
        component=placed.component,
    )
