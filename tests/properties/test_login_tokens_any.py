"""Whatever is shown as a token: it is refused as unauthorized, or left to others, and nothing else happens."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from loginkit import AUDIENCE, bearer, forged, private_key, public_jwk, signer
from weft.context import Context, Identity
from weft.errors import UnauthorizedError
from weft.gateway.login.bearer import BearerTokens, Tokens
from weft.gateway.login.keyset import KeySet
from weft.spec.gateway import OidcSpec

ISSUER = "https://id.example"
NOW = 1_800_000_000.0
GOOD = {"iss": ISSUER, "sub": "ann", "aud": AUDIENCE, "exp": NOW + 60}
HEAD = {"alg": "ES256", "kid": "ec-0", "typ": "JWT"}


class Keys:
    """The provider's part without a network."""

    fresh_until = float("inf")

    def __init__(self) -> None:
        self.on_change: list[Any] = []
        self._keys = KeySet([public_jwk("ec"), public_jwk("rsa")], ("ES256", "RS256"))

    async def key(self, kid: str | None, algorithm: str) -> Any:
        found = self._keys.find(kid, algorithm)
        if len(found) != 1:
            raise UnauthorizedError("no such key")
        return found[0]

    async def has_changed(self) -> bool:
        return False


def shown(token: str) -> Identity | str | None:
    """Who gets in with it; or why nobody does."""
    keys: Any = Keys()
    tokens = Tokens(OidcSpec(issuer=ISSUER, audience=AUDIENCE), keys, clock=lambda: NOW)
    try:
        return asyncio.run(BearerTokens(tokens, clock=lambda: NOW)(bearer(token), Context()))
    except UnauthorizedError as error:
        return error.message


def test_the_good_one_gets_in() -> None:
    """So the others are refused for what is changed in them."""
    found = shown(forged(HEAD, GOOD, signer("ec")))
    assert isinstance(found, Identity)
    assert found.caller == "ann"


latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=80)
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(latin)
@settings(max_examples=150, deadline=None)
def test_any_text_is_refused_or_left_to_others(text: str) -> None:
    """With and without the dots of a token."""
    for token in (text, f"ey{text}", f"ey{text}.{text}.{text}"):
        assert not isinstance(shown(token), Identity)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "jku", "b64", "x"]), json), json)
@settings(max_examples=150, deadline=None)
def test_any_header_and_content_without_a_signature_gets_nobody_in(
    head: dict[str, Any], content: Any
) -> None:
    """Whatever JSON they are."""
    assert not isinstance(shown(forged(HEAD | head, msgspec.json.encode(content))), Identity)


@given(
    st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "azp", "groups", "cnf"]), json)
)
@settings(max_examples=150, deadline=None)
def test_what_is_truly_signed_is_checked_in_any_form(claims: dict[str, Any]) -> None:
    """Claims of any type: who gets in is ann's like, of our issuer, for us and now."""
    found = shown(forged(HEAD, GOOD | claims, signer("ec")))
    if isinstance(found, Identity):
        told = GOOD | claims
        assert found.caller == told["sub"] != ""
        assert told["iss"] == ISSUER
        assert AUDIENCE in ([told["aud"]] if isinstance(told["aud"], str) else told["aud"])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_character_is_noticed(data: st.DataObject) -> None:
    """Anywhere in what is signed."""
    token = forged(HEAD, GOOD, signer("ec"))
    end = token.rindex(".")
    at = data.draw(st.integers(0, end - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_"))
    changed = token[:at] + letter + token[at + 1 :]
    if changed != token:
        assert not isinstance(shown(changed), Identity)


@given(
    st.sampled_from(["ES256", "RS256", "HS256", "none", "ES384"]),
    st.sampled_from(["ec-0", "rsa-0", None, "x"]),
)
@settings(max_examples=40, deadline=None)
def test_a_signature_is_good_for_its_own_key_and_algorithm(alg: str, kid: str | None) -> None:
    """With every pair of the two, the elliptic signature holds for its own pair only."""
    assert private_key("ec") is not None
    head = {"alg": alg} | ({"kid": kid} if kid else {})
    found = shown(forged(head, GOOD, signer("ec")))
    assert isinstance(found, Identity) is (alg == "ES256" and kid in ("ec-0", None))


def test_padding_and_blanks_are_no_part_of_a_token() -> None:
    """What a lenient reader of base64 would skip."""
    head, content, signature = forged(HEAD, GOOD, signer("ec")).split(".")
    padded = urlsafe_b64encode(msgspec.json.encode(GOOD)).decode()
    for token in (
        f"{head}=.{content}.{signature}",
        f"{head}.{content}=.{signature}",
        f"{head}.{padded}.{signature}=",
        f"{head}. {content}.{signature}",
        f"{head}.{content}.{signature}\t{signature}",
        f"{head[:8]}\n{head[8:]}.{content}.{signature}",
    ):
        assert not isinstance(shown(token), Identity)
