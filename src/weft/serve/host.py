"""The Host that components get: what they may use of the process they live in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from weft.host import Lane, Metrics, Models
from weft.serve.egress import Egress
from weft.serve.isolation import Isolation
from weft.serve.lanes import ThreadLane
from weft.serve.log import Log
from weft.serve.outbound import HostClient

R = TypeVar("R")


def usable_cpus() -> int:
    """Processors that this process may use: affinity counts, the machine's number does not."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ServiceHost:
    """Implements :class:`weft.host.Host` for one service of this process.

    Args:
        service: Its name.
        egress: The process's HTTP clients.
        models: Model files.
        metrics: Of this service.
        storage: Folder for data that lasts; made when it is asked for.
        log: The process's log.
        cpu_count: Processors for it; None: all that the process may use.
    """

    def __init__(
        self,
        service: str,
        *,
        egress: Egress,
        models: Models,
        metrics: Metrics,
        storage: Path,
        log: Log,
        cpu_count: int | None = None,
    ) -> None:
        self._service, self._egress, self._models, self._metrics = service, egress, models, metrics
        self._storage, self._log = storage, log
        self._cpu_count = cpu_count or usable_cpus()
        self._lanes: list[ThreadLane] = []
        self._tasks: set[asyncio.Task[object]] = set()
        self._isolation: Isolation | None = None
        self._closed = False

    @property
    def service(self) -> str:
        """See :class:`weft.host.Host`."""
        return self._service

    @property
    def models(self) -> Models:
        """See :class:`weft.host.Host`."""
        return self._models

    @property
    def metrics(self) -> Metrics:
        """See :class:`weft.host.Host`."""
        return self._metrics

    @property
    def storage(self) -> Path:
        """See :class:`weft.host.Host`."""
        self._storage.mkdir(parents=True, exist_ok=True)
        return self._storage

    @property
    def cpu_count(self) -> int:
        """See :class:`weft.host.Host`."""
        return self._cpu_count

    def http(
        self,
        url: str,
        *,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        public_only: bool = False,
    ) -> HostClient:
        """See :class:`weft.host.Host`. Redirects are replies like any other: following one is the caller's decision.

        Raises:
            UsageError: It is no address.
            InvalidRequestError: A user's link that is not http(s).
        """
        client = self._egress.public_client(url) if public_only else self._egress.client_for(url)
        endpoint = client.endpoint(url, timeout_s=timeout_s, headers=list((headers or {}).items()))
        return HostClient(endpoint, timeout_s=timeout_s, tells=not public_only, keys=_keys(headers or {}))

    def lane(self, *, threads: int, queue: int, background: bool = False) -> Lane:
        """See :class:`weft.host.Host`."""
        lane = ThreadLane(self._service, threads=threads, queue_size=queue, background=background)
        self._lanes.append(lane)
        return lane

    async def isolated(
        self, work: Callable[..., R], /, *args: Any, timeout_s: float, max_memory_bytes: int
    ) -> R:
        """See :class:`weft.host.Host`. At most one process for each processor; more calls wait, bounded."""
        if self._isolation is None:
            self._isolation = Isolation(self._service, workers=self._cpu_count)
        return await self._isolation.run(work, *args, timeout_s=timeout_s, max_memory_bytes=max_memory_bytes)

    def spawn(self, work: Awaitable[object], *, name: str) -> None:
        """See :class:`weft.host.Host`."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - nobody awaits it: the log is where it is seen
                self._log.failure(f"{name} failed", cause=error, service=self._service)

        task: asyncio.Task[object] = asyncio.create_task(run(), name=f"{self._service}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def log(self, message: str, **fields: object) -> None:
        """See :class:`weft.host.Host`."""
        self._log.info(message, service=self._service, **fields)

    async def aclose(self) -> None:
        """End everything that the component started here; after its own ``aclose``. May be called again."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for lane in self._lanes:
            lane.close()
        if self._isolation is not None:
            await self._isolation.aclose()


def _keys(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The keys among the headers of a client: all of a value, and the part behind ``Bearer``."""
    values = [
        value for name, value in headers.items() if name.lower() in ("authorization", "api-key", "x-api-key")
    ]
    return tuple(part for value in values if (part := value.rpartition(" ")[2]))
