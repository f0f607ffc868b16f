"""Switching a service of this process to another component of the same contract, while requests come in.

In two steps, because an installation may be many processes: *prepare* compiles the plans with the new component, starts
it beside the old one where this process runs the service, and asks it once; nothing has changed yet. *commit* has the
next request go to it, and closes the old one when the requests that began before have ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from weft.context import Context, current
from weft.contracts.chat import ChatRequest
from weft.contracts.embedding import EmbeddingRequest
from weft.contracts.manifest import Manifest, manifest_of
from weft.errors import ConflictError, InvalidRequestError, RequestError, ServiceError, WeftError
from weft.gateway.chosen import Choice, Chosen, applied, pinned, with_choice
from weft.megaservice import Services, Started
from weft.plan import Placed, Plans
from weft.serve.application import Application
from weft.serve.log import Log
from weft.spec.model import Spec
from weft.types import Empty, Message, floats

TRIAL_TIMEOUT_S: Final = 180.0
"""For the first answer of a model: a server may load it from disk for it, which takes a minute for a large one."""

RETIRE_TIMEOUT_S: Final = 600.0
"""How long requests that began before a switch may go on with the old model: as long as a remote service may take."""

PREPARED_S: Final = 900.0
"""After so long a switch that was prepared and never made is given up: whoever asked for it is gone."""


class Order(Struct):
    """What one process tells another to do.

    Attributes:
        sent_s: When, on the clock on the wall.
        choice: What takes the service's place; None: what the spec says.
        key: For the server of the choice.
    """

    step: Literal["prepare", "commit", "abandon", "look", "cancel"]
    sent_s: int
    service: str = ""
    choice: Choice | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"Order({self.step!r}, {self.service!r}, {self.choice!r})"


class Choosing:
    """The spec as it runs: what the files say, and what was chosen in its place.

    Args:
        base: What the files and the command line say.
        chosen: What was chosen while running.
        plans: What was compiled of both.
        check: Compiles a spec as this installation was started.
    """

    def __init__(self, base: Spec, chosen: Chosen, plans: Plans, check: Callable[[Spec], Plans]) -> None:
        self.base, self.chosen, self.plans, self._check = base, chosen, plans, check
        self.spec = applied(base, chosen.services)
        self.guarded = set(chosen.services)
        """Services whose addresses were chosen at run time: they are contacted in the operator's networks only."""
        self.keys = dict(chosen.secrets)
        """The keys of the servers that were chosen, and of one that is being prepared, by name."""

    def compile(self, service: str, chosen: Chosen) -> tuple[Spec, Plans]:
        """The spec with another choice for one service, which stays in the process where it is.

        Raises:
            InvalidRequestError: It cannot stay there.
            SpecError: The choice does not fit the service.
        """
        spec = applied(self.base, chosen.services)
        plans = self._check(spec)
        # A component that may run anywhere would run elsewhere than the one before it: it takes its place.
        now = {key: placed.at for key, placed in self.plans.placed.items() if placed.at.kind == "process"}
        moved = {
            key: at
            for key, at in now.items()
            if plans.placed[key].at.kind == "local" and key in spec.services
        }
        if moved:
            spec = pinned(spec, moved)
            plans = self._check(spec)
        before, after = self.plans.placed[service], plans.placed[service]
        if after.at.kind != before.at.kind:
            raise _has_to_move(before, after)
        return spec, plans


