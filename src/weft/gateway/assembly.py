"""What one process needs, put together once: the spec with what was chosen, hosts, services, and what routes share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weft.contracts import Contract
from weft.errors import UsageError
from weft.gateway.access.desk import Desk
from weft.gateway.chosen import Chosen
from weft.gateway.fit import ASK_TIMEOUT_S, Elsewhere
from weft.gateway.limits.build import Limits, Surroundings
from weft.gateway.load.stage import LoadStage
from weft.gateway.switch import Choosing
from weft.gateway.targets import Target
from weft.gateway.upstream.fallback import Way
from weft.gateway.upstream.watching import backends_of
from weft.host import Host
from weft.megaservice import Services
from weft.models import Progress
from weft.observe.journal import Journal
from weft.observe.metrics import Metrics
from weft.plan import Placed, Plan, Plans, build_id
from weft.plan import check as plan_check
from weft.registry.components import Components
from weft.registry.services import ServiceRegistry
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.hosts import Hosts, HostSettings
from weft.serve.log import Log
from weft.serve.scrape import process_metrics
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
