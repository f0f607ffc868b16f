"""API keys in the database: made, listed, revoked, given a new secret; each change with its record in the audit log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from weft.context import DEFAULT_TENANT, Identity
from weft.errors import ConflictError, InvalidRequestError, NotFoundError, did_you_mean
from weft.gateway.access.audit import AuditLog
from weft.gateway.access.secret import digest_of, new_id, new_key
from weft.serve.log import masked
from weft.store import Database, Row, Schema, Transaction, next_number

SCHEMA: Final = Schema(
    "keys",
    (
        (
            (
                "CREATE TABLE weft_keys(id TEXT PRIMARY KEY, name TEXT NOT NULL, tenant TEXT NOT NULL, owner TEXT NOT NULL, "
                "readers TEXT NOT NULL, roles TEXT NOT NULL, scopes TEXT NOT NULL, digest TEXT NOT NULL, "
                "old_digest TEXT NOT NULL, old_until DOUBLE PRECISION NOT NULL, created_at DOUBLE PRECISION NOT NULL, "
                "created_by TEXT NOT NULL, expires_at DOUBLE PRECISION NOT NULL, revoked_at DOUBLE PRECISION NOT NULL, "
                "used_at DOUBLE PRECISION NOT NULL, revision BIGINT NOT NULL)"
            ),
            "CREATE UNIQUE INDEX weft_keys_names ON weft_keys(name) WHERE revoked_at = 0",
            "CREATE INDEX weft_keys_revisions ON weft_keys(revision)",
        ),
    ),
)

COUNTER: Final = "keys"
"""Counts changes; each key has the number of its last one."""

GRACE_S: Final = 86_400.0
"""How long the old secret holds after a rotation, unless it is said otherwise: a day, to bring the new one everywhere."""

LIST_LIMIT: Final = 1_000

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,99}")
_GROUP: Final = re.compile(r"[^\s\x00-\x1f]{1,200}")

_COLUMNS: Final = "id, name, tenant, owner, readers, roles, scopes, created_at, created_by, expires_at, revoked_at, used_at, old_until"
_encode = msgspec.json.Encoder().encode
_decode_names = msgspec.json.Decoder(list[str]).decode
_decode_readers = msgspec.json.Decoder(list[str] | None).decode


class NewKey(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A key to make.

    Attributes:
        name: What it is for; no two keys that hold have the same.
        tenant: Whose documents, caches, histories and limits its callers see.
        owner: Whose key it is: the caller of its requests; its name if left out.
        readers: Groups whose documents may be read; null is only those without ``readers``.
        roles: What it may do; ``admin`` may do everything.
        scopes: Names or paths of the routes that it may use, ``admin`` for administration; empty restricts nothing.
        expires_at: When it ends, in seconds since 1970; null: never.
    """

    name: str
    tenant: str = DEFAULT_TENANT
    owner: str = ""
    readers: list[str] | None = None
    roles: list[str] = []
    scopes: list[str] = []
    expires_at: float | None = None


class Key(Struct, omit_defaults=True):
    """A key as it is listed: everything but the secret, which nobody has.

    Attributes:
        id: Its public part.
        created_by: Who made it.
        used_at: When it was used last, to some minutes; null: not yet.
        old_until: Until when the secret before the last rotation holds; null: it does not.
    """

    id: str
    name: str
    tenant: str
    owner: str
    readers: list[str] | None
    roles: list[str]
    scopes: list[str]
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None
    used_at: float | None = None
    old_until: float | None = None


class MadeKey(Struct):
    """A key with its secret, which is shown this once."""

    key: Key
    secret: str

    def __repr__(self) -> str:
        return f"MadeKey({self.key.id!r})"


class StoredKey(Struct):
    """What a gateway needs of a key to let it in."""

    id: str
    identity: Identity
    digest: bytes
    old_digest: bytes
    old_until: float
    expires_at: float
    revoked_at: float
    used_at: float
    revision: int


