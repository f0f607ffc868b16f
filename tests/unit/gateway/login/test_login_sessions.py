"""Sessions in either database: the cookie of one says who calls, until it is ended, anywhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from loginkit import Clock, request
from weft.context import Context, Identity
from weft.errors import UnavailableError
from weft.gateway.login.sessions import (
    KEPT_S,
    MAX_REMEMBERED,
    Sessions,
    cookie_of,
    end_sessions,
    is_from_here,
    set_cookie,
)
from weft.http.message import Request
from weft.serve.log import Log
from weft.store import Database, Row

ANN = Identity(
    caller="ann",
    tenant="acme",
    readers=("staff",),
    roles=frozenset({"editor"}),
    claims={"sub": "ann", "groups": ["staff"]},
    shown="account",
)
STALE_S = 300


class Away:
    """A database that can be away."""

    def __init__(self, database: Database) -> None:
        self._database, self.is_away = database, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def fetch(self, statement: str, *values: Any) -> list[Row]:
        if self.is_away:
            raise UnavailableError("the database is away")
        return await self._database.fetch(statement, *values)


class Rig:
    """Two gateways on one database."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.log = io.StringIO()
        self.database = Away(database)
        self.keys: dict[str, Identity] = {}
        self.one, self.other = self.gateway(), self.gateway()

    def gateway(self) -> Sessions:
        return Sessions(
            self.database,
            cookie="weft_session",
            lasts_s=3600,
            stale_s=STALE_S,
            log=Log(self.log, name="test", pretty=False),
            holding=self.keys.get,
            now_s=self.clock,
            clock=self.clock,
        )

    async def who(self, sessions: Sessions, token: str, **more: Any) -> Identity | None:
        return await sessions(with_cookie(token, **more), Context())


def with_cookie(token: str, **more: Any) -> Request:
    return request(("cookie", f"other=1; weft_session={token}"), **more)


@pytest.fixture
def rig(database: Database) -> Rig:
    return Rig(database)


async def test_a_session_says_who_logged_in(rig: Rig) -> None:
    """At each gateway, and the same object every time; the cookie itself is not in the database."""
    token = await rig.one.begin(ANN)
    assert await rig.who(rig.other, token) == ANN
    assert await rig.who(rig.one, token) is await rig.who(rig.one, token)
    assert token not in str(await rig.database.fetch("SELECT * FROM weft_sessions"))


@pytest.mark.parametrize("token", ["", "x", "a" * 43, "a" * 5000, "%00", "\xff"])
async def test_another_cookie_says_nothing(rig: Rig, token: str) -> None:
    """One makes it up, and is a stranger."""
    await rig.one.begin(ANN)
    assert await rig.who(rig.one, token) is None


async def test_two_cookies_of_the_name_say_nothing(rig: Rig) -> None:
    """One of them was planted by another host's page, and nobody can tell which."""
    token = await rig.one.begin(ANN)
    for cookies in (f"weft_session={token}; weft_session=x", f"weft_session=x; weft_session={token}"):
        assert await rig.one(request(("cookie", cookies)), Context()) is None
    twice = request(("cookie", f"weft_session={token}"), ("cookie", "weft_session=x"))
    assert await rig.one(twice, Context()) is None


async def test_over_tls_the_cookie_is_of_this_host_alone(rig: Rig) -> None:
    """Its name begins with __Host-, and one without that is not taken."""
    token = await rig.one.begin(ANN)
    assert await rig.who(rig.one, token, scheme="https") is None
    assert (
        await rig.one(request(("cookie", f"__Host-weft_session={token}"), scheme="https"), Context()) == ANN
    )


async def test_a_session_ends_by_itself(rig: Rig) -> None:
    """After its time, remembered or not; its row goes some time later."""
    token = await rig.one.begin(ANN)
    assert await rig.who(rig.one, token) == ANN
    rig.clock.pass_(3600)
    for gateway in (rig.one, rig.other):
        assert await rig.who(gateway, token) is None
    rig.clock.pass_(KEPT_S + 1)
    await rig.one.begin(ANN)
    assert await rig.database.fetch("SELECT COUNT(*) FROM weft_sessions") == [(1,)]


async def test_a_session_that_was_ended_is_ended_everywhere(rig: Rig) -> None:
    """At once where it was ended, elsewhere with the next look."""
    token = await rig.one.begin(ANN)
    for gateway in (rig.one, rig.other):
        await gateway.refresh()
        assert await rig.who(gateway, token) == ANN
    assert await rig.one.end(with_cookie(token)) == ANN
    assert await rig.who(rig.one, token) is None
    await rig.other.refresh()
    assert await rig.who(rig.other, token) is None
    assert await rig.other.end(with_cookie(token)) is None


