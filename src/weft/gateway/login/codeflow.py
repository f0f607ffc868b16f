"""Login at the provider: the authorization code flow with PKCE, ``state`` and ``nonce`` (OpenID Connect Core, section 3.1).

Nothing is kept here between the two requests of a login, so any gateway can answer the second. The browser keeps one
random value in a cookie; state, nonce and the PKCE verifier are made from it, and so belong to this browser alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus, urlencode, urlsplit

import msgspec

from weft.context import Identity
from weft.errors import BackendReplyError, RequestError, UnauthorizedError
from weft.gateway.login import claims
from weft.gateway.login.bearer import Tokens
from weft.gateway.login.provider import Configuration, Provider
from weft.http.message import Request
from weft.serve.log import Log
from weft.spec.fronts import CALLBACK_PATH
from weft.spec.gateway import OidcSpec

LASTS_S: Final = 900.0
"""How long a person may take at the provider."""

MAX_SECRET_CHARACTERS: Final = 64
WANTED_SCOPES: Final = ("profile", "email", "groups")
"""Asked for beside ``openid`` where the provider has them."""

_IS_ERROR = re.compile(r"[a-z_]{1,50}").fullmatch
"""A code of an error (RFC 6749, 4.1.2.1): what goes into the log is one, and no text of whoever made the link."""

FORM: Final = "application/x-www-form-urlencoded"


class _Tokens(msgspec.Struct):
    """What the provider gives for a code."""

    id_token: str
    access_token: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that has begun.

    Attributes:
        url: Where the browser goes.
        secret: What it keeps.
    """

    url: str
    secret: str


