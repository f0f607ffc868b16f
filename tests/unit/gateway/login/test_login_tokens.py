"""Tokens of a provider: whom they let in, and that no attack on them does."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from loginkit import Clock, Issuer, bearer, forged, private_key, public_jwk, request, signer
from weft.context import Context, Identity
from weft.errors import ForbiddenError, UnauthorizedError, UnavailableError
from weft.gateway.login.bearer import MAX_REMEMBERED, BearerTokens, Tokens
from weft.gateway.login.provider import ASK_AGAIN_S, REFRESH_S, RETRY_S, STALE_S, Provider

ALL = ("RS256", "PS256", "ES256", "ES384", "EdDSA")


class Rig:
    """A source of identities, and the issuer whose tokens it takes."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.clock = Clock()
        self.issuer = Issuer(self.clock)
        self.stack = stack
        self.provider: Any = None
        self.source: Any = None

    async def start(self, **spec: Any) -> None:
        if not self.issuer.url:
            await self.issuer.start(self.stack)
        made = self.issuer.spec(**spec)
        egress = self.issuer.egress(self.stack)
        self.provider = Provider(
            made.issuer, made.algorithms, egress, log=self.issuer.quiet(), clock=self.clock
        )
        self.stack.push_async_callback(self.provider.aclose)
        self.source = BearerTokens(Tokens(made, self.provider, clock=self.clock), clock=self.clock)

    async def show(self, token: str) -> Identity | None:
        found: Identity | None = await self.source(bearer(token), Context())
        return found

    async def refused(self, token: str, why: str) -> None:
        with pytest.raises(UnauthorizedError, match=why):
            await self.show(token)
        assert token[:20] not in self.issuer.log.getvalue()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        made = Rig(stack)
        await made.start()
        yield made


async def test_a_good_token_says_who_calls(rig: Rig) -> None:
    """Subject, groups and everything else that it claims."""
    found = await rig.show(rig.issuer.token(groups=["staff", "weft-admin"], email="ann@example.org"))
    assert found is not None
    assert (found.caller, found.tenant, found.readers, found.shown) == (
        "ann",
        "default",
        ("staff", "weft-admin"),
        "oidc",
    )
    assert found.claims["email"] == "ann@example.org"
    assert (found.roles, found.scopes, found.key) == (frozenset(), frozenset(), "")


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("ec384", "ES384"), ("ed", "EdDSA")],
)
async def test_every_algorithm_that_the_file_names_is_read(rig: Rig, kind: str, algorithm: str) -> None:
    """With a key that has no alg of its own."""
    rig.issuer.keys = [public_jwk(kind)]
    await rig.start(algorithms=ALL)
    found = await rig.show(rig.issuer.token(kind=kind, algorithm=algorithm))
    assert found is not None
    assert found.caller == "ann"


@pytest.mark.parametrize("shown", ["", "Basic YTpi", "Bearer weft_abc", "Bearer a.b", "Bearer eyJ.a.b.c.d"])
async def test_what_is_no_signed_token_is_left_to_others(rig: Rig, shown: str) -> None:
    """An API key, a password, an encrypted token: not ours, and the provider is not asked."""
    headers = (("authorization", shown),) if shown else ()
    assert await rig.source(request(*headers), Context()) is None
    assert rig.issuer.asked == []


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "other"}, "another audience"),
        ({"aud": ["other", "third"]}, "another audience"),
        ({"aud": None}, "lacks"),
        ({"aud": 7}, "lacks"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "lacks"),
        ({"exp": None}, "lacks"),
        ({"exp": "tomorrow"}, "lacks"),
        ({"exp": 1_000_000_000}, "expired"),
        ({"nbf": 9_999_999_999}, "not valid yet"),
        ({"iat": 9_999_999_999}, "in the future"),
        ({"sub": None}, "lacks"),
        ({"sub": ""}, "names nobody"),
        ({"sub": "a\nb"}, "names nobody"),
        ({"sub": "a" * 256}, "names nobody"),
        ({"cnf": {"jkt": "x"}}, "bound to a key"),
    ],
    ids=str,
)
async def test_a_token_that_is_not_for_us_is_refused(rig: Rig, claims: dict[str, Any], why: str) -> None:
    """Other audience, other issuer, not now, nobody."""
    token = forged({"alg": "ES256", "kid": "ec-0"}, rig.issuer.claims(**claims), signer("ec"))
    await rig.refused(token, why)