def _has_to_move(before: Placed, after: Placed) -> InvalidRequestError:
    return InvalidRequestError(
        f"'{after.component}' has to run in a process of its own, and '{before.component}' runs in each of the gateway's: "
        "that takes another start",
        hint="stop it, and start it with: weft up --llm ... (or --embed)",
        param="model",
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    service: str
    spec: Spec
    plans: Plans
    chosen: Chosen
    started: Started | None
    at_s: float


class Switcher:
    """Prepares and makes switches in this process, one at a time.

    Args:
        choosing: The spec as it runs.
        services: Of this process.
        app: Its application; its requests are those that may be under way.
        log: Where it is said what was switched, and what went wrong with an old one.
        on_commit: Called with the new plans when a switch is made.

    Attributes:
        switches: How many were made.
    """

    def __init__(
        self,
        choosing: Choosing,
        services: Services,
        app: Application,
        *,
        log: Log,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._choosing, self._services, self._app, self._log = choosing, services, app, log
        self._on_commit = on_commit
        self._prepared: _Prepared | None = None
        self._is_preparing = False
        self.switches = 0
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether a switch is being prepared, or waits to be made."""
        return self._is_preparing or self._prepared is not None

    async def obey(self, order: Order) -> Manifest | None:
        """Do what a process of this installation says; see :class:`Order` and :meth:`prepare`."""
        if order.step == "prepare":
            return await self.prepare(order.service, order.choice, order.key)
        if order.step == "commit":
            self.commit()
        elif order.step == "abandon":
            await self.abandon()
        return None

    async def prepare(self, service: str, choice: Choice | None, key: str | None) -> Manifest | None:
        """Have everything ready for a switch; nothing that is asked notices.

        Cancelling it leaves nothing behind.

        Returns:
            What the vectors of a new embedder are, to be compared with what is in the stores; None: it is none, or another
            process runs it.

        Raises:
            ConflictError: Another is being prepared.
            WeftError: It cannot be; what was begun is closed again.
        """
        if self._prepared is not None and time.monotonic() - self._prepared.at_s > PREPARED_S:
            await self.abandon()
        if self._is_preparing or self._prepared is not None:
            raise ConflictError("another model is being switched to", hint="wait for it, or cancel it")
        choosing = self._choosing
        chosen = with_choice(choosing.chosen, service, choice, key)
        self._is_preparing = True
        try:
            # Compiling takes tens of milliseconds, and loads the component's code: not on the loop.
            spec, plans = await asyncio.to_thread(choosing.compile, service, chosen)
            started = manifest = None
            if self._services.has(service):
                choosing.keys = choosing.chosen.secrets | chosen.secrets
                choosing.guarded = set(chosen.services)
                started, manifest = await self._started(plans.placed[service])
            self._prepared = _Prepared(service, spec, plans, chosen, started, time.monotonic())
        finally:
            self._is_preparing = False
            if self._prepared is None:
                self._as_before()
        return manifest

    async def _started(self, placed: Placed) -> tuple[Started, Manifest | None]:
        started = await self._services.beside(placed)
        try:
            async with asyncio.timeout(TRIAL_TIMEOUT_S):
                manifest = await _try(started, placed)
        except BaseException as error:
            await self._close(placed.key, started)
            if isinstance(error, TimeoutError):
                raise ServiceError(
                    f"it gave no answer within {TRIAL_TIMEOUT_S:g} s",
                    service=placed.key,
                    component=placed.component,
                ) from error
            raise
        return started, manifest

    def commit(self) -> None:
        """Make the switch that is prepared, if one is: between two requests, and at once."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        choosing = self._choosing
        old = self._services.switch(prepared.plans, prepared.service, prepared.started)
        self.switches += 1
        choosing.spec, choosing.plans, choosing.chosen = prepared.spec, prepared.plans, prepared.chosen
        self._as_before()
        self._on_commit()
        placed = prepared.plans.placed[prepared.service]
        model = str(placed.config.get("model", ""))
        if prepared.started is not None:
            self._log.info(f"'{placed.key}' is {placed.component} now", service=placed.key, model=model)
        if old is not None:
            task = asyncio.create_task(
                self._retire(prepared.service, old), name=f"close the old {placed.key}"
            )
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def abandon(self) -> None:
        """Give up the switch that is prepared, if one is."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        self._as_before()
        if prepared.started is not None:
            await self._close(prepared.service, prepared.started)

    def _as_before(self) -> None:
        """What is allowed is what is chosen, and no longer what was being prepared."""
        self._choosing.keys = dict(self._choosing.chosen.secrets)
        self._choosing.guarded = set(self._choosing.chosen.services)

    async def _retire(self, service: str, old: Started) -> None:
        try:
            async with asyncio.timeout(RETIRE_TIMEOUT_S):
                await self._app.until_done()
        except TimeoutError:
            self._log.warning(
                "requests are still under way with the old model, which is closed now", service=service
            )
        finally:
            await self._close(service, old)

    async def _close(self, service: str, started: Started) -> None:
        try:
            await started.aclose()
        except Exception as error:  # noqa: BLE001 - it is out of use: told, and nobody's request fails
            self._log.failure("the old model did not close", cause=error, service=service)

    async def stop(self) -> None:
        """Before the services are closed: give up what is prepared, close what is out of use, without waiting."""
        await self.abandon()
        tasks = list(self._retiring)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _try(started: Started, placed: Placed) -> Manifest | None:
    """Whether it is ready, and answers; what the vectors of an embedder are.

    Raises:
        RequestError: It does not.
    """
    transport = started.transport
    manifest = None
    token = current.set(Context("switch"))
    try:
        is_ready = await transport.ready()
        if is_ready and placed.contract == "chat":
            await transport.call("invoke", ChatRequest([Message("user", "Hi")], max_tokens=1))
        elif is_ready and placed.contract == "embedding":
            reply = await transport.call("invoke", EmbeddingRequest(["a trial"]))
            said = manifest_of(await transport.call("describe", Empty()))
            manifest = replace(said, dimensions=said.dimensions or len(floats(reply.embeddings[0])))
    except RequestError as error:
        if isinstance(error, ServiceError):
            error.at(service=placed.key, component=placed.component, endpoint=transport.backend)
        raise
    except WeftError:
        raise
    except Exception as error:
        raise ServiceError(
            f"it failed: {type(error).__name__}: {error}", service=placed.key, component=placed.component
        ) from error
    finally:
        current.reset(token)
    if not is_ready:
        raise ServiceError("it is not ready", service=placed.key, component=placed.component)
    return manifest
