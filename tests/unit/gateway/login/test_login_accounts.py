"""Local accounts in either database: invitations that work once, passwords, attempts that are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from loginkit import Clock
from weft.context import Identity
from weft.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    UnauthorizedError,
)
from weft.gateway.access.audit import AuditLog
from weft.gateway.login.accounts import LASTS_S, AccountStore, Invitation, NewAccount
from weft.gateway.login.attempts import PER_ACCOUNT, PER_ADDRESS, PER_PAIR, WINDOW_S, Attempts, network_of
from weft.gateway.login.passwords import AT_ONCE, WAITING, Passwords, check_strength
from weft.store import Database

QUICK = (4, 8, 1)
"""Parameters that are for tests only."""

GOOD = "four words make one"
HOME = "192.0.2.7"


class Rig:
    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.database = database
        self.audit = AuditLog(database)
        self.accounts = AccountStore(database, self.audit, passwords=Passwords(QUICK), now_s=self.clock)

    async def invited(self, name: str = "ann", **fields: Any) -> Invitation:
        return await self.accounts.invite(NewAccount(name, **fields), "a test")

    async def opened(self, name: str = "ann", **fields: Any) -> None:
        await self.accounts.accept(token_of(await self.invited(name, **fields)), GOOD)


def token_of(invitation: Invitation) -> str:
    return invitation.path.partition("token=")[2]


@pytest.fixture
def rig(database: Database) -> Iterator[Rig]:
    made = Rig(database)
    yield made
    made.accounts.close()


async def test_an_invitation_makes_an_account(rig: Rig) -> None:
    """With what the inviter said of it; the name's case does not matter."""
    invitation = await rig.invited("Ann@Example.org", tenant="acme", readers=["staff"], roles=["editor"])
    await rig.accounts.accept(token_of(invitation), GOOD)
    account = await rig.accounts.log_in(" ANN@example.org", GOOD, HOME)
    assert account.identity() == Identity(
        caller="ann@example.org",
        tenant="acme",
        readers=("staff",),
        roles=frozenset({"editor"}),
        claims={"sub": "ann@example.org", "groups": ["staff"]},
        shown="account",
    )
    listed = (await rig.accounts.listed())[0]
    assert (listed.is_open, listed.created_by, listed.used_at) == (True, "a test", rig.clock.now)


