"""Login at a provider that does what a test tells it to: what is sent there, and what is believed of what comes back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import msgspec
import pytest

from loginkit import Issuer, request
from weft.context import Context, Identity
from weft.errors import (
    BackendReplyError,
    ForbiddenError,
    RequestError,
    ServiceError,
    UnauthorizedError,
    UnavailableError,
)
from weft.gateway.login.bearer import Tokens
from weft.gateway.login.codeflow import Begun, CodeFlow
from weft.gateway.login.provider import Provider
from weft.http.message import Request, Response

HERE = request(("host", "weft.example"))


class Rig:
    """A flow, and the provider that it is with.

    Attributes:
        sent: What was sent for a code: headers, and the form.
        given: What the provider gives for it, beside an ID token; an ``id_token`` of its own replaces that.
        token: Claims of the ID token beside the good ones.
        info: What it tells of a person.
        status: With which it redeems a code.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self.issuer, self._stack = Issuer(), stack
        self.sent: list[tuple[Request, dict[str, str]]] = []
        self.given: dict[str, Any] = {}
        self.token: dict[str, Any] = {}
        self.info: dict[str, Any] = {"sub": "ann", "groups": ["staff"]}
        self.status = 200
        self.nonce = ""
        self.flow: Any = None

    async def start(self, secret: str | None = "hush", **spec: Any) -> None:
        if not self.issuer.url:
            await self.issuer.start(
                self._stack, {("POST", "/token"): self._redeem, ("GET", "/me"): self._tell}
            )
            self.issuer.configuration["userinfo_endpoint"] = f"{self.issuer.url}/me"
        made = self.issuer.spec(client_id="page", **spec)
        log = self.issuer.quiet()
        provider = Provider(made.issuer, made.algorithms, self.issuer.egress(self._stack), log=log)
        self._stack.push_async_callback(provider.aclose)
        self.flow = CodeFlow(made, Tokens(made, provider), secret=secret, log=log)

    async def _redeem(self, asked: Request, context: Context) -> Response:
        self.sent.append((asked, dict(parse_qsl((asked.body or b"").decode()))))
        token = self.issuer.token(**{"aud": "page", "nonce": self.nonce} | self.token)
        return Response(
            self.status, (), msgspec.json.encode({"id_token": token, "token_type": "Bearer"} | self.given)
        )

    async def _tell(self, asked: Request, context: Context) -> Response:
        self.sent.append((asked, {}))
        return Response(200, (), msgspec.json.encode(self.info))

    async def begin(self, target: str = "/docs", secret: str | None = None) -> tuple[Begun, dict[str, str]]:
        begun: Begun = await self.flow.begin(HERE, target=target, secret=secret)
        query = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
        self.nonce = query["nonce"]
        return begun, query

    async def finish(self, **answer: str) -> tuple[Identity, str]:
        begun, query = await self.begin()
        found: tuple[Identity, str] = await self.flow.finish(
            HERE, {"code": "c0de", "state": query["state"]} | answer, begun.secret
        )
        return found

    async def fails(self, as_: type[RequestError], why: str, **answer: str) -> None:
        with pytest.raises(as_, match=why):
            await self.finish(**answer)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        made = Rig(stack)
        await made.start()
        yield made


async def test_a_login_asks_for_what_it_needs(rig: Rig) -> None:
    """The code flow with PKCE, state, nonce, and of the scopes those that the provider has."""
    rig.issuer.configuration |= {
        "scopes_supported": ["openid", "email", "groups", "offline_access"],
        "authorization_endpoint": f"{rig.issuer.url}/authorize?realm=a",
    }
    begun, query = await rig.begin()
    assert begun.url.startswith(f"{rig.issuer.url}/authorize?realm=a&response_type=code&")
    assert (query["client_id"], query["redirect_uri"]) == ("page", "http://weft.example/login/callback")
    assert (query["scope"], query["code_challenge_method"]) == ("openid email groups", "S256")
    assert begun.secret not in begun.url
    assert len({query["state"], query["nonce"], query["code_challenge"], begun.secret}) == 4


