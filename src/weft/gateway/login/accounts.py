"""Local accounts: made by taking up an invitation, which is a link that works once and for some days."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from weft.context import DEFAULT_TENANT, Identity
from weft.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    UnauthorizedError,
    did_you_mean,
)
from weft.gateway.access.audit import AuditLog
from weft.gateway.login.attempts import Attempts
from weft.gateway.login.passwords import AT_ONCE, WAITING, Passwords, check_strength
from weft.gateway.login.sessions import SCHEMA as SESSIONS
from weft.gateway.login.sessions import end_sessions
from weft.store import Database, Row, Schema, Transaction

SCHEMA: Final = Schema(
    "accounts",
    (
        (
            (
                "CREATE TABLE weft_accounts(name TEXT PRIMARY KEY, tenant TEXT NOT NULL, readers TEXT NOT NULL, "
                "roles TEXT NOT NULL, password TEXT NOT NULL, created_at DOUBLE PRECISION NOT NULL, "
                "created_by TEXT NOT NULL, used_at DOUBLE PRECISION NOT NULL)"
            ),
            (
                "CREATE TABLE weft_invitations(digest TEXT PRIMARY KEY, account TEXT NOT NULL, "
                "expires_at DOUBLE PRECISION NOT NULL)"
            ),
            "CREATE INDEX weft_invitations_accounts ON weft_invitations(account)",
        ),
    ),
)

LASTS_S: Final = 3 * 86_400.0
"""How long an invitation works, unless it is said otherwise: over a weekend."""

MAX_LASTS_S: Final = 30 * 86_400.0
LIST_LIMIT: Final = 1000

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")
_GROUP: Final = re.compile(r"[^\s\x00-\x1f]{1,200}")
_COLUMNS: Final = "name, tenant, readers, roles, password, created_at, created_by, used_at"

_encode = msgspec.json.Encoder().encode
_decode_names = msgspec.json.Decoder(list[str]).decode


class NewAccount(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Somebody to invite.

    Attributes:
        name: What they log in with: a name or an e-mail address; its case does not matter.
        tenant: Whose documents, caches, histories and limits they see.
        readers: Groups whose documents they read; the rules of the Gateway file see them as ``claims.groups``.
        roles: What they may do; ``admin`` may do everything.
        lasts_s: Seconds for which the invitation works.
    """

    name: str
    tenant: str = DEFAULT_TENANT
    readers: list[str] = []
    roles: list[str] = []
    lasts_s: float = LASTS_S


class Account(Struct, omit_defaults=True):
    """An account as it is listed: without its password.

    Attributes:
        is_open: Whether it has a password; else its invitation has not been taken up.
        used_at: When somebody logged in with it last; null: not yet.
    """

    name: str
    tenant: str
    readers: list[str]
    roles: list[str]
    is_open: bool
    created_at: float
    created_by: str
    used_at: float | None = None

    def identity(self) -> Identity:
        """Who logs in with it."""
        return Identity(
            caller=self.name,
            tenant=self.tenant,
            readers=tuple(self.readers) or None,
            roles=frozenset(self.roles),
            claims={"sub": self.name, "groups": list(self.readers)},
            shown="account",
        )


class Invitation(Struct):
    """An invitation as it was made.

    Attributes:
        path: What is opened in a browser, behind the gateway's address. Whoever has it sets the account's password.
        expires_at: Until when, in seconds since 1970.
    """

    account: Account
    path: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Invitation({self.account.name!r})"


