"""Tokens of the provider as ``Authorization: Bearer``: checked once, and remembered until they end."""

from __future__ import annotations

import time
from collections import OrderedDict
from hashlib import sha256 as _sha256
from typing import TYPE_CHECKING, Final

from weft.context import Context, Identity
from weft.errors import UnauthorizedError
from weft.gateway.login import claims
from weft.gateway.login.jose import MAX_TOKEN_CHARACTERS, is_signed_token, read_head, verified
from weft.gateway.login.provider import Clock, Provider
from weft.http.message import Request
from weft.spec.gateway import OidcSpec

if TYPE_CHECKING:
    from weft.gateway.login.claims import Claims

MAX_REMEMBERED: Final = 4096
"""Tokens that need not be checked again. An identity with its claims takes a few KB."""

MAX_REMEMBERED_CHARACTERS: Final = 8 * 1024 * 1024
"""Of all of them together: with long tokens, fewer are remembered."""


class Tokens:
    """Checks the tokens of one provider.

    Args:
        spec: Whose tokens are taken, for whom.
        provider: Has the keys.
        clock: Seconds since 1970.
    """

    def __init__(self, spec: OidcSpec, provider: Provider, *, clock: Clock = time.time) -> None:
        self.spec, self.provider, self._clock = spec, provider, clock
        self._algorithms = frozenset(spec.algorithms)

    async def check(self, token: str, *, audience: str) -> Claims:
        """What a token says, once it is known to be true.

        Raises:
            UnauthorizedError: It does not hold; the sentence says why.
            UnavailableError: The provider's keys cannot be had.
        """
        head = read_head(token, self._algorithms)
        key = await self.provider.key(head.kid, head.algorithm)
        try:
            content = verified(token, key, head.algorithm)
        except UnauthorizedError:
            if not await self.provider.has_changed():
                raise
            key = await self.provider.key(head.kid, head.algorithm)
            content = verified(token, key, head.algorithm)
        return claims.check(content, issuer=self.spec.issuer, audience=audience, now=self._clock())


class BearerTokens:
    """A source of identities: a provider's token in the header ``Authorization``.

    Args:
        tokens: Checks them.
        clock: Seconds since 1970.
    """

    def __init__(self, tokens: Tokens, *, clock: Clock = time.time) -> None:
        self._tokens, self._clock = tokens, clock
        self._known: OrderedDict[bytes, tuple[float, Identity, int]] = OrderedDict()
        self._characters = 0
        tokens.provider.on_change.append(self.forget)

    async def __call__(self, request: Request, context: Context) -> Identity | None:
        """Who the token speaks of; None: there is no signed token in the header.

        Raises:
            UnauthorizedError: It does not hold.
            ForbiddenError: It holds, but it does not say to which tenant its bearer belongs.
            UnavailableError: The provider's keys cannot be had.
        """
        shown = request.headers.get("authorization")
        if shown is None or shown[:7].lower() != "bearer ":
            return None
        token = shown[7:].strip()
        if not is_signed_token(token):
            return None
        if len(token) <= MAX_TOKEN_CHARACTERS:
            digest = _sha256(token.encode("latin-1")).digest()
            known = self._known.get(digest)
            if known is not None:
                now, provider = self._clock(), self._tokens.provider
                if now < known[0] and (now < provider.fresh_until or provider.is_good_still()):
                    self._known.move_to_end(digest)
                    return known[1]
                self._drop(digest)
        found = await self._tokens.check(token, audience=self._tokens.spec.audience)
        identity = claims.identity_of(found.all, self._tokens.spec)
        self._remember(token, found.ends_at, identity)
        return identity

    def forget(self) -> None:
        """Check every token anew when it comes next."""
        self._known.clear()
        self._characters = 0

    def _remember(self, token: str, ends_at: float, identity: Identity) -> None:
        digest = _sha256(token.encode("latin-1")).digest()
        self._drop(digest)
        self._known[digest] = (ends_at, identity, len(token))
        self._characters += len(token)
        while len(self._known) > MAX_REMEMBERED or self._characters > MAX_REMEMBERED_CHARACTERS:
            self._drop(next(iter(self._known)))

    def _drop(self, digest: bytes) -> None:
        dropped = self._known.pop(digest, None)
        if dropped is not None:
            self._characters -= dropped[2]
