"""The routes of the registry: live services are listed, added, removed and probed."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from msgspec import Struct

from weft.context import Context
from weft.contracts import Contract
from weft.errors import BackendStatusError, ConflictError, InvalidRequestError, ServiceError, did_you_mean
from weft.host import Host, HttpClient
from weft.http.message import Request, Response
from weft.registry.services import Registration, ServiceRegistry, State, differing_field
from weft.serve.application import Application, Exchange, RouteDoc

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


class StatedContract(Struct):
    """What ``GET /v1/contract`` of a Weft service says."""

    contract: str
    digest: str = ""
    required: dict[str, list[str]] = {}


class Services(Struct):
    """The registered services."""

    services: list[Registration]


class LiveServices:
    """Serves a registry and keeps its states true.

    Args:
        registry: The registrations.
        contracts: Those that can be registered, by name.
        host: Gives clients whose addresses are guarded: outside the operator's networks nothing is contacted.
    """

    def __init__(self, registry: ServiceRegistry, contracts: dict[str, Contract], host: Host) -> None:
        self._registry, self._contracts, self._host = registry, contracts, host
        self._decode = msgspec.json.Decoder(NewService).decode

    def add_routes(self, app: Application) -> None:
        """Serve ``/v1/registry/services``."""
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

    async def _list(self, request: Request, context: Context) -> Response:
        return _json(200, Services(self._registry.list()))

    async def _add(self, request: Request, context: Context) -> Response:
        try:
            new = self._decode(await request.read(65_536))
        except msgspec.DecodeError as error:
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
        url = new.url.rstrip("/")
        stated = await self._stated(url)
        if stated is not None:
            if stated.contract != contract.name:
                raise ConflictError(
                    f"the service at {url} is a '{stated.contract}', not a '{contract.name}'",
                    param="contract",
                )
            if difference := differing_field(contract, stated.required):
                raise ConflictError(
                    f"the contract of the service at {url} does not fit: {difference}", param="contract"
                )
        digest = stated.digest if stated is not None else ""
        service = self._registry.add(Registration(new.name, contract.name, url, digest))
        await self._probe(service)
        return _json(201, service)

    async def _remove(self, request: Request, context: Context) -> Response:
        exchange = request.scope
        assert isinstance(exchange, Exchange)  # the application makes one for each request
        self._registry.remove((exchange.named or {}).get("name", ""))
        return Response(204, [], b"", "")

    async def _stated(self, url: str) -> StatedContract | None:
        """What the service itself says it is; None when it is reachable and says nothing.

        Raises:
            InvalidRequestError: It is not reachable, or its address is not allowed.
        """
        client = self._client(url)
        try:
            stated: StatedContract = await client.get_json("/v1/contract", type=StatedContract)
        except BackendStatusError as error:
            if error.backend_status in (404, 405):
                return None  # not one of ours: a service in another language need not state its contract
            raise InvalidRequestError(
                f"the service at {url} cannot be asked what it is: {error}", param="url"
            ) from error
        except ServiceError as error:
            raise InvalidRequestError(
                f"the service at {url} cannot be reached: {error}", param="url"
            ) from error
        return stated

    def _client(self, url: str) -> HttpClient:
        return self._host.http(url, timeout_s=PROBE_TIMEOUT_S)

    async def watch(self) -> None:
        """Probe every service, again and again, until cancelled."""
        while True:
            await asyncio.gather(*(self._probe(service) for service in self._registry.list()))
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _probe(self, service: Registration) -> None:
        state: State = "ready"
        reason = ""
        try:
            reply = await self._client(service.url).request("GET", "/health/ready")
            if reply.status >= 400:
                state, reason = "unready", f"/health/ready answered {reply.status}"
        except ServiceError as error:
            state, reason = "unready", str(error)
        self._registry.mark(service.name, state, reason)


def _json(status: int, value: object) -> Response:
    return Response(status, [], msgspec.json.encode(value), "application/json")
