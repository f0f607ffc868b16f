"""The one piece of per-request state: who asks, under which id, until when, traced how.

A :class:`Context` is made where a request comes in (or by a test) and is current, through one ContextVar, for
all that runs for it. Tasks that a request starts inherit it. It is never shared between requests.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from weft.types import Usage

DEFAULT_TENANT: Final = "default"
"""The tenant of installations that have only one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a caller has shown to be.

    Attributes:
        caller: The user, or the key's owner; empty is anonymous.
        tenant: Whose documents, caches, histories and limits these are.
        readers: Groups whose documents may be read; None is only those without ``readers``.
        roles: What the caller may do, by the gateway's rules.
        scopes: What a key or token was restricted to; empty restricts nothing.
        key: Which API key was shown, by its public id; empty: none.
        claims: What a token said, for rules.
        shown: By what: ``anonymous``, ``token``, ``key``, ``oidc``, ``account``, ``certificate``, ``service``.
    """

    caller: str = ""
    tenant: str = DEFAULT_TENANT
    readers: tuple[str, ...] | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    key: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    shown: str = "anonymous"


ANONYMOUS: Final = Identity()


class Tally:
    """Adds token counts up.

    A component may hand on the very usage that it was given (a reply made from an answer): the same object counts once.

    Attributes:
        total: The sum; None while nothing was counted.
    """

    __slots__ = ("_seen", "total")

    def __init__(self) -> None:
        self.total: Usage | None = None
        self._seen: list[Usage] = []

    def add(self, usage: Usage | None) -> None:
        """Count a report, unless it is one that was counted."""
        if usage is None:
            return
        for seen in self._seen:
            if seen is usage:
                return
        self._seen.append(usage)
        self.total = usage if self.total is None else self.total + usage

    def merge(self, other: Tally) -> None:
        """Count every report of another."""
        for usage in other._seen:
            self.add(usage)


class Context:
    """One request as every layer sees it.

    Attributes:
        request_id: Names the request in replies, logs and traces.
        deadline: ``time.monotonic()`` seconds after which nothing new starts; None is no deadline.
        trace_id, span_id: W3C trace context: 32 and 16 lower-case hex digits; made when first asked for.
        tenant: Whose documents, caches and jobs these are.
        caller: Who asks; empty is anonymous.
        readers: Groups whose documents the caller may read; None is only those without ``readers``.
        identity: What the caller has shown to be; tenant, caller and readers are its.
        step: The journal's id of the step that runs now; a step begun under it has it as its parent.
        run: The journal's id of the run.
        usage: Token counts of this request, summed by the run.
        tally: Where token counts go: every run of a megaservice has its own. None: nobody counts yet.
        values: Whatever one layer leaves for another of the same request, by name. Small; usually empty.
    """

    __slots__ = (
        "_span_id",
        "_trace_id",
        "caller",
        "deadline",
        "identity",
        "readers",
        "request_id",
        "run",
        "step",
        "tally",
        "tenant",
        "trace_flags",
        "usage",
        "values",
    )

    def __init__(
        self,
        request_id: str = "",
        *,
        deadline: float | None = None,
        tenant: str = DEFAULT_TENANT,
        caller: str = "",
        readers: list[str] | None = None,
        traceparent: str | None = None,
    ) -> None:
        self.request_id = request_id
        self.deadline = deadline
        self.tenant = tenant
        self.caller = caller
        self.readers = readers
        self.identity = ANONYMOUS
        self.step = 0
        self.run = 0
        self.usage: tuple[int, int] | None = None
        self.tally: Tally | None = None
        self.values: dict[str, object] | None = None
        self._trace_id = self._span_id = ""
        self.trace_flags = "01"
        if traceparent is not None:
            self._read_traceparent(traceparent)

    def _read_traceparent(self, header: str) -> None:
        # W3C Trace Context, section 3.2: version-traceid-parentid-flags; anything malformed restarts the trace.
        parts = header.strip().split("-")
        if (
            len(parts) >= 4
            and parts[0] != "ff"
            and [len(part) for part in parts[:4]] == [2, 32, 16, 2]
            and all(_is_hex(part) for part in parts[:4])
            and parts[1].strip("0")
            and parts[2].strip("0")
        ):
            self._trace_id, self._span_id, self.trace_flags = parts[1], parts[2], parts[3]

    @property
    def trace_id(self) -> str:
        """The trace that this request belongs to."""
        if not self._trace_id:
            self._trace_id = f"{random.getrandbits(128) or 1:032x}"
        return self._trace_id

    @property
    def span_id(self) -> str:
        """The span under which the next hop goes."""
        if not self._span_id:
            self._span_id = f"{random.getrandbits(64) or 1:016x}"
        return self._span_id

    def traceparent(self) -> str:
        """The ``traceparent`` header for the next hop."""
        return f"00-{self.trace_id}-{self.span_id}-{self.trace_flags}"

    def time_left_s(self) -> float | None:
        """Seconds until the deadline (negative: it has passed); None when there is none."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def shorten(self, timeout_s: float) -> None:
        """Bring the deadline to at most ``timeout_s`` from now; it is never moved out."""
        deadline = time.monotonic() + timeout_s
        if self.deadline is None or deadline < self.deadline:
            self.deadline = deadline

    def count(self, usage: Usage | None) -> None:
        """Count tokens that were used for this request."""
        if usage is not None:
            self.counting().add(usage)

    def counting(self) -> Tally:
        """Where token counts go."""
        if self.tally is None:
            self.tally = Tally()
        return self.tally

    def identify(self, identity: Identity) -> None:
        """Take over who the caller has shown to be."""
        self.identity = identity
        self.tenant, self.caller = identity.tenant, identity.caller
        self.readers = None if identity.readers is None else list(identity.readers)

    def scope(self) -> tuple[str, list[str] | None]:
        """Tenant and readers, as a scoped store asks for them."""
        return self.tenant, self.readers


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)


current: ContextVar[Context] = ContextVar("weft_context")
"""The request that the running task works for."""


def scope() -> tuple[str, list[str] | None]:
    """Tenant and readers of the current request; the default tenant, unprivileged, outside of one."""
    context = current.get(None)
    return context.scope() if context is not None else (DEFAULT_TENANT, None)
