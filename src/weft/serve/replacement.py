"""Other processes in the place of those that run.

What is the same goes on, what is new is started beside it, the public ones swap, and what is no longer needed ends when
the requests that need it have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from weft.errors import ConflictError, NotReadyError, UsageError, WeftError
from weft.serve.child import Child
from weft.serve.household import Household, ProcessSpec
from weft.serve.household import check as check_specs
from weft.serve.log import Log
from weft.serve.serving import RETIRE_TIMEOUT_S
from weft.serve.succession import READY_TIMEOUT_S
from weft.serve.worker import WorkerConfig

PREPARE_TIMEOUT_S: Final = 600.0 + READY_TIMEOUT_S
"""How long a public process may take to have another application ready: components without a process of their own load
their models meanwhile."""

COMMIT_TIMEOUT_S: Final = 10.0
"""A swap is done in a millisecond; a process that does not answer by then hangs, and is started again as what it is to be."""


class TakenError(WeftError):
    """A public process could not take in what it was told, in its own words."""

    code = "reload_failed"


def same(
    before: Sequence[ProcessSpec], children: Mapping[str, list[Child]], after: Sequence[ProcessSpec]
) -> dict[str, list[Child]]:
    """The children that go on, by the name of the kind that they are from now on.

    Public ones go on always: they hold the connections, and change what they serve.

    Raises:
        UsageError: There would be more or fewer public ones, or none of a name that there was.
    """
    kept: dict[str, list[Child]] = {}
    taken: set[str] = set()
    for spec in after:
        if spec.public:
            if len(children.get(spec.name, ())) != spec.replicas:
                raise UsageError("how many processes serve the public address is settled at the start")
            kept[spec.name] = children[spec.name]
            continue
        fitting = [
            old.name
            for old in before
            if not old.public
            and old.identity
            and (old.identity, old.replicas) == (spec.identity, spec.replicas)
            and old.name not in taken
        ]
        if fitting:
            name = spec.name if spec.name in fitting else fitting[0]
            taken.add(name)
            kept[spec.name] = children[name]
    return kept


class Replacement:
    """One change from some processes to others.

    Args:
        household: Makes children.
        before: What runs.
        children: Its children.
        after: What is to run.
        log: Of the supervisor.
        ready_timeout_s: How long what is new may take to be ready.

    Attributes:
        children: Of what is to run, once it is made.
        retired: What nobody needs any more, once it is made; still running.
    """

    def __init__(
        self,
        household: Household,
        before: Sequence[ProcessSpec],
        children: Mapping[str, list[Child]],
        after: Sequence[ProcessSpec],
        *,
        log: Log,
        ready_timeout_s: float,
    ) -> None:
        check_specs(after)
        self._after, self._log, self._ready_timeout_s = after, log, ready_timeout_s
        self._kept = same(before, children, after)
        self._configs = household.configs(after, self._kept)
        self.children = {
            spec.name: self._kept.get(spec.name)
            or [household.child(config) for config in self._configs[spec.name]]
            for spec in after
        }
        going_on = {id(child) for found in self.children.values() for child in found}
        self.retired = [child for found in children.values() for child in found if id(child) not in going_on]

    async def make(self) -> None:
        """Make it, whole or not at all.

        Raises:
            WeftError: Something of it cannot run; then everything is as it was.
        """
        public = [child for spec in self._after if spec.public for child in self.children[spec.name]]
        try:
            await self._start()
            await self._prepare(public)
        except BaseException:
            await asyncio.shield(self._undo(public))
            raise
        await self._commit(public)

    def _new(self) -> list[Child]:
        return [
            child for spec in self._after if spec.name not in self._kept for child in self.children[spec.name]
        ]

    async def _start(self) -> None:
        """Start what is new, each when what it needs is ready."""

        async def one(spec: ProcessSpec) -> None:
            for needed in spec.needs:
                for child in self.children[needed]:
                    await child.ready.wait()
            for child in self.children[spec.name]:
                child.start()
            for child in self.children[spec.name]:
                await child.ready.wait()

        new = [spec for spec in self._after if spec.name not in self._kept]
        if not new:
            return

        async def every() -> None:
            await asyncio.gather(*(one(spec) for spec in new))

        starting = asyncio.create_task(every())
        failing = [asyncio.create_task(child.failed()) for child in self._new()]
        try:
            done, _ = await asyncio.wait(
                (starting, *failing), timeout=self._ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()  # raises what keeps it from starting
            if not done:
                late = [child.config.name for child in self._new() if not child.ready.is_set()]
                raise NotReadyError(f"not ready within {self._ready_timeout_s:g} s: {', '.join(late)}")
        finally:
            for task in (starting, *failing):
                task.cancel()
            await asyncio.gather(starting, *failing, return_exceptions=True)

    def _config_of(self, child: Child) -> WorkerConfig:
        return next(
            config
            for configs in self._configs.values()
            for config in configs
            if config.private == child.config.private
        )

    async def _prepare(self, public: Iterable[Child]) -> None:
        """Have every public process make ready what it is to serve; one that has crashed comes back with it anyway."""
        running = [child for child in public if child.pid is not None]
        answers = await asyncio.gather(
            *(
                child.order("prepare", timeout_s=PREPARE_TIMEOUT_S, config=self._config_of(child))
                for child in running
            ),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            if answer.error:
                raise (ConflictError if answer.code == ConflictError.code else TakenError)(answer.error)

    async def _commit(self, public: Sequence[Child]) -> None:
        for child in public:
            # Should it crash from now on, it comes back as what it is to be.
            child.config = self._config_of(child)

        async def one(child: Child) -> None:
            try:
                answer = await child.order("commit", timeout_s=COMMIT_TIMEOUT_S)
                trouble = answer.error
            except NotReadyError as error:
                trouble = error.message
            if trouble:
                self._log.warning(f"'{child.config.name}' did not swap, and is started again: {trouble}")
                child.restart()

        await asyncio.gather(*(one(child) for child in public))

    async def _undo(self, public: Iterable[Child]) -> None:
        await asyncio.gather(
            *(
                child.order("abandon", timeout_s=COMMIT_TIMEOUT_S)
                for child in public
                if child.pid is not None
            ),
            return_exceptions=True,
        )
        await asyncio.gather(*(child.end(timeout_s=0) for child in self._new()))

    async def settle(self, *, timeout_s: float) -> None:
        """End what nobody needs any more, when the requests that began before have ended."""
        public = [child for spec in self._after if spec.public for child in self.children[spec.name]]
        await asyncio.gather(
            *(child.order("settle", timeout_s=RETIRE_TIMEOUT_S + READY_TIMEOUT_S) for child in public),
            return_exceptions=True,  # a process that has ended has no requests
        )
        await asyncio.gather(*(child.end(timeout_s=timeout_s) for child in self.retired))
