"""``x-weft-context``: who asks, signed, so that a service believes it from those who have the key and from nobody else.

The header is ``BASE64URL(json).BASE64URL(hmac-sha256)``; the JSON has the tenant ``t``, the caller ``c``, the readers
``r`` and the second ``e`` of the Unix clock at which it ends.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from weft.context import Context

LIFETIME_S: Final = 120
"""Seconds that a signature holds: longer than clocks of one installation are apart, too short to be worth stealing."""

REUSED_S: Final = 30
"""Seconds for which the same identity is sent with the same signature: signing once per request would cost more."""

CONTEXT_HEADER: Final = "x-weft-context"

SERVICE_KEY: Final = "WEFT_SERVICE_KEY"
"""The secret that a gateway and the services on other machines share. Processes of one installation have a key of their
own, which is made at each start and is nowhere else."""

MIN_SERVICE_KEY: Final = 32
"""Characters of it: enough in any alphabet, if they are random."""

NOBODY: Final = ""
"""The tenant of what an installation asks for itself, such as for a contract: no key or account can be of it."""

REMEMBERED: Final = 1024
"""Identities kept ready on either side; beyond, all are forgotten."""


class _Claims(Struct, omit_defaults=True):
    t: str
    c: str = ""
    r: list[str] | None = None
    e: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Claims).decode


class ContextSigner:
    """Signs and verifies with one key.

    Args:
        key: Secret of the installation, at least 16 bytes.
        now_s: The clock on the wall.
        lifetime_s: How long its signatures hold.
    """

    def __init__(
        self, key: bytes, *, now_s: Callable[[], float] = time.time, lifetime_s: int = LIFETIME_S
    ) -> None:
        if len(key) < 16:
            raise ValueError("a key for x-weft-context has at least 16 bytes")
        self._key, self._now_s, self._lifetime_s = key, now_s, lifetime_s
        self._signed: dict[tuple[str, str, tuple[str, ...] | None], tuple[float, str]] = {}
        self._verified: dict[str, tuple[int, tuple[str, str, list[str] | None]]] = {}

    def sign(self, context: Context) -> str:
        """The header for a request's tenant, caller and readers."""
        readers = None if context.readers is None else tuple(context.readers)
        identity = context.tenant, context.caller, readers
        now_s = self._now_s()
        known = self._signed.get(identity)
        if known is not None and now_s < known[0]:
            return known[1]
        claims = _Claims(context.tenant, context.caller, context.readers, int(now_s) + self._lifetime_s)
        body = base64.urlsafe_b64encode(_encode(claims)).rstrip(b"=")
        header = f"{body.decode()}.{self._mac(body)}"
        if len(self._signed) >= REMEMBERED:
            self._signed.clear()
        self._signed[identity] = now_s + REUSED_S, header
        return header

    def sign_for_nobody(self) -> str:
        """The header of what is asked for no caller: it shows who has the key, and opens nobody's data."""
        return self.sign(Context(tenant=NOBODY))

    def seal(self, body: bytes) -> str:
        """What shows that a body comes from who has the key."""
        return self._mac(b"body " + body)

    def is_sealed(self, body: bytes, seal: str) -> bool:
        """Whether :meth:`seal` was made of this body with this key."""
        return seal.isascii() and hmac.compare_digest(seal, self.seal(body))

    def verify(self, header: str) -> tuple[str, str, list[str] | None] | None:
        """Tenant, caller and readers; None when it is malformed, not of this key, or too old."""
        now_s = self._now_s()
        known = self._verified.get(header)
        if known is None:
            claims = self._read(header)
            if claims is None:
                return None
            known = claims.e, (claims.t, claims.c, claims.r)
            if len(self._verified) >= REMEMBERED:
                self._verified.clear()
            self._verified[header] = known
        if now_s >= known[0]:
            return None
        tenant, caller, readers = known[1]
        return tenant, caller, None if readers is None else list(readers)

    def _read(self, header: str) -> _Claims | None:
        if not header.isascii():
            return None
        body, dot, mac = header.partition(".")
        if not dot or not hmac.compare_digest(mac, self._mac(body.encode())):
            return None
        try:
            return _decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except ValueError:
            return None

    def _mac(self, body: bytes) -> str:
        digest = hmac.digest(self._key, body, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
