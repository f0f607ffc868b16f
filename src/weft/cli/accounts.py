"""``weft accounts``."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click
import msgspec

from weft.cli import desk
from weft.cli.remote import check, gateway, run
from weft.errors import UsageError

if TYPE_CHECKING:
    from weft.gateway.access.audit import AuditLog
    from weft.gateway.login.accounts import Account, AccountStore, Invitation
    from weft.store import Database

T = TypeVar("T")


@click.group("accounts")
def command() -> None:
    """Invite people, list and remove their accounts, reset passwords, end logins.

    With --spec or --data the installation's database is worked on; otherwise the running gateway is asked, with the
    key of an administrator.
    """


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_lasting = click.option(
    "--for", "lasts", default="3d", show_default=True, help="How long the link works: 12h, 3d."
)


@command.command("invite")
@click.argument("name")
@click.option(
    "--tenant", default="default", show_default=True, help="Whose documents, histories and limits they see."
)
@click.option(
    "--role", "roles", multiple=True, help="What they may do; 'admin' may do everything. Repeatable."
)
@click.option(
    "--reader",
    "readers",
    multiple=True,
    metavar="GROUP",
    help="A group whose documents they read; in rules: claims.groups. Repeatable.",
)
@_lasting
@_json
@desk.options
def invite(
    name: str,
    tenant: str,
    roles: tuple[str, ...],
    readers: tuple[str, ...],
    lasts: str,
    as_json: bool,
    **where: Any,
) -> None:
    """Make an account NAME, a name or an e-mail address, and print the link with which its password is set.

    \b
    weft accounts invite ann@example.org --reader staff --spec front.yaml
    """
    from weft.gateway.login.accounts import Invitation, NewAccount

    new = NewAccount(name, tenant, list(readers), list(roles), _seconds(lasts))
    made = _do(
        lambda accounts: accounts.invite(new, desk.operator()),
        ("POST", "/v1/accounts", new),
        Invitation,
        where,
    )
    _show(made, where["url"], as_json=as_json)


@command.command("list")
@_json
@desk.options
def list_(*, as_json: bool, **where: Any) -> None:
    """List the local accounts."""
    from weft.gateway.login.account_routes import Accounts

    async def listed(accounts: AccountStore) -> Accounts:
        return Accounts(await accounts.listed())

    found: list[Account] = _do(listed, ("GET", "/v1/accounts", None), Accounts, where).accounts
    if as_json:
        _print(found)
        return
    if not found:
        click.echo("There is no account. Invite somebody: weft accounts invite NAME")
        return
    click.echo(f"{'NAME':<28} {'TENANT':<12} {'PASSWORD':<9} {'LAST LOGIN':<11} {'READS':<20} MAY")
    for account in found:
        used = time.strftime("%Y-%m-%d", time.localtime(account.used_at)) if account.used_at else "never"
        click.echo(
            f"{account.name:<28} {account.tenant:<12} {'set' if account.is_open else 'not set':<9} {used:<11} "
            f"{', '.join(account.readers) or '-':<20} {', '.join(account.roles) or '-'}"
        )


@command.command("reset")
@click.argument("name")
@_lasting
@_json
@desk.options
def reset(name: str, lasts: str, as_json: bool, **where: Any) -> None:
    """Take the password of account NAME away, end its logins, and print a link with which a new one is set."""
    from weft.gateway.login.accounts import Invitation

    lasts_s = _seconds(lasts)
    made = _do(
        lambda accounts: accounts.reset(name, desk.operator(), lasts_s=lasts_s),
        ("POST", f"/v1/accounts/{quote(name, safe='')}/reset", {"lasts_s": lasts_s}),
        Invitation,
        where,
    )
    _show(made, where["url"], as_json=as_json)


@command.command("remove")
@click.argument("name")
@desk.options
def remove(name: str, **where: Any) -> None:
    """Remove the account NAME, and end its logins. Every gateway refuses them within 5 seconds."""
    from weft.gateway.login.accounts import Account

    gone = _do(
        lambda accounts: accounts.remove(name, desk.operator()),
        ("DELETE", f"/v1/accounts/{quote(name, safe='')}", None),
        Account,
        where,
    )
    click.echo(f"{gone.name} is removed")


@command.command("logout")
@click.argument("name")
@desk.options
def logout(name: str, **where: Any) -> None:
    """End every login of NAME on the page: of an account, or of a caller whom a provider let in."""
    from weft.gateway.login.sessions import LoggedOut, log_out

    async def here(database: Database, audit: AuditLog) -> LoggedOut:
        return LoggedOut(name, await log_out(database, audit, name, desk.operator(), now_s=time.time()))

    ended = _at(here, ("DELETE", f"/v1/logins?caller={quote(name, safe='')}", None), LoggedOut, where)
    click.echo(f"{name}: {ended.sessions} login{'' if ended.sessions == 1 else 's'} ended")


def _do(
    here: Callable[[AccountStore], Awaitable[T]],
    there: tuple[str, str, Any],
    type_: type[T],
    where: dict[str, Any],
) -> T:
    """Do something to the accounts."""

    async def local(database: Database, audit: AuditLog) -> T:
        from weft.gateway.login.accounts import AccountStore

        return await here(AccountStore(database, audit))

    return _at(local, there, type_, where)


def _at(
    here: Callable[[Database, AuditLog], Awaitable[T]],
    there: tuple[str, str, Any],
    type_: type[T],
    where: dict[str, Any],
) -> T:
    """Do something in the database, or by asking the gateway."""
    spec, data, url = where["spec"], where["data"], where["url"]

    async def local() -> T:
        from weft.gateway.access.audit import AuditLog

        async with desk.database(spec, data) as database:
            return await here(database, AuditLog(database))

    async def remote() -> T:
        method, path, body = there
        async with gateway(url) as server:
            content = msgspec.json.encode(body) if body is not None else b""
            headers = [("content-type", "application/json")] if body is not None else []
            reply = check(await server.request(method, path, content, headers=headers))
            return msgspec.convert(reply, type_)

    return run(local() if desk.is_local(spec, data) else remote())


def _show(made: Invitation, url: str | None, *, as_json: bool) -> None:
    from weft.cli.settings import from_environment

    if as_json:
        _print(made)
        return
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(made.expires_at))
    click.echo(
        f"{made.account.name}, of tenant {made.account.tenant}. Send them this link; it works once, until {until}:",
        err=True,
    )
    click.echo((url or from_environment().url).rstrip("/") + made.path)


_UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


def _seconds(text: str) -> float:
    """``3d`` in seconds."""
    match = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no duration", hint="a number and m, h or d: 3d")
    return int(match[1]) * _UNITS[match[2]]


def _print(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