class KeyStore:
    """The keys of an installation.

    Args:
        database: Where they are.
        audit: Where it is recorded what was done.
        now_s: The clock on the wall.
    """

    def __init__(
        self, database: Database, audit: AuditLog, *, now_s: Callable[[], float] = time.time
    ) -> None:
        database.add(SCHEMA)
        self._database, self._audit, self._now_s = database, audit, now_s

    async def create(self, new: NewKey, by: Identity | str) -> MadeKey:
        """Make a key.

        Raises:
            InvalidRequestError: Something of it cannot be.
            ConflictError: A key that holds has that name.
        """
        now_s = self._now_s()
        check(new, now_s)
        key_id = new_id()
        secret = new_key(key_id)
        async with self._database.transaction() as transaction:
            revision = await next_number(transaction, COUNTER)
            taken = await transaction.fetch(
                "SELECT id FROM weft_keys WHERE name = ? AND revoked_at = 0", new.name
            )
            if taken:
                raise ConflictError(
                    f"there is a key '{new.name}' already",
                    param="name",
                    hint=f"choose another name, or revoke it first: weft keys revoke '{new.name}'",
                )
            await transaction.execute(
                "INSERT INTO weft_keys(id, name, tenant, owner, readers, roles, scopes, digest, old_digest, old_until, "
                "created_at, created_by, expires_at, revoked_at, used_at, revision) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', 0, ?, ?, ?, 0, 0, ?)",
                key_id, new.name, new.tenant, new.owner or new.name, _text(new.readers), _text(new.roles),
                _text(new.scopes), digest_of(secret).hex(), now_s, by if isinstance(by, str) else by.caller,
                new.expires_at or 0.0, revision,
            )  # fmt: skip
            told = await self._audit.append(
                transaction, "key.created", by, msgspec.to_builtins(new) | {"key": key_id}
            )
            made = await _find(transaction, key_id)
        self._audit.tell(told)
        return MadeKey(made, secret)

    async def listed(self, *, tenant: str = "") -> list[Key]:
        """The keys, the newest first."""
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM weft_keys WHERE (? = '' OR tenant = ?) ORDER BY created_at DESC LIMIT ?",  # noqa: S608 - names of ours
            tenant,
            tenant,
            LIST_LIMIT,
        )
        return [_key(row) for row in rows]

    async def revoke(self, name: str, by: Identity | str) -> Key:
        """Have a key hold no longer, for good.

        Args:
            name: Its name or its id.
            by: Who does it.

        Raises:
            NotFoundError: No key that holds has that name.
        """
        async with self._database.transaction() as transaction:
            revision = await next_number(transaction, COUNTER)
            key = await self._holding(transaction, name)
            await transaction.execute(
                "UPDATE weft_keys SET revoked_at = ?, revision = ? WHERE id = ?",
                self._now_s(),
                revision,
                key.id,
            )
            told = await self._audit.append(transaction, "key.revoked", by, {"key": key.id, "name": key.name})
            revoked = await _find(transaction, key.id)
        self._audit.tell(told)
        return revoked

    async def rotate(self, name: str, by: Identity | str, *, grace_s: float = GRACE_S) -> MadeKey:
        """Give a key a new secret; the old one holds for some time more.

        One rotation at a time: the secret before the old one ends at once.

        Raises:
            NotFoundError: No key that holds has that name.
        """
        now_s = self._now_s()
        async with self._database.transaction() as transaction:
            revision = await next_number(transaction, COUNTER)
            key = await self._holding(transaction, name)
            secret = new_key(key.id)
            await transaction.execute(
                "UPDATE weft_keys SET old_digest = digest, old_until = ?, digest = ?, revision = ? WHERE id = ?",
                now_s + grace_s if grace_s > 0 else 0.0,
                digest_of(secret).hex(),
                revision,
                key.id,
            )
            told = await self._audit.append(
                transaction, "key.rotated", by, {"key": key.id, "name": key.name, "grace_s": grace_s}
            )
            rotated = await _find(transaction, key.id)
        self._audit.tell(told)
        return MadeKey(rotated, secret)

    async def changed_since(self, revision: int) -> list[StoredKey]:
        """The keys that were made or changed after the change of this number, as gateways need them."""
        rows = await self._database.fetch(
            "SELECT id, tenant, owner, readers, roles, scopes, digest, old_digest, old_until, expires_at, revoked_at, "
            "used_at, revision FROM weft_keys WHERE revision > ? ORDER BY revision",
            revision,
        )
        return [_stored(row) for row in rows]

    async def note_used(self, used: dict[str, float]) -> None:
        """Write down when keys were used; no change that anybody has to be told of."""
        async with self._database.transaction() as transaction:
            for key_id, at in used.items():
                await transaction.execute(
                    "UPDATE weft_keys SET used_at = ? WHERE id = ? AND used_at < ?", at, key_id, at
                )

    async def _holding(self, transaction: Transaction, name: str) -> Key:
        rows = await transaction.fetch(
            f"SELECT {_COLUMNS} FROM weft_keys WHERE (name = ? OR id = ?) AND revoked_at = 0 ORDER BY id",  # noqa: S608 - names of ours
            name,
            name,
        )
        if rows:
            return next((_key(row) for row in rows if row[0] == name), _key(rows[0]))
        known = await transaction.fetch("SELECT name FROM weft_keys WHERE revoked_at = 0 LIMIT 50")
        raise NotFoundError(
            f"there is no key '{name}' that holds",
            hint=did_you_mean(name, sorted(str(row[0]) for row in known), what="keys"),
        )