async def test_a_token_of_the_kit_holds_if_nothing_is_wrong_with_it(rig: Rig) -> None:
    """So the others are refused for what is wrong with them."""
    assert (
        await rig.show(forged({"alg": "ES256", "kid": "ec-0"}, rig.issuer.claims(), signer("ec"))) is not None
    )


async def test_clocks_may_differ_by_half_a_minute(rig: Rig) -> None:
    """A token that ended 29 seconds ago holds, one that ended 30 ago does not; it is the same for one remembered."""
    token = rig.issuer.token(exp=int(rig.clock.now) + 100, iat=None)
    rig.clock.now = int(rig.clock.now) + 129
    assert await rig.show(token) is not None
    rig.clock.pass_(1)
    await rig.refused(token, "expired")


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "", None])
async def test_a_token_without_a_signature_is_refused(rig: Rig, alg: str | None) -> None:
    """However it spells it."""
    await rig.refused(forged({"alg": alg, "kid": "ec-0"}, rig.issuer.claims()), "algorithm")


async def test_a_public_key_is_no_shared_secret(rig: Rig) -> None:
    """HS256 signed with the published key, in each form that one could take it in, is refused."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    rig.issuer.keys = [public_jwk("rsa")]
    await rig.start()
    key = private_key("rsa").public_key()
    secrets = [
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    ]
    for secret in secrets:

        def sign(content: bytes, secret: bytes = secret) -> bytes:
            return hmac.new(secret, content, hashlib.sha256).digest()

        for alg in ("HS256", "RS256"):
            await rig.refused(
                forged({"alg": alg, "kid": "rsa-0"}, rig.issuer.claims(), sign), "algorithm|signature"
            )


async def test_a_shared_secret_that_is_published_is_no_key(rig: Rig) -> None:
    """A set with a symmetric key in it lets nobody sign with that."""
    rig.issuer.keys = [{"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"}]

    def sign(content: bytes) -> bytes:
        return hmac.new(b"secret", content, hashlib.sha256).digest()

    await rig.refused(forged({"alg": "HS256", "kid": "s"}, rig.issuer.claims(), sign), "algorithm")
    await rig.refused(forged({"alg": "ES256", "kid": "s"}, rig.issuer.claims(), sign), "does not have")


async def test_an_algorithm_that_the_file_does_not_name_is_refused(rig: Rig) -> None:
    """Even with a true signature by a true key."""
    rig.issuer.keys = [public_jwk("rsa")]
    await rig.start(algorithms=("ES256",))
    await rig.refused(rig.issuer.token(kind="rsa", algorithm="RS256"), "accepted")


async def test_a_key_is_used_for_its_own_algorithm_only(rig: Rig) -> None:
    """A key published for PS256 verifies no RS256."""
    rig.issuer.keys = [public_jwk("rsa", alg="PS256")]
    await rig.start(algorithms=ALL)
    await rig.refused(rig.issuer.token(kind="rsa", algorithm="RS256"), "does not have")


@pytest.mark.parametrize(
    "head",
    [
        {"jwk": {"kty": "EC"}},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
    ],
    ids=str,
)
async def test_a_token_does_not_bring_its_own_key(rig: Rig, head: dict[str, Any]) -> None:
    """Whether or not it is signed with ours."""
    await rig.refused(rig.issuer.token(headers=head), "brings its own key")
    await rig.refused(rig.issuer.token(number=9, headers=head), "brings its own key")


@pytest.mark.parametrize(
    "head",
    [{"crit": ["exp"], "exp": 1}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}, {"enc": "A128GCM"}],
    ids=str,
)
async def test_what_we_do_not_understand_is_not_passed_over(rig: Rig, head: dict[str, Any]) -> None:
    """Critical headers, detached contents, compression."""
    claims = rig.issuer.claims()
    await rig.refused(forged({"alg": "ES256", "kid": "ec-0"} | head, claims, signer("ec")), "extension")


@pytest.mark.parametrize("type_", ["logout+jwt", "dpop+jwt", "secevent+jwt", 7])
async def test_a_token_made_for_something_else_is_refused(rig: Rig, type_: Any) -> None:
    """Another kind of token of the same issuer."""
    head = {"alg": "ES256", "kid": "ec-0", "typ": type_}
    await rig.refused(forged(head, rig.issuer.claims(), signer("ec")), "kind of token")


@pytest.mark.parametrize("type_", ["JWT", "at+jwt", "application/at+jwt", None])
async def test_the_usual_types_are_taken(rig: Rig, type_: str | None) -> None:
    """Access tokens of RFC 9068, plain ones, and those that do not say."""
    assert await rig.show(rig.issuer.token(headers={"typ": type_})) is not None


async def test_a_changed_token_is_refused(rig: Rig) -> None:
    """Another content under the signature; a signature of another key; a signature that is cut."""
    head, content, signature = rig.issuer.token().split(".")
    other = rig.issuer.token(sub="root").split(".")[1]
    await rig.refused(f"{head}.{other}.{signature}", "signature")
    await rig.refused(rig.issuer.token(number=9, headers={"kid": "ec-0"}), "signature")
    await rig.refused(f"{head}.{content}.{signature[:-4]}", "signature")
    await rig.refused(f"{head}.{content}.", "signature")


@pytest.mark.parametrize(
    "token",
    [
        "ey.a.b",
        "eyJ!.a.b",
        "eyJ hbGciOiJFUzI1NiJ9.e30.AA",
        "eyJbW1tbW1tb.a.b",
        "ey" + "A" * 3000 + ".a.b",
        f"{'eyJhbGciOiJFUzI1NiJ9'}.{'W' * 9000}.AA",
        "eyJhbGciOiJFUzI1NiIsImtpZCI6N30.e30.AA",
    ],
    ids=lambda token: token[:24],
)
async def test_a_malformed_token_is_refused(rig: Rig, token: str) -> None:
    """As unauthorized, and as nothing else."""
    with pytest.raises(UnauthorizedError):
        await rig.show(token)


async def test_a_huge_token_is_refused_before_anything_is_done_with_it(rig: Rig) -> None:
    """A correctly signed token of 20,000 characters; nobody asks for keys."""
    await rig.refused(rig.issuer.token(groups=["x" * 15_000]), "longer than")
    assert rig.issuer.asked == []


async def test_a_deeply_nested_token_is_refused(rig: Rig) -> None:
    """What is in it is read only once its signature holds, and then within bounds."""
    nested: Any = []
    for _ in range(200):
        nested = [nested]
    head = {"alg": "ES256", "kid": "ec-0"}
    assert await rig.show(forged(head, rig.issuer.claims(deep=nested), signer("ec"))) is not None
    deep = b'{"iss":' + b"[" * 5000 + b"]" * 5000 + b"}"
    await rig.refused(forged(head, deep, signer("ec")), "lacks")


# Keys.


async def test_a_rotated_key_is_found(rig: Rig) -> None:
    """A token of a key that was not there yet has the keys fetched again; the old key's tokens end with it."""
    old = rig.issuer.token()
    assert await rig.show(old) is not None
    rig.issuer.keys = [public_jwk("ec", 1)]
    rig.clock.pass_(ASK_AGAIN_S)
    found = await rig.show(rig.issuer.token(number=1))
    assert found is not None
    await rig.refused(old, "does not have")


