"""The stage that lets into a route those who may: by the route's roles, and by what a key is restricted to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from weft.context import Identity
from weft.errors import ForbiddenError
from weft.gateway.access.authenticator import lacking
from weft.gateway.access.roles import ADMIN
from weft.gateway.passage import Passage, Proceed, Reply
from weft.http.message import Request
from weft.spec.gateway import RouteSpec


class AccessStage:
    """Checks roles and scopes. See :class:`weft.gateway.passage.Stage`.

    It is no coroutine of its own: it refuses, or is the next stage.

    Args:
        rule: The route.
        refused: Told of refusals.
    """

    def __init__(self, rule: RouteSpec, refused: Callable[[Request, Identity | None, str], object]) -> None:
        self._roles = frozenset(rule.roles) | {ADMIN} if rule.roles else None
        self._scopes = frozenset((rule.target, rule.path))
        self._rule, self._refused = rule, refused

    def __call__(self, passage: Passage, proceed: Proceed) -> Awaitable[Reply]:
        """See :class:`weft.gateway.passage.Stage`."""
        self.admit(passage.request, passage.context.identity)
        return proceed(passage)

    def admit(self, request: Request, identity: Identity) -> None:
        """Let a caller in.

        Raises:
            UnauthorizedError: Nobody was shown to ask, and the route is not for everybody.
            ForbiddenError: The caller may not have the route.
        """
        if not self.admits_scopes(identity):
            self._refused(request, identity, f"its key is not for '{self._rule.target}'")
            raise ForbiddenError(
                f"this key is for {', '.join(sorted(identity.scopes))}, and not for '{self._rule.target}'"
            )
        if not self.admits_roles(identity):
            self._refused(request, identity, f"it has no role for '{self._rule.target}'")
            raise lacking(identity, self._rule.roles)

    def admits(self, identity: Identity) -> bool:
        """Whether a caller would be let in."""
        return self.admits_scopes(identity) and self.admits_roles(identity)

    def admits_scopes(self, identity: Identity) -> bool:
        """Whether what was shown is for this route."""
        scopes = identity.scopes
        return not scopes or not self._scopes.isdisjoint(scopes)

    def admits_roles(self, identity: Identity) -> bool:
        """Whether the caller has one of the route's roles, if it asks for any."""
        roles = self._roles
        return roles is None or not roles.isdisjoint(identity.roles)
