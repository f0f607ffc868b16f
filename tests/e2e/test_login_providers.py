"""Login and tokens with real OpenID Connect providers of two makes: each attack gets its status, and leaves nothing in a log."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from oidc_providers import MockProvider, NodeProvider, RealProvider

from accesskit import ROUTE, bearer
from frontkit import FrontRig, ask
from loginkit import Browser, forged
from weft.gateway.login import provider as keys

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

AUTH = """\
auth:
  oidc:
    issuer: ISSUER
    audience: weft
    client_id: weft-page
    client_secret: {secret: PAGE_SECRET}
    algorithms: [RS256, ES256]
  roles: {admin: "'weft-admin' in claims.groups"}
"""
NOW = 1_900_000_000


@pytest.fixture(
    scope="module",
    params=[
        "oidc-provider-mock",
        pytest.param("oidc-provider", marks=[pytest.mark.network, pytest.mark.system("node", "npm")]),
    ],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProvider]:
    folder = tmp_path_factory.mktemp("provider")
    provider = MockProvider(folder) if request.param == "oidc-provider-mock" else NodeProvider(folder)
    yield provider
    provider.stop()


@pytest.fixture
async def provider(made: RealProvider) -> RealProvider:
    """Running."""
    if made.options != {}:
        await made.start()
    return made


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FrontRig]:
    # Nobody waits for the provider's keys in these tests.
    monkeypatch.setattr(keys, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(keys, "RETRY_S", 0.0)
    async with AsyncExitStack() as stack:
        yield FrontRig(tmp_path, stack)


async def started(rig: FrontRig, provider: RealProvider, issuer: str = "") -> Any:
    text = ROUTE + AUTH.replace("ISSUER", issuer or provider.issuer)
    gateway = await rig.gateway(text, secrets={"PAGE_SECRET": provider.secret})
    provider.allow(f"{rig.url}/login/callback")
    return gateway


async def status_of(gateway: Any, token: str) -> int:
    status, body, _ = await ask(gateway, headers=bearer(token), stream=False)
    assert status in (200, 401, 403, 431, 503), body
    return status


async def test_one_logs_in_at_the_provider(rig: FrontRig, provider: RealProvider) -> None:
    """From a page that asks who one is, to the provider, and back to that page; groups give the role."""
    page = Browser(await started(rig, provider), rig.url)
    assert (await page.get("/docs"))[0] == 303
    status, html = await page.get(page.location)
    assert (status, "Log in with 127.0.0.1" in html) == (200, True)
    status, _ = await page.get("/login/oidc?next=%2Fdocs")
    assert status == 303
    assert page.location.startswith(provider.issuer)
    assert "HttpOnly; SameSite=Lax" in page.set_cookies[0]
    back = await provider.sign_in(page.location, "ann")
    assert back.startswith(f"{rig.url}/login/callback?")
    path = back.removeprefix(rig.url)

    status, html = await Browser(page._gateway, rig.url).get(path)
    assert (status, "not begun in this browser" in html) == (401, True)

    status, _ = await page.get(path)
    assert (status, page.location) == (303, "/docs")
    status, body = await page.get("/v1/me")
    known = msgspec.json.decode(body)
    assert (known["caller"], known["shown"], known["roles"]) == ("ann", "oidc", ["admin"])
    assert (await page.get("/docs"))[0] == 200

    assert (await page.get(path))[0] == 303  # the same window again: in already
    page.cookies = {name: value for name, value in page.cookies.items() if "login" in name}
    assert (await page.get(path))[0] == 401  # a code is redeemed once
    for secret in (provider.secret, path, back.partition("code=")[2][:20], *page.cookies.values()):
        assert secret not in rig.log.getvalue()


async def test_who_says_no_at_the_provider_is_told_so(rig: FrontRig, provider: RealProvider) -> None:
    """An answer with an error is a page, in words of ours."""
    page = Browser(await started(rig, provider), rig.url)
    await page.get("/login/oidc")
    state = httpx.URL(page.location).params["state"]
    issuer = {"iss": provider.issuer} if provider.algorithm == "ES256" else {}
    query = httpx.QueryParams(
        {"error": "access_denied", "error_description": "<b>x", "state": state} | issuer
    )
    status, html = await page.get(f"/login/callback?{query}")
    assert (status, "did not let you in" in html, "<b>x" in html) == (401, True, False)


@pytest.mark.parametrize("change", ["state", "iss", "code"])
async def test_a_changed_answer_is_refused(rig: FrontRig, provider: RealProvider, change: str) -> None:
    """Another state, another issuer, another code."""
    page = Browser(await started(rig, provider), rig.url)
    await page.get("/login/oidc")
    back = httpx.URL(await provider.sign_in(page.location, "ann"))
    status, _ = await page.get(
        f"/login/callback?{back.params.set(change, 'x' + back.params.get(change, ''))}"
    )
    assert status == 401
    assert "session" not in str(page.cookies)


async def test_tokens_open_the_route_or_do_not(rig: FrontRig, provider: RealProvider) -> None:
    """For us, for another audience, for another issuer with the same keys, and longer than anybody reads."""
    gateway = await started(rig, provider)
    token = await provider.token("weft")
    assert await status_of(gateway, token) == 200
    assert await status_of(gateway, token) == 200
    assert await status_of(gateway, await provider.token("other")) == 401
    head, content, signature = token.split(".")
    assert await status_of(gateway, f"{head}.{content}.{signature[:-8]}AAAAAAAA") == 401
    assert await status_of(gateway, f"{head}.{content}{'A' * 17_000}.{signature}") == 401
    assert await status_of(gateway, f"{head}.{content}{'A' * 40_000}.{signature}") == 431
    assert token not in rig.log.getvalue()
    assert content[20:60] not in rig.log.getvalue()


async def test_tokens_of_another_issuer_are_refused(rig: FrontRig, provider: RealProvider) -> None:
    """The same provider under another name has other tokens; one that calls itself otherwise than the file is no help."""
    name = provider.issuer.replace("127.0.0.1", "localhost")
    gateway = await started(rig, provider, name)
    token = await provider.token("weft")
    # The mock calls itself what it is asked as: its keys are had then, and the token is another issuer's.
    expected = 401 if provider.algorithm == "RS256" else 503
    assert await status_of(gateway, token) == expected


async def test_an_expired_token_is_refused(rig: FrontRig, made: RealProvider) -> None:
    """One that ended a minute ago."""
    await made.start(**({"seconds": -60} if isinstance(made, MockProvider) else {}))
    token = await made.token("weft", seconds=-60)
    gateway = await started(rig, made)
    assert await status_of(gateway, token) == 401
    _, body, _ = await ask(gateway, headers=bearer(token))
    assert "expired" in body["error"]["message"]


async def test_forgeries_are_refused(rig: FrontRig, provider: RealProvider) -> None:
    """No signature; the public key as a shared secret; a key of one's own, in the token or in its place."""
    gateway = await started(rig, provider)
    assert await status_of(gateway, await provider.token("weft")) == 200
    async with httpx.AsyncClient() as client:
        configuration = (await client.get(f"{provider.issuer}/.well-known/openid-configuration")).json()
        published = (await client.get(configuration["jwks_uri"])).json()["keys"]
    claims = {"iss": provider.issuer, "sub": "ann", "aud": "weft", "exp": NOW, "groups": ["weft-admin"]}
    kid = published[0]["kid"]
    text = msgspec.json.encode(published[0])
    tokens = [
        forged({"alg": "none", "kid": kid}, claims),
        forged(
            {"alg": "HS256", "kid": kid},
            claims,
            lambda content: hmac.new(text, content, hashlib.sha256).digest(),
        ),
        forged({"alg": provider.algorithm, "kid": kid}, claims),
        forged({"alg": provider.algorithm, "kid": kid, "jwk": published[0]}, claims),
        forged({"alg": provider.algorithm, "kid": kid, "jku": "http://evil.example"}, claims),
        forged({"alg": provider.algorithm, "kid": "../../etc/passwd"}, claims),
        forged({"alg": provider.algorithm, "kid": kid, "crit": ["x"], "x": 1}, claims),
    ]
    for token in tokens:
        assert await status_of(gateway, token) == 401, token
        assert token[:30] not in rig.log.getvalue()


async def test_keys_are_rotated(rig: FrontRig, provider: RealProvider) -> None:
    """The provider gets other keys: tokens of the new ones are taken at once, those of the old ones no longer."""
    gateway = await started(rig, provider)
    old = await provider.token("weft")
    assert await status_of(gateway, old) == 200
    provider.stop()
    assert await status_of(gateway, old) == 200  # it is away: what is known holds
    await provider.start()
    assert await status_of(gateway, await provider.token("weft")) == 200
    assert await status_of(gateway, old) == 401


async def test_a_provider_that_is_not_there_yet_is_503(rig: FrontRig, made: RealProvider) -> None:
    """The gateway starts without it, says so in its log, and takes tokens when it is there."""
    await made.start()
    token = await made.token("weft")
    made.stop()
    gateway = await started(rig, made)
    assert await status_of(gateway, token) == 503
    status, html = await Browser(gateway, rig.url).get("/login/oidc")
    assert (status, 'role="alert"' in html) == (503, True)
    assert "cannot be had" in rig.log.getvalue()
    await made.start()
    assert await status_of(gateway, await made.token("weft")) == 200
