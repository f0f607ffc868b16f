"""Upstreams as routes of the application: each method of each goes through its route's stages to a relay."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from weft.context import Context
from weft.errors import UsageError
from weft.gateway.front import Front
from weft.gateway.passage import Passage, Proceed, Reply, Stage, through
from weft.gateway.upstream.fallback import Way
from weft.gateway.upstream.relay import Relay
from weft.gateway.upstream.watching import Watch
from weft.http.client import Client, ClientLimits, Endpoint
from weft.http.message import Request
from weft.run import Tools
from weft.serve.application import Application
from weft.serve.egress import Egress
from weft.serve.operations import MAX_JSON_BYTES
from weft.serve.problems import ErrorForm
from weft.serve.routing import RouteDoc
from weft.spec.gateway import RouteSpec
from weft.spec.model import SecretRef
from weft.transport.replicas import Replicas

_IS_OPENAI = re.compile(
    r".*/(chat/completions|completions|embeddings|responses|models|images/[a-z]+|audio/[a-z]+|moderations|files)(/.*)?"
).fullmatch
"""Paths as OpenAI's API has them: whoever asks there reads errors in its form."""

Secret = Callable[[str], str | None]

ANY: Final = ("*/*",)


class Upstreams:
    """The upstreams of a Gateway file.

    Args:
        front: The file's routes.
        egress: Connects to them.
        secret: Gives a secret by name.
        tools: What the process shares: clock, retry budget, breakers, metrics.
        watch: Looks after their addresses.
    """

    def __init__(self, front: Front, egress: Egress, secret: Secret, tools: Tools, watch: Watch) -> None:
        self._front = front
        self._relays: dict[str, Relay] = {}
        self._clients: list[Client] = []
        for rule in front.spec.routes:
            if rule.upstream is not None:
                client = egress.apart(ClientLimits(max_connections=rule.upstream.connections))
                self._clients.append(client)
                replicas = Replicas(_endpoints(rule, client, secret), tools.clock, rule.backends)
                relay = self._relays[rule.target] = Relay(
                    rule,
                    replicas,
                    budget=tools.budget,
                    clock=tools.clock,
                    breaker=tools.breakers.of(f"the upstream '{rule.target}'"),
                )
                watch.add_relay(rule.target, relay, tools)

    def add_routes(self, app: Application, ways: dict[str, Way]) -> None:
        """Answer every upstream's path.

        Args:
            app: Where the routes go.
            ways: Learns how each upstream is asked in another target's place.

        Raises:
            UsageError: A path is a contract's own.
        """
        app.on_stop.append(self.aclose)
        for name, relay in self._relays.items():
            rule = self._front.rule(name)
            gate = Gate(rule, self._front.stages(name), relay)
            ways[name] = gate.stand_in
            errors: ErrorForm = "openai" if _IS_OPENAI(rule.path) else "problem"
            doc = RouteDoc(summary=rule.description or f"The upstream {name}.", tags=(name,))
            for method in rule.methods or ("POST",):
                known = app.router.exact.get(rule.path)
                if known is not None and method in known.methods:
                    raise UsageError(
                        f"{method} {rule.path} is served already, by what the contracts' own routes lead to",
                        hint=f"give the route to the upstream '{name}' another path",
                    )
                app.route(
                    method,
                    rule.path,
                    gate,
                    errors=errors,
                    doc=doc,
                    reads=ANY,
                    max_body_bytes=rule.max_body_bytes or MAX_JSON_BYTES,
                    needs="",
                )

    async def aclose(self) -> None:
        """Close the connections to all of them."""
        for client in self._clients:
            await client.aclose()


class Gate:
    """The handler of a route to an upstream: the route's stages, then the relay."""

    __slots__ = ("_enter", "_rule")

    def __init__(self, rule: RouteSpec, stages: Sequence[Stage], answer: Proceed) -> None:
        self._rule = rule
        self._enter = through(stages, answer)

    def __call__(self, request: Request, context: Context) -> Awaitable[Reply]:
        """See :data:`weft.serve.routing.RouteHandler`."""
        return self._enter(Passage(request, context, self._rule))

    def stand_in(self, passage: Passage) -> Awaitable[Reply]:
        """Answer a request that was for another route's target."""
        return self(passage.request, passage.context)


def _endpoints(rule: RouteSpec, client: Client, secret: Secret) -> list[Endpoint]:
    upstream = rule.upstream
    assert upstream is not None  # asked of those that have one
    headers = [(name.lower(), _told(value, secret, rule)) for name, value in upstream.headers.items()]
    if upstream.api_key is not None:
        headers.append(("authorization", f"Bearer {_told(upstream.api_key, secret, rule)}"))
    return [client.endpoint(url, headers=headers) for url in upstream.urls]


def _told(value: Any, secret: Secret, rule: RouteSpec) -> str:
    """The text of a header's value, or of the secret that it names."""
    if not isinstance(value, SecretRef):
        return str(value)
    found = secret(value.name)
    if found is None:
        raise UsageError(
            f"the route {rule.path} needs the secret '{value.name}', which is not set",
            hint=f"set it in the environment, or put it into a file '{value.name}' in WEFT_SECRETS_DIR",
        )
    return found
