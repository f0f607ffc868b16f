"""``weft gateway``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from weft.cli.desk import operator
from weft.cli.explain import command as explain
from weft.cli.remote import check, gateway, run, url_option
from weft.errors import SpecError

if TYPE_CHECKING:
    from weft.gateway.versions.rollout import Rollout, Step

PATH = "/v1/gateway"

RELOAD_TIMEOUT_S = 900.0
"""A model that is new may have to be fetched and loaded before the reply."""


@click.group("gateway")
def command() -> None:
    """See what a gateway serves, and change that while it does.

    The running gateway is asked, with WEFT_ACCESS_TOKEN as the key of an administrator.
    """


command.add_command(explain)

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where the Gateway file is: the running gateway's, or one that is named."""
    added = (
        click.option(
            "--spec",
            metavar="FILE",
            help="Change this Gateway file itself; a gateway that runs takes it in by itself.",
        ),
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            help="With --spec: as for 'weft up'; former weights are kept there.",
        ),
        url_option,
        _json,
    )
    for option in reversed(added):
        command = option(command)
    return command


@command.command("status")
@_json
@url_option
def status(url: str | None, *, as_json: bool) -> None:
    """Show what is served, in which versions, and whether the Gateway file says the same.

    The status is 3 when the file was changed and could not be taken in.
    """
    found = run(_call("GET", PATH, None, url))
    if as_json:
        _print(found)
    else:
        _show(found)
    if found["reload"].get("error"):
        raise click.exceptions.Exit(SpecError.exit_code)


def _show(found: dict[str, Any]) -> None:
    reload = found["reload"]
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(reload["since"]))
    click.echo(f"{found['name']}, from {found['file']}: {reload['running']}, since {since}")
    if error := reload.get("error"):
        click.echo(f"\nThe file was changed and could not be taken in; what ran before goes on:\n{error}\n")
    elif reload.get("drifted"):
        click.echo("The file differs from what runs; take it in with: weft gateway reload")
    if reload.get("is_reloading"):
        click.echo("A reload is under way.")
    for note in reload.get("notes", ()):
        click.echo(note)
    for route in found["routes"]:
        click.echo(f"{route['path']}  ->  {route['target']}")
        total = sum(version["weight"] for version in route.get("versions", ())) or 1
        for version in route.get("versions", ()):
            words = [f"{100 * version['weight'] / total:g} %"]
            words += [f"mirror {version['mirror']} %"] if version.get("mirror") else []
            words += [f"{word} {version[word]}" for word in ("deprecated", "sunset") if version.get(word)]
            click.echo(f"  {version['version']:<12} {', '.join(words)}")
        if earlier := route.get("earlier"):
            weights = ", ".join(f"{name}: {weight}" for name, weight in earlier[-1]["weights"].items())
            click.echo(f"  before: {weights}  (weft gateway rollback {route['target']})")


@command.command("reload")
@_json
@url_option
def reload(url: str | None, *, as_json: bool) -> None:
    """Take in what the Gateway file and the files that it names say now.

    Nothing is lost: requests under way end as they began. What is not valid does not replace what runs.
    """
    found = run(_call("POST", f"{PATH}/reload", {}, url, timeout_s=RELOAD_TIMEOUT_S))
    if as_json:
        _print(found)
        return
    click.echo(f"The files' state is served: {found['running']}")
    for note in found.get("notes", ()):
        click.echo(note)


@command.command("promote")
@click.argument("route")
@click.argument("version")
@click.option(
    "--weight",
    type=click.IntRange(0, 100),
    default=100,
    show_default=True,
    help="Of a hundred requests that name no version; the others share out the rest as they do now.",
)
@_where
def promote(
    route: str,
    version: str,
    weight: int,
    spec: str | None,
    data: Path | None,
    url: str | None,
    *,
    as_json: bool,
) -> None:
    """Have VERSION of ROUTE, its name or path, get the requests that name no version.

    The weights are changed in the Gateway file itself, with nothing else in it.

    \b
    weft gateway promote chatqna 2.0.0 --weight 20
    """
    if spec is not None:
        _report(_kept(spec, data, lambda at: at.promote(route, version, weight, by=operator())), as_json)
        return
    body = {"route": route, "version": version, "weight": weight}
    _report(run(_call("POST", f"{PATH}/promote", body, url, timeout_s=RELOAD_TIMEOUT_S)), as_json)


@command.command("rollback")
@click.argument("route")
@_where
def rollback(route: str, spec: str | None, data: Path | None, url: str | None, *, as_json: bool) -> None:
    """Go back to the weights that ROUTE, its name or path, had before its last promotion."""
    if spec is not None:
        _report(_kept(spec, data, lambda at: at.rollback(route)), as_json)
        return
    body = {"route": route}
    _report(run(_call("POST", f"{PATH}/rollback", body, url, timeout_s=RELOAD_TIMEOUT_S)), as_json)


def _kept(spec: str, data: Path | None, change: Callable[[Rollout], Step]) -> Any:
    """Make a change in the file."""
    from weft.cli.settings import from_environment
    from weft.cli.specs import find
    from weft.gateway.versions.rollout import Rollout

    path = find(spec).resolve()
    step = change(Rollout(path, data or from_environment().data_dir / path.stem))
    step.keep()
    return msgspec.to_builtins(step.change)


def _report(change: Any, as_json: bool) -> None:
    if as_json:
        _print(change)
        return
    if change["before"] == change["after"]:
        click.echo(f"{change['route']} has these weights already.")
    for version, weight in change["after"].items():
        before = change["before"].get(version, 0)
        click.echo(
            f"{change['route']} {version}: {before} -> {weight}"
            if before != weight
            else f"{change['route']} {version}: {weight}"
        )


async def _call(method: str, path: str, body: Any, url: str | None, *, timeout_s: float = 60.0) -> Any:
    async with gateway(url, timeout_s=timeout_s) as endpoint:
        sent = b"" if body is None else msgspec.json.encode(body)
        headers = [] if body is None else [("content-type", "application/json")]
        return check(await endpoint.request(method, path, sent, headers=headers))


def _print(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
