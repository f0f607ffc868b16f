"""``weft keys``."""

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
    from weft.gateway.access.keys import Key, KeyStore, MadeKey

T = TypeVar("T")


@click.group("keys")
def command() -> None:
    """Make, list, rotate and revoke API keys.

    With --spec or --data the installation's database is worked on, which needs no key: whoever may write there
    administers it. Otherwise the running gateway is asked.
    """


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@command.command("create")
@click.argument("name")
@click.option(
    "--tenant", default="default", show_default=True, help="Whose documents, histories and limits these are."
)
@click.option("--owner", default="", help="Whose key it is: the caller of its requests.  [default: NAME]")
@click.option("--role", "roles", multiple=True, help="What it may do; 'admin' may do everything. Repeatable.")
@click.option(
    "--reader",
    "readers",
    multiple=True,
    metavar="GROUP",
    help="A group whose documents it reads. Repeatable.",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="ROUTE",
    help="The only routes it may use, by name or path. Repeatable.",
)
@click.option(
    "--expires", metavar="TIME", help="When it ends: 90d, 12h, or a day such as 2027-01-31.  [default: never]"
)
@_json
@desk.options
def create(
    name: str,
    tenant: str,
    owner: str,
    roles: tuple[str, ...],
    readers: tuple[str, ...],
    scopes: tuple[str, ...],
    expires: str | None,
    as_json: bool,
    **where: Any,
) -> None:
    """Make an API key called NAME. It is shown once, and kept nowhere.

    \b
    weft keys create "chat on our site" --scope chatqna --spec front.yaml
    """
    from weft.gateway.access.keys import MadeKey, NewKey

    new = NewKey(
        name,
        tenant,
        owner,
        list(readers) if readers else None,
        list(roles),
        list(scopes),
        _time(expires, time.time()) if expires is not None else None,
    )
    made = _do(lambda keys: keys.create(new, desk.operator()), ("POST", "/v1/keys", new), MadeKey, where)
    _show_made(made, as_json=as_json)


@command.command("list")
@click.option("--tenant", default="", help="Only those of this tenant.")
@_json
@desk.options
def list_(tenant: str, *, as_json: bool, **where: Any) -> None:
    """List the API keys, without their secrets."""
    from weft.gateway.access.routes import Keys

    async def listed(keys: KeyStore) -> Keys:
        return Keys(await keys.listed(tenant=tenant))

    found: list[Key] = _do(listed, ("GET", "/v1/keys", None), Keys, where).keys
    found = [key for key in found if not tenant or key.tenant == tenant]
    if as_json:
        _print(found)
        return
    if not found:
        click.echo("There is no API key. Make one: weft keys create NAME")
        return
    now_s = time.time()
    click.echo(f"{'ID':<13} {'NAME':<24} {'TENANT':<12} {'HOLDS TO':<10} {'LAST USED':<11} MAY")
    for key in found:
        may = ", ".join([*key.roles, *(f"only {scope}" for scope in key.scopes)]) or "-"
        used = _day(key.used_at) if key.used_at else "never"
        click.echo(f"{key.id:<13} {key.name:<24} {key.tenant:<12} {_state(key, now_s):<10} {used:<11} {may}")


@command.command("revoke")
@click.argument("name")
@desk.options
def revoke(name: str, **where: Any) -> None:
    """Have the key NAME (or its id) hold no longer, for good. Every gateway refuses it within 5 seconds."""
    from weft.gateway.access.keys import Key

    key = _do(
        lambda keys: keys.revoke(name, desk.operator()),
        ("DELETE", f"/v1/keys/{quote(name, safe='')}", None),
        Key,
        where,
    )
    click.echo(f"{key.name} ({key.id}) is revoked")


@command.command("rotate")
@click.argument("name")
@click.option(
    "--grace", default="24h", show_default=True, help="How long the old secret holds too: 24h, 7d, 0s."
)
@_json
@desk.options
def rotate(name: str, grace: str, *, as_json: bool, **where: Any) -> None:
    """Give the key NAME (or its id) a new secret, which is shown once."""
    from weft.gateway.access.keys import MadeKey

    grace_s = _seconds(grace)
    made = _do(
        lambda keys: keys.rotate(name, desk.operator(), grace_s=grace_s),
        ("POST", f"/v1/keys/{quote(name, safe='')}/rotate", {"grace_s": grace_s}),
        MadeKey,
        where,
    )
    _show_made(made, as_json=as_json)
    if made.key.old_until and not as_json:
        click.echo(
            f"The old one holds until {time.strftime('%Y-%m-%d %H:%M', time.localtime(made.key.old_until))}.",
            err=True,
        )


def _do(
    here: Callable[[KeyStore], Awaitable[T]],
    there: tuple[str, str, Any],
    type_: type[T],
    where: dict[str, Any],
) -> T:
    """Do something to the keys: in the database, or by asking the gateway."""
    spec, data, url = where["spec"], where["data"], where["url"]

    async def local() -> T:
        from weft.gateway.access.audit import AuditLog
        from weft.gateway.access.keys import KeyStore

        async with desk.database(spec, data) as database:
            return await here(KeyStore(database, AuditLog(database)))

    async def remote() -> T:
        method, path, body = there
        async with gateway(url) as server:
            content = msgspec.json.encode(body) if body is not None else b""
            headers = [("content-type", "application/json")] if body is not None else []
            reply = check(await server.request(method, path, content, headers=headers))
            return msgspec.convert(reply, type_)

    return run(local() if desk.is_local(spec, data) else remote())


def _show_made(made: MadeKey, *, as_json: bool) -> None:
    if as_json:
        _print(made)
        return
    # The key alone on stdout, so that a script can take it.
    click.echo(
        f"{made.key.name} ({made.key.id}), of tenant {made.key.tenant}. It is shown this once:", err=True
    )
    click.echo(made.secret)


def _state(key: Key, now_s: float) -> str:
    if key.revoked_at:
        return "revoked"
    if key.expires_at and key.expires_at <= now_s:
        return "expired"
    return _day(key.expires_at) if key.expires_at else "-"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def _seconds(text: str) -> float:
    """``24h`` in seconds."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no duration", hint="a number and s, m, h or d: 24h")
    return int(match[1]) * _UNITS[match[2]]


def _time(text: str, now_s: float) -> float:
    """``90d`` from now, or the end of a day."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        try:
            return time.mktime(time.strptime(f"{text} 23:59:59", "%Y-%m-%d %H:%M:%S"))
        except (ValueError, OverflowError) as error:
            raise UsageError(f"'{text}' is no day") from error
    return now_s + _seconds(text)


def _print(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
