"""Refusals on their way into the audit log: what is alike is counted, and a flood of them stays a few records a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from weft.context import Identity
from weft.errors import StateError, UnavailableError
from weft.gateway.access.audit import AuditLog, actor_of
from weft.http.message import Request
from weft.serve.log import Log

FIRST_S: Final = 1.0
"""A refusal is in the log a second after it happened, when it was quiet before."""

EVERY_S: Final = 30.0
"""How often there are records in a flood."""

MOST: Final = 20
"""Records each time, beside one for the rest: at most 60,000 a day, some 20 MB, whatever comes."""

PATH_CHARACTERS: Final = 200

Kind = tuple[str, str, str, str]


class Refusals:
    """Counts refusals, and has them recorded.

    Args:
        audit: Where.
        log: Where it is said that they could not be recorded.
    """

    def __init__(self, audit: AuditLog, *, log: Log) -> None:
        self._audit, self._log = audit, log
        self._counts: dict[Kind, int] = {}
        self._others = 0
        self._pause_s = FIRST_S
        self._writing: asyncio.Task[None] | None = None
        self._is_told = False

    def note(self, request: Request, identity: Identity | None, why: str) -> None:
        """Count one. Costs no waiting.

        Args:
            request: What was refused; of it the address, method and path are recorded.
            identity: Who asked; None: nobody knows.
            why: In words without secrets.
        """
        who = actor_of(identity) if identity is not None else "unknown"
        kind = who, request.peer or "", f"{request.method} {request.path[:PATH_CHARACTERS]}", why
        if kind in self._counts or len(self._counts) < MOST:
            self._counts[kind] = self._counts.get(kind, 0) + 1
        else:
            self._others += 1
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_soon(), name="audit refusals")

    async def _write_soon(self) -> None:
        while self._counts or self._others:
            await asyncio.sleep(self._pause_s)
            self._pause_s = EVERY_S
            await self.flush()
        # Quiet for one pause more: the next one is written soon again.
        await asyncio.sleep(EVERY_S)
        self._pause_s, self._writing = FIRST_S, None
        if self._counts or self._others:
            self._writing = asyncio.create_task(self._write_soon(), name="audit refusals")

    async def flush(self) -> None:
        """Write down what was counted; what cannot be written is kept, and counted on."""
        counts, self._counts = self._counts, {}
        others, self._others = self._others, 0
        written = 0
        try:
            for (who, peer, asked, why), count in counts.items():
                await self._audit.record(
                    "refused", who, {"address": peer, "asked": asked, "why": why, "times": count}
                )
                written += 1
            if others:
                await self._audit.record("refused", "several", {"why": "many at once", "times": others})
        except (UnavailableError, StateError) as error:
            if not self._is_told:
                self._log.warning(f"refusals cannot be recorded in the audit log now: {error.message}")
                self._is_told = True
            for kind, count in list(counts.items())[written:]:
                self._counts[kind] = self._counts.get(kind, 0) + count
            self._others += others
        else:
            self._is_told = False

    async def stop(self) -> None:
        """Write down what is left."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            await asyncio.wait((writing,))
        await self.flush()


Noted = Callable[[Request, Identity | None, str], object]
"""See :meth:`Refusals.note`."""
