"""From a spec to the application of one process: the whole gateway, or one service behind it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from weft.contracts import Contract
from weft.contracts.dataprep import IngestRequest
from weft.errors import MissingExtraError, UsageError
from weft.gateway.access.desk import Desk
from weft.gateway.app import Gateway
from weft.gateway.bounds import BodyStage
from weft.gateway.cache.build import cache_of, corpus_of
from weft.gateway.choices import Choices
from weft.gateway.chosen import Chosen
from weft.gateway.description import describe
from weft.gateway.fit import ASK_TIMEOUT_S, Elsewhere
from weft.gateway.front import Front, StagesOf
from weft.gateway.limits.build import Limits, Surroundings
from weft.gateway.listeners import furnish, grpc_doors
from weft.gateway.live import LiveServices
from weft.gateway.load.stage import LoadStage, TimeStage
from weft.gateway.login.login import Login
from weft.gateway.pages import add_pages
from weft.gateway.passage import Stage
from weft.gateway.protocols.build import idempotency_of, shelves_of
from weft.gateway.siblings import Siblings, obeying_route
from weft.gateway.switch import Choosing, Switcher
from weft.gateway.targets import Target
from weft.gateway.transform import SchemaStage, TransformStage
from weft.gateway.upstream.fallback import FallbackStage, Way
from weft.gateway.upstream.routes import Upstreams
from weft.gateway.upstream.watching import Watch, backends_of
from weft.gateway.versions.mirror import MirrorStage
from weft.gateway.versions.reporting import Recorder, report_reloads
from weft.gateway.versions.routes import rollout_routes
from weft.gateway.versions.stage import VersionStage, versions_of
from weft.host import Host
from weft.megaservice import Services
from weft.models import Progress
from weft.observe.journal import Journal
from weft.observe.metrics import Metrics
from weft.plan import Placed, Plan, Plans, build_id
from weft.plan import check as plan_check
from weft.plan.front import whole_fields
from weft.plan.schemas import RequestSchema
from weft.plan.services import plain
from weft.registry.components import Components, ignored_fields
from weft.registry.services import ServiceRegistry
from weft.serve.access import Access
from weft.serve.application import Application, Beside
from weft.serve.doors import Door
from weft.serve.health import health_routes
from weft.serve.hosts import Hosts, HostSettings
from weft.serve.log import Log
from weft.serve.openapi import documentation_routes
from weft.serve.operations import operation_routes, scoped
from weft.serve.renewal import Reloads
from weft.serve.scrape import metrics_route, process_metrics
from weft.serve.uploads import inlined
from weft.spec.gateway import RouteSpec
from weft.spec.model import Spec
from weft.transport.base import Transport
from weft.transport.clock import Clock, SystemClock
from weft.transport.http import HttpTransport
from weft.transport.registered import RegisteredTransport
from weft.transport.signing import CONTEXT_HEADER, MIN_SERVICE_KEY, SERVICE_KEY, ContextSigner

REGISTRY_FILE: Final = "registry.json"
"""In the data folder."""

OF_DOCUMENTS: Final = frozenset({"store", "dataprep", "retriever"})
"""Contracts whose answer depends on whose request it is."""


class Assembly:
    """What one process needs, put together once.

    Args:
        spec, plans, components: What runs.
        settings: What components may use.
        secret: Gives a secret by name.
        log: Of the process.
        on_progress: Told how far fetching a model is.
        chosen: What was chosen while an earlier process ran; ``plans`` were compiled with it.
        check: Compiles a spec as this installation was started; None: in one process.
        endpoints: Service to the addresses at which the supervisor runs it.
        signing_key: With which processes of this installation sign identities.
        before: What runs in this process, whose place this is to take: what lasts is shared with it.

    Attributes:
        running: The services of this process.
        owns_hosts: Whether what is used by all services is to be closed with this.
        lasting: See :attr:`weft.serve.application.Application.lasting`.
        targets: Of the gateway, by model name, each in its versions.
        on_stop: What its stages have to end.
    """

    def __init__(
        self,
        spec: Spec,
        plans: Plans,
        components: Components,
        *,
        settings: HostSettings,
        secret: Callable[[str], str | None],
        log: Log,
        on_progress: Callable[[Progress], None] | None = None,
        chosen: Chosen | None = None,
        check: Callable[[Spec], Plans] | None = None,
        endpoints: Mapping[str, Sequence[str]] | None = None,
        signing_key: bytes = b"",
        before: Assembly | None = None,
    ) -> None:
        self.components = components
        compiled = check or (lambda spec: plan_check(spec, components))
        self.choosing = Choosing(spec, chosen or Chosen(), plans, compiled)
        self.log, self.folder, self._on_progress = log, Path(settings.data_dir), on_progress
        self._before = before
        self.running: Services | None = None
        self.owns_hosts = before is None
        if before is None:
            self.progress: dict[str, Progress] = {}
            self.lasting: dict[str, Any] = {}
            self.clock: Clock = SystemClock()
            self.metrics, self.journal = Metrics(), Journal()
            process_metrics(self.metrics)
            self.hosts = Hosts(settings, metrics=self.metrics, log=log, on_progress=self._progressed)
            self.registry = ServiceRegistry(self.folder / REGISTRY_FILE)
        else:
            self.progress, self.lasting = before.progress, before.lasting
            self.metrics, self.journal = before.metrics, before.journal
            self.hosts, self.registry = before.hosts, before.registry
            self.clock = before.clock
        self.signer = ContextSigner(signing_key) if signing_key else None
        self.service_signer = _service_signer(secret(SERVICE_KEY))
        self._given, self.endpoints = secret, endpoints
        self.targets: dict[str, list[Target]] = {}
        self.ways: dict[str, Way] = {}
        self.processes = 1
        self.on_stop: list[Callable[[], Awaitable[object]]] = []
        self.limits = (
            Limits(lambda: self.plans, self.lasting, self.metrics) if spec.gateway is not None else None
        )
        self.desk: Desk | None = None
        if spec.gateway is not None:
            self.desk = Desk(
                spec.gateway, folder=self.folder, secret=self.secret, log=log, lasting=self.lasting
            )

    @property
    def spec(self) -> Spec:
        """What runs: what the files say, and what was chosen in its place."""
        return self.choosing.spec

    @property
    def plans(self) -> Plans:
        """What was compiled of it."""
        return self.choosing.plans

    def _progressed(self, progress: Progress) -> None:
        self.progress[progress.name] = progress
        if self._on_progress is not None:
            self._on_progress(progress)

    def secret(self, name: str) -> str | None:
        """A secret by name; None: there is none."""
        return self.choosing.keys.get(name) or self._given(name)

    def _host(self, service: str, config: Any) -> Host:
        """The host of a service; addresses that were chosen at run time are not the operator's own."""
        return self.hosts.host(service, None if service in self.choosing.guarded else config)

    def name_hosts(self) -> None:
        """Let the addresses that the operator's placement names be contacted, wherever they are."""
        for placed in self.plans.placed.values():
            if placed.at.kind == "url":
                self.hosts.egress.name(placed.at.urls)

    def services(self, only: str | None = None) -> Services:
        """The services of this process."""
        self.name_hosts()
        self.running = Services(
            self.plans,
            self.components,
            host=self._host,
            journal=self.journal,
            metrics=self.metrics,
            secret=self.secret,
            client=self.hosts.egress.named,
            endpoints=self.endpoints,
            registered=self._registered,
            signer=self.signer,
            service_signer=self.service_signer,
            only=only,
            clock=self.clock,
            backends=backends_of(self.spec, self.plans),
            before=self._before.running if self._before is not None else None,
        )
        return self.running

    def take_over(self) -> None:
        """Have what lasts belong to this, and no longer to what was before it."""
        before, self._before = self._before, None
        if before is not None and self.running is not None:
            self.running.take_over()
            before.owns_hosts, self.owns_hosts = False, True

    async def _close_hosts(self) -> None:
        if self.owns_hosts:
            if self.limits is not None:
                await self.limits.aclose()
            await self.hosts.aclose()

    def open_limits(self, app: Application, peers: Mapping[str, str]) -> None:
        """Have the store of the limits that the Gateway file says."""
        if self.limits is None or self.spec.gateway is None:
            return
        around = Surroundings(
            folder=self.folder,
            log=self.log,
            secret=self.secret,
            client=self.hosts.egress.inner,
            signed=self.signed_inside,
            peers=peers,
            processes=self.processes,
        )
        self.limits.open(self.spec.gateway, around)
        app.on_start.append(self.limits.start)

    def _registered(self, placed: Placed, contract: Contract) -> Transport:
        def address(name: str) -> str | None:
            service = self.registry.find(name)
            return service.url if service is not None else None

        def make(url: str) -> HttpTransport:
            client = self.hosts.egress.client_for(url)
            return HttpTransport(
                placed.key,
                placed.component,
                contract,
                [url],
                client=client,
                signer=self.service_signer,
                clock=self.clock,
                spec=backends_of(self.spec, self.plans).get(placed.key),
                budget=self.running.tools.budget if self.running is not None else None,
            )

        return RegisteredTransport(
            placed.key, placed.component, contract, placed.at.target, address=address, make=make
        )

    def load_stage(self, rule: RouteSpec) -> LoadStage:
        """What lets a route's requests in, as many at a time as can be served."""
        return LoadStage(
            rule,
            clock=self.clock,
            metrics=self.metrics,
            journal=self.journal,
            processes=self.processes,
            lasting=self.lasting.setdefault("load", {}),
        )

    def elsewhere(self) -> Elsewhere:
        """What is known of the services that are not this installation's own."""
        host = self.hosts.host("registry")
        return Elsewhere(
            self.spec,
            self.plans,
            self.components,
            self.registry,
            lambda url: host.http(url, timeout_s=ASK_TIMEOUT_S, headers=self.signed()),
        )

    def refuse_strangers_tenants(self) -> None:
        """Refuse to have services that keep data elsewhere, without a key that tells them whose request it is.

        Raises:
            UsageError: There is one, which would take every caller for the default tenant.
        """
        for placed in self.plans.placed.values():
            if self.service_signer is not None or placed.at.kind not in ("url", "registry"):
                continue
            if placed.contract in OF_DOCUMENTS:
                raise UsageError(
                    f"service '{placed.key}' is at {placed.at}, and could not know whose documents are asked for",
                    hint=f"set the same secret {SERVICE_KEY} here and there: openssl rand -hex 32",
                )

    def signed(self) -> dict[str, str]:
        """The header that shows services on other machines that this installation asks, for nobody in particular."""
        return {CONTEXT_HEADER: self.service_signer.sign_for_nobody()} if self.service_signer else {}

    def signed_inside(self) -> list[tuple[str, str]]:
        """The same for this installation's own processes."""
        return [(CONTEXT_HEADER, self.signer.sign_for_nobody())] if self.signer else []

    def application(
        self,
        name: str,
        version: str,
        access: Access,
        build: str,
        description: str = "",
        *,
        verifier: ContextSigner | None = None,
        only_signed: bool = False,
    ) -> Application:
        """An application with health, metrics and documentation, that starts and stops with its services."""
        app = Application(
            name=name,
            version=version,
            access=access,
            journal=self.journal,
            metrics=self.metrics,
            build_id=build,
            description=description,
            verifier=verifier,
            only_signed=only_signed,
            log=self.log,
        )
        app.spool = self.folder / "uploads"
        app.lasting = self.lasting
        app.on_stop.append(self._close_hosts)
        app.on_succeed.append(self.take_over)
        return app

    def build_id(self, plan: Plan) -> str:
        """See :func:`weft.plan.build_id`."""
        versions = {placed.component: placed.version for placed in self.plans.placed.values()}
        models = {
            str(placed.config["model"]): digest
            for placed in self.plans.placed.values()
            if "model" in placed.config and (digest := self._digest(str(placed.config["model"]))) is not None
        }
        return build_id(self.spec, plan, versions, models)

    def _digest(self, model: str) -> str | None:
        return next((status.digest for status in self.hosts.models.list() if status.name == model), None)


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


