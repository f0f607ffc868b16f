"""Which roles a caller has: those given by name, and those that the rules of the Gateway file give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any, Final

from weft.context import Identity
from weft.expressions import ExpressionError, compile_condition
from weft.plan.rules import ROLE_NAMES, resolver
from weft.spec.model import Condition

ADMIN: Final = "admin"
"""The role that may do everything: it also passes every route's ``roles``."""

REMEMBERED: Final = 16_384
"""Callers whose roles are kept; beyond, all are worked out anew."""


class Roles:
    """The rules, compiled.

    Args:
        rules: Role to its condition, over :data:`weft.plan.rules.ROLE_NAMES`.
    """

    def __init__(self, rules: Mapping[str, Condition]) -> None:
        self._rules: list[tuple[str, Callable[[Any], Any]]] = [
            (role, compile_condition(condition.text, resolve=resolver(ROLE_NAMES)).bind(itemgetter))
            for role, condition in rules.items()
        ]
        self._known: dict[int, tuple[Identity, Identity]] = {}

    def complete(self, identity: Identity) -> Identity:
        """The identity with all its roles."""
        if not self._rules:
            return identity
        known = self._known.get(id(identity))
        # The identity that is kept cannot be collected, so no other one has its id.
        if known is not None and known[0] is identity:
            return known[1]
        roles = identity.roles | self._given(identity)
        completed = identity if roles == identity.roles else replace(identity, roles=roles)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[id(identity)] = identity, completed
        return completed

    def _given(self, identity: Identity) -> set[str]:
        values = {
            "claims": identity.claims,
            "caller": identity.caller,
            "tenant": identity.tenant,
            "scopes": sorted({*identity.scopes, *_words(identity.claims.get("scope"))}),
        }
        given = set()
        for role, holds in self._rules:
            try:
                if holds(values):
                    given.add(role)
            except ExpressionError:
                continue  # a claim that is not there, or of another type: the rule does not hold
        return given


def _words(scope: Any) -> list[str]:
    """A token's ``scope``: words in one string (RFC 6749), or a list of them."""
    if isinstance(scope, str):
        return scope.split()
    return [word for word in scope if isinstance(word, str)] if isinstance(scope, list) else []
