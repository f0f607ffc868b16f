"""A signed token (RFC 7515, 7519) as it is read before anybody knows whether it is true: within bounds, and strictly."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from weft.errors import UnauthorizedError

if TYPE_CHECKING:
    from jwt import PyJWK

MAX_TOKEN_CHARACTERS: Final = 16_384
"""A token with the groups of a large company has 4 to 8 thousand; a longer one is refused before it is looked at."""

MAX_HEAD_CHARACTERS: Final = 2048
"""An algorithm, a key's id, a type and a thumbprint have 200."""

TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
"""What ``typ`` may say (RFC 8725, section 3.11): a token made for something else, such as a logout, is none of ours."""

FOREIGN_KEYS: Final = ("jwk", "jku", "x5u", "x5c")
"""Headers by which a token brings, or says where to fetch, the key that it is to be believed by."""

_IS_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*").fullmatch

_decode_head = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Head:
    """What a token says of its signature.

    Attributes:
        algorithm: One of those that are allowed.
        kid: Which key; None: it does not say.
    """

    algorithm: str
    kid: str | None


def is_signed_token(text: str) -> bool:
    """Whether this is meant to be a signed token: three parts, the first of them JSON (``{"`` is ``eyJ``)."""
    return text.startswith("ey") and text.count(".") == 2


def read_head(token: str, algorithms: frozenset[str]) -> Head:
    """What the token says of its signature; nothing of it is believed by that.

    Raises:
        UnauthorizedError: It is too long, malformed, or signed in a way that is not allowed.
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise UnauthorizedError(f"the token is longer than {MAX_TOKEN_CHARACTERS} characters")
    if _IS_TOKEN(token) is None:
        raise UnauthorizedError("the token is malformed")
    written = token.partition(".")[0]
    if len(written) > MAX_HEAD_CHARACTERS:
        raise UnauthorizedError("the token's header is too long")
    try:
        head = _decode_head(urlsafe_b64decode(written + "=" * (-len(written) % 4)))
    except (ValueError, RecursionError) as error:
        raise UnauthorizedError("the token's header is malformed") from error
    return _checked(head, algorithms)


def _checked(head: dict[str, Any], algorithms: frozenset[str]) -> Head:
    algorithm, kid, type_ = head.get("alg"), head.get("kid"), head.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise UnauthorizedError(
            "the token is not signed with an algorithm that is accepted",
            hint=f"accepted: {', '.join(sorted(algorithms))}",
        )
    if any(name in head for name in FOREIGN_KEYS):
        raise UnauthorizedError("the token brings its own key, which proves nothing")
    if "crit" in head or "b64" in head or "zip" in head or "enc" in head:
        raise UnauthorizedError("the token asks for an extension that is not supported")
    if not isinstance(type_, str) or type_.lower() not in TYPES:
        raise UnauthorizedError("this kind of token does not show who somebody is")
    if kid is not None and not isinstance(kid, str):
        raise UnauthorizedError("the token's header is malformed")
    return Head(algorithm, kid)


def verified(token: str, key: PyJWK, algorithm: str) -> bytes:
    """The token's content, as its signer wrote it.

    Raises:
        UnauthorizedError: The signature does not hold.
    """
    from jwt import PyJWS, PyJWTError  # noqa: PLC0415 - optional: see keyset.check_installed

    try:
        found: bytes = PyJWS().decode_complete(
            token, key=key, algorithms=[algorithm], options={"enforce_minimum_key_length": True}
        )["payload"]
    except PyJWTError as error:
        raise UnauthorizedError("the token's signature does not hold") from error
    return found
