"""Weft from a Python program: build or load a spec, run it in this process, ask it, serve it.

These are the names that ``weft`` itself has; nothing here is loaded by ``import weft`` before it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from weft.cli.running import host_settings
from weft.cli.settings import from_environment
from weft.contracts.base import invalid
from weft.errors import UsageError, did_you_mean
from weft.gateway import build
from weft.gateway import chosen as keeping
from weft.http.server import Server
from weft.megaservice import Services
from weft.observe.journal import Journal
from weft.plan import Plan, Plans, check, widen
from weft.registry.components import Components
from weft.run import Runner
from weft.serve.access import Access
from weft.serve.log import Log
from weft.spec.builder import Builder, save
from weft.spec.inputs import Reference, first, ref, secret
from weft.spec.load import load
from weft.spec.model import Spec

__all__ = [
    "Megaservice",
    "Reference",
    "Running",
    "Served",
    "Spec",
    "first",
    "load",
    "ref",
    "save",
    "secret",
]


class Megaservice(Builder):
    """A megaservice, built step by step, and run from here.

    See :class:`weft.spec.builder.Builder` for its arguments and its steps.
    """

    def check(self) -> Plan:
        """Check all of it, as ``weft check`` does; nothing is started or contacted.

        Raises:
            SpecError: Something is wrong; every problem names its node and field.
        """
        return check(self.spec(), Components())[self.name]

    def start(self, *, data: str | Path | None = None) -> Running:
        """Run it in this process, for a program that asks it directly: ``async with chatqna.start() as running``.

        Args:
            data: Folder for documents and state; that of ``weft up`` for a spec of this name if left out.

        Raises:
            SpecError: Something is wrong with it.
        """
        return Running(self.spec(), self.name, data=data)

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        data: str | Path | None = None,
    ) -> Served:
        """Serve it in the event loop that runs, with all routes of ``weft up``: ``async with chatqna.serve() as served``.

        Args:
            host: Address to listen on. One that others reach asks for ``token``.
            port: 0 takes any free one.
            token: The access token that every request must have.
            data: As for :meth:`start`.

        Raises:
            SpecError: Something is wrong with it.
            UsageError: It would be open to others.
        """
        return Served(self.spec(), self.name, host=host, port=port, token=token, data=data)


class Running:
    """A spec that runs in this process, between ``async with`` and its end; made by :meth:`Megaservice.start`.

    Attributes:
        plans: What was compiled, by megaservice.
        journal: What each request's steps were.
    """

    def __init__(self, spec: Spec, name: str, *, data: str | Path | None) -> None:
        self._assembly = _assembly(spec, name, data)
        self.plans: Plans = self._assembly.plans
        self.journal: Journal = self._assembly.journal
        self._name = name
        self._services: Services | None = None

    async def __aenter__(self) -> Self:
        services = self._assembly.services()
        try:
            await services.start()
        except BaseException:
            await self._assembly.hosts.aclose()
            raise
        self._services = services
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        services, self._services = self._services, None
        try:
            if services is not None:
                await services.aclose()
        finally:
            await self._assembly.hosts.aclose()

    async def ask(self, request: Any = None, *, megaservice: str | None = None, **fields: Any) -> Any:
        """One whole reply.

        Safe to cancel: every service that works on it has stopped when this returns.

        Args:
            request: A request of its contract; or else
            megaservice: Which megaservice; the one that it was started for if left out.
            **fields: the request's fields.

        Raises:
            RequestError: The first failure, with its node, service and component.
        """
        runner = self._runner(megaservice)
        return await runner.invoke(_request(runner.plan, request, fields))

    def stream(
        self, request: Any = None, *, megaservice: str | None = None, **fields: Any
    ) -> AsyncIterator[Any]:
        """One reply in chunks; ``aclose()`` it to end it early. Arguments and errors as for :meth:`ask`."""
        runner = self._runner(megaservice)
        return runner.stream(_request(runner.plan, request, fields))

    def _runner(self, name: str | None) -> Runner:
        if self._services is None:
            raise UsageError(
                "it does not run", hint="async with chatqna.start() as running: await running.ask(...)"
            )
        return self._services.runners[_of(self.plans, name) if name is not None else self._name]


class Served:
    """A spec that is served from this process, between ``async with`` and its end; made by :meth:`Megaservice.serve`.

    Attributes:
        url: Where, once it is served.
        plans: What was compiled, by megaservice.
    """

    def __init__(
        self, spec: Spec, name: str, *, host: str, port: int, token: str | None, data: str | Path | None
    ) -> None:
        if token is None and host not in ("127.0.0.1", "localhost", "::1"):
            raise UsageError(
                f"served at {host}, it would be open to whoever reaches this machine",
                hint="give an access token: serve(token=...)",
            )
        self._assembly = _assembly(spec, name, data)
        self.plans: Plans = self._assembly.plans
        self._host, self._port, self._token = host, port, token
        self._stack = AsyncExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = build.gateway(self._assembly, Access(self._token))
        server = Server(app, on_error=app.on_error)
        try:
            self._stack.push_async_callback(app.stop)
            port = await server.listen(self._host, self._port)
            self._stack.push_async_callback(server.aclose)
            await app.start()
            self._stack.push_async_callback(server.drain, DRAIN_S)
        except BaseException:
            await self._stack.aclose()
            raise
        self.url = f"http://{self._host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


DRAIN_S = 5.0
"""Seconds in which requests that are under way may end when the program leaves."""


def _assembly(spec: Spec, name: str, data: str | Path | None) -> build.Assembly:
    components = Components()
    settings = from_environment()
    folder = Path(data) if data is not None else settings.data_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    chosen = keeping.read(folder)
    plans = check(keeping.applied(spec, chosen.services), components)
    return build.Assembly(
        spec,
        plans,
        components,
        settings=host_settings(settings, folder),
        secret=settings.secret,
        log=Log(name=name),
        chosen=chosen,
    )


def _of(plans: Plans, name: str) -> str:
    if name not in plans:
        raise UsageError(
            f"there is no megaservice '{name}'", hint=did_you_mean(name, list(plans), what="megaservices")
        )
    return name


def _request(plan: Plan, request: Any, fields: dict[str, Any]) -> Any:
    """The megaservice's own request, of a request of its contract or of fields."""
    wanted = plan.operation.request
    if request is None:
        known = wanted.__struct_fields__
        for name in fields:
            if name not in known:
                raise UsageError(
                    f"a request to '{plan.name}' has no field '{name}'",
                    hint=did_you_mean(name, list(known), what="fields"),
                )
        try:
            return msgspec.convert(fields, wanted)
        except msgspec.ValidationError as error:
            raise invalid(error) from error
    if isinstance(request, wanted):
        return request
    return widen(request, wanted)
