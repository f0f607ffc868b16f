"""``weft accounts``: on an installation's database, and through a running gateway."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from accesskit import ROUTE, made
from frontkit import FrontRig
from weft.cli.main import group
from weft.errors import ConflictError, NotFoundError, RequestError, UsageError


def weft(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["accounts", *arguments])


def test_an_invitation_is_a_link(tmp_path: Path) -> None:
    """The link alone is on stdout, so that a script can send it; who it is for is beside it."""
    where = ("--data", str(tmp_path))
    result = weft("invite", "Ann@Example.org", "--reader", "staff", "--role", "editor", "--for", "12h",
                  "--url", "https://chat.example.org/", *where)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("https://chat.example.org/login/invitation?token=")
    assert "ann@example.org, of tenant default" in result.stderr
    listed = weft("list", *where).stdout
    assert [word in listed for word in ("ann@example.org", "not set", "never", "staff", "editor")] == [
        True
    ] * 5
    assert msgspec.json.decode(weft("list", "--json", *where).stdout)[0]["name"] == "ann@example.org"
    assert isinstance(weft("invite", "ann@example.org", *where).exception, ConflictError)


def test_an_account_is_reset_and_removed(tmp_path: Path) -> None:
    """Each in one line; a name that is not there gets the nearest."""
    where = ("--data", str(tmp_path))
    assert weft("list", *where).stdout == "There is no account. Invite somebody: weft accounts invite NAME\n"
    first = weft("invite", "ann", *where).stdout
    assert weft("reset", "ann", *where).stdout not in ("", first)
    assert weft("logout", "ann", *where).stdout == "ann: 0 logins ended\n"
    wrong = weft("remove", "anm", *where).exception
    assert isinstance(wrong, NotFoundError)
    assert "did you mean 'ann'?" in str(wrong)
    assert weft("remove", "ann", *where).stdout == "ann is removed\n"
    assert isinstance(weft("invite", "ann", "--for", "soon", *where).exception, UsageError)


async def test_a_running_gateway_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key of an administrator, and with no other."""
    async with AsyncExitStack() as stack:
        rig = FrontRig(tmp_path, stack)
        secret = await made(rig, "root", roles=["admin"])
        await rig.gateway(ROUTE + "auth: {keys: true, accounts: true}\n")

        async def at(*arguments: str) -> Result:
            return await asyncio.to_thread(weft, *arguments, "--url", rig.url)

        monkeypatch.delenv("WEFT_ACCESS_TOKEN", raising=False)
        refused = (await at("list")).exception
        assert isinstance(refused, RequestError)
        assert "asks who you are" in str(refused)
        monkeypatch.setenv("WEFT_ACCESS_TOKEN", secret)
        invited = await at("invite", "ann")
        assert invited.stdout.startswith(f"{rig.url}/login/invitation?token="), invited.output
        assert (await at("reset", "ann")).stdout.startswith(f"{rig.url}/login/invitation?token=")
        assert "ann" in (await at("list")).stdout
        assert (await at("logout", "ann/../bob")).stdout == "ann/../bob: 0 logins ended\n"
        assert (await at("remove", "ann")).stdout == "ann is removed\n"
        assert "no account" in (await at("list")).stdout
