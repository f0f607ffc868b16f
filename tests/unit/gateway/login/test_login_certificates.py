"""Client certificates: whom they name."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from accesskit import ROUTE
from frontkit import FrontRig, ask
from loginkit import request
from papers import Papers
from weft.context import Context
from weft.errors import ForbiddenError, UnauthorizedError
from weft.gateway.login.certificates import Certificates, identity_of
from weft.http.client import Client
from weft.http.server import Server

CERTIFICATE: dict[str, Any] = {
    "subject": (
        (("countryName", "DE"),),
        (("organizationName", "Acme"),),
        (("organizationalUnitName", "staff"),),
        (("organizationalUnitName", "harbour"),),
        (("commonName", "ann"),),
    ),
    "issuer": ((("commonName", "Our CA"),),),
    "version": 3,
    "serialNumber": "0A",
    "notBefore": "Jan  1 00:00:00 2026 GMT",
    "notAfter": "Jan  1 00:00:00 2027 GMT",
}


def named(*names: tuple[str, str]) -> dict[str, Any]:
    return CERTIFICATE | {"subjectAltName": names}


async def test_a_certificate_says_who_calls() -> None:
    """Common name and units; the rest is there for the rules."""
    found = await Certificates()(request(certificate=CERTIFICATE), Context())
    assert found is not None
    assert (found.caller, found.tenant, found.readers, found.shown) == (
        "ann",
        "default",
        ("staff", "harbour"),
        "certificate",
    )
    assert found.claims["groups"] == ["staff", "harbour"]
    assert found.claims["subject"]["organizationName"] == "Acme"
    assert found.claims["issuer"] == {"commonName": "Our CA"}


@pytest.mark.parametrize("certificate", [None, {}])
async def test_without_a_certificate_others_are_asked(certificate: Any) -> None:
    """A connection without TLS, and one whose client showed none."""
    assert await Certificates()(request(certificate=certificate), Context()) is None


@pytest.mark.parametrize(
    ("names", "caller"),
    [
        ([("DNS", "pod.example"), ("URI", "spiffe://example/ns/a/sa/b")], "spiffe://example/ns/a/sa/b"),
        ([("DNS", "pod.example"), ("email", "ann@example.org")], "ann@example.org"),
        ([("IP Address", "10.0.0.1"), ("DNS", "pod.example")], "pod.example"),
        ([("IP Address", "10.0.0.1")], "ann"),
        ([("DNS", "")], "ann"),
    ],
    ids=str,
)
def test_alternative_names_come_first(names: list[tuple[str, str]], caller: str) -> None:
    """A URI before an e-mail address before a host, all of them before the common name; an address names nobody."""
    assert identity_of(named(*names)).caller == caller


@pytest.mark.parametrize(
    "certificate", [{"subject": ()}, {"subject": ((("commonName", "a\x00b"),),)}], ids=str
)
def test_a_certificate_of_nobody_is_refused(certificate: dict[str, Any]) -> None:
    """No name, or one that is none."""
    with pytest.raises(UnauthorizedError, match="names nobody"):
        identity_of(certificate)


def test_the_tenant_is_the_part_that_the_file_names() -> None:
    """One value of it; with none, or two, nobody gets in."""
    assert identity_of(CERTIFICATE, "organizationName").tenant == "Acme"
    for part in ("organizationalUnitName", "localityName"):
        with pytest.raises(ForbiddenError, match="names no tenant"):
            identity_of(CERTIFICATE, part)


@pytest.mark.system("openssl")
async def test_a_gateway_lets_in_who_shows_a_certificate(tmp_path: Path) -> None:
    """Over a connection on which it was shown, the route answers; over one without, it is 401."""
    papers = Papers(tmp_path)
    tls = papers.server_context(asks_client=True)
    tls.verify_mode = ssl.CERT_OPTIONAL
    async with AsyncExitStack() as stack:
        rig = FrontRig(tmp_path, stack)
        rules = "auth: {certificates: true, roles: {pods: \"caller == 'client' && claims.issuer.commonName == 'test authority'\"}}"
        await rig.gateway(ROUTE.replace("megaservice: talk}", "megaservice: talk, roles: [pods]}") + rules)
        assert rig.app is not None
        server = Server(rig.app, on_error=rig.app.on_error, ssl=tls)
        port = await server.listen("127.0.0.1", 0)
        stack.push_async_callback(server.aclose)
        for shown, expected in ((papers.client, 200), (None, 401)):
            client = Client(ca_file=papers.ca, client_cert=shown)
            stack.push_async_callback(client.aclose)
            status, body, _ = await ask(client.endpoint(f"https://localhost:{port}"), stream=False)
            assert status == expected, body