class AccountStore:
    """The accounts of an installation.

    Args:
        database: Where they are.
        audit: Where it is recorded what was done.
        passwords: How they are hashed; None: as :mod:`weft.gateway.login.passwords` says.
        now_s: The clock on the wall.
    """

    def __init__(
        self,
        database: Database,
        audit: AuditLog,
        *,
        passwords: Passwords | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        database.add(SCHEMA)
        database.add(SESSIONS)
        self._database, self._audit, self._now_s = database, audit, now_s
        self._attempts = Attempts(database, now_s=now_s)
        self._passwords = passwords or Passwords()
        self._logging_in = 0

    async def invite(self, new: NewAccount, by: Identity | str) -> Invitation:
        """Make an account, and the link with which its password is set.

        Raises:
            InvalidRequestError: Something of it cannot be.
            ConflictError: There is an account of that name.
        """
        name = _checked(new)
        async with self._database.transaction() as transaction:
            if await _find(transaction, name) is not None:
                raise ConflictError(
                    f"there is an account '{name}' already",
                    param="name",
                    hint=f"a new link for it: weft accounts reset {name}",
                )
            await transaction.execute(
                "INSERT INTO weft_accounts VALUES (?, ?, ?, ?, '', ?, ?, 0)",
                name, new.tenant, _text(new.readers), _text(new.roles), self._now_s(),
                by if isinstance(by, str) else by.caller,
            )  # fmt: skip
            invitation = await self._invited(transaction, name, new.lasts_s)
            details = {"account": name, "tenant": new.tenant, "readers": new.readers, "roles": new.roles}
            told = await self._audit.append(transaction, "account.invited", by, details)
        self._audit.tell(told)
        return invitation

    async def reset(self, name: str, by: Identity | str, *, lasts_s: float = LASTS_S) -> Invitation:
        """Take an account's password away, end its sessions, and make a link with which a new one is set.

        Raises:
            NotFoundError: There is no such account.
            InvalidRequestError: The time is none.
        """
        _check_lasting(lasts_s)
        async with self._database.transaction() as transaction:
            account = await self._known(transaction, name)
            await transaction.execute("UPDATE weft_accounts SET password = '' WHERE name = ?", account.name)
            await end_sessions(transaction, account.name, self._now_s())
            invitation = await self._invited(transaction, account.name, lasts_s)
            details = {"account": account.name, "what": "the password was taken away"}
            told = await self._audit.append(transaction, "account.changed", by, details)
        self._audit.tell(told)
        await self._attempts.forget([account.name])
        return invitation

    async def remove(self, name: str, by: Identity | str) -> Account:
        """Remove an account and its invitations, and end its sessions.

        Raises:
            NotFoundError: There is no such account.
        """
        async with self._database.transaction() as transaction:
            account = await self._known(transaction, name)
            await transaction.execute("DELETE FROM weft_accounts WHERE name = ?", account.name)
            await transaction.execute("DELETE FROM weft_invitations WHERE account = ?", account.name)
            await end_sessions(transaction, account.name, self._now_s())
            told = await self._audit.append(transaction, "account.removed", by, {"account": account.name})
        self._audit.tell(told)
        return account

    async def listed(self) -> list[Account]:
        """The accounts, by name."""
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM weft_accounts ORDER BY name LIMIT ?",  # noqa: S608 - names of ours
            LIST_LIMIT,
        )
        return [_account(row) for row in rows]

    # People.

    async def invited(self, token: str) -> str | None:
        """Whose invitation this is; None: it is none, or it has been taken up, or its time is over."""
        rows = await self._database.fetch(
            "SELECT account FROM weft_invitations WHERE digest = ? AND expires_at > ?",
            _digest(token),
            self._now_s(),
        )
        return str(rows[0][0]) if rows else None

    async def accept(self, token: str, password: str) -> Account:
        """Take up an invitation: the account gets this password.

        Raises:
            UnauthorizedError: The invitation is none, or was taken up, or its time is over.
            InvalidRequestError: The password is too easy to guess.
        """
        name = await self.invited(token)
        if name is None:
            raise no_invitation()
        check_strength(password, name)
        kept = await self._passwords.hash(password)
        async with self._database.transaction() as transaction:
            # Here it is decided: of two who open the link at once, one gets in.
            taken = await transaction.execute(
                "DELETE FROM weft_invitations WHERE digest = ? AND expires_at > ?",
                _digest(token),
                self._now_s(),
            )
            account = await _find(transaction, name)
            if not taken or account is None:
                raise no_invitation()
            await transaction.execute("DELETE FROM weft_invitations WHERE account = ?", name)
            await transaction.execute("UPDATE weft_accounts SET password = ? WHERE name = ?", kept, name)
            told = await self._audit.append(transaction, "account.created", name, {"account": name})
        self._audit.tell(told)
        return account

    async def log_in(self, name: str, password: str, address: str | None) -> Account:
        """The account whose name and password these are.

        Raises:
            UnauthorizedError: They are none's. It is not said which of the two is wrong, nor does the time tell.
            OverloadedError: There were too many attempts, or too many people are logging in.
        """
        if self._logging_in >= AT_ONCE + WAITING:  # before the database is asked, which others need too
            raise OverloadedError("too many people are logging in", retry_after_s=2)
        self._logging_in += 1
        try:
            return await self._logged_in(normal(name), password, address)
        finally:
            self._logging_in -= 1

    async def _logged_in(self, name: str, password: str, address: str | None) -> Account:
        attempt = await self._attempts.begin(name, address)
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM weft_accounts WHERE name = ?",  # noqa: S608 - names of ours
            name,
        )
        kept = str(rows[0][4]) if rows else ""
        if len(password) > 4096 or not await self._passwords.verify(password, kept):
            raise UnauthorizedError("name or password is wrong")
        await self._attempts.succeeded(attempt)
        async with self._database.transaction() as transaction:
            changed = await transaction.execute(
                "UPDATE weft_accounts SET used_at = ? WHERE name = ? AND password = ?",
                self._now_s(),
                name,
                kept,
            )
        if not changed:  # it was removed, or its password taken away, meanwhile
            raise UnauthorizedError("name or password is wrong")
        return _account(rows[0])

    def close(self) -> None:
        """End what checks passwords."""
        self._passwords.close()

    # Parts.

    async def _invited(self, transaction: Transaction, name: str, lasts_s: float) -> Invitation:
        token = secrets.token_urlsafe(32)
        now_s = self._now_s()
        await transaction.execute(
            "DELETE FROM weft_invitations WHERE account = ? OR expires_at <= ?", name, now_s
        )
        await transaction.execute(
            "INSERT INTO weft_invitations VALUES (?, ?, ?)", _digest(token), name, now_s + lasts_s
        )
        account = await _find(transaction, name)
        assert account is not None  # it was just written, or found
        return Invitation(account, f"/login/invitation?token={token}", now_s + lasts_s)

    async def _known(self, transaction: Transaction, name: str) -> Account:
        account = await _find(transaction, normal(name))
        if account is None:
            known = await transaction.fetch("SELECT name FROM weft_accounts ORDER BY name LIMIT 50")
            raise NotFoundError(
                f"there is no account '{name}'",
                hint=did_you_mean(name, [str(row[0]) for row in known], what="accounts"),
            )
        return account


