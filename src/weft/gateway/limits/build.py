"""From a Gateway file to the limits of its routes, and to the store where what was used is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weft.errors import UsageError
from weft.gateway.limits.counter import Counter, CounterLink
from weft.gateway.limits.expected import Expecting
from weft.gateway.limits.keeper import FILE
from weft.gateway.limits.memory import MemoryStore
from weft.gateway.limits.meters import EVERYTHING, compiled
from weft.gateway.limits.outage import GuardedStore
from weft.gateway.limits.redis import RedisLink
from weft.gateway.limits.remote import LEASE_S, TIMEOUT_S, Link, RemoteStore
from weft.gateway.limits.stage import LimitStage
from weft.gateway.limits.terms import Store
from weft.http.client import Client
from weft.observe.metrics import Metrics
from weft.plan import Plans
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.health import health_routes
from weft.serve.log import Log
from weft.spec.gateway import GatewaySpec, RouteSpec, StateSpec
from weft.spec.model import SecretRef
from weft.store.sqlite import SqliteDatabase
from weft.transport.signing import ContextSigner

PROCESS: Final = "gateway/limits"
"""The process that counts for all workers; no service can have this name."""

COUNTER_TIMEOUT_S: Final = 1.0
"""How long that process may take: when it is gone its socket says so at once, and else the machine is only busy."""

_KEPT: Final = "limits"
"""Under which name the store outlives a reload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the store of a gateway process needs to know.

    Attributes:
        folder: The data folder.
        log: Of the process.
        secret: Gives a secret by name.
        client: Calls other processes of this installation.
        signed: Headers that show that one of them asks.
        peers: Each process of this installation to its private address.
        processes: How many gateway processes there are.
    """

    folder: Path
    log: Log
    secret: Callable[[str], str | None]
    client: Client
    signed: Callable[[], Sequence[tuple[str, str]]]
    peers: Mapping[str, str]
    processes: int


class Limits:
    """The limits of one gateway process.

    Args:
        plans: What runs now.
        lasting: What outlives a reload; the store does.
        metrics: Where refusals are counted.
    """

    def __init__(
        self, plans: Callable[[], Plans], lasting: dict[str, Any], metrics: Metrics | None = None
    ) -> None:
        self._plans, self._lasting, self._metrics = plans, lasting, metrics

    @property
    def store(self) -> Store:
        """Where what was used is kept."""
        kept: _Kept = self._lasting.setdefault(_KEPT, _Kept(MemoryStore()))
        return kept.store

    def open(self, gateway: GatewaySpec, around: Surroundings) -> None:
        """Have the store that the file says, unless this process has one already.

        Raises:
            UsageError: The secret with Redis's address is not set.
            MissingExtraError: Redis's client is not installed.
        """
        if _KEPT not in self._lasting:
            store = store_of(gateway, around)
            self._lasting[_KEPT] = _Kept(store)
            if self._metrics is not None and isinstance(store, GuardedStore):
                gauge = self._metrics.gauge(
                    "weft_limit_store_up",
                    "Whether the store of the limits answers; else on_store_down holds.",
                )
                gauge.bind().follow(lambda: 0.0 if store.is_away else 1.0)

    def stage(self, gateway: GatewaySpec, rule: RouteSpec) -> LimitStage | None:
        """The stage of a route; None: nothing limits it."""
        meters = [*compiled(rule.limits, rule.path), *compiled(gateway.limits, EVERYTHING)]
        if not meters:
            return None
        expecting = None
        if any(meter.kind in ("tokens", "cost") for meter in meters):
            expecting = Expecting(gateway, rule, self._plans)
        refused: list[Callable[[], object]] = []
        if self._metrics is not None:
            counted = self._metrics.counter(
                "weft_limit_refused_total",
                "Requests that a limit has refused, by its name in RateLimit-Policy.",
                ("route", "limit"),
            )
            refused = [counted.bind(rule.target, meter.name).add for meter in meters]
        return LimitStage(meters, self.store, expecting=expecting, refused=refused)

    async def start(self) -> None:
        """Start the store, once."""
        kept: _Kept = self._lasting[_KEPT]
        if not kept.is_started:
            kept.is_started = True
            await kept.store.start()

    async def aclose(self) -> None:
        """Close the store: this process ends."""
        kept: _Kept | None = self._lasting.pop(_KEPT, None)
        if kept is not None and kept.is_started:
            await kept.store.aclose()


class _Kept:
    """A store, and whether it was started."""

    def __init__(self, store: Store) -> None:
        self.store, self.is_started = store, False


def store_of(gateway: GatewaySpec, around: Surroundings) -> Store:
    """The store that a Gateway file says: Redis, the process that counts for all workers, or the memory of this one."""
    state = gateway.state
    if state.redis is not None:
        url = _secret(state.redis, around.secret)
        return _guarded(RedisLink(url, gateway.name), state, around, timeout_s=TIMEOUT_S)
    if (address := around.peers.get(PROCESS)) is not None:
        link = CounterLink(around.client.endpoint(address), around.signed)
        return _guarded(link, state, around, timeout_s=COUNTER_TIMEOUT_S)
    return MemoryStore(database=SqliteDatabase(around.folder / FILE), log=around.log)


def _guarded(link: Link, state: StateSpec, around: Surroundings, *, timeout_s: float) -> GuardedStore:
    share = None if state.on_store_down == "deny" else state.gateways * around.processes

    def store(on_down: Callable[[BaseException], None]) -> RemoteStore:
        return RemoteStore(link, timeout_s=timeout_s, lease_s=LEASE_S, on_down=on_down)

    return GuardedStore(store, share=share, log=around.log)


def _secret(value: Any, secret: Callable[[str], str | None]) -> str:
    if not isinstance(value, SecretRef):
        return str(value)
    found = secret(value.name)
    if found is None:
        raise UsageError(
            f"state.redis needs the secret '{value.name}', which is not set",
            hint=f"set it in the environment, or put it into a file '{value.name}' in WEFT_SECRETS_DIR",
        )
    return found


def needs_process(gateway: GatewaySpec | None, workers: int) -> bool:
    """Whether an installation has a process that counts for its workers."""
    return gateway is not None and workers > 1 and gateway.state.redis is None


def counting(folder: Path, signing_key: bytes, log: Log) -> Application:
    """The application of that process: what it counts, in its memory and, for days and months, in the data folder."""
    metrics = Metrics()
    app = Application(
        name=PROCESS,
        version="",
        access=Access(hosts=["*"]),
        metrics=metrics,
        verifier=ContextSigner(signing_key),
        only_signed=True,
        log=log,
    )
    store = MemoryStore(database=SqliteDatabase(folder / FILE), log=log)
    health_routes(app)
    Counter(store).add_route(app)
    app.on_start.append(store.start)
    app.on_stop.append(store.aclose)
    return app
