"""The public keys of a provider (RFC 7517), each for the algorithms that it may be used with and for no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from weft.errors import BackendReplyError, MissingExtraError

if TYPE_CHECKING:
    from jwt import PyJWK

MAX_KEYS: Final = 64
"""Keys of one provider; real ones have two to six."""

MIN_RSA_BITS: Final = 2048
"""RFC 7518, section 3.3."""

KINDS: Final[dict[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Algorithm to the type and curve of its keys. No algorithm with a shared secret is here, and none without a signature."""

_PUBLIC: Final = frozenset({"kty", "crv", "n", "e", "x", "y"})
"""Members that make a public key; whatever else a set holds, a private key included, is never loaded."""


def check_installed() -> None:
    """See that signatures can be checked.

    Raises:
        MissingExtraError: A package is missing.
    """
    try:
        import cryptography  # noqa: F401, PLC0415 - optional: only a Gateway file with oidc needs them
        import jwt  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError("auth.oidc", package=error.name or "pyjwt", extra="gateway") from error


class KeySet:
    """Keys by the id that tokens name them by.

    Args:
        keys: ``keys`` of a JWK Set. Those that no token of ours may be signed with are passed over: keys for
            encryption, shared secrets, unknown types, weak ones.
        algorithms: The only ones that count.
    """

    def __init__(self, keys: Iterable[Mapping[str, Any]], algorithms: Iterable[str]) -> None:
        self._keys: dict[tuple[str | None, str], list[PyJWK]] = {}
        for key in keys:
            for algorithm in algorithms:
                if _is_for(key, algorithm) and (made := _made(key, algorithm)) is not None:
                    kid = key.get("kid")
                    self._keys.setdefault((kid if isinstance(kid, str) else None, algorithm), []).append(made)

    def __len__(self) -> int:
        return len({id(key) for keys in self._keys.values() for key in keys})

    def find(self, kid: str | None, algorithm: str) -> list[PyJWK]:
        """The keys that a token may be signed with: one, if the provider does its part.

        Args:
            kid: As the token says; None: it names none, and any key of the algorithm is meant.
            algorithm: As the token says.
        """
        if kid is not None:
            return self._keys.get((kid, algorithm), [])
        return [key for (_, name), keys in self._keys.items() if name == algorithm for key in keys]


def read_keys(body: bytes, algorithms: Iterable[str], *, url: str) -> KeySet:
    """A key set out of a provider's reply.

    Raises:
        BackendReplyError: It is none.
    """
    try:
        keys = msgspec.json.decode(body, type=_Keys).keys
    except (ValueError, RecursionError) as error:
        raise BackendReplyError(f"{url} does not reply with a set of keys: {error}") from error
    if len(keys) > MAX_KEYS:
        raise BackendReplyError(f"{url} has {len(keys)} keys; {MAX_KEYS} are read at most")
    return KeySet(keys, tuple(algorithms))


class _Keys(msgspec.Struct):
    keys: list[dict[str, Any]]


def _is_for(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = KINDS[algorithm]
    if key.get("kty") != kind or (curve is not None and key.get("crv") != curve):
        return False
    operations = key.get("key_ops")
    return (
        key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def _made(key: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415 - see above
    from jwt import PyJWK, PyJWTError  # noqa: PLC0415

    public = {name: value for name, value in key.items() if name in _PUBLIC}
    try:
        made = PyJWK(public, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None  # no key: a provider may publish what this library does not know
    if isinstance(made.key, RSAPublicKey) and made.key.key_size < MIN_RSA_BITS:
        return None
    return made
