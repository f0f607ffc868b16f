"""Sessions: what a person has after logging in, as a random cookie; kept in the database, ended from anywhere.

A process remembers the sessions that it has seen, and asks the database once a second which were ended, as for API keys:
one that was ended anywhere is refused here within seconds. While the database is away, those that are known go on holding
for a stated time.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.context import Context, Identity
from weft.errors import StateError, UnavailableError
from weft.gateway.access.audit import AuditLog
from weft.http.message import Request
from weft.serve.log import Log
from weft.store import Database, Row, Schema, Transaction, next_number

SCHEMA: Final = Schema(
    "sessions",
    (
        (
            (
                "CREATE TABLE weft_sessions(digest TEXT PRIMARY KEY, caller TEXT NOT NULL, identity TEXT NOT NULL, "
                "created_at DOUBLE PRECISION NOT NULL, expires_at DOUBLE PRECISION NOT NULL, "
                "ended_at DOUBLE PRECISION NOT NULL, revision BIGINT NOT NULL)"
            ),
            "CREATE INDEX weft_sessions_callers ON weft_sessions(caller)",
            "CREATE INDEX weft_sessions_revisions ON weft_sessions(revision)",
            "CREATE INDEX weft_sessions_expiries ON weft_sessions(expires_at)",
        ),
    ),
)

COUNTER: Final = "sessions"
"""Counts ends; each ended session has the number of its end."""

POLL_S: Final = 1.0
"""Between two looks for ended sessions."""

MAX_REMEMBERED: Final = 10_000
"""Sessions in memory; others are read when they come."""

KEPT_S: Final = 3600.0
"""How long an ended or expired session is still in the database, so that every process has seen it end."""

MAX_COOKIE_CHARACTERS: Final = 100

_encode = msgspec.json.Encoder().encode


class LoggedOut(Struct):
    """Whose logins were ended, and how many there were."""

    caller: str
    sessions: int


class _Kept(Struct):
    """An identity as it is kept."""

    caller: str
    tenant: str
    readers: list[str] | None
    roles: list[str]
    claims: dict[str, Any]
    shown: str
    key: str = ""

    @classmethod
    def of(cls, identity: Identity) -> _Kept:
        return cls(
            identity.caller,
            identity.tenant,
            None if identity.readers is None else list(identity.readers),
            sorted(identity.roles),
            dict(identity.claims),
            identity.shown,
            identity.key,
        )

    def identity(self) -> Identity:
        return Identity(
            caller=self.caller,
            tenant=self.tenant,
            readers=None if self.readers is None else tuple(self.readers),
            roles=frozenset(self.roles),
            claims=self.claims,
            shown=self.shown,
            key=self.key,
        )


_decode = msgspec.json.Decoder(_Kept).decode


class Sessions:
    """The sessions of an installation, and a source of identities: the cookie of one.

    Args:
        database: Where they are.
        cookie: Its name; over TLS with a prefix by which no other host's page can have set it.
        lasts_s: How long one lasts.
        stale_s: How long those that are known hold while the database is away.
        log: Where it is said that it is away.
        holding: The identity of an API key by its id, for who has logged in with one; None from it: the key has ended.
        now_s: The clock on the wall.
        clock: One that never goes back.
    """

    def __init__(
        self,
        database: Database,
        *,
        cookie: str,
        lasts_s: float,
        stale_s: float,
        log: Log,
        holding: Callable[[str], Identity | None] | None = None,
        now_s: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        database.add(SCHEMA)
        self._cookie, self.lasts_s = cookie, lasts_s
        self._database, self._stale_s, self._log = database, stale_s, log
        self._holding, self._now_s, self._clock = holding, now_s, clock
        self._known: OrderedDict[str, tuple[float, Identity]] = OrderedDict()
        self._revision = -1
        self._fresh_at: float | None = None
        self._trouble = ""
        self._watch: asyncio.Task[None] | None = None

    async def __call__(self, request: Request, context: Context) -> Identity | None:
        """Who logged in; None: there is no session, or it has ended, or another site's page sent the request.

        Raises:
            UnavailableError: The database is away, and the session is not known here.
        """
        shown = cookie_of(request, self.cookie(request))
        if shown is None or not is_from_here(request):
            return None
        digest = _digest(shown)
        known = self._known.get(digest)
        if known is None:
            known = await self._read(digest)
            if known is None:
                return None
        elif self._trouble and self._is_stale:
            raise UnavailableError(f"logins cannot be checked now: {self._trouble}")
        expires_at, identity = known
        if self._now_s() >= expires_at:
            self._known.pop(digest, None)
            return None
        if identity.key:
            return self._holding(identity.key) if self._holding is not None else None
        return identity

    def cookie(self, request: Request) -> str:
        """The name of the cookie."""
        return prefixed(self._cookie, request)

    async def begin(self, identity: Identity) -> str:
        """Begin a session.

        Returns:
            What the cookie holds.
        """
        token = secrets.token_urlsafe(32)
        now_s = self._now_s()
        async with self._database.transaction() as transaction:
            await transaction.execute("DELETE FROM weft_sessions WHERE expires_at < ?", now_s - KEPT_S)
            await transaction.execute(
                "INSERT INTO weft_sessions VALUES (?, ?, ?, ?, ?, 0, 0)",
                _digest(token), identity.caller, _encode(_Kept.of(identity)).decode(), now_s, now_s + self.lasts_s,
            )  # fmt: skip
        return token

    async def end(self, request: Request) -> Identity | None:
        """End the session of a request.

        Returns:
            Whose it was; None: there is none.
        """
        shown = cookie_of(request, self.cookie(request))
        if shown is None:
            return None
        digest = _digest(shown)
        ended = self._known.pop(digest, None) or await self._read(digest)
        self._known.pop(digest, None)
        async with self._database.transaction() as transaction:
            await _end(transaction, "digest", digest, self._now_s())
        return ended[1] if ended is not None else None

    async def refresh(self) -> None:
        """Forget what has been ended.

        Raises:
            UnavailableError: The database is away.
        """
        asked_at = self._clock()
        try:
            if self._revision < 0:
                rows = await self._database.fetch("SELECT COALESCE(MAX(revision), 0) FROM weft_sessions")
                self._revision = int(rows[0][0])
            ended = await self._database.fetch(
                "SELECT digest, revision FROM weft_sessions WHERE revision > ? ORDER BY revision",
                self._revision,
            )
        except (UnavailableError, StateError) as error:
            if not self._trouble:
                self._log.warning(f"ended logins cannot be looked for: {error.message}")
            self._trouble = error.message
            raise
        self._trouble = ""
        self._fresh_at = asked_at
        for digest, revision in ended:
            self._known.pop(digest, None)
            self._revision = max(self._revision, int(revision))

    async def start(self) -> None:
        """Look for ended sessions until :meth:`stop`."""
        self._watch = asyncio.create_task(self._look(), name="sessions")

    async def stop(self) -> None:
        """Look no longer."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait((watch,))

    async def _look(self) -> None:
        while True:
            with suppress(UnavailableError, StateError):  # it has been said, and is asked again
                await self.refresh()
            await asyncio.sleep(POLL_S)

    @property
    def _is_stale(self) -> bool:
        return self._fresh_at is None or self._clock() - self._fresh_at > self._stale_s

    async def _read(self, digest: str) -> tuple[float, Identity] | None:
        """Read a session that is not known here, and remember it."""
        if self._revision < 0:
            await self.refresh()
        before = -1
        rows: list[Row] = []
        while before != self._revision:  # what was ended while we read may be this one
            before = self._revision
            rows = await self._database.fetch(
                "SELECT expires_at, identity FROM weft_sessions WHERE digest = ? AND ended_at = 0", digest
            )
        if not rows:
            return None
        known = float(rows[0][0]), _decode(rows[0][1]).identity()
        self._known[digest] = known
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return known


