"""An OpenID Connect provider: its configuration, found from the issuer, and its keys, kept and renewed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from weft.errors import BackendReplyError, RequestError, UnauthorizedError, UnavailableError, UsageError
from weft.gateway.login.keyset import KeySet, read_keys
from weft.spec.fronts import is_trustworthy

if TYPE_CHECKING:
    from jwt import PyJWK

    from weft.http.client import Endpoint
    from weft.serve.egress import Egress
    from weft.serve.log import Log

Clock = Callable[[], float]
"""Seconds since 1970; tests have their own."""

REFRESH_S: Final = 600.0
"""Keys of this age are fetched again, while the old ones still serve. A key that was taken out is believed so long."""

CONFIGURATION_S: Final = 3600.0
"""The configuration, which hardly ever changes, is fetched again at this age."""

STALE_S: Final = 86_400.0
"""Keys of this age are not believed any more, if they could not be fetched again: a day, longer than an outage takes."""

ASK_AGAIN_S: Final = 10.0
"""Between two fetches for a key that is not known: tokens with made-up key ids make us ask no more often than this."""

RETRY_S: Final = 2.0
"""Between two fetches while the provider does not answer."""

TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 262_144
"""Of a reply: 64 keys with their certificates are 200 KB."""


class Configuration(msgspec.Struct):
    """What a provider says of itself (OpenID Connect Discovery, section 3)."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    scopes_supported: list[str] = []
    token_endpoint_auth_methods_supported: list[str] = []
    authorization_response_iss_parameter_supported: bool = False


