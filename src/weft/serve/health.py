"""Whether this process lives, and whether a request would be served now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.context import Context, current
from weft.errors import RequestError
from weft.http.message import Request, Response
from weft.serve.application import Application
from weft.serve.routing import RouteDoc

_encode = msgspec.json.Encoder().encode

CHECK_TIMEOUT_S: Final = 2.0
"""A service that takes longer to say that it is ready is not."""


class Live(Struct):
    """The process runs."""

    status: str


class ServiceState(Struct, omit_defaults=True):
    """One service as its check found it."""

    ready: bool
    reason: str | None = None


class Readiness(Struct, omit_defaults=True):
    """Whether a request would be served now, and by which services not.

    Attributes:
        status: ``ready``; ``starting``, ``draining``, ``stopped``; ``degraded``: some services are not ready.
        degraded: Names of the services that are not ready.
        notes: What a person should know although requests are served.
    """

    status: str
    services: dict[str, ServiceState]
    degraded: list[str]
    notes: list[str] = []


class Health:
    """The health of one application; checks that run are shared by everybody who asks meanwhile."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._running: asyncio.Task[dict[str, ServiceState]] | None = None

    async def readiness(self) -> Readiness:
        """Ask every check of the application, at once, each for a bounded time."""
        app = self._app
        if app.state in ("created", "starting"):
            # Components are not there yet: asking them would be asking nothing.
            services = {name: ServiceState(ready=False, reason="starting") for name in app.ready_checks}
            return Readiness("starting", services, list(services))
        if self._running is None:
            self._running = asyncio.create_task(self._ask_all())
            self._running.add_done_callback(self._done)
        # Shielded: an impatient prober that leaves must not end the checks of the others.
        services = await asyncio.shield(self._running)
        degraded = [name for name, state in services.items() if not state.ready]
        status = app.state if app.state != "running" else "degraded" if degraded else "ready"
        notes = [said for note in app.notes if (said := note()) is not None]
        return Readiness(status, services, degraded, notes)

    def _done(self, task: asyncio.Task[dict[str, ServiceState]]) -> None:
        self._running = None

    async def _ask_all(self) -> dict[str, ServiceState]:
        current.set(Context("health"))
        checks = self._app.ready_checks
        states = await asyncio.gather(*(self._ask(name, check) for name, check in checks.items()))
        return dict(zip(checks, states, strict=True))

    async def _ask(self, name: str, check: Callable[[], Awaitable[bool | str]]) -> ServiceState:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                answer = await check()
        except TimeoutError:
            return ServiceState(ready=False, reason=f"no answer within {CHECK_TIMEOUT_S:g} s")
        except RequestError as error:
            return ServiceState(ready=False, reason=str(error))
        except Exception as error:  # noqa: BLE001 - a check that breaks is a service that is not ready, and says why
            self._app.log.failure("a readiness check failed", cause=error, service=name)
            return ServiceState(ready=False, reason=f"its check failed: {type(error).__name__}")
        if answer is True:
            return ServiceState(ready=True)
        return ServiceState(ready=False, reason=answer or "not ready")


def health_routes(app: Application) -> Health:
    """Route ``/health/live``, ``/health/ready``, ``/health`` and OPEA's ``/v1/health_check``, all without the token."""
    health = Health(app)

    async def live(request: Request, context: Context) -> Response:
        return Response(200, _NO_STORE, b'{"status":"alive"}')

    async def ready(request: Request, context: Context) -> Response:
        found = await health.readiness()
        if found.status == "ready":
            return Response(200, _NO_STORE, _encode(found))
        return Response(503, (*_NO_STORE, ("retry-after", "1")), _encode(found))

    async def check(request: Request, context: Context) -> Response:
        body: dict[str, Any] = {
            "Service Title": app.name,
            "Version": app.version,
            "Service Description": app.description,
        }
        return Response(200, _NO_STORE, _encode(body))

    def doc(summary: str, response: Any) -> RouteDoc:
        return RouteDoc(summary=summary, response=response, tags=("health",))

    app.route("GET", "/health/live", live, open=True, doc=doc("The process runs.", Live))
    app.route("GET", "/health/ready", ready, open=True, doc=doc("A request would be served now.", Readiness))
    app.route("GET", "/health", ready, open=True, doc=doc("The same as /health/ready.", Readiness))
    app.route(
        "GET", "/v1/health_check", check, open=True, doc=doc("OPEA's form: name and version.", dict[str, str])
    )
    return health


_NO_STORE: Final = (("cache-control", "no-store"),)
