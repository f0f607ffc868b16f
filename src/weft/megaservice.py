"""Plans bound to services: components are made, given what they use, started, called and closed.

A megaservice fulfils its contract by running its plan, so it is called like any service, and nests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from weft import context
from weft.contracts import Contract
from weft.contracts.chat import ChatDescription
from weft.errors import ComponentError, InternalError, NotReadyError, UsageError, WeftError
from weft.host import Host
from weft.http.client import Client
from weft.observe.journal import Journal
from weft.observe.metrics import Metrics
from weft.plan import Placed, Plan, Plans, widen
from weft.registry.components import Components, instantiate
from weft.run import Breakers, RetryBudget, Runner
from weft.spec.model import SecretRef
from weft.transport.base import Transport, bound
from weft.transport.clock import SystemClock
from weft.transport.http import HttpTransport
from weft.transport.local import LocalTransport, is_async
from weft.transport.signing import ContextSigner

LANE_THREADS = 4
"""Threads for a component whose methods are plain functions: as many as usually run at once on a small machine."""

LANE_QUEUE = 64
"""Calls that may wait for one of these threads before callers are told to come back."""


class Handle:
    """A service as a component sees it that uses it: its contract's operations, wherever it runs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __getattr__(self, operation: str) -> Any:
        if operation.startswith("_") or operation not in self._transport.contract.operations:
            raise AttributeError(f"{self._transport.contract.name} has no operation '{operation}'")
        call = bound(self._transport, operation)
        self.__dict__[operation] = call  # looked up once
        return call

    def stream(self, request: Any) -> AsyncIterator[Any]:
        """The primary operation, in chunks."""
        return self._transport.stream(self._transport.contract.primary.name, request)

    async def describe(self, request: Any) -> Any:
        """What the service says of itself; a chat service need not say anything."""
        instance = getattr(self._transport, "instance", self._transport)
        if isinstance(self._transport, MegaserviceTransport) or (
            isinstance(self._transport, LocalTransport) and not hasattr(instance, "describe")
        ):
            return ChatDescription(self._transport.service)
        return await self._transport.call("describe", request)