def normal(name: str) -> str:
    """A name as it is kept: what looks the same on two keyboards is the same, whatever its case."""
    return unicodedata.normalize("NFKC", name).strip().lower()


def no_invitation() -> UnauthorizedError:
    """The refusal of a link that does not work."""
    return UnauthorizedError(
        "this invitation has been taken up, or its time is over", hint="ask who sent it for another one"
    )


def _checked(new: NewAccount) -> str:
    name = normal(new.name)
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            "an account's name is letters a to z, digits and . _ @ + -, at most 100, and begins with a letter or digit",
            param="name",
        )
    for param, texts in (("tenant", [new.tenant]), ("readers", new.readers), ("roles", new.roles)):
        for text in texts:
            if not _GROUP.fullmatch(text):
                raise InvalidRequestError(
                    f"'{param}' has a value that is empty, too long, or has spaces in it: {text[:40]!r}",
                    param=param,
                )
    _check_lasting(new.lasts_s)
    return name


def _check_lasting(lasts_s: float) -> None:
    if not 0 < lasts_s <= MAX_LASTS_S:
        raise InvalidRequestError(
            f"an invitation works for {MAX_LASTS_S / 86_400:g} days at most, and for more than no time",
            param="lasts_s",
        )


async def _find(transaction: Transaction, name: str) -> Account | None:
    rows = await transaction.fetch(f"SELECT {_COLUMNS} FROM weft_accounts WHERE name = ?", name)  # noqa: S608 - names of ours
    return _account(rows[0]) if rows else None


def _account(row: Row) -> Account:
    name, tenant, readers, roles, password, created_at, created_by, used_at = row
    return Account(
        name,
        tenant,
        _decode_names(readers),
        _decode_names(roles),
        bool(password),
        created_at,
        created_by,
        used_at or None,
    )


def _text(names: Sequence[str]) -> str:
    return _encode(list(names)).decode()


def _digest(token: str) -> str:
    """What is kept of a token: who reads the database cannot use it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