async def test_the_file_may_say_where_people_come_back_to(rig: Rig) -> None:
    """Behind a proxy that ends TLS; both requests say the same."""
    await rig.start(callback="https://chat.example/login/callback")
    _, query = await rig.begin()
    assert query["redirect_uri"] == "https://chat.example/login/callback"
    await rig.finish()
    assert rig.sent[0][1]["redirect_uri"] == "https://chat.example/login/callback"


async def test_a_code_is_redeemed_with_its_verifier(rig: Rig) -> None:
    """The verifier is what the challenge was made from; the secret goes in the header, encoded as in a form."""
    await rig.start(secret="a:b %ü")
    begun, query = await rig.begin()
    identity, target = await rig.flow.finish(HERE, {"code": "c0de", "state": query["state"]}, begun.secret)
    assert (identity.caller, target) == ("ann", "/docs")
    asked, form = rig.sent[0]
    challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() == query["code_challenge"]
    assert 43 <= len(form["code_verifier"]) <= 128
    assert (form["grant_type"], form["code"]) == ("authorization_code", "c0de")
    shown = base64.b64decode((asked.headers.get("authorization") or "").removeprefix("Basic ")).decode()
    assert shown == "page:a%3Ab+%25%C3%BC"


async def test_a_client_shows_itself_as_the_provider_wants(rig: Rig) -> None:
    """In the form where it takes no header; without a secret by its id alone."""
    rig.issuer.configuration["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    await rig.finish()
    asked, form = rig.sent[-1]
    assert (form["client_id"], form["client_secret"]) == ("page", "hush")
    assert asked.headers.get("authorization") is None
    await rig.start(secret=None)
    await rig.finish()
    asked, form = rig.sent[-1]
    assert (form["client_id"], "client_secret" in form, asked.headers.get("authorization")) == (
        "page",
        False,
        None,
    )


async def test_two_windows_can_both_be_finished(rig: Rig) -> None:
    """The second login of a browser keeps the secret of the first."""
    first, one = await rig.begin("/a")
    second, other = await rig.begin("/b", first.secret)
    assert second.secret == first.secret
    for query, wanted in ((one, "/a"), (other, "/b")):
        answer = {"code": "c", "state": query["state"]}
        assert (await rig.flow.finish(HERE, answer, first.secret))[1] == wanted


@pytest.mark.parametrize("kept", ["", "x" * 65, "ü" * 40])
async def test_what_a_browser_kept_is_used_if_it_can_be(rig: Rig, kept: str) -> None:
    """Else there is a new secret."""
    begun, _ = await rig.begin(secret=kept or None)
    assert begun.secret != kept
    assert len(begun.secret) == 43


async def test_an_answer_belongs_to_the_browser_that_asked(rig: Rig) -> None:
    """Without its cookie, with another one, or with a path that it did not ask for, it is refused before any request."""
    begun, query = await rig.begin()
    other, _ = await rig.begin()
    written = base64.urlsafe_b64encode(b"/evil").decode().rstrip("=")
    states = {
        "none": (query["state"], None),
        "another": (query["state"], other.secret),
        "no state": ("", begun.secret),
        "another path": (f"{written}.{query['state'].partition('.')[2]}", begun.secret),
        "no text": ("_w.x", begun.secret),
        "not ascii": ("ü.ü", begun.secret),
    }
    for state, secret in states.values():
        with pytest.raises(UnauthorizedError, match="not begun in this browser"):
            await rig.flow.finish(HERE, {"code": "c", "state": state}, secret)
    assert rig.sent == []


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ({"nonce": "another"}, "another login"),
        ({"nonce": None}, "another login"),
        ({"aud": "weft"}, "another audience"),
        ({"aud": ["page", "weft"]}, "another party"),
        ({"aud": ["page", "weft"], "azp": "weft"}, "another party"),
        ({"azp": "weft"}, "another party"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"exp": 1_000_000_000}, "expired"),
    ],
    ids=str,
)
async def test_an_id_token_of_another_login_is_refused(rig: Rig, token: dict[str, Any], why: str) -> None:
    """Another nonce, client, party or issuer, or over; its signature is good."""
    rig.token = token
    await rig.fails(UnauthorizedError, why)


async def test_an_id_token_for_several_is_taken_if_it_was_given_to_us(rig: Rig) -> None:
    """Its ``azp`` says so."""
    rig.token = {"aud": ["page", "weft"], "azp": "page"}
    assert (await rig.finish())[0].caller == "ann"


