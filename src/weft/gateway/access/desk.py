"""All that access takes in one gateway process, made of a Gateway file: database, keys, rules, audit log, their routes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from weft.errors import UnavailableError, UsageError
from weft.gateway.access.audit import AuditLog, AuditRecord
from weft.gateway.access.authenticator import GatewayAuthenticator, KeySource, ServiceSource
from weft.gateway.access.index import KeyIndex, Known
from weft.gateway.access.keys import KeyStore
from weft.gateway.access.refusals import Refusals
from weft.gateway.access.roles import Roles
from weft.gateway.access.routes import audit_routes, key_routes
from weft.gateway.access.stage import AccessStage
from weft.serve.application import Application
from weft.serve.log import Log
from weft.spec.gateway import GatewaySpec, RouteSpec, StateSpec
from weft.spec.model import SecretRef
from weft.store import Database
from weft.store.postgresql import PostgresDatabase
from weft.store.sqlite import SqliteDatabase
from weft.transport.signing import ContextSigner

DATABASE_FILE: Final = "gateway.sqlite"
"""In the data folder, where no PostgreSQL is configured."""


def database_of(state: StateSpec, folder: Path, secret: Callable[[str], str | None]) -> Database:
    """The database of an installation.

    Raises:
        UsageError: The secret with its URL is not set, or the URL is none.
    """
    url = state.postgresql
    if isinstance(url, SecretRef):
        given = secret(url.name)
        if given is None:
            raise UsageError(
                f"the secret '{url.name}' is not set, which state.postgresql of the Gateway file names",
                hint=f"set the environment variable {url.name}, or put it in a file of that name in WEFT_SECRETS_DIR",
            )
        url = given
    return PostgresDatabase(str(url)) if url is not None else SqliteDatabase(folder / DATABASE_FILE)


class Desk:
    """Access of one gateway process.

    Args:
        spec: The Gateway file.
        folder: The data folder.
        secret: Gives a secret by name.
        log: Of the process.
        lasting: What outlives a reload of the files.

    Attributes:
        database: What lasts; a part that keeps something adds its schema.
        audit: For every part that does something worth recording.
        refusals: For every part that refuses somebody.
        keys: None: this gateway takes no API keys.
        authenticator: None: the Gateway file has no ``auth``. Other ways to show who one is are added to its sources.
    """

    def __init__(
        self,
        spec: GatewaySpec,
        *,
        folder: Path,
        secret: Callable[[str], str | None],
        log: Log,
        lasting: dict[str, Any] | None = None,
    ) -> None:
        self._log, auth = log, spec.auth
        self.database = database_of(spec.state, folder, secret)
        self.audit = AuditLog(self.database, noted=self._note)
        self.refusals = Refusals(self.audit, log=log)
        self.keys: KeyStore | None = None
        self.index: KeyIndex | None = None
        self.authenticator: GatewayAuthenticator | None = None
        if auth is None:
            return
        self.authenticator = GatewayAuthenticator(
            Roles(auth.roles), anonymous=auth.anonymous, refused=self.refusals.note
        )
        if auth.keys_:
            self.keys = KeyStore(self.database, self.audit)
            # By its place: another database has other keys.
            known = (lasting if lasting is not None else {}).setdefault(
                f"keys {self.database.place}", Known()
            )
            self.index = KeyIndex(self.keys, log=log, stale_s=spec.state.stale_s, known=known)
            self.authenticator.sources.append(KeySource(self.index))

    def stage(self, rule: RouteSpec) -> AccessStage | None:
        """What lets into a route those who may; None: whoever comes this far."""
        return AccessStage(rule, self.refusals.note) if self.authenticator is not None else None

    def add_to(self, app: Application, signer: ContextSigner | None = None) -> None:
        """Have an application ask who comes in, and serve what administers that.

        Args:
            app: The gateway's.
            signer: Verifies those who have the key of the services; None: nobody has one.
        """

        async def start() -> None:
            if self.index is not None:
                await self.index.start()

        async def stop() -> None:
            if self.index is not None:
                await self.index.stop()
            await self.refusals.stop()
            await self.database.aclose()

        app.on_start.insert(0, start)
        app.on_stop.insert(0, stop)
        app.authenticator = self.authenticator
        if self.authenticator is None:
            return
        self.authenticator.sources.insert(0, ServiceSource(signer))
        if self.keys is not None and self.index is not None:
            key_routes(app, self.keys, self.index)
            app.ready_checks["keys"] = self._are_keys_known
        audit_routes(app, self.audit)

    async def _are_keys_known(self) -> bool | str:
        assert self.index is not None
        return not self.index.is_stale or f"no API key can be checked: {self.index.trouble}"

    def _note(self, record: AuditRecord) -> None:
        """The process's own log has the head of the chain: whoever ships it elsewhere can tell a chain that was made anew."""
        self._log.info(
            "audit", event=record.event, actor=record.actor, number=record.number, digest=record.digest
        )


async def how_many_keys(index: KeyIndex) -> int | None:
    """How many keys hold; None: that cannot be told now."""
    try:
        await index.refresh()
    except UnavailableError:
        return None
    return len(index)