def check(new: NewKey, now_s: float) -> None:
    """Whether a key may be so.

    Raises:
        InvalidRequestError: It may not.
    """
    if not _NAME.fullmatch(new.name) or masked(new.name) != new.name:
        raise InvalidRequestError(
            "a key's name is letters, digits, spaces and . _ @ -, at most 100, and begins with a letter or digit",
            param="name",
        )
    for param, texts in (
        ("tenant", [new.tenant]),
        ("owner", [new.owner or new.name]),
        ("readers", new.readers or []),
        ("roles", new.roles),
        ("scopes", new.scopes),
    ):
        for text in texts:
            if masked(text) != text:
                raise InvalidRequestError(f"'{param}' has an API key in it, which is a secret", param=param)
            if not (_NAME if param == "owner" else _GROUP).fullmatch(text):
                raise InvalidRequestError(
                    f"'{param}' has a value that is empty, too long, or has spaces in it: {text[:40]!r}",
                    param=param,
                )
    if new.expires_at is not None and not now_s < new.expires_at < 1e11:
        raise InvalidRequestError("the key would have ended already", param="expires_at")


async def _find(transaction: Transaction, key_id: str) -> Key:
    rows = await transaction.fetch(f"SELECT {_COLUMNS} FROM weft_keys WHERE id = ?", key_id)  # noqa: S608 - names of ours
    return _key(rows[0])


def _key(row: Row) -> Key:
    (
        key_id, name, tenant, owner, readers, roles, scopes, created_at, created_by, expires_at, revoked_at, used_at, old,
    ) = row  # fmt: skip
    return Key(
        key_id,
        name,
        tenant,
        owner,
        _decode_readers(readers),
        _decode_names(roles),
        _decode_names(scopes),
        created_at,
        created_by,
        expires_at or None,
        revoked_at or None,
        used_at or None,
        old or None,
    )


def _stored(row: Row) -> StoredKey:
    (
        key_id,
        tenant,
        owner,
        readers,
        roles,
        scopes,
        digest,
        old_digest,
        old_until,
        expires,
        revoked,
        used,
        revision,
    ) = row
    groups = _decode_readers(readers)
    identity = Identity(
        caller=owner,
        tenant=tenant,
        readers=None if groups is None else tuple(groups),
        roles=frozenset(_decode_names(roles)),
        scopes=frozenset(_decode_names(scopes)),
        key=key_id,
        shown="key",
    )
    return StoredKey(
        key_id,
        identity,
        bytes.fromhex(digest),
        bytes.fromhex(old_digest),
        old_until,
        expires,
        revoked,
        used,
        revision,
    )


def _text(value: Any) -> str:
    return _encode(value).decode()
