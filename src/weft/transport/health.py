"""Active health: a path of each address is asked now and then, and one that does not answer well is asked nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from weft.errors import RequestError
from weft.transport.clock import Clock
from weft.transport.replicas import Replica, Replicas

LOOK_TIMEOUT_S: Final = 2.0
"""Seconds for one look, or the time between two if that is shorter: a server that is well answers in milliseconds."""

JITTER: Final = 0.2
"""Which part of the time between two looks varies: gateways must not all ask at once."""

LOOK_BYTES: Final = 64 * 1024
"""Of a reply that nobody reads."""


class HealthChecks:
    """Looks after the addresses of one service; they count as well until they have been looked at.

    Args:
        replicas: They say which path is asked, how often, and how many looks make a difference.
        clock: Time.
        on_change: Told when an address has become well or unwell.
        random: Between 0 and 1.
    """

    def __init__(
        self,
        replicas: Replicas,
        clock: Clock,
        *,
        on_change: Callable[[Replica], object] | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._replicas, self._clock, self._on_change = replicas, clock, on_change
        self._random = random
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to look; returns at once."""
        if self._replicas.spec.health is not None:
            self._tasks = [asyncio.create_task(self._watch(replica)) for replica in self._replicas.all]

    async def aclose(self) -> None:
        """Look no more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, replica: Replica) -> None:
        spec = self._replicas.spec
        streak = 0
        while True:
            is_good = await self.look(replica)
            streak = streak + 1 if is_good != replica.is_well else 0
            if streak >= (spec.well_after if is_good else spec.unwell_after):
                streak = 0
                self._replicas.set_well(replica, is_good)
                if self._on_change is not None:
                    self._on_change(replica)
            await self._clock.sleep(spec.health_s * (1 + JITTER * (self._random() - 0.5)))

    async def look(self, replica: Replica) -> bool:
        """Whether the health path answers 2xx now."""
        spec = self._replicas.spec
        assert spec.health is not None  # nobody looks where nothing is asked
        try:
            reply = await replica.endpoint.request(
                "GET", spec.health, timeout_s=min(LOOK_TIMEOUT_S, spec.health_s), max_bytes=LOOK_BYTES
            )
        except RequestError:
            return False
        return 200 <= reply.status < 300