async def test_an_id_token_is_believed_by_its_signature_only(rig: Rig) -> None:
    """Also when it comes straight from the provider."""
    rig.given = {"id_token": rig.issuer.token(number=9, aud="page", headers={"kid": "ec-0"})}
    await rig.fails(UnauthorizedError, "signature")
    rig.given = {"id_token": "no token"}
    await rig.fails(UnauthorizedError, "algorithm|malformed")


async def test_groups_may_stand_beside_the_token(rig: Rig) -> None:
    """What the ID token lacks is asked for; what it has counts."""
    rig.given = {"access_token": "opaque"}
    rig.info = {"sub": "ann", "groups": ["staff"], "email": "other@example.org", "iss": "x"}
    rig.token = {"email": "ann@example.org"}
    identity, _ = await rig.finish()
    assert (identity.readers, identity.claims["email"]) == (("staff",), "ann@example.org")
    assert identity.claims["iss"] == rig.issuer.url
    assert rig.sent[-1][0].headers.get("authorization") == "Bearer opaque"


async def test_what_is_told_of_somebody_else_is_not_taken(rig: Rig) -> None:
    """The subject must be the token's."""
    rig.given = {"access_token": "opaque"}
    rig.info = {"sub": "root", "groups": ["weft-admin"]}
    assert (await rig.finish())[0].readers is None
    assert "user info cannot be used" in rig.issuer.log.getvalue()


async def test_nobody_is_asked_about_who_is_known(rig: Rig) -> None:
    """With the claims in the token the provider is not asked again."""
    rig.given = {"access_token": "opaque"}
    rig.token = {"groups": ["staff"]}
    await rig.finish()
    assert [asked.path for asked, _ in rig.sent] == ["/token"]


async def test_who_has_no_tenant_does_not_get_in(rig: Rig) -> None:
    """Where the file names the claim."""
    await rig.start(tenant="org")
    await rig.fails(ForbiddenError, "names no tenant")
    rig.token = {"org": "acme"}
    assert (await rig.finish())[0].tenant == "acme"


async def test_an_answer_of_another_provider_is_refused(rig: Rig) -> None:
    """RFC 9207: where the provider says that it names itself, it must; a wrong name is wrong anywhere."""
    await rig.fails(UnauthorizedError, "another provider", iss="https://evil.example")
    rig.issuer.configuration["authorization_response_iss_parameter_supported"] = True
    await rig.start()
    await rig.fails(UnauthorizedError, "another provider")
    assert (await rig.finish(iss=rig.issuer.url))[0].caller == "ann"


async def test_a_refusal_of_the_provider_is_told_in_our_words(rig: Rig) -> None:
    """Whatever its sentence says."""
    await rig.fails(
        UnauthorizedError, "did not let you in$", error="access_denied", error_description="<script>"
    )
    await rig.fails(UnauthorizedError, "has no code", code="")
    assert "<script>" not in rig.issuer.log.getvalue()


async def test_a_code_that_is_not_redeemed_is_no_login(rig: Rig) -> None:
    """The log has the provider's code of the error, and neither ours nor what else it says."""
    rig.status = 400
    rig.given = {"error": "invalid_grant", "error_description": "for hush"}
    await rig.fails(UnauthorizedError, "may have been finished already")
    assert "invalid_grant" in rig.issuer.log.getvalue()
    assert "hush" not in rig.issuer.log.getvalue()
    assert "c0de" not in rig.issuer.log.getvalue()


async def test_a_provider_that_breaks_the_protocol_is_a_fault_of_its_own(rig: Rig) -> None:
    """502 and 503, not 401: nothing is wrong with the person."""
    rig.given = {"id_token": 7}
    await rig.fails(BackendReplyError, "no ID token")
    rig.issuer.configuration["token_endpoint"] = "https://169.254.169.254/token"
    await rig.start()
    await rig.fails(ServiceError, "never contacted")
    rig.issuer.configuration["authorization_endpoint"] = None
    await rig.start()
    with pytest.raises(BackendReplyError, match="no login by authorization code"):
        await rig.begin()
    rig.issuer.status = 500
    await rig.start()
    with pytest.raises(UnavailableError):
        await rig.begin()