async def test_made_up_keys_do_not_make_us_ask(rig: Rig) -> None:
    """However many tokens name keys that are not there: one fetch in ten seconds."""
    await rig.show(rig.issuer.token())
    rig.issuer.asked.clear()
    for number in range(20):
        await rig.refused(rig.issuer.token(headers={"kid": f"made-up-{number}"}), "does not have")
    assert rig.issuer.asked == []
    rig.clock.pass_(ASK_AGAIN_S)
    for number in range(20):
        await rig.refused(rig.issuer.token(headers={"kid": f"made-up-{number}"}), "does not have")
    assert rig.issuer.asked == ["/keys"]


async def test_a_new_key_may_have_the_old_ones_name(rig: Rig) -> None:
    """Or none: a signature that does not hold has the keys fetched again, as rarely as an unknown name does."""
    assert await rig.show(rig.issuer.token()) is not None
    rig.issuer.keys = [public_jwk("ec", 1, kid="ec-0")]
    rig.issuer.asked.clear()
    new = [rig.issuer.token(number=1, headers={"kid": kid}) for kid in ("ec-0", None)]
    for token in new:
        await rig.refused(token, "signature does not hold")
    assert rig.issuer.asked == []
    rig.clock.pass_(ASK_AGAIN_S)
    for token in new:
        assert await rig.show(token) is not None
    await rig.refused(rig.issuer.token(), "signature does not hold")
    assert rig.issuer.asked == ["/keys"]


