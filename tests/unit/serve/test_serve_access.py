"""Who may talk to an application."""

from __future__ import annotations

import pytest

from weft.serve.access import Access, new_token


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST:1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::1]",
        "192.168.1.7:80",
        "a.localhost",
        "",
    ],
)
def test_loopback_names_and_plain_addresses_are_served(host: str) -> None:
    """Nobody can re-bind an address, and loopback names always mean this machine."""
    assert Access().allows_host(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_a_strangers_name_is_refused(host: str) -> None:
    """A name that was re-bound to this machine is not one of ours."""
    assert not Access().allows_host(host)


def test_configured_names_are_served() -> None:
    """With any port, any case and the root's dot."""
    access = Access(hosts=["Chat.Example"])
    assert access.allows_host("chat.example:443")
    assert access.allows_host("CHAT.example.")
    assert not access.allows_host("x.chat.example")


def test_hosts_that_passed_are_remembered_bounded() -> None:
    """A flood of different good values does not fill the memory."""
    access = Access()
    for number in range(3000):
        assert access.allows_host(f"10.0.{number // 250}.{number % 250}")
    assert len(access.good_hosts) <= 1024


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8080", True),
        ("https://localhost:8080", True),
        ("http://localhost:9090", False),
        ("http://evil.example", False),
        ("null", False),
        ("https://chat.example", True),
        ("file://localhost:8080", False),
    ],
)
def test_origin_must_be_the_same_or_configured(origin: str, allowed: bool) -> None:
    """Pages of others may not call."""
    access = Access(origins=["https://chat.example/"])
    assert access.allows_origin(origin, "localhost:8080") is allowed


def test_token_as_header_or_cookie() -> None:
    """The header carries the token, the cookie a value derived from it."""
    access = Access("secret")
    cookie = access.set_cookie().partition(";")[0]
    assert access.has_token("Bearer secret", None)
    assert access.has_token("bearer  secret", None)
    assert access.has_token(None, f"a=b; {cookie}")
    assert "secret" not in access.set_cookie()
    assert not access.has_token(None, None)
    assert not access.has_token("Bearer wrong", cookie)
    assert not access.has_token("Basic secret", None)
    assert not access.has_token(None, cookie + "0")


def test_the_cookie_is_for_this_site_only() -> None:
    """No script reads it, no other site's request carries it."""
    assert "HttpOnly; SameSite=Strict" in Access("x").set_cookie()
    assert Access("x").set_cookie(secure=True).endswith("; Secure")


def test_without_a_token_everybody_is_let_in() -> None:
    """Loopback needs none."""
    assert Access().has_token(None, None)
    assert not Access().is_token("")


def test_new_tokens_differ() -> None:
    """Each start makes its own."""
    assert len({new_token() for _ in range(10)}) == 10