async def test_an_invitation_works_once(rig: Rig) -> None:
    """Of five who open the link at once, one sets the password."""
    token = token_of(await rig.invited())
    tries = [rig.accounts.accept(token, f"{GOOD} {number}") for number in range(5)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Account", *["UnauthorizedError"] * 4]
    assert await rig.accounts.invited(token) is None


async def test_an_invitation_ends(rig: Rig) -> None:
    """After three days, or when there is a newer one."""
    first = token_of(await rig.invited())
    second = token_of(await rig.accounts.reset("ann", "a test"))
    with pytest.raises(UnauthorizedError, match="taken up"):
        await rig.accounts.accept(first, GOOD)
    rig.clock.pass_(LASTS_S - 1)
    assert await rig.accounts.invited(second) == "ann"
    rig.clock.pass_(1)
    assert await rig.accounts.invited(second) is None
    with pytest.raises(UnauthorizedError, match="time is over"):
        await rig.accounts.accept(second, GOOD)


async def test_a_weak_password_does_not_use_the_invitation_up(rig: Rig) -> None:
    """One tries again."""
    token = token_of(await rig.invited())
    with pytest.raises(InvalidRequestError, match="12 to 256"):
        await rig.accounts.accept(token, "short")
    await rig.accounts.accept(token, GOOD)


async def test_nothing_that_lets_anybody_in_is_kept(rig: Rig) -> None:
    """Neither the link nor the password are in the database, nor in the audit log."""
    invitation = await rig.invited()
    token = token_of(invitation)
    tables = ("weft_accounts", "weft_invitations", "weft_audit")
    before = str([await rig.database.fetch(f"SELECT * FROM {table}") for table in tables])
    await rig.accounts.accept(token, GOOD)
    after = str([await rig.database.fetch(f"SELECT * FROM {table}") for table in tables])
    assert token not in before
    assert GOOD not in after
    assert token not in repr(invitation)
    events = [record.event for record in await rig.audit.page()]
    assert events == ["account.created", "account.invited"]


@pytest.mark.parametrize(
    "wrong", [("ann", "another password"), ("bob", GOOD), ("", ""), ("ann", ""), ("ann", "x" * 5000)]
)
async def test_who_is_wrong_is_not_told_in_what(rig: Rig, wrong: tuple[str, str]) -> None:
    """The same sentence for a name that is not there and for a password that is not right."""
    await rig.opened()
    with pytest.raises(UnauthorizedError, match="^name or password is wrong$"):
        await rig.accounts.log_in(*wrong, HOME)


async def test_an_account_without_a_password_lets_nobody_in(rig: Rig) -> None:
    """Neither one that was invited only, nor one whose password was taken away."""
    await rig.invited("bob")
    await rig.opened()
    await rig.accounts.reset("ann", "a test")
    for name in ("ann", "bob"):
        for password in ("", GOOD):
            with pytest.raises(UnauthorizedError):
                await rig.accounts.log_in(name, password, HOME)


async def test_a_removed_account_is_gone(rig: Rig) -> None:
    """Its name is free, its invitation void."""
    token = token_of(await rig.invited())
    await rig.accounts.remove("ANN", "a test")
    with pytest.raises(UnauthorizedError):
        await rig.accounts.accept(token, GOOD)
    assert await rig.accounts.listed() == []
    with pytest.raises(NotFoundError, match="no account 'ann'"):
        await rig.accounts.remove("ann", "a test")
    await rig.invited()
    with pytest.raises(ConflictError, match="account 'ann' already"):
        await rig.invited("Ann")
    with pytest.raises(NotFoundError, match="did you mean 'ann'"):
        await rig.accounts.reset("anm", "a test")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"name": "ann", "tenant": ""}, "tenant"),
        ({"name": "ann", "roles": ["a b"]}, "roles"),
        ({"name": "ann", "readers": ["a\nb"]}, "readers"),
        ({"name": "ann", "lasts_s": 0.0}, "lasts_s"),
        ({"name": "ann", "lasts_s": 1e9}, "lasts_s"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused(rig: Rig, fields: dict[str, Any], param: str) -> None:
    """With the field that is wrong."""
    with pytest.raises(InvalidRequestError) as refused:
        await rig.accounts.invite(NewAccount(**fields), "a test")
    assert refused.value.param == param


# Attempts.


async def test_a_pair_of_account_and_address_is_throttled(rig: Rig) -> None:
    """The sixth attempt is not heard, even with the right password; a quarter of an hour after the first one it is."""
    await rig.opened()
    for _ in range(PER_PAIR):
        with pytest.raises(UnauthorizedError):
            await rig.accounts.log_in("ann", "another password", HOME)
    with pytest.raises(OverloadedError, match="too many attempts") as refused:
        await rig.accounts.log_in("ann", GOOD, HOME)
    assert refused.value.retry_after_s == WINDOW_S
    assert (await rig.accounts.log_in("ann", GOOD, "198.51.100.1")).name == "ann"
    rig.clock.pass_(WINDOW_S + 1)
    assert (await rig.accounts.log_in("ann", GOOD, HOME)).name == "ann"


async def test_an_account_is_throttled_from_everywhere(rig: Rig) -> None:
    """A thousand addresses have no more guesses at it than thirty."""
    await rig.opened()
    for number in range(PER_ACCOUNT):
        with pytest.raises(UnauthorizedError):
            await rig.accounts.log_in("ann", "another password", f"198.51.100.{number}")
    with pytest.raises(OverloadedError):
        await rig.accounts.log_in("ann", GOOD, HOME)
    await rig.accounts.reset("ann", "a test")  # an administrator has looked into it
    with pytest.raises(UnauthorizedError):
        await rig.accounts.log_in("ann", GOOD, HOME)


async def test_an_address_is_throttled_whatever_account_it_tries(rig: Rig) -> None:
    """Thirty names, and then none; who logs in is not counted."""
    await rig.opened()
    for number in range(PER_ADDRESS):
        await rig.accounts.log_in("ann", GOOD, HOME)
        with pytest.raises(UnauthorizedError):
            await rig.accounts.log_in(f"name{number}", GOOD, HOME)
    with pytest.raises(OverloadedError):
        await rig.accounts.log_in("ann", GOOD, HOME)


async def test_attempts_at_once_are_counted_before_they_are_made(rig: Rig) -> None:
    """Of fifty guesses in one moment five are heard."""
    await rig.opened()
    tries = [rig.accounts.log_in("ann", "another password", HOME) for _ in range(50)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(each).__name__ for each in done].count("UnauthorizedError") == PER_PAIR


async def test_who_does_not_wait_costs_the_database_nothing(rig: Rig) -> None:
    """A flood from one address is refused in memory once it has been told to wait."""
    for _ in range(PER_PAIR + 1):
        with pytest.raises((UnauthorizedError, OverloadedError)):
            await rig.accounts.log_in("ann", "another password", HOME)
    before = await rig.database.fetch("SELECT * FROM weft_attempts ORDER BY subject")
    for _ in range(100):
        with pytest.raises(OverloadedError):
            await rig.accounts.log_in("ann", "another password", HOME)
    assert await rig.database.fetch("SELECT * FROM weft_attempts ORDER BY subject") == before


async def test_what_was_typed_for_a_name_is_not_kept(rig: Rig) -> None:
    """People type their password there."""
    with pytest.raises(UnauthorizedError):
        await rig.accounts.log_in("my secret password", "", HOME)
    assert "my secret" not in str(await rig.database.fetch("SELECT * FROM weft_attempts"))


async def test_attempts_do_not_pile_up(rig: Rig) -> None:
    """What is older than a quarter of an hour goes with the next attempt."""
    attempts = Attempts(rig.database, now_s=rig.clock)
    for number in range(20):
        await attempts.begin(f"name{number}", f"198.51.100.{number}")
    rig.clock.pass_(WINDOW_S + 1)
    await attempts.begin("ann", HOME)
    assert await rig.database.fetch("SELECT COUNT(*) FROM weft_attempts") == [(3,)]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "somewhere"),
        (None, "somewhere"),
    ],
)
def test_of_ipv6_a_network_counts(address: str | None, network: str) -> None:
    """One machine has as many of its addresses as it likes."""
    assert network_of(address) == network