async def test_two_keys_of_one_name_are_refused(rig: Rig) -> None:
    """Whichever of them signed."""
    rig.issuer.keys = [public_jwk("ec", 0, kid="same"), public_jwk("ec", 1, kid="same")]
    for number in (0, 1):
        await rig.refused(
            rig.issuer.token(number=number, headers={"kid": "same"}), "which of its issuer's keys"
        )


async def test_a_token_without_a_key_id_needs_the_only_key(rig: Rig) -> None:
    """With one key of its algorithm it holds, with two it is refused."""
    token = rig.issuer.token(headers={"kid": None})
    rig.issuer.keys = [public_jwk("ec"), public_jwk("rsa")]
    assert await rig.show(token) is not None
    rig.issuer.keys.append(public_jwk("ec", 1))
    await rig.start()
    await rig.refused(token, "which of its issuer's keys")


@pytest.mark.parametrize(
    "key",
    [
        public_jwk("weak"),
        public_jwk("rsa", use="enc"),
        public_jwk("rsa", key_ops=["sign"]),
        public_jwk("rsa", n=7),
        public_jwk("rsa", kty="XX"),
        {"kid": "rsa-0"},
    ],
    ids=["weak", "encryption", "sign only", "no number", "unknown type", "empty"],
)
@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
async def test_a_key_that_signs_no_tokens_is_passed_over(rig: Rig, key: dict[str, Any]) -> None:
    """Too short, for something else, or no key at all; the others of the set are read."""
    rig.issuer.keys = [key, public_jwk("ec")]
    await rig.start()
    kind = "weak" if key.get("kid") == "weak-0" else "rsa"
    await rig.refused(rig.issuer.token(kind=kind, algorithm="RS256"), "does not have")
    assert await rig.show(rig.issuer.token()) is not None


async def test_keys_are_renewed_by_age_while_nobody_waits(rig: Rig) -> None:
    """The first request after ten minutes is answered with the old keys, and has new ones fetched."""
    token = rig.issuer.token(exp=int(rig.clock.now) + 10_000)
    await rig.show(token)
    rig.issuer.keys = [public_jwk("ec", 1)]
    rig.clock.pass_(REFRESH_S)
    assert await rig.show(token) is not None
    await rig.provider._fetching
    await rig.refused(token, "does not have")


async def test_an_outage_of_the_provider_refuses_nobody_for_a_day(rig: Rig) -> None:
    """Known keys hold; after a day without it nobody can say any more, which is 503."""
    await rig.show(rig.issuer.token())
    rig.issuer.status = 500
    rig.clock.pass_(STALE_S - 10)
    assert await rig.show(rig.issuer.token()) is not None
    await rig.provider._fetching
    rig.clock.pass_(10)
    with pytest.raises(UnavailableError):
        await rig.show(rig.issuer.token())
    assert rig.issuer.log.getvalue().count("cannot be had") == 1


