"""Whether the services elsewhere are what the plan takes them for: asked when they can be reached.

A service whose contract does not fit is refused: the gateway does not start, or, where the service came later, is not
ready. One that cannot be reached is only not ready: it may come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import Struct

from weft.contracts import Contract
from weft.errors import BackendStatusError, ServiceError
from weft.host import HttpClient
from weft.plan import Placed, Plans
from weft.registry.components import Components
from weft.registry.services import ServiceRegistry, differing_field
from weft.spec.model import Spec
from weft.spec.problems import Problems
from weft.transport.base import Transport

ASK_TIMEOUT_S: Final = 3.0
"""A service states its contract from memory, in milliseconds; a start does not wait longer for one that is ill."""

State = Literal["fits", "misfit", "unreachable", "unregistered"]


class StatedContract(Struct):
    """What ``GET /v1/contract`` of a Weft service says."""

    contract: str
    digest: str = ""
    required: dict[str, list[str]] = {}


async def stated_contract(client: HttpClient) -> StatedContract | None:
    """What a service says it is; None when it is reachable and says nothing: a service in another language need not.

    Raises:
        ServiceError: It is not reachable, its address is not allowed, or its answer is none.
    """
    try:
        stated: StatedContract = await client.get_json("/v1/contract", type=StatedContract)
    except BackendStatusError as error:
        if error.backend_status in (404, 405):
            return None
        raise
    return stated


def misfit(contract: Contract, stated: StatedContract) -> str | None:
    """How a service's own statement differs from the contract that is expected; None: it fits."""
    if stated.contract != contract.name:
        return f"it is a '{stated.contract}', not a '{contract.name}'"
    if difference := differing_field(contract, stated.required):
        return f"its contract does not fit: {difference}"
    return None


@dataclass(frozen=True)
class Found:
    """What was found out about one service elsewhere.

    Attributes:
        key: The service.
        where: ``registry:NAME`` or the address.
        state: ``fits`` also where the service states nothing.
        reason: Why it does not, for people.
    """

    key: str
    where: str
    state: State
    reason: str = ""


class Elsewhere:
    """The services of a spec that run elsewhere and are not this installation's own processes.

    Args:
        spec, plans, components: What runs.
        registry: For services placed on a registered name.
        client: Gives the guarded client for an address.
    """

    def __init__(
        self,
        spec: Spec,
        plans: Plans,
        components: Components,
        registry: ServiceRegistry,
        client: Callable[[str], HttpClient],
    ) -> None:
        self._spec, self._registry, self._client = spec, registry, client
        self._placed: dict[str, tuple[Placed, Contract]] = {}
        for key, placed in plans.placed.items():
            if placed.at.kind in ("url", "registry"):
                info = components.get(placed.component, folder=placed.folder)
                self._placed[key] = placed, components.contract_of(info, placed.config)
        self._fitting: set[tuple[str, str]] = set()

    async def look(self) -> list[Found]:
        """Ask them all, at once."""
        return list(await asyncio.gather(*(self._ask(*entry) for entry in self._placed.values())))

    def refuse(self, found: list[Found]) -> None:
        """Refuse to go on with services that do not fit.

        Raises:
            SpecError: With the place in the placement of each.
        """
        problems = Problems(dict(self._spec.sources))
        for entry in found:
            if entry.state == "misfit":
                place = self._spec.placement.services.get(entry.key)
                marks = place.marks if place is not None else self._spec.placement.default.marks
                problems.add(
                    "wrong-contract",
                    f"service '{entry.key}' cannot run at {entry.where}: {entry.reason}",
                    marks.value("at"),
                )
        problems.raise_if_any()

    def check(self, key: str, transport: Transport) -> Callable[[], Awaitable[bool | str]]:
        """A readiness check that says no, and why, also for a service that does not fit."""

        async def ready() -> bool | str:
            found = await self._ask(*self._placed[key])
            if found.state != "fits":
                return found.reason
            return await transport.ready()

        return ready

    def __contains__(self, key: str) -> bool:
        return key in self._placed

    async def _ask(self, placed: Placed, contract: Contract) -> Found:
        where = str(placed.at)
        urls = placed.at.urls
        if placed.at.kind == "registry":
            name = placed.at.target
            registration = self._registry.find(name)
            if registration is None:
                return Found(placed.key, where, "unregistered", f"no service is registered as '{name}'")
            recorded = StatedContract(registration.contract, "", registration.required)
            if reason := _recorded_misfit(contract, recorded):
                return Found(placed.key, where, "misfit", reason)
            urls = (registration.url,)
        reasons: list[str] = []
        for url in urls:  # one that can be asked is enough; one that does not fit is too much
            try:
                if (reason := await self._misfit(placed.key, contract, url)) is not None:
                    return Found(placed.key, where, "misfit", reason)
            except ServiceError as error:
                reasons.append(str(error))
        if len(reasons) == len(urls):
            return Found(placed.key, where, "unreachable", reasons[0])
        return Found(placed.key, where, "fits")

    async def _misfit(self, key: str, contract: Contract, url: str) -> str | None:
        """Why a service at an address does not fit; None: it fits.

        Raises:
            ServiceError: It cannot be asked.
        """
        if (key, url) in self._fitting:
            return None
        stated = await stated_contract(self._client(url))
        if stated is not None and (reason := misfit(contract, stated)):
            return reason
        self._fitting.add((key, url))
        return None


def _recorded_misfit(contract: Contract, recorded: StatedContract) -> str | None:
    """The same against what was recorded at its registration; nothing was recorded of a service that states nothing."""
    if recorded.contract == contract.name and not recorded.required:
        return None
    return misfit(contract, recorded)
