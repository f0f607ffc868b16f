"""All that login takes in one gateway process, made of a Gateway file: the sources of identities, and the pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from weft.errors import UsageError
from weft.gateway.login.account_routes import account_routes, session_routes
from weft.gateway.login.accounts import AccountStore
from weft.gateway.login.bearer import BearerTokens, Tokens
from weft.gateway.login.certificates import Certificates
from weft.gateway.login.codeflow import CodeFlow
from weft.gateway.login.keyset import check_installed
from weft.gateway.login.provider import Provider
from weft.gateway.login.routes import LoginRoutes, ask_in
from weft.gateway.login.sessions import Sessions, cookie_of, prefixed, set_cookie
from weft.http.message import Request
from weft.spec.gateway import GatewaySpec, OidcSpec
from weft.spec.model import SecretRef

if TYPE_CHECKING:
    from weft.gateway.access.desk import Desk
    from weft.gateway.access.index import KeyIndex
    from weft.serve.application import Application
    from weft.serve.egress import Egress
    from weft.serve.log import Log


class Login:
    """Login of one gateway process.

    Args:
        spec: The Gateway file, which has ``auth``.
        desk: Access, whose authenticator gets the sources of here.
        egress: By which a provider is reached.
        secret: Gives a secret by name.
        log: Of the process.

    Attributes:
        accounts: None: there are no local accounts.
        flow: None: there is no provider to log in at.
        index: None: there are no API keys.
        sessions: Those of people who have logged in.

    Raises:
        MissingExtraError: A provider is named, and what reads its tokens is not installed.
        UsageError: The secret that the file names is not set.
    """

    def __init__(
        self, spec: GatewaySpec, desk: Desk, *, egress: Egress, secret: Callable[[str], str | None], log: Log
    ) -> None:
        auth, authenticator = spec.auth, desk.authenticator
        assert auth is not None  # whoever makes this has looked
        assert authenticator is not None  # made with auth
        self._auth, self._log, self._database = auth, log, desk.database
        self.audit, self.refused = desk.audit, desk.refusals.note
        self.index: KeyIndex | None = desk.index
        # Cookies are shared between the ports of a host, and between gateways behind one address.
        mark = hashlib.sha256(spec.name.encode()).hexdigest()[:8]
        self.flow_cookie = f"weft_login_{mark}"
        self.sessions = Sessions(
            desk.database,
            cookie=f"weft_session_{mark}",
            lasts_s=auth.session_s,
            stale_s=spec.state.stale_s,
            log=log,
            holding=desk.index.holding if desk.index is not None else None,
        )
        self.accounts = AccountStore(desk.database, desk.audit) if auth.accounts else None
        self.flow: CodeFlow | None = None
        # What a request says of itself comes before what the browser or the connection adds to it.
        if auth.oidc is not None:
            tokens = self._tokens(auth.oidc, egress)
            self.flow = CodeFlow(auth.oidc, tokens, secret=_secret_of(auth.oidc, secret), log=log)
            authenticator.sources.append(BearerTokens(tokens))
        if self.has_pages:
            authenticator.sources.append(self.sessions)
            authenticator.strangers.append(ask_in)
        if auth.certificates:
            authenticator.sources.append(Certificates(auth.certificate_tenant))

    def _tokens(self, spec: OidcSpec, egress: Egress) -> Tokens:
        check_installed()
        return Tokens(spec, Provider(spec.issuer, spec.algorithms, egress, log=self._log))

    @property
    def has_pages(self) -> bool:
        """Whether there is anything that a person can log in with."""
        return self.accounts is not None or self.flow is not None or self.index is not None

    def add_to(self, app: Application) -> None:
        """Serve the pages, and look after sessions and keys while the application runs."""

        async def start() -> None:
            if self.flow is not None:
                self.flow.provider.look_after()
            await self.sessions.start()

        async def stop() -> None:
            await self.sessions.stop()
            if self.flow is not None:
                await self.flow.provider.aclose()
            if self.accounts is not None:
                self.accounts.close()

        if not self.has_pages:
            return
        # Access closes the database, and is stopped after this: stop hooks run in reverse.
        app.on_start.append(start)
        app.on_stop.append(stop)
        LoginRoutes(self).add_to(app)
        session_routes(app, self.sessions, self._database, self.audit)
        if self.accounts is not None:
            account_routes(app, self.accounts)

    # Cookies.

    def is_secure(self, request: Request) -> bool:
        """Whether browsers reach us over TLS, here or at a proxy in front."""
        callback = self._auth.oidc.callback if self._auth.oidc is not None else None
        return (
            request.scheme == "https"
            or request.headers.get("x-forwarded-proto")
            == "https"  # who forges it makes their own cookie safer
            or (callback is not None and callback.startswith("https:"))
        )

    def session_cookie(self, request: Request, token: str) -> str:
        """The ``Set-Cookie`` of a session."""
        name, secure = self.sessions.cookie(request), self.is_secure(request)
        return set_cookie(name, token, max_age_s=self.sessions.lasts_s, secure=secure)

    def no_cookies(self, request: Request) -> list[str]:
        """The ``Set-Cookie`` lines that take all of them away."""
        names = (self.sessions.cookie(request), prefixed(self.flow_cookie, request))
        return [set_cookie(name, "", max_age_s=0, secure=self.is_secure(request)) for name in names]

    def has_cookie(self, request: Request) -> bool:
        """Whether there is something to log out of."""
        return cookie_of(request, self.sessions.cookie(request)) is not None


def _secret_of(spec: OidcSpec, secret: Callable[[str], str | None]) -> str | None:
    """The client's secret.

    Raises:
        UsageError: It is named, and not set.
    """
    named = spec.client_secret
    if not isinstance(named, SecretRef):
        return None
    given = secret(named.name)
    if given is None:
        raise UsageError(
            f"the secret '{named.name}' is not set, which auth.oidc of the Gateway file names",
            hint=f"set the environment variable {named.name}, or put it in a file of that name in WEFT_SECRETS_DIR",
        )
    return given