async def log_out(
    database: Database, audit: AuditLog, caller: str, by: Identity | str, *, now_s: float
) -> int:
    """End every session of somebody, whoever let them in; returns how many there were.

    Raises:
        UnavailableError: The database is away.
    """
    database.add(SCHEMA)
    async with database.transaction() as transaction:
        count = await end_sessions(transaction, caller, now_s)
        told = await audit.append(transaction, "logout", by, {"caller": caller, "sessions": count})
    audit.tell(told)
    return count


async def end_sessions(transaction: Transaction, caller: str, now_s: float) -> int:
    """End every session of somebody; returns how many there were."""
    return await _end(transaction, "caller", caller, now_s)


async def _end(transaction: Transaction, column: str, value: str, now_s: float) -> int:
    revision = await next_number(transaction, COUNTER)
    return await transaction.execute(
        f"UPDATE weft_sessions SET ended_at = ?, revision = ? WHERE {column} = ? AND ended_at = 0",  # noqa: S608 - names of ours
        now_s,
        revision,
        value,
    )


def cookie_of(request: Request, name: str) -> str | None:
    """The value of a cookie; None: it is not there, or there are two, of which one may be another site's."""
    found = [
        value
        for header in request.headers.get_all("cookie")
        for pair in header.split(";")
        if (parts := pair.strip().partition("="))[0] == name and (value := parts[2])
    ]
    return found[0] if len(found) == 1 and len(found[0]) <= MAX_COOKIE_CHARACTERS else None


def prefixed(name: str, request: Request) -> str:
    """The name of a cookie of ours. Browsers take one that begins with ``__Host-`` only over TLS, and from its own host."""
    return f"__Host-{name}" if request.scheme == "https" else name


def set_cookie(name: str, value: str, *, max_age_s: float, secure: bool) -> str:
    """A ``Set-Cookie`` for this host, that scripts do not see and that other sites' forms do not send; 0 removes it."""
    line = f"{name}={value}; Path=/; Max-Age={int(max_age_s)}; HttpOnly; SameSite=Lax"
    return line + ("; Secure" if secure else "")


def is_from_here(request: Request) -> bool:
    """Whether a request that came with a cookie was sent by one of our own pages, or by the address bar for a look.

    Browsers say so in ``Sec-Fetch-Site``, and in ``Origin`` for everything that could change something; a site that the
    Gateway file lets call is let in with a key or a token, never with the cookie of whoever visits it.
    """
    get = request.headers.get
    site = get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none") or (
            request.method in ("GET", "HEAD") and get("sec-fetch-mode") == "navigate"
        )
    origin = get("origin")
    return origin is None or origin.partition("://")[2].lower() == (get("host") or "").lower()


def _digest(token: str) -> str:
    """What is kept of a cookie: who reads the database cannot use it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