class Provider:
    """One issuer.

    Args:
        issuer: Its address, exactly as its tokens have it.
        algorithms: The only ones that its keys are used for.
        egress: By which it is reached. The operator's file names it, so it may be anywhere.
        log: Told when its keys change or cannot be had.
        clock: See :data:`Clock`.
    """

    def __init__(
        self,
        issuer: str,
        algorithms: tuple[str, ...],
        egress: Egress,
        *,
        log: Log,
        clock: Clock = time.time,
    ) -> None:
        self.issuer, self._algorithms, self._egress = issuer, algorithms, egress
        self._log, self._clock = log, clock
        self._endpoints: dict[str, Endpoint] = {}
        self._configuration: Configuration | None = None
        self._configured_at = self._keys_at = self._tried_at = float("-inf")
        self._keys: KeySet | None = None
        self._published = b""
        self._failure: RequestError | None = None
        self._fetching: asyncio.Task[None] | None = None
        self.fresh_until = float("-inf")
        """Until when the keys need no look."""
        self.on_change: list[Callable[[], None]] = []
        """Called when the keys have changed: what an old one signed must be looked at again."""

    async def key(self, kid: str | None, algorithm: str) -> PyJWK:
        """The key that a token may be signed with; fetched again, now and then, if it is not known.

        Raises:
            UnauthorizedError: There is none, or the token does not say which.
            UnavailableError: No keys could be had yet, or not for too long.
        """
        keys = await self._current()
        found = keys.find(kid, algorithm)
        if not found and self._clock() - self._tried_at >= ASK_AGAIN_S:
            await self._fetch()
            found = (self._keys or keys).find(kid, algorithm)
        if not found:
            raise UnauthorizedError("the token is signed with a key that its issuer does not have")
        if len(found) > 1:
            raise UnauthorizedError("the token does not say which of its issuer's keys it is signed with")
        return found[0]

    async def has_changed(self) -> bool:
        """Whether its keys are others than a moment ago: asked when a signature does not hold, no more often than it may be.

        A provider may give a new key the old one's id, or name none at all.
        """
        before = self._published
        if self._clock() - self._tried_at >= ASK_AGAIN_S:
            await self._fetch()
        return self._published != before

    def is_good_still(self) -> bool:
        """Whether what was checked with keys that have got old counts still; they are fetched again, and nobody waits."""
        self.look_after()
        return not self.is_stale

    def look_after(self) -> None:
        """Fetch the keys again if they have got old, without anybody waiting for it."""
        now = self._clock()
        if now - self._keys_at >= REFRESH_S and now - self._tried_at >= RETRY_S:
            self._start()

    @property
    def is_stale(self) -> bool:
        """Whether the keys are too old to be believed."""
        return self._clock() - self._keys_at >= STALE_S

    async def configuration(self) -> Configuration:
        """What the provider says of itself.

        Raises:
            UnavailableError: It could not be asked yet.
        """
        if self._configuration is None:
            await self._retried()
        if self._configuration is None:
            raise self._away()
        return self._configuration

    async def send(self, method: str, url: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Ask one of the provider's addresses.

        Returns:
            Status and body.

        Raises:
            ServiceError: It does not answer.
        """
        base, path = _split(url)
        endpoint = self._endpoints.get(base)
        if endpoint is None:
            self._egress.name(base)
            endpoint = self._egress.client_for(base).endpoint(base, timeout_s=TIMEOUT_S)
            self._endpoints[base] = endpoint
        lines = [
            ("accept", "application/json"),
            *((name.replace("_", "-"), value) for name, value in headers.items()),
        ]
        reply = await endpoint.request(method, path, body, headers=lines, max_bytes=MAX_BYTES)
        return reply.status, reply.body

    async def aclose(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    # Fetching.

    async def _current(self) -> KeySet:
        if self._keys is None or self.is_stale:
            await self._retried()
        if self._keys is None or self.is_stale:
            raise self._away()
        self.look_after()
        return self._keys

    async def _retried(self) -> None:
        """Fetch, unless that has just failed: the requests of a busy second do not all wait for a provider that is away."""
        if self._fetching is not None or self._clock() - self._tried_at >= RETRY_S:
            await self._fetch()

    async def _fetch(self) -> None:
        """Fetch once for all who wait; who stops waiting does not stop the others."""
        await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._renew(), name=f"keys of {self.issuer}")
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _renew(self) -> None:
        now = self._clock()
        try:
            if self._configuration is None or now - self._configured_at >= CONFIGURATION_S:
                self._configuration = await self._discovered()
                self._configured_at = now
            url = self._configuration.jwks_uri
            published = await self._got(url)
            keys = read_keys(published, self._algorithms, url=url)
        except RequestError as error:
            if self._failure is None:
                self._log.warning(f"the keys of {self.issuer} cannot be had: {error.message}")
            self._failure = error
            return
        if self._failure is not None:
            self._log.info(f"the keys of {self.issuer} can be had again")
        self._failure, self._keys, self._keys_at = None, keys, now
        self.fresh_until = now + REFRESH_S
        if published != self._published:
            self._published = published
            if not len(keys):
                self._log.warning(f"{self.issuer} has no key for {', '.join(self._algorithms)}")
            for changed in self.on_change:
                changed()

    async def _discovered(self) -> Configuration:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        body = await self._got(url)
        try:
            found = msgspec.json.decode(body, type=Configuration)
        except (ValueError, RecursionError) as error:
            raise BackendReplyError(f"{url} is no configuration of a provider: {error}") from error
        if found.issuer != self.issuer:
            raise BackendReplyError(
                f"the provider at {self.issuer} calls itself '{found.issuer[:200]}'; its tokens are taken when the Gateway "
                "file writes it the same way"
            )
        for address in (
            found.jwks_uri,
            found.authorization_endpoint,
            found.token_endpoint,
            found.userinfo_endpoint,
        ):
            if address is not None and not is_trustworthy(address):
                raise BackendReplyError(f"the provider at {self.issuer} is to be asked without TLS")
        return found

    async def _got(self, url: str) -> bytes:
        try:
            status, body = await self.send("GET", url)
        except UsageError as error:
            raise BackendReplyError(error.message) from error
        if status != 200:
            raise BackendReplyError(f"{url} replies with status {status}")
        return body

    def _away(self) -> UnavailableError:
        return UnavailableError("whether the token holds cannot be said: its issuer's keys cannot be had now")


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    path = parts.path or "/"
    return f"{parts.scheme}://{parts.netloc}", f"{path}?{parts.query}" if parts.query else path