async def test_every_session_of_somebody_can_be_ended(rig: Rig) -> None:
    """An account that is removed takes them with it, and nobody else's."""
    first, second = await rig.one.begin(ANN), await rig.other.begin(ANN)
    bob = await rig.one.begin(Identity(caller="bob"))
    await rig.one.refresh()
    for token in (first, second, bob):
        assert await rig.who(rig.one, token) is not None
    async with rig.database.transaction() as transaction:
        assert await end_sessions(transaction, "ann", rig.clock.now) == 2
    await rig.one.refresh()
    assert [await rig.who(rig.one, token) is not None for token in (first, second, bob)] == [
        False,
        False,
        True,
    ]


async def test_a_session_that_ends_while_it_is_read_is_not_remembered(rig: Rig, monkeypatch: Any) -> None:
    """The read saw it, then it was ended and that was taken note of: it is read again."""
    token = await rig.one.begin(ANN)
    await rig.other.refresh()
    fetch = rig.database.fetch
    is_first = True

    async def slow(statement: str, *values: Any) -> list[Row]:
        nonlocal is_first
        rows = await fetch(statement, *values)
        if "identity" in statement and is_first:
            is_first = False
            await rig.one.end(with_cookie(token))
            await rig.other.refresh()
        return rows

    monkeypatch.setattr(rig.database, "fetch", slow)
    assert await rig.who(rig.other, token) is None
    assert rig.other._known == {}


async def test_while_the_database_is_away_known_sessions_hold_for_a_while(rig: Rig) -> None:
    """Five minutes; who is not known here gets 503, and not a page to log in on."""
    token = await rig.one.begin(ANN)
    await rig.one.refresh()
    assert await rig.who(rig.one, token) == ANN
    rig.database.is_away = True
    rig.clock.pass_(STALE_S)
    with pytest.raises(UnavailableError):
        await rig.one.refresh()
    assert await rig.who(rig.one, token) == ANN
    with pytest.raises(UnavailableError):
        await rig.who(rig.other, token)
    rig.clock.pass_(1)
    with pytest.raises(UnavailableError, match="cannot be checked now"):
        await rig.who(rig.one, token)
    rig.database.is_away = False
    await rig.one.refresh()
    assert await rig.who(rig.one, token) == ANN
    assert rig.log.getvalue().count("cannot be looked for") == 2  # once by each gateway


async def test_a_login_with_a_key_ends_with_the_key(rig: Rig) -> None:
    """It is whoever the key is now; a key that does not hold any more is nobody's."""
    rig.keys["4f7q0k2m9x1a"] = Identity(caller="site", key="4f7q0k2m9x1a", shown="key")
    token = await rig.one.begin(rig.keys["4f7q0k2m9x1a"])
    assert await rig.who(rig.one, token) is rig.keys["4f7q0k2m9x1a"]
    del rig.keys["4f7q0k2m9x1a"]
    assert await rig.who(rig.one, token) is None


async def test_a_bounded_number_is_remembered(rig: Rig) -> None:
    """The first ones are read again when they come."""
    token = await rig.one.begin(ANN)
    await rig.who(rig.one, token)
    for number in range(MAX_REMEMBERED):
        rig.one._known[str(number)] = (0, ANN)
    await rig.who(rig.one, await rig.one.begin(ANN))
    assert len(rig.one._known) <= MAX_REMEMBERED + 1
    assert await rig.who(rig.one, token) == ANN


# Cookies, and whose page sent them.


@pytest.mark.parametrize(
    ("method", "headers", "is_ours"),
    [
        ("GET", {}, True),
        ("POST", {}, True),
        ("POST", {"origin": "http://weft.example"}, True),
        ("POST", {"origin": "HTTP://WEFT.example"}, True),
        ("POST", {"origin": "http://evil.example"}, False),
        ("POST", {"origin": "http://weft.example:8081"}, False),
        ("POST", {"origin": "null"}, False),
        ("POST", {"sec-fetch-site": "same-origin"}, True),
        ("POST", {"sec-fetch-site": "none"}, True),
        ("POST", {"sec-fetch-site": "same-site"}, False),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, False),
        ("DELETE", {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}, False),
    ],
    ids=str,
)
def test_a_cookie_counts_for_our_own_pages(method: str, headers: dict[str, str], *, is_ours: bool) -> None:
    """Another site's page, or another port's, may lead here, and may send nothing in somebody's name."""
    made = request(("host", "weft.example"), *headers.items())
    made.method = method
    assert is_from_here(made) is is_ours


def test_a_cookie_is_for_us_alone() -> None:
    """No script reads it, no other site's form brings it, no plain connection carries it where there is TLS."""
    line = set_cookie("a", "b", max_age_s=60.5, secure=True)
    assert line == "a=b; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
    assert "Secure" not in set_cookie("a", "b", max_age_s=60, secure=False)


@pytest.mark.parametrize("header", ["", ";", "a", "=b", "a=", "ab=c", "A=b", "b=a=c"])
def test_what_is_no_cookie_of_ours_is_none(header: str) -> None:
    """Names are exact, and an empty value is none."""
    named: Callable[[str], str | None] = lambda name: cookie_of(request(("cookie", header)), name)  # noqa: E731
    assert named("a") is None
