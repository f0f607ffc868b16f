"""The addresses behind routes, looked after and shown: health checks, and metrics of each."""

from __future__ import annotations

from typing import Any

from weft.gateway.upstream.relay import Relay
from weft.megaservice import Services
from weft.observe.metrics import Metrics
from weft.plan import Plans
from weft.run import Tools
from weft.serve.log import Log
from weft.spec.gateway import BackendSpec
from weft.spec.model import Spec
from weft.transport.attempts import Attempts
from weft.transport.clock import Clock
from weft.transport.health import HealthChecks
from weft.transport.http import HttpTransport
from weft.transport.replicas import Replica, Replicas


def backends_of(spec: Spec, plans: Plans) -> dict[str, BackendSpec]:
    """How the Gateway file's routes use the addresses of each service, by its key.

    What a service's own route says comes first; then what the routes of megaservices say that it is part of, in their
    order.
    """
    front = spec.gateway
    found: dict[str, BackendSpec] = {}
    if front is None:
        return found
    for rule in front.routes:
        if rule.service is not None and rule.backends is not None:
            found[rule.service] = rule.backends
    for rule in front.routes:
        if rule.megaservice is not None and rule.backends is not None:
            for name in spec.served.get(rule.target, (rule.target,)):
                for key in _within(name, plans):
                    found.setdefault(key, rule.backends)
    return found


def _within(megaservice: str, plans: Plans) -> set[str]:
    """Every service that a megaservice asks, itself or through another."""
    found: set[str] = set()
    waiting = list(plans[megaservice].services) if megaservice in plans else []
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            placed = plans.placed[key]
            waiting += placed.uses.values()
            if placed.megaservice is not None and placed.megaservice in plans:
                waiting += plans[placed.megaservice].services
    return found


class Watch:
    """Looks after addresses, from the start of an application to its end.

    Args:
        metrics: Of the process.
        clock: Time.
        log: Told when an address becomes well or unwell.
    """

    def __init__(self, metrics: Metrics, clock: Clock, *, log: Log) -> None:
        self._metrics, self._clock, self._log = metrics, clock, log
        self._checks: list[HealthChecks] = []

    def add(self, target: str, replicas: Replicas, attempts: Attempts[Any] | None) -> None:
        """Look after the addresses of a target."""

        def changed(replica: Replica) -> None:
            state = "answers well again" if replica.is_well else "does not answer well"
            self._log.info(f"a backend {state}", target=target, endpoint=replica.endpoint.url)

        self._checks.append(HealthChecks(replicas, self._clock, on_change=changed))
        for replica in replicas.all:
            self._show(target, replica)
            if replicas.measures:
                self._metrics.gauge(
                    "weft_backend_latency_seconds",
                    "Of an address, the recent replies the most.",
                    ("target", "endpoint"),
                ).bind(target, replica.endpoint.url).follow(lambda replica=replica: replica.latency_s)
        if attempts is not None:
            counter = self._metrics.counter
            counter(
                "weft_backend_retries_total",
                "Requests that were sent again, to another address.",
                ("target",),
            ).follow(target, ask=lambda: attempts.retried)
            counter(
                "weft_backend_hedges_total",
                "Requests sent to a second address beside the first.",
                ("target",),
            ).follow(target, ask=lambda: attempts.hedged)

    def add_relay(self, target: str, relay: Relay, tools: Tools) -> None:
        """Look after an upstream, and show the circuit to it."""
        self.add(target, relay.replicas, relay.attempts)
        breaker = relay.breaker
        self._metrics.gauge(
            "weft_backend_circuit_open",
            "Whether the circuit to all addresses of a target is open.",
            ("target",),
        ).bind(target).follow(lambda: float(breaker.state != "closed"))
        self._metrics.gauge("weft_retry_budget", "Retries that this process may make now.").bind().follow(
            lambda: tools.budget.tokens
        )

    def _show(self, target: str, replica: Replica) -> None:
        labels, url = ("target", "endpoint"), replica.endpoint.url
        gauge, counter = self._metrics.gauge, self._metrics.counter
        gauge("weft_backend_in_flight", "Requests under way at an address.", labels).bind(target, url).follow(
            lambda: replica.in_flight
        )
        gauge(
            "weft_backend_able", "Whether an address is asked: it is well, and not left alone.", labels
        ).bind(target, url).follow(lambda: float(replica.is_able(self._clock.now_ns())))
        counter("weft_backend_requests_total", "Requests that an address answered or failed.", labels).follow(
            target, url, ask=lambda: replica.asked_total
        )
        counter(
            "weft_backend_failures_total", "Requests that failed by an address's own fault.", labels
        ).follow(target, url, ask=lambda: replica.failed_total)
        counter("weft_backend_ejections_total", "How often an address was left alone.", labels).follow(
            target, url, ask=lambda: replica.ejected_total
        )

    async def start(self, services: Services) -> None:
        """Begin to look, also after the services that have several addresses or a health path."""
        for key, transport in services.transports.items():
            if isinstance(transport, HttpTransport):
                replicas = transport.replicas
                if len(replicas.all) > 1 or replicas.spec.health is not None:
                    self.add(key, replicas, transport.attempts)
        for checks in self._checks:
            await checks.start()

    async def aclose(self) -> None:
        """Look no more."""
        for checks in self._checks:
            await checks.aclose()