# Passwords.


async def test_a_hash_says_how_it_was_made() -> None:
    """So old ones verify after the parameters were raised; two of one password differ."""
    old, new = Passwords(QUICK), Passwords((5, 8, 1))
    kept = await old.hash(GOOD)
    assert kept.startswith("scrypt$4$8$1$")
    assert await new.verify(GOOD, kept)
    assert not await new.verify(GOOD + " ", kept)
    assert await old.hash(GOOD) != kept
    for made in (old, new):
        made.close()


async def test_a_password_is_the_same_on_every_keyboard() -> None:
    """An umlaut as one character or as two."""
    passwords = Passwords(QUICK)
    assert await passwords.verify(
        "fu\u0308nf gru\u0308ne B\u00e4ume", await passwords.hash("f\u00fcnf gr\u00fcne B\u00e4ume")
    )
    passwords.close()


async def test_a_flood_of_logins_is_told_to_come_again() -> None:
    """A bounded number waits; the others get 429 and are not heard."""
    passwords = Passwords(QUICK)
    done = await asyncio.gather(*(passwords.hash(GOOD) for _ in range(50)), return_exceptions=True)
    passwords.close()
    assert sum(isinstance(each, str) for each in done) == AT_ONCE + WAITING
    assert sum(isinstance(each, OverloadedError) for each in done) == 50 - AT_ONCE - WAITING


@pytest.mark.parametrize(
    "password",
    [
        "",
        "elevenchars",
        "x" * 257,
        "aaaaaaaaaaaaaaa",
        "abababababababab",
        "I am ann@example.org",
        "annannannann-1",
    ],
)
def test_a_password_takes_guessing(password: str) -> None:
    """Too short, too long, a few characters, or the name."""
    with pytest.raises(InvalidRequestError) as refused:
        check_strength(password, "ann@example.org")
    assert refused.value.param == "password"
    assert not password or password not in str(refused.value)
