"""Plans bound to services: components are made, given what they use, started, called and closed.

A megaservice fulfils its contract by running its plan, so it is called like any service, and nests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from weft import context
from weft.contracts import Contract
from weft.errors import ComponentError, ConflictError, InternalError, UsageError, WeftError
from weft.host import Host
from weft.http.client import Client
from weft.observe.journal import Journal
from weft.observe.metrics import Metrics
from weft.plan import Placed, Plan, Plans, widen
from weft.plan.identity import identities
from weft.registry.components import Components, instantiate
from weft.run import Breakers, Handle, RetryBudget, Runner, Tools, bind, handle
from weft.spec.gateway import BackendSpec
from weft.spec.model import SecretRef
from weft.transport.base import Transport
from weft.transport.clock import Clock, SystemClock
from weft.transport.http import HttpTransport
from weft.transport.local import LocalTransport, in_one_chunk, is_async
from weft.transport.signing import ContextSigner

LANE_THREADS = 4
"""Threads for a component whose methods are plain functions: as many as usually run at once on a small machine."""

LANE_QUEUE = 64
"""Calls that may wait for one of these threads before callers are told to come back."""


class MegaserviceTransport:
    """A megaservice of this process, called like a service."""

    endpoint: str | None = None

    def __init__(self, plan: Plan, runner: Runner, service: str) -> None:
        self.service, self.component = service, f"megaservice/{plan.name}"
        self.contract = plan.contract
        self._runner = runner
        self._request = plan.operation.request
        self._streams = plan.streamed is not None

    async def call(self, operation: str, request: Any) -> Any:
        """See :class:`weft.transport.base.Transport`."""
        if operation == self.contract.primary.name:
            return await self._runner.invoke(widen(request, self._request))
        default = self.contract.operations[operation].default
        if default is None:
            raise InternalError(f"megaservice '{self.service}' has no operation '{operation}'")
        return default(self.service)

    def stream(self, operation: str, request: Any) -> AsyncIterator[Any]:
        """See :class:`weft.transport.base.Transport`: one that does not stream gives its whole answer as one chunk."""
        asked = self.contract.operations[operation]
        if self._streams:
            return self._runner.stream(widen(request, self._request))
        return in_one_chunk(partial(self.call, operation), asked.chunk)(request)

    def has(self, operation: str) -> bool:
        """Whether it can be asked: its one operation, and what its contract answers for it."""
        asked = self.contract.operations[operation]
        return asked is self.contract.primary or asked.default is not None

    async def ready(self) -> bool:
        """See :class:`weft.transport.base.Transport`: its services are asked by themselves."""
        return True

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.Transport`."""
        await self._runner.aclose()


@dataclass(frozen=True, slots=True)
class Started:
    """A component of this process, started.

    Attributes:
        transport: Calls it.
        host: What it was given; ended with it.
    """

    transport: LocalTransport
    host: Host

    async def aclose(self) -> None:
        """Close the component, then whatever it started through its host."""
        try:
            if (aclose := getattr(self.transport.instance, "aclose", None)) is not None:
                await aclose()
        finally:
            await _end(self.host)


async def _end(host: Host) -> None:
    """End what a component has begun through its host; one made for tests need not know how."""
    if (aclose := getattr(host, "aclose", None)) is not None:
        await aclose()