class MegaserviceTransport:
    """A megaservice of this process, called like a service."""

    endpoint: str | None = None

    def __init__(self, plan: Plan, runner: Runner, service: str) -> None:
        self.service, self.component = service, f"megaservice/{plan.name}"
        self.contract = plan.contract
        self._runner = runner
        self._request = plan.operation.request

    async def call(self, operation: str, request: Any) -> Any:
        """See :class:`weft.transport.base.Transport`."""
        return await self._runner.invoke(self._widened(operation, request))

    def stream(self, operation: str, request: Any) -> AsyncIterator[Any]:
        """See :class:`weft.transport.base.Transport`."""
        return self._runner.stream(self._widened(operation, request))

    def _widened(self, operation: str, request: Any) -> Any:
        if operation != self.contract.primary.name:
            raise InternalError(f"megaservice '{self.service}' has no operation '{operation}'")
        return request if isinstance(request, self._request) else widen(request, self._request)

    async def ready(self) -> bool:
        """See :class:`weft.transport.base.Transport`: its services are asked by themselves."""
        return True

    async def aclose(self) -> None:
        """See :class:`weft.transport.base.Transport`."""
        await self._runner.aclose()


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
        registered: Registered service to its address.
        signer: Signs the caller's identity for services elsewhere.
        only: Make these services and what they use; None: all.

    Attributes:
        transports: Every service by key, once started.
        runners: Every megaservice by name, once started.
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
        registered: Mapping[str, str] | None = None,
        signer: ContextSigner | None = None,
        only: str | None = None,
    ) -> None:
        self._plans, self._components = plans, components
        self._host, self._journal, self._metrics = host, journal, metrics
        self._secret, self._client, self._signer = secret, client, signer
        self._endpoints, self._registered = endpoints or {}, registered or {}
        self._only = only
        clock = SystemClock()
        self._budget, self._breakers = RetryBudget(), Breakers(clock)
        self._started: list[tuple[str, Any]] = []
        self.transports: dict[str, Transport] = {}
        self.runners: dict[str, Runner] = {}

    async def start(self) -> None:
        """Make and start every service in its order, then the megaservices.

        Raises:
            WeftError: A component cannot be made or started; those before it are closed again.
        """
        try:
            for placed in self._needed():
                if placed.megaservice is None:
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
        return [entry for key, entry in placed.items() if key in wanted]

    def _runner(self, plan: Plan) -> Runner:
        if plan.name not in self.runners:
            self.runners[plan.name] = Runner(
                plan,
                self.transports,
                self._journal,
                budget=self._budget,
                breakers=self._breakers,
                metrics=self._metrics,
            )
        return self.runners[plan.name]

    async def _service(self, placed: Placed) -> Transport:
        info = self._components.get(placed.component, folder=placed.folder)
        config = _resolved(placed.config, self._secret, placed.key)
        contract = self._components.contract_of(info, placed.config)
        # The process that was started for this service makes it itself, whatever the placement calls that place.
        if placed.at.kind in ("url", "registry") or (
            placed.at.kind == "process" and placed.key != self._only
        ):
            return self._remote(placed, contract)
        if placed.key in self._endpoints and placed.key != self._only:
            return self._remote(placed, contract)
        uses = {name: self._used(self.transports[key]) for name, key in placed.uses.items()}
        instance = instantiate(info, config, uses)
        host = self._host(placed.key, config)
        if (start := getattr(instance, "start", None)) is not None:
            try:
                await start(host)
            except WeftError:
                raise
            except Exception as error:
                raise ComponentError(
                    f"service '{placed.key}' (component '{placed.component}') could not start: {error}"
                ) from error
        self._started.append((placed.key, instance))
        blocks = any(
            not is_async(method)
            for operation in contract.operations
            if (method := getattr(instance, operation, None)) is not None
        )
        lane = host.lane(threads=LANE_THREADS, queue=LANE_QUEUE) if blocks else None
        return LocalTransport(placed.key, placed.component, contract, instance, lane=lane)

    def _remote(self, placed: Placed, contract: Contract) -> HttpTransport:
        if self._client is None:
            raise UsageError(f"service '{placed.key}' runs elsewhere, and there is no client to call it with")
        if placed.at.kind == "url":
            urls: Sequence[str] = [placed.at.target]
        elif placed.at.kind == "registry":
            url = self._registered.get(placed.at.target)
            if url is None:
                raise NotReadyError(
                    f"no service is registered as '{placed.at.target}' (service '{placed.key}' needs it)"
                )
            urls = [url]
        else:
            urls = self._endpoints.get(placed.key, ())
            if not urls:
                raise UsageError(
                    f"service '{placed.key}' is placed in a process of its own, and nothing started one"
                )
        return HttpTransport(
            placed.key, placed.component, contract, urls, client=self._client, signer=self._signer
        )

    def _used(self, transport: Transport) -> Any:
        handle = Handle(transport)
        scope = transport.contract.scope
        return scope(handle, context.scope) if scope is not None else handle

    async def aclose(self) -> None:
        """Close the megaservices, then the components in reverse order, each whatever became of the others."""
        for runner in self.runners.values():
            await runner.aclose()
        failures = []
        for key, instance in reversed(self._started):
            if (aclose := getattr(instance, "aclose", None)) is not None:
                try:
                    await aclose()
                except Exception as error:  # noqa: BLE001 - the others are closed all the same; raised below
                    failures.append(f"service '{key}' did not close: {error}")
        self._started.clear()
        for transport in self.transports.values():
            await transport.aclose()
        if failures:
            raise ComponentError("; ".join(failures))


def _resolved(value: Any, secret: Callable[[str], str | None], service: str) -> Any:
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
        return {name: _resolved(item, secret, service) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(item, secret, service) for item in value]
    return value
