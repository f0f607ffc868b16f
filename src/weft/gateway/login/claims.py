"""What a token says, checked (RFC 7519, OpenID Connect Core 3.1.3.7), and the identity that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.context import DEFAULT_TENANT, Identity
from weft.errors import ForbiddenError, UnauthorizedError
from weft.spec.gateway import OidcSpec

LEEWAY_S: Final = 30.0
"""How far the provider's clock and ours may be apart."""

MAX_NAME_CHARACTERS: Final = 255
"""Of a caller, a tenant, a group: OpenID Connect bounds ``sub`` by it."""

MAX_GROUPS: Final = 1000
"""Of one token; more do not fit into it in practice."""


class _Standard(msgspec.Struct):
    """The claims that every token must have, and of the right type."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    nbf: float | None = None
    iat: float | None = None
    azp: str | None = None
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """Of a token that holds.

    Attributes:
        all: Everything that it says.
        ends_at: Until when it is taken, in seconds since 1970; the leeway is in it.
        nonce: Of the login that it was made for.
    """

    all: Mapping[str, Any]
    ends_at: float
    nonce: str | None = None


_decode = msgspec.json.Decoder(_Standard).decode
_decode_all = msgspec.json.Decoder(dict[str, Any]).decode


def check(content: bytes, *, issuer: str, audience: str, now: float) -> Claims:
    """Check what a verified token says of itself.

    Args:
        content: JSON, as it was signed.
        issuer: Who must have made it.
        audience: For whom it must be.
        now: Seconds since 1970.

    Raises:
        UnauthorizedError: It is not for us, not from them, or not for now.
    """
    try:
        standard, found = _decode(content), _decode_all(content)
    except (ValueError, RecursionError) as error:
        raise UnauthorizedError(
            "the token lacks iss, sub, aud or exp, or has them in a wrong form"
        ) from error
    if standard.iss != issuer:
        raise UnauthorizedError("the token is from another issuer")
    audiences = [standard.aud] if isinstance(standard.aud, str) else standard.aud
    if audience not in audiences:
        raise UnauthorizedError("the token is for another audience")
    if now >= standard.exp + LEEWAY_S:
        raise UnauthorizedError("the token has expired")
    if standard.nbf is not None and now < standard.nbf - LEEWAY_S:
        raise UnauthorizedError("the token is not valid yet")
    if standard.iat is not None and now < standard.iat - LEEWAY_S:
        raise UnauthorizedError("the token was made in the future: the clocks differ")
    if not is_name(standard.sub):
        raise UnauthorizedError("the token names nobody")
    if (
        "cnf" in found
    ):  # RFC 7800: without a proof of that key it is worth nothing, and here nobody asks for one
        raise UnauthorizedError("the token is bound to a key, of which this gateway takes no proof")
    return Claims(found, standard.exp + LEEWAY_S, standard.nonce)


def check_login(claims: Claims, *, client_id: str, nonce: str) -> None:
    """Check what is asked of an ID token beyond that: it was made for this client and this login.

    Raises:
        UnauthorizedError: It was not.
    """
    party = claims.all.get("azp")
    if (isinstance(claims.all["aud"], list) and len(claims.all["aud"]) > 1 and party is None) or (
        party is not None and party != client_id
    ):
        raise UnauthorizedError("the token was given to another party")
    if claims.nonce != nonce:
        raise UnauthorizedError("the token belongs to another login")


def identity_of(claims: Mapping[str, Any], spec: OidcSpec) -> Identity:
    """Who the claims speak of.

    Raises:
        ForbiddenError: The spec says which claim names the tenant, and it is not there: such a caller belongs to nobody.
    """
    return Identity(
        caller=str(claims["sub"]),
        tenant=_tenant(claims, spec.tenant),
        readers=_groups(claims, spec.readers),
        claims=claims,
        shown="oidc",
    )


def find(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path: ``realm_access.roles``. Names with dots in them come first."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def is_name(value: Any) -> bool:
    """Whether this can name a caller, a tenant or a group."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARACTERS and value.isprintable()


def _tenant(claims: Mapping[str, Any], name: str | None) -> str:
    if name is None:
        return DEFAULT_TENANT
    tenant = find(claims, name)
    if not is_name(tenant):
        raise ForbiddenError(f"the token's claim '{name}' names no tenant", hint="the provider has to add it")
    return str(tenant)


def _groups(claims: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    found = find(claims, name)
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list):
        return None
    groups = tuple(dict.fromkeys(group for group in found if is_name(group)))
    if len(groups) > MAX_GROUPS:
        raise ForbiddenError(f"the token's claim '{name}' names more than {MAX_GROUPS} groups")
    return groups or None
