"""Gateways that ask for keys: made as `weft keys` and `weft up` do, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from frontkit import GATEWAY, TALK, FrontRig
from weft.gateway.access.audit import AuditLog
from weft.gateway.access.authenticator import GatewayAuthenticator, KeySource
from weft.gateway.access.desk import DATABASE_FILE
from weft.gateway.access.index import KeyIndex
from weft.gateway.access.keys import KeyStore, NewKey
from weft.serve.application import Application
from weft.store import Database
from weft.store.sqlite import SqliteDatabase

Opener = Callable[[], Database]
"""Opens one database again and again: as several gateways and commands do."""

ROUTE = TALK + GATEWAY + "  - {path: /v1/greet, megaservice: talk}\n"
"""A gateway with one route, for an ``auth:`` to follow."""

KEYS = ROUTE + "auth: {keys: true}\n"


@asynccontextmanager
async def stores(folder: Path) -> AsyncIterator[tuple[KeyStore, AuditLog]]:
    """The keys and the audit log of a data folder, as the command line opens them beside a gateway."""
    database = SqliteDatabase(folder / DATABASE_FILE)
    audit = AuditLog(database)
    try:
        yield KeyStore(database, audit), audit
    finally:
        await database.aclose()


async def made(rig: FrontRig, name: str = "site", **fields: Any) -> str:
    """A new key of the rig's installation: its secret."""
    async with stores(rig.folder / "data") as (keys, _):
        return (await keys.create(NewKey(name, **fields), "a test")).secret


def bearer(secret: str) -> dict[str, str]:
    """The header with which most SDKs send a key."""
    return {"authorization": f"Bearer {secret}"}


def index_of(app: Application) -> KeyIndex:
    """The keys in the memory of a gateway."""
    authenticator = app.authenticator
    assert isinstance(authenticator, GatewayAuthenticator)
    return next(source.index for source in authenticator.sources if isinstance(source, KeySource))


class Wall:
    """A clock on the wall, and one that never goes back: both are moved by the test."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


async def tampered(database: Database, statement: str, *values: object) -> None:
    """Change the database as somebody would who should not."""
    async with database.transaction() as transaction:
        await transaction.execute(statement, *values)
