"""Another application in the place of one that serves: made ready beside it, and then swapped between two requests.

In two steps, because an installation may be many processes: what is *prepared* has started and is ready, and nothing that
is asked notices; *commit* has the next request go to it. What was before ends when its requests have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from weft.errors import ConflictError, NotReadyError
from weft.serve.application import Application
from weft.serve.health import Health
from weft.serve.serving import Serving

READY_TIMEOUT_S: Final = 60.0
"""How long what is new may take to be ready once it has started: a server elsewhere answers by then, or is away."""

READY_POLL_S: Final = 0.05
"""How often that is asked."""

CHANGING_TIMEOUT_S: Final = 60.0
"""How long is waited for what is being changed at run time; a model that is fetched meanwhile takes longer."""


class Succession:
    """The applications of one process, one after the other.

    Args:
        serving: Serves them.
        ready_timeout_s: See :data:`READY_TIMEOUT_S`.
    """

    def __init__(self, serving: Serving, *, ready_timeout_s: float = READY_TIMEOUT_S) -> None:
        self._serving, self._ready_timeout_s = serving, ready_timeout_s
        self._prepared: Application | None = None
        self._is_preparing = False

    async def prepare(self, make: Callable[[], Awaitable[Application]]) -> None:
        """Start another application and wait until it is ready; nothing that is asked notices.

        Safe to cancel: nothing is left behind.

        Args:
            make: Makes it; not started.

        Raises:
            ConflictError: Another is being prepared, or something is being changed at run time.
            NotReadyError: It has a service that is not ready, which was ready until now or is new.
            WeftError: It cannot be made or started.
        """
        if self._is_preparing or self._prepared is not None:
            raise ConflictError("another reload is under way", hint="wait for it")
        self._is_preparing = True
        app: Application | None = None
        try:
            changes = await self._settled()
            before = set((await Health(self._serving.app).readiness()).degraded)
            app = await make()
            await app.start()
            if app.private is not None:
                await app.private.start()
            await self._until_ready(app, before)
            if self._serving.app.changing() != changes:
                raise ConflictError("something was changed at run time meanwhile", hint="reload again")
            self._prepared = app
        finally:
            self._is_preparing = False
            if app is not None and self._prepared is None:
                await _stopped(app)

    async def _settled(self) -> int:
        """Wait until nothing is being changed at run time; which change was the last."""
        try:
            async with asyncio.timeout(CHANGING_TIMEOUT_S):
                while (changes := self._serving.app.changing()) is None:  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            message = "something is being changed at run time: weft models choices says what"
            raise ConflictError(message, hint="wait for it, or give it up") from None
        return changes

    async def _until_ready(self, app: Application, before: set[str]) -> None:
        health = Health(app)
        try:
            async with asyncio.timeout(self._ready_timeout_s):
                while set((found := await health.readiness()).degraded) - before:  # noqa: ASYNC110 - services have no event
                    await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            late = [name for name in found.degraded if name not in before]
            reasons = "; ".join(f"{name}: {found.services[name].reason}" for name in late)
            raise NotReadyError(f"not ready within {self._ready_timeout_s:g} s: {reasons}") from None

    def commit(self) -> bool:
        """Have the next request go to what is prepared; whether there was something."""
        app, self._prepared = self._prepared, None
        if app is None:
            return False
        self._serving.replace(app)
        return True

    async def abandon(self) -> None:
        """Give up what is prepared, if something is."""
        app, self._prepared = self._prepared, None
        if app is not None:
            await _stopped(app)


async def _stopped(app: Application) -> None:
    if app.private is not None:
        await app.private.stop()
    await app.stop()
