"""Counts the changes of documents, as far as this process sees them: an answer from before one is not told after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from weft.context import current
from weft.contracts.dataprep import JobRequest
from weft.errors import RequestError
from weft.serve.log import Log

Call = Callable[[str, Any], Awaitable[Any]]

CHANGES: Final = frozenset({"ingest", "delete"})
"""Operations of a dataprep service after which its documents are others."""

WAIT_S: Final = 30.0
"""How long one question waits for a change of a job."""


class Corpus:
    """Numbers that grow with each change of a tenant's documents.

    Args:
        log: Told when a job cannot be followed to its end.
    """

    def __init__(self, log: Log | None = None) -> None:
        self._numbers: dict[str, int] = {}
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, tenant: str) -> int:
        """The tenant's number."""
        return self._numbers.get(tenant, 0)

    def changed(self, tenant: str) -> None:
        """The tenant's documents are others."""
        self._numbers[tenant] = self.of(tenant) + 1

    def noting(self, call: Call) -> Call:
        """A dataprep service's ``call``, whose changes are counted: when one begins, and when it has ended, however."""

        async def noted(operation: str, request: Any) -> Any:
            if operation not in CHANGES:
                return await call(operation, request)
            tenant = current.get().tenant
            self.changed(tenant)
            try:
                response = await call(operation, request)
            finally:
                self.changed(tenant)
            job = getattr(response, "job", None)
            if job is not None and job.state in ("waiting", "running"):
                task = asyncio.ensure_future(self._follow(call, job.id, tenant))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return response

        return noted

    async def _follow(self, call: Call, id_: str, tenant: str) -> None:
        """Count the changes of a job that goes on after its reply."""
        revision = None
        try:
            while True:
                asked = (
                    JobRequest(id_, wait_s=WAIT_S) if revision is None else JobRequest(id_, revision, WAIT_S)
                )
                job = await call("job", asked)
                self.changed(tenant)
                if job.state in ("done", "cancelled"):
                    return
                revision = job.revision
        except RequestError as error:
            self.changed(tenant)
            if self._log is not None:
                self._log.failure(f"the job {id_} could not be followed for the caches", cause=error)
