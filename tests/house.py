"""A spec of scripted components, running in this process, its services called in one of three ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Literal, Self

import msgspec

from runkit import COMPONENTS, SAY, TAKES_STREAMS, KitHost, Recorder, shown
from weft.contracts.chat import ChatChunk, ChatResponse
from weft.errors import RequestError
from weft.http.client import Client
from weft.http.server import Server
from weft.megaservice import MegaserviceTransport, Services
from weft.observe.journal import Journal
from weft.observe.metrics import Metrics
from weft.plan import Placed, Plan, Plans, check
from weft.registry.components import Components
from weft.serve.application import Access, Application
from weft.serve.operations import operation_routes
from weft.spec.load import loads
from weft.transport.base import Transport
from weft.transport.http import HttpTransport
from weft.transport.loopback import LoopbackTransport

Way = Literal["local", "loopback", "http"]

WAYS: tuple[Way, ...] = ("local", "loopback", "http")


def compiled(text: str, **options: Any) -> Plans:
    """The plans of a spec made of these components."""
    return check(loads(text), registry(), **options)


def registry() -> Components:
    """These components, with their contract beside the usual ones."""
    return Components(COMPONENTS, contracts={**Components({}).contracts, "say": SAY})


class House:
    """A spec, running: every component in this process, and called in one of three ways.

    Args:
        spec: YAML.
        way: How services are called, the megaservice itself included.
        clock: Time of the runs.
    """

    def __init__(self, spec: str, way: Way = "local", *, clock: Any = None) -> None:
        self.plans, self.way, self.clock = compiled(spec), way, clock
        self.recorder, self.journal, self.metrics = Recorder(), Journal(), Metrics()
        self.endpoints: dict[str, list[str]] = {}
        self._components = registry()
        self._stack = AsyncExitStack()
        self._servers: list[Server] = []
        self.services: Services

    async def __aenter__(self) -> Self:
        stack = self._stack
        try:
            self.client = Client()
            stack.push_async_callback(self.client.aclose)
            if self.way == "http":
                for placed in self.plans.placed.values():
                    if placed.component not in TAKES_STREAMS and placed.megaservice is None:
                        await self._serve_service(placed.key)
            self.services = self._services(None)
            await self.services.start()
            stack.push_async_callback(self.services.aclose)
            self._asked = {name: await self._outer(plan) for name, plan in self.plans.items()}
        except BaseException:
            await stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def __getitem__(self, name: str) -> Transport:
        """A megaservice, as its callers see it."""
        return self._asked[name]

    @property
    def main(self) -> Plan:
        """The last megaservice of the spec."""
        return list(self.plans.values())[-1]

    @property
    def in_flight(self) -> int:
        """Requests at its servers, and calls that its transports wait for."""
        waiting = sum(
            replica.in_flight
            for transport in [*self.services.transports.values(), *self._asked.values()]
            if isinstance(transport, HttpTransport)
            for replica in transport.replicas.all
        )
        return waiting + sum(server.in_flight for server in self._servers)

    def request(self, fields: dict[str, Any]) -> Any:
        """A request to it."""
        return msgspec.convert(fields, self.main.operation.request)

    async def ask(self, fields: dict[str, Any]) -> Any:
        """Its whole reply."""
        return await self[self.main.name].call(self.main.operation.name, self.request(fields))

    def stream(self, fields: dict[str, Any]) -> AsyncIterator[Any]:
        """Its reply in chunks."""
        return self[self.main.name].stream(self.main.operation.name, self.request(fields))

    def _services(self, only: str | None) -> Services:
        return Services(
            self.plans,
            self._components,
            host=lambda key, _config: self._host(key),  # type: ignore[arg-type, return-value]  # all that these components use of one
            journal=self.journal if only is None else Journal(),
            metrics=self.metrics,
            secret=lambda _name: None,
            client=self.client,
            endpoints=self.endpoints,
            only=only,
            clock=self.clock,
            through=self._through if self.way == "loopback" else None,
        )

    def _host(self, key: str) -> KitHost:
        host = KitHost(key, self.recorder)
        self._stack.callback(host.close)
        return host

    def _through(self, placed: Placed, transport: Transport) -> Transport:
        return transport if placed.component in TAKES_STREAMS else LoopbackTransport(transport)

    async def _serve_service(self, key: str) -> None:
        # What it uses has an endpoint by now: services come in the order in which they can be started.
        services = self._services(key)
        await services.start()
        self._stack.push_async_callback(services.aclose)
        self.endpoints[key] = [await self._serve(services.transports[key])]

    async def _serve(self, transport: Transport) -> str:
        app = Application(name=transport.service, version="1", access=Access())
        contract = transport.contract
        operation_routes(
            app,
            contract,
            transport.call,
            transport.stream if contract.streams else None,
            service=transport.service,
        )
        await app.start()
        server = Server(app, on_error=app.on_error)
        self._servers.append(server)
        port = await server.listen("127.0.0.1", 0)
        self._stack.push_async_callback(app.stop)
        self._stack.push_async_callback(server.aclose)
        return f"http://127.0.0.1:{port}"

    async def _outer(self, plan: Plan) -> Transport:
        inner = MegaserviceTransport(plan, self.services.runners[plan.name], plan.name)
        if self.way == "local":
            return inner
        if self.way == "loopback":
            return LoopbackTransport(inner)
        url = await self._serve(inner)
        return HttpTransport(plan.name, inner.component, plan.contract, [url], client=self.client)


def text_of(value: Any) -> str:
    """The text of a response, or of chunks put together."""
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if isinstance(value, ChatChunk):
        return "".join(choice.delta.content or "" for choice in value.choices)
    return shown(value) if isinstance(value, ChatResponse) else str(value.text)


def error_of(error: RequestError) -> dict[str, Any]:
    """What of an error must be the same wherever a service runs."""
    where = {name: getattr(error, name, None) for name in ("node", "service", "component", "param")}
    return {"code": error.code, "message": error.message, **{k: v for k, v in where.items() if v}}