class CodeFlow:
    """Logs people in at one provider.

    Args:
        spec: Of the provider.
        tokens: Checks the tokens that it gives.
        secret: The client's; None: a public client, which PKCE alone protects.
        log: Told what goes wrong between us and the provider.
    """

    def __init__(self, spec: OidcSpec, tokens: Tokens, *, secret: str | None, log: Log) -> None:
        self._spec, self._tokens, self._secret, self._log = spec, tokens, secret, log
        self._client_id = spec.client_id or spec.audience

    @property
    def name(self) -> str:
        """The provider, for people."""
        return urlsplit(self._spec.issuer).hostname or self._spec.issuer

    @property
    def provider(self) -> Provider:
        """Whose keys and addresses are used."""
        return self._tokens.provider

    def callback(self, request: Request) -> str:
        """Where the provider sends people back to: what the file says, else the address under which we were asked."""
        return self._spec.callback or f"{request.scheme}://{request.headers.get('host', '')}{CALLBACK_PATH}"

    async def begin(self, request: Request, *, target: str, secret: str | None) -> Begun:
        """Send somebody to the provider.

        Args:
            request: Of the login.
            target: The path to come back to in the end.
            secret: What this browser keeps of a login in another of its windows; both can then be finished.

        Raises:
            UnavailableError: The provider's addresses cannot be had.
        """
        found = await self.provider.configuration()
        if found.authorization_endpoint is None or found.token_endpoint is None:
            raise BackendReplyError(f"the provider {self.name} has no login by authorization code")
        if secret is None or len(secret) > MAX_SECRET_CHARACTERS or not secret.isascii():
            secret = secrets.token_urlsafe(32)
        challenge = _base64(hashlib.sha256(_derived(secret, "verifier").encode()).digest())
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._client_id,
                "redirect_uri": self.callback(request),
                "scope": " ".join(
                    ["openid", *(name for name in WANTED_SCOPES if name in found.scopes_supported)]
                ),
                "state": _state(secret, target),
                "nonce": _derived(secret, "nonce"),
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            },
            quote_via=quote,
        )
        start = found.authorization_endpoint
        return Begun(f"{start}{'&' if '?' in start else '?'}{query}", secret)

    async def finish(
        self, request: Request, answer: dict[str, str], secret: str | None
    ) -> tuple[Identity, str]:
        """Take somebody back from the provider.

        Args:
            request: Of the callback.
            answer: Its query.
            secret: What the browser kept.

        Returns:
            Who it is, and the path that they came for.

        Raises:
            UnauthorizedError: It is no login that this browser began, or the provider did not let them in.
            ForbiddenError: They belong to no tenant.
            ServiceError: The provider does not answer as it must.
        """
        target = _target(answer.get("state", ""), secret or "")
        if secret is None or target is None:
            raise UnauthorizedError("this login was not begun in this browser, or it took too long")
        found = await self.provider.configuration()
        issuer = answer.get("iss")
        if issuer != self._spec.issuer and (
            issuer is not None or found.authorization_response_iss_parameter_supported
        ):
            raise UnauthorizedError("the answer is from another provider")  # RFC 9207
        if "error" in answer:
            # The provider's sentence is for developers, and whoever made the link could have written it.
            code = answer["error"] if _IS_ERROR(answer["error"]) else "another"
            self._log.warning("the provider refused a login", error=code)
            raise UnauthorizedError(f"{self.name} did not let you in")
        if not answer.get("code"):
            raise UnauthorizedError("the provider's answer has no code")
        given = await self._redeem(found, request, answer["code"], secret)
        checked = await self._tokens.check(given.id_token, audience=self._client_id)
        claims.check_login(checked, client_id=self._client_id, nonce=_derived(secret, "nonce"))
        told = dict(checked.all)
        if given.access_token and found.userinfo_endpoint is not None and self._lacks(told):
            told = await self._user_info(found.userinfo_endpoint, given.access_token, str(told["sub"])) | told
        return claims.identity_of(told, self._spec), target

    def _lacks(self, told: dict[str, object]) -> bool:
        wanted = (
            [self._spec.readers] if self._spec.tenant is None else [self._spec.readers, self._spec.tenant]
        )
        return any(claims.find(told, name) is None for name in wanted)

    async def _redeem(self, found: Configuration, request: Request, code: str, secret: str) -> _Tokens:
        """The tokens for a code."""
        assert found.token_endpoint is not None  # a login has begun with it
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback(request),
            "code_verifier": _derived(secret, "verifier"),
        }
        headers = {"content_type": FORM}
        ways = found.token_endpoint_auth_methods_supported or ["client_secret_basic"]
        if self._secret is None:
            fields["client_id"] = self._client_id
        elif "client_secret_basic" in ways:
            # RFC 6749, section 2.3.1: both halves are encoded as in a form before they are joined.
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            fields |= {"client_id": self._client_id, "client_secret": self._secret}
        status, body = await self.provider.send(
            "POST", found.token_endpoint, urlencode(fields).encode(), **headers
        )
        if status != 200:
            self._log.warning(
                "the provider does not redeem a login's code", status=status, error=_error_of(body)
            )
            raise UnauthorizedError(
                "the provider does not take this login: it may have been finished already"
            )
        try:
            return msgspec.json.decode(body, type=_Tokens)
        except (ValueError, RecursionError) as error:
            raise BackendReplyError(f"the provider {self.name} gives no ID token") from error

    async def _user_info(self, url: str, access_token: str, subject: str) -> dict[str, object]:
        """What the provider tells of somebody beside the token: groups often stand only there."""
        status, body = await self.provider.send("GET", url, authorization=f"Bearer {access_token}")
        try:
            told = msgspec.json.decode(body, type=dict[str, object]) if status == 200 else {}
        except (ValueError, RecursionError):
            told = {}
        if told.get("sub") != subject:  # OpenID Connect Core, section 5.3.4
            self._log.warning("the provider's user info cannot be used", status=status)
            return {}
        return told

    def failure(self, error: RequestError) -> None:
        """Note a login that failed because of the provider, and not of the person."""
        self._log.warning(f"a login at {self.name} failed: {error.message}")


def _derived(secret: str, what: str) -> str:
    """A value that only whoever has the secret can make, 43 characters as PKCE wants them."""
    return _base64(hmac.new(secret.encode(), what.encode(), hashlib.sha256).digest())


def _state(secret: str, target: str) -> str:
    """Comes back with the code: the path to go to, and the proof that this browser wanted to go there."""
    return f"{_base64(target.encode())}.{_derived(secret, 'state ' + target)}"


def _target(state: str, secret: str) -> str | None:
    """The path in a state; None: this browser has not made it."""
    written, _, proof = state.partition(".")
    try:
        target = urlsafe_b64decode(written + "=" * (-len(written) % 4)).decode()
    except ValueError:
        return None
    expected = _derived(secret, "state " + target)
    return target if hmac.compare_digest(proof.encode("utf-8", "replace"), expected.encode()) else None


def _error_of(body: bytes) -> str:
    """The error code in a provider's reply, and nothing else of it."""
    try:
        found = msgspec.json.decode(body, type=dict[str, object]).get("error")
    except (ValueError, RecursionError):
        return ""
    return found if isinstance(found, str) and _IS_ERROR(found) else ""


def _base64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