class Services:
    """The services of one process, and the megaservices over them.

    Args:
        plans: What was compiled.
        components: Where components come from.
        host: Makes the host of one service, given its name and its config.
        journal, metrics: Of this process.
        secret: Gives a secret by name; None: there is none of that name.
        client: Calls services elsewhere.
        endpoints: Service to the addresses at which the supervisor runs it.
        registered: Makes the transport to a service that is placed on a registered name.
        signer: Signs the caller's identity for the other processes of this installation.
        service_signer: The same for services elsewhere.
        only: Make these services and what they use; None: all.
        clock: Time, for tests to replace.
        backends: How the addresses of a service are used, where the Gateway file says so.
        through: Put around the transport of each component of this process (the loopback, in tests).
        before: Those whose place these are to take: what is the same goes on running (see :meth:`take_over`).

    Attributes:
        transports: Every service by key, once started.
        runners: Every megaservice by its key, once started.
    """

    def __init__(
        self,
        plans: Plans,
        components: Components,
        *,
        host: Callable[[str, Any], Host],
        journal: Journal,
        metrics: Metrics,
        secret: Callable[[str], str | None],
        client: Client | None = None,
        endpoints: Mapping[str, Sequence[str]] | None = None,
        registered: Callable[[Placed, Contract], Transport] | None = None,
        signer: ContextSigner | None = None,
        service_signer: ContextSigner | None = None,
        only: str | None = None,
        clock: Clock | None = None,
        backends: Mapping[str, BackendSpec] | None = None,
        through: Callable[[Placed, Transport], Transport] | None = None,
        before: Services | None = None,
    ) -> None:
        self._plans, self._components = plans, components
        self._host, self._journal, self._metrics = host, journal, metrics
        self._secret, self._client = secret, client
        self._signer, self._service_signer = signer, service_signer
        self._endpoints, self._registered = endpoints or {}, registered
        self._backends = backends or {}
        self._only = only
        self._clock = clock = clock or SystemClock()
        self._through = through
        # Whoever goes on running holds these, and what a breaker knows of a server is still true.
        self.tools: Tools = before.tools if before is not None else _tools(journal, clock, metrics)
        self._before = before
        self._lent: dict[str, str] = {}
        """What goes on running, and its key among those before."""
        self._given: set[str] = set()
        """What belongs to those that took the place of these."""
        self._started: dict[str, Started] = {}
        self._handles: dict[str, list[tuple[Handle, str]]] = {}
        self.transports: dict[str, Transport] = {}
        self.runners: dict[str, Runner] = {}

    async def start(self) -> None:
        """Make and start every service in its order, then the megaservices.

        Raises:
            WeftError: A component cannot be made or started; those before it are closed again.
        """
        try:
            same = self._same()
            for placed in self._needed():
                if placed.key in same:
                    self._borrow(placed.key, same[placed.key])
                elif placed.megaservice is None:
                    self.transports[placed.key] = await self._service(placed)
                else:
                    plan = self._plans[placed.megaservice]
                    self.transports[placed.key] = MegaserviceTransport(plan, self._runner(plan), placed.key)
            if self._only is None:
                for plan in self._plans.values():
                    self._runner(plan)
        except BaseException:
            await self.aclose()
            raise

    def _identities(self) -> dict[str, str | None]:
        return identities(self._plans.placed, secret=self._secret, endpoints=self._endpoints)

    def _same(self) -> dict[str, str]:
        """What runs already and is the same here: key to the key there, one of its own name if there are several."""
        if self._before is None:
            return {}
        running = self._before._identities()  # noqa: SLF001 - of its own kind
        found: dict[str, str] = {}
        for key, identity in self._identities().items():
            fitting = [
                other
                for other, known in running.items()
                if known is not None
                and known == identity
                and other in self._before.transports
                and self._backends.get(key) == self._before._backends.get(other)  # noqa: SLF001 - of its own kind
            ]
            fitting.sort(key=key.__ne__)
            free = [other for other in fitting if other not in found.values()]
            if free:
                found[key] = free[0]
        return found

    def _borrow(self, key: str, other: str) -> None:
        assert self._before is not None  # something of it is the same
        self.transports[key] = self._before.transports[other]
        self._handles[key] = self._before._handles.setdefault(other, [])  # noqa: SLF001 - of its own kind
        self._lent[key] = other

    def take_over(self) -> None:
        """Have what goes on running belong to these services, and no longer to those before: they are closed without it.

        Until then these can be given up, and nothing that runs notices.
        """
        before, self._before = self._before, None
        if before is None:
            return
        own = self._started | before.given(self._lent)
        self._lent.clear()
        # Closed in the reverse of this order: each before what it uses.
        self._started = {key: own[key] for key in self._plans.placed if key in own}

    def given(self, lent: Mapping[str, str]) -> dict[str, Started]:
        """Give away what goes on running elsewhere: ``lent`` is the key there to the key here."""
        self._given.update(lent.values())
        return {key: self._started.pop(other) for key, other in lent.items() if other in self._started}

    def _needed(self) -> list[Placed]:
        placed = self._plans.placed
        if self._only is None:
            return list(placed.values())
        wanted: set[str] = set()
        waiting = [self._only]
        while waiting:
            key = waiting.pop()
            if key not in wanted:
                wanted.add(key)
                waiting += placed[key].uses.values()
                if (megaservice := placed[key].megaservice) is not None:
                    waiting += self._plans[megaservice].services
        return [entry for key, entry in placed.items() if key in wanted]

    def _runner(self, plan: Plan) -> Runner:
        if plan.key not in self.runners:
            self.runners[plan.key] = Runner(
                plan,
                self.transports,
                self._journal,
                budget=self.tools.budget,
                breakers=self.tools.breakers,
                metrics=self._metrics,
                clock=self._clock,
            )
        return self.runners[plan.key]

    async def _service(self, placed: Placed) -> Transport:
        info = self._components.get(placed.component, folder=placed.folder)
        config = resolved(placed.config, self._secret, placed.key)
        contract = self._components.contract_of(info, placed.config)
        # The process that was started for this service makes it itself, whatever the placement calls that place.
        if placed.at.kind in ("url", "registry") or (
            placed.at.kind == "process" and placed.key != self._only
        ):
            return self._remote(placed, contract)
        if placed.key in self._endpoints and placed.key != self._only:
            return self._remote(placed, contract)
        started = self._started[placed.key] = await self._start(placed, config, contract)
        local = started.transport
        return local if self._through is None else self._through(placed, local)

    async def _start(self, placed: Placed, config: Any, contract: Contract) -> Started:
        info = self._components.get(placed.component, folder=placed.folder)
        uses = {name: self._used(name, key) for name, key in placed.uses.items()}
        instance = instantiate(info, config, uses)
        host = self._host(placed.key, config)
        if (start := getattr(instance, "start", None)) is not None:
            try:
                await start(host)
            except BaseException as error:
                await _end(host)
                if isinstance(error, WeftError) or not isinstance(error, Exception):
                    raise
                raise ComponentError(
                    f"service '{placed.key}' (component '{placed.component}') could not start: {error}"
                ) from error
        blocks = any(
            not is_async(method)
            for operation in contract.operations
            if (method := getattr(instance, operation, None)) is not None
        )
        lane = host.lane(threads=LANE_THREADS, queue=LANE_QUEUE) if blocks else None
        backend = _shown(config.get("url"))
        transport = LocalTransport(
            placed.key,
            placed.component,
            contract,
            instance,
            lane=lane,
            backend=backend,
            asks_others=any(self.transports[key].contract.name == "chat" for key in placed.uses.values()),
        )
        return Started(transport, host)

    # Another component in the place of one that runs.

    def has(self, key: str) -> bool:
        """Whether this process runs the service itself."""
        return key in self._started

    async def beside(self, placed: Placed) -> Started:
        """Start what is to take a service's place; nobody calls it yet, and whoever gives it up closes it.

        Raises:
            WeftError: It cannot be made or started; what was begun is closed again.
        """
        info = self._components.get(placed.component, folder=placed.folder)
        contract = self._components.contract_of(info, placed.config)
        return await self._start(placed, resolved(placed.config, self._secret, placed.key), contract)

    def switch(self, plans: Plans, key: str, started: Started | None) -> Started | None:
        """Have ``started`` be the service from the next request on, under ``plans``; requests under way end as they began.

        Args:
            plans: What was compiled with the new component.
            key: The service.
            started: None: the service is in another process, and only the plans change here.

        Returns:
            What it was until now, to be closed when the requests under way have ended.

        Raises:
            ConflictError: Others have taken the place of these services.
        """
        before = None
        if self._given:
            raise ConflictError("the gateway was reloaded meanwhile", hint="choose again")
        if started is not None:
            running = self._started[key]
            kept = running.transport
            # The transport stays, for whoever holds it; what is to be closed gets one of its own.
            retired = LocalTransport(kept.service, kept.component, kept.contract, kept.instance)
            before = Started(retired, running.host)
            kept.take(started.transport)
            self._started[key] = Started(kept, started.host)
            for used, slot in self._handles.get(key, ()):
                bind(used, self.transports[key], slot, self.tools)
        self._plans = plans
        for name, runner in self.runners.items():
            runner.rebind(plans[name])
        return before

    def _remote(self, placed: Placed, contract: Contract) -> Transport:
        if placed.at.kind == "registry":
            if self._registered is None:
                raise UsageError(
                    f"service '{placed.key}' is placed on a registered name, and there is no registry"
                )
            return self._registered(placed, contract)
        if self._client is None:
            raise UsageError(f"service '{placed.key}' runs elsewhere, and there is no client to call it with")
        signer = self._signer
        if placed.at.kind == "url":
            urls: Sequence[str] = placed.at.urls
            signer = self._service_signer
        else:
            urls = self._endpoints.get(placed.key, ())
            if not urls:
                raise UsageError(
                    f"service '{placed.key}' is placed in a process of its own, and nothing started one"
                )
        return HttpTransport(
            placed.key,
            placed.component,
            contract,
            urls,
            client=self._client,
            signer=signer,
            clock=self._clock,
            spec=self._backends.get(placed.key),
            budget=self.tools.budget,
        )

    def _used(self, slot: str, key: str) -> Any:
        transport = self.transports[key]
        used = handle(transport, slot, self.tools)
        self._handles.setdefault(key, []).append((used, slot))
        scope = transport.contract.scope
        return scope(used, context.scope) if scope is not None else used

    async def aclose(self) -> None:
        """Close the megaservices, then the components in reverse order, each whatever became of the others."""
        for runner in self.runners.values():
            await runner.aclose()
        failures = []
        for key, started in reversed(self._started.items()):
            try:
                await started.aclose()
            except Exception as error:  # noqa: BLE001 - the others are closed all the same; raised below
                failures.append(f"service '{key}' did not close: {error}")
        self._started.clear()
        for key, transport in self.transports.items():
            if key not in self._given and key not in self._lent:
                await transport.aclose()
        if failures:
            raise ComponentError("; ".join(failures))


def _tools(journal: Journal, clock: Clock, metrics: Metrics) -> Tools:
    return Tools(journal, clock, RetryBudget(), Breakers(clock), metrics)


def _shown(url: Any) -> str | None:
    """A server's address as errors may name it: without what may be secret in it, user, password and query."""
    if not isinstance(url, str) or "://" not in url:
        return None
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def resolved(value: Any, secret: Callable[[str], str | None], service: str) -> Any:
    """A config with its secrets put in."""
    if isinstance(value, SecretRef):
        found = secret(value.name)
        if found is None:
            raise UsageError(
                f"service '{service}' needs the secret '{value.name}', which is not set",
                hint=f"set it in the environment, or put it into a file '{value.name}' in WEFT_SECRETS_DIR",
            )
        return found
    if isinstance(value, Mapping):
        return {name: resolved(item, secret, service) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(item, secret, service) for item in value]
    return value
