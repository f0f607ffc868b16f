"""The routes of the registry: live services are listed, added, removed and probed."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.contracts import Contract
from weft.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    ServiceError,
    StateError,
    WeftError,
    did_you_mean,
)
from weft.gateway.fit import misfit, stated_contract
from weft.host import Host, HttpClient
from weft.http.message import Request, Response
from weft.registry.services import Registration, ServiceRegistry, State, check_address, check_name
from weft.serve.application import Application, RouteDoc, named
from weft.serve.log import Log

PROBE_INTERVAL_S: Final = 10.0
"""A service that has gone is known as unready before a person reloads the list twice."""

PROBE_TIMEOUT_S: Final = 3.0
"""A ready service answers its health route in milliseconds; a slow one is not ready."""


_EXAMPLE: Final = "team-embedder"


class NewService(Struct):
    """A service to register."""

    name: str
    contract: str
    url: str


class Services(Struct):
    """The registered services."""

    services: list[Registration]


class LiveServices:
    """Serves a registry and keeps its states true.

    Args:
        registry: The registrations.
        contracts: Those that can be registered, by name.
        host: Gives clients whose addresses are guarded: outside the operator's networks nothing is contacted.
        log: Where it is said that registrations cannot be read.
        interval_s: Between two probes of a service.
        signed: Gives the headers that show a service who asks.
    """

    def __init__(
        self,
        registry: ServiceRegistry,
        contracts: dict[str, Contract],
        host: Host,
        *,
        log: Log,
        interval_s: float = PROBE_INTERVAL_S,
        signed: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._registry, self._contracts, self._host = registry, contracts, host
        self._log, self._interval_s, self._signed = log, interval_s, signed
        self._has_token = False
        self._watch: asyncio.Task[None] | None = None
        self._decode = msgspec.json.Decoder(NewService).decode

    def add_routes(self, app: Application) -> None:
        """Serve ``/v1/registry/services``, and probe while the application runs."""
        self._has_token = app.access.token is not None or app.authenticator is not None
        tags = ("registry",)
        path = "/v1/registry/services"
        listing = RouteDoc(summary="The registered services with their state.", response=Services, tags=tags)
        app.route("GET", path, self._list, doc=listing)
        adding = RouteDoc(
            summary="Register a live service under a name.",
            request=NewService,
            response=Registration,
            tags=tags,
            status=201,
            examples={"request": NewService(_EXAMPLE, "embedding", "http://127.0.0.1:6000")},
        )
        app.route("POST", path, self._add, doc=adding)
        removing = RouteDoc(
            summary="Forget a registration; the service itself goes on.",
            tags=tags,
            status=204,
            named={"name": _EXAMPLE},
        )
        app.route("DELETE", f"{path}/{{name}}", self._remove, doc=removing)

        async def start() -> None:
            self.start()

        app.on_start.append(start)
        app.on_stop.append(self.stop)

    async def _list(self, request: Request, context: Context) -> Response:
        return _json(200, Services([_listed(service) for service in self._registry.list()]))

    async def _add(self, request: Request, context: Context) -> Response:
        self._check_caller(request)
        try:
            new = self._decode(await request.read(65_536))
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidRequestError(
                f"a registration is {{name, contract, url}}: {error}", param="name"
            ) from error
        contract = self._contracts.get(new.contract)
        if contract is None:
            choices = sorted(self._contracts)
            raise InvalidRequestError(
                f"there is no contract '{new.contract}'",
                param="contract",
                hint=did_you_mean(new.contract, choices, what="contracts"),
            )
        # What is wrong with the request is said before the service is asked, which may not answer.
        check_name(new.name)
        url = new.url.rstrip("/")
        check_address(url)
        try:
            stated = await stated_contract(self._client(url))
        except ServiceError as error:
            raise InvalidRequestError(
                f"the service at {url} cannot be asked what it is: {error}", param="url"
            ) from error
        if stated is not None and (reason := misfit(contract, stated)):
            raise ConflictError(f"the service at {url} cannot be registered: {reason}", param="contract")
        digest, required = (stated.digest, stated.required) if stated is not None else ("", {})
        service = self._registry.add(Registration(new.name, contract.name, url, digest, required))
        await self._probe(service)
        return _json(201, _listed(service))

    async def _remove(self, request: Request, context: Context) -> Response:
        self._check_caller(request)
        self._registry.remove(named(request).get("name", ""))
        return Response(204, [], b"", "")

    def _client(self, url: str) -> HttpClient:
        return self._host.http(url, timeout_s=PROBE_TIMEOUT_S, headers=self._signed())

    def _check_caller(self, request: Request) -> None:
        """An application that asks for a token has seen it by now; one that does not is only told by this machine.

        Raises:
            ForbiddenError: The request is from elsewhere.
        """
        if not self._has_token and not is_this_machine(request.peer):
            raise ForbiddenError(
                "services are registered from this machine, or with the access token",
                hint="start the gateway with --host, which makes a token, and send it",
            )

    def start(self) -> None:
        """Begin to probe."""
        self._watch = asyncio.create_task(self.watch(), name="registry probes")

    async def stop(self) -> None:
        """Probe no longer."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait((self._watch,))

    async def watch(self) -> None:
        """Probe every service, again and again, until cancelled."""
        while True:
            try:
                services = self._registry.list()
            except StateError as error:
                self._log.warning(f"the registrations cannot be read: {error}")
            else:
                await asyncio.gather(*(self._probe(service) for service in services))
            await asyncio.sleep(self._interval_s)

    async def _probe(self, service: Registration) -> None:
        state: State = "ready"
        reason = ""
        try:
            reply = await self._client(service.url).request("GET", "/health/ready")
            if reply.status >= 400:
                state, reason = "unready", f"/health/ready answered {reply.status}"
        except WeftError as error:  # an address that somebody wrote into the file by hand may be none
            state, reason = "unready", str(error)
        self._registry.mark(service.name, state, reason)


def _listed(service: Registration) -> Registration:
    """A registration as it is shown: without the fields of its contract, which are for comparing."""
    return msgspec.structs.replace(service, required={})


def is_this_machine(peer: str | None) -> bool:
    """Whether a request comes from this machine, by the address of its sender."""
    if peer is None or peer == "unix":
        return peer == "unix"
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _json(status: int, value: object) -> Response:
    return Response(status, [], msgspec.json.encode(value), "application/json")