def _service_signer(key: str | None) -> ContextSigner | None:
    """Signs for, or verifies as, services on other machines.

    Raises:
        UsageError: The key can be guessed.
    """
    if key is None:
        return None
    if len(key) < MIN_SERVICE_KEY:
        raise UsageError(
            f"the secret {SERVICE_KEY} has fewer than {MIN_SERVICE_KEY} characters",
            hint="make one with: openssl rand -hex 32",
        )
    return ContextSigner(key.encode())


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


def stages_of(assembly: Assembly) -> StagesOf:
    """What a route of the Gateway file does with its requests, the outermost first."""
    limits, gateway, shelves = assembly.limits, assembly.spec.gateway, shelves_of(assembly)

    def stages(rule: RouteSpec) -> list[Stage]:
        found: list[Stage] = [TimeStage(rule)] if rule.timeout_s is not None else []
        if rule.max_body_bytes is not None:
            found.append(BodyStage(rule.max_body_bytes))
        if assembly.desk is not None and (access := assembly.desk.stage(rule)) is not None:
            found.append(access)
        found.append(idempotency_of(assembly, rule, shelves))
        versions = versions_of(rule, assembly.targets.get(rule.target, ()))
        if versions:
            found.append(VersionStage(rule, versions))
        if rule.schema:
            found.append(SchemaStage(RequestSchema(rule.schema)))
        if rule.request is not None or rule.response is not None:
            keys = assembly.spec.served.get(rule.target, (rule.target,))
            plans = assembly.plans
            whole = whole_fields(rule, keys, plans, plans.placed, assembly.components)
            found.append(TransformStage(rule, whole=whole))
        if limits is not None and gateway is not None and (limit := limits.stage(gateway, rule)) is not None:
            found.append(limit)
        if (cache := cache_of(assembly, rule)) is not None:
            found.append(cache)
        if rule.backends is not None and rule.backends.fallback:
            found.append(FallbackStage(rule, assembly.ways, assembly.metrics))
        if rule.load is not None:
            found.append(assembly.load_stage(rule))
        if any(version.spec.mirror for version in versions):
            # Innermost: what is refused, or answered by a cache, is not copied, and a copy takes nobody's place.
            mirror = MirrorStage(rule, versions, assembly.metrics, log=assembly.log)
            assembly.on_stop.append(mirror.stop)
            found.append(mirror)
        return found

    return stages


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