async def test_a_provider_that_is_away_at_first_is_asked_again(rig: Rig) -> None:
    """503 until it answers, without asking it at every request."""
    rig.issuer.status = 500
    for _ in range(5):
        with pytest.raises(UnavailableError):
            await rig.show(rig.issuer.token())
    assert len(rig.issuer.asked) == 1
    rig.issuer.status = 200
    rig.clock.pass_(RETRY_S)
    assert await rig.show(rig.issuer.token()) is not None
    assert "can be had again" in rig.issuer.log.getvalue()


@pytest.mark.parametrize(
    ("configuration", "why"),
    [
        ({"issuer": "https://other.example"}, "calls itself 'https://other.example'"),
        ({"jwks_uri": "http://keys.example/keys"}, "without TLS"),
        ({"jwks_uri": "http://169.254.169.254/keys"}, "without TLS"),
        ({"jwks_uri": "https://169.254.169.254/keys"}, "never contacted"),
        ({"jwks_uri": "https://a:b@keys.example/keys"}, "no user name or password"),
        ({"jwks_uri": "file:///etc/passwd"}, "without TLS"),
        ({"jwks_uri": "https://[x/keys"}, "without TLS"),
        ({"jwks_uri": 7}, "no configuration of a provider"),
    ],
    ids=str,
)
async def test_a_configuration_that_leads_astray_is_not_followed(
    rig: Rig, configuration: dict[str, Any], why: str
) -> None:
    """Another issuer's, plain HTTP to elsewhere, the metadata service; the log says what is wrong."""
    rig.issuer.configuration = configuration
    with pytest.raises(UnavailableError):
        await rig.show(rig.issuer.token())
    assert why in rig.issuer.log.getvalue()


# What is remembered.


async def test_the_second_request_costs_nothing(rig: Rig) -> None:
    """The same identity object, without a look at signature or keys."""
    token = rig.issuer.token()
    first = await rig.show(token)
    rig.provider._keys = rig.provider._configuration = None  # nothing could be checked now
    assert await rig.show(token) is first


async def test_no_more_is_remembered_than_there_is_room_for(rig: Rig) -> None:
    """The least recently used ones are checked anew."""
    source = rig.source
    for number in range(MAX_REMEMBERED + 10):
        source._remember(f"token {number}", rig.clock() + 100, Identity(caller=str(number)))
    assert len(source._known) == MAX_REMEMBERED
    for number in range(2000):
        source._remember(f"{number}".rjust(16_000), rig.clock() + 100, Identity(caller=str(number)))
    assert len(source._known) < 600
    assert source._characters == sum(size for _, _, size in source._known.values())


# Identities.


async def test_the_tenant_is_the_claim_that_the_file_names(rig: Rig) -> None:
    """Without it nobody gets in: nobody falls into a tenant that is not theirs."""
    await rig.start(tenant="org.id", readers="https://weft.example/teams")
    found = await rig.show(
        rig.issuer.token(org={"id": "acme"}, **{"https://weft.example/teams": "blue"}, groups=["staff"])
    )
    assert found is not None
    assert (found.tenant, found.readers) == ("acme", ("blue",))
    for wrong in (None, {"id": ""}, {"id": 7}, "acme", {"id": ["acme"]}):
        with pytest.raises(ForbiddenError, match="names no tenant"):
            await rig.show(rig.issuer.token(org=wrong))


@pytest.mark.parametrize(
    ("groups", "readers"),
    [
        (None, None),
        ([], None),
        ("staff", ("staff",)),
        (["a", "a", "b"], ("a", "b")),
        (["a", 7, "", None], ("a",)),
        ({"a": 1}, None),
    ],
    ids=str,
)
async def test_readers_are_names_of_groups(rig: Rig, groups: Any, readers: Any) -> None:
    """Whatever else the claim holds gives nobody anything to read."""
    token = forged({"alg": "ES256", "kid": "ec-0"}, rig.issuer.claims(groups=groups), signer("ec"))
    found = await rig.show(token)
    assert found is not None
    assert found.readers == readers
