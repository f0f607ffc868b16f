"""Client certificates: whoever holds one that the listener's authority has signed is who it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from weft.context import DEFAULT_TENANT, Context, Identity
from weft.errors import ForbiddenError, UnauthorizedError
from weft.gateway.login.claims import is_name
from weft.http.message import Request

NAMES: Final = ("URI", "email", "DNS")
"""Kinds of subject alternative names in the order in which they name the caller; then comes the common name. The first is
what SPIFFE puts a workload's name into."""


class Certificates:
    """A source of identities: the certificate that the client showed when it connected.

    Args:
        tenant: The part of the subject that names the tenant; None: there is one tenant.
    """

    def __init__(self, tenant: str | None = None) -> None:
        self._tenant = tenant

    async def __call__(self, request: Request, context: Context) -> Identity | None:
        """Who the certificate names; None: none was shown. TLS has checked who signed it, and until when it is valid.

        Raises:
            UnauthorizedError: It names nobody.
            ForbiddenError: It names no tenant, where the Gateway file says that it does.
        """
        certificate = request.certificate
        if not certificate:
            return None
        return identity_of(certificate, self._tenant)


def identity_of(certificate: Mapping[str, Any], tenant: str | None = None) -> Identity:
    """The identity in a certificate, as :meth:`ssl.SSLSocket.getpeercert` tells it.

    The caller is the first alternative name that is a URI, an e-mail address or a host, else the common name; readers,
    and ``claims.groups``, are the organizational units.

    Raises:
        UnauthorizedError, ForbiddenError: See :meth:`Certificates.__call__`.
    """
    subject, issuer = _parts(certificate.get("subject", ())), _parts(certificate.get("issuer", ()))
    others: dict[str, list[str]] = {}
    for kind, name in certificate.get("subjectAltName", ()):
        if is_name(name):
            others.setdefault(kind, []).append(name)
    callers = [*(name for kind in NAMES for name in others.get(kind, ())), *subject.get("commonName", ())]
    if not callers:
        raise UnauthorizedError("the client certificate names nobody")
    units = tuple(dict.fromkeys(subject.get("organizationalUnitName", ())))
    claims = {
        "sub": callers[0],
        "groups": list(units),
        "subject": {name: values[0] for name, values in subject.items()},
        "issuer": {name: values[0] for name, values in issuer.items()},
        "names": others,
        "serial": certificate.get("serialNumber", ""),
    }
    return Identity(
        caller=callers[0],
        tenant=_tenant(subject, tenant),
        readers=units or None,
        claims=claims,
        shown="certificate",
    )


def _tenant(subject: Mapping[str, list[str]], name: str | None) -> str:
    if name is None:
        return DEFAULT_TENANT
    found = subject.get(name, [])
    if len(found) != 1:
        raise ForbiddenError(f"the client certificate's {name} names no tenant")
    return found[0]


def _parts(name: Iterable[Iterable[tuple[str, str]]]) -> dict[str, list[str]]:
    """A distinguished name: the values of each attribute, in order."""
    parts: dict[str, list[str]] = {}
    for relative in name:
        for attribute, value in relative:
            if is_name(value):
                parts.setdefault(attribute, []).append(value)
    return parts
