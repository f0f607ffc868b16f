"""Who asks, by one of several ways to show it; and whether they may have what administers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from weft.context import ANONYMOUS, Context, Identity
from weft.errors import ForbiddenError, InvalidRequestError, UnauthorizedError
from weft.gateway.access.index import KeyIndex, UnknownKeyError
from weft.gateway.access.roles import ADMIN, Roles
from weft.gateway.access.secret import PREFIX
from weft.gateway.access.source import Source
from weft.http.message import Request, Response
from weft.serve.routing import Route
from weft.transport.signing import CONTEXT_HEADER, NOBODY, ContextSigner

Stranger = Callable[[Request], Response | None]
"""What one who has shown nothing is answered, such as a page to log in; None: nothing but 401."""

Refused = Callable[[Request, Identity | None, str], object]
"""Told of each refusal: who, if that is known, and why."""

_SHOWN: Final = ("authorization", "x-api-key")
_CREDENTIALS: Final = frozenset(name.encode() for name in (*_SHOWN, CONTEXT_HEADER))


class KeySource:
    """API keys: ``Authorization: Bearer weft_...``, or ``x-api-key`` as some SDKs send it. See :class:`Source`."""

    def __init__(self, index: KeyIndex) -> None:
        self.index = index

    async def __call__(self, request: Request, context: Context) -> Identity | None:
        """See :class:`weft.gateway.access.source.Source`."""
        get = request.headers.get
        shown = get("authorization")
        if shown is not None and shown[:7].lower() == "bearer ":
            key = shown[7:].strip()
            if key.startswith(PREFIX):
                return await self._found(key)
        shown = get("x-api-key")
        return await self._found(shown.strip()) if shown is not None else None

    async def _found(self, key: str) -> Identity:
        try:
            return self.index.find(key)
        except UnknownKeyError:
            return await self.index.find_new(key)


class ServiceSource:
    """Another gateway, that asks this one for a caller of its own: ``x-weft-context``, signed. See :class:`Source`.

    Args:
        signer: Knows the key of the services; None: there is none, and whoever shows a signature is refused.
    """

    def __init__(self, signer: ContextSigner | None) -> None:
        self._signer = signer

    async def __call__(self, request: Request, context: Context) -> Identity | None:
        """See :class:`weft.gateway.access.source.Source`."""
        shown = request.headers.get(CONTEXT_HEADER)
        if shown is None:
            return None
        known = self._signer.verify(shown) if self._signer is not None else None
        if known is None:
            raise UnauthorizedError(
                "x-weft-context is not signed with the key of this gateway, or no longer holds"
            )
        tenant, caller, readers = known
        if tenant == NOBODY:
            return Identity(caller="weft", tenant=NOBODY, shown="service")
        groups = None if readers is None else tuple(readers)
        return Identity(caller=caller, tenant=tenant, readers=groups, shown="service")


class GatewayAuthenticator:
    """See :class:`weft.serve.application.Authenticator`.

    Args:
        roles: The rules.
        anonymous: Whether one who shows nothing may go on.
        refused: Told of refusals.

    Attributes:
        sources: Asked in turn.
        strangers: Asked in turn what one is answered who has shown nothing, where that is not enough.
    """

    def __init__(self, roles: Roles, *, anonymous: bool, refused: Refused) -> None:
        self.sources: list[Source] = []
        self.strangers: list[Stranger] = []
        self._roles, self._anonymous, self._refused = roles, anonymous, refused

    async def __call__(self, request: Request, context: Context, route: Route | None) -> Response | None:
        """See :class:`weft.serve.application.Authenticator`.

        Raises:
            InvalidRequestError: A header that shows who asks is there twice.
        """
        identity = None
        _refuse_several(request)
        try:
            for source in self.sources:
                identity = await source(request, context)
                if identity is not None:
                    break
            else:
                if (reply := self._without(request, route)) is not None:
                    return reply
                identity = ANONYMOUS
        except (UnauthorizedError, ForbiddenError) as error:
            self._refused(request, None, error.message)
            raise
        identity = self._roles.complete(identity)
        context.identify(identity)
        if route is not None and route.needs and not may(identity, route.needs):
            if identity.shown == ANONYMOUS.shown and (reply := self._asked_in(request)) is not None:
                return reply
            self._refused(request, identity, f"it needs the role '{route.needs}'")
            raise lacking(identity, (route.needs,))
        return None

    def _without(self, request: Request, route: Route | None) -> Response | None:
        """What to do with one whom no source knows; None: go on as nobody in particular."""
        get = request.headers.get
        if any(get(name) is not None for name in _SHOWN):
            raise UnauthorizedError("what was shown is nothing that this gateway takes", hint=self._hint())
        if self._anonymous:
            return None
        if (reply := self._asked_in(request)) is not None:
            return reply
        raise UnauthorizedError("this gateway asks who you are", hint=self._hint())

    def _asked_in(self, request: Request) -> Response | None:
        for stranger in self.strangers:
            if (reply := stranger(request)) is not None:
                return reply
        return None

    def _hint(self) -> str:
        has_keys = any(isinstance(source, KeySource) for source in self.sources)
        what = (
            "'Authorization: Bearer KEY' or 'x-api-key: KEY'" if has_keys else "'Authorization: Bearer TOKEN'"
        )
        return f"send {what}"


def _refuse_several(request: Request) -> None:
    # Of two, this gateway would take the one and whoever is before it the other.
    shown = [name for name, _ in request.headers.raw if name in _CREDENTIALS]
    if len(shown) > 1 and len(set(shown)) < len(shown):
        raise InvalidRequestError(
            f"the header {next(name for name in shown if shown.count(name) > 1).decode()} is there more than once",
            hint="send one",
        )


def may(identity: Identity, role: str) -> bool:
    """Whether a caller has a role, and showed what may use it."""
    if role == ADMIN and identity.scopes and ADMIN not in identity.scopes:
        return False  # a key that is for some routes only does not administer, whoever's it is
    return role in identity.roles or ADMIN in identity.roles


def lacking(identity: Identity, roles: Sequence[str]) -> UnauthorizedError | ForbiddenError:
    """The refusal of one who has none of these roles."""
    needed = " or ".join(f"'{role}'" for role in roles)
    if identity.shown == ANONYMOUS.shown:
        return UnauthorizedError(f"this needs the role {needed}, and nobody was shown to ask")
    who = identity.caller or "the caller"
    if ADMIN in roles and ADMIN in identity.roles:
        return ForbiddenError(f"what '{who}' has shown is for some routes only, not for administration")
    return ForbiddenError(f"'{who}' needs the role {needed} for this")
