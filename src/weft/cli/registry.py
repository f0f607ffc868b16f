"""``weft registry``."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from weft.cli.remote import check, gateway, run, url_option


@click.group("registry")
def command() -> None:
    """List, add and remove the live services of a running gateway."""


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@command.command("list")
@_json
@url_option
def list_(url: str | None, *, as_json: bool) -> None:
    """List the services that are registered, with their health."""
    services = run(_call("GET", "/v1/registry/services", None, url))["services"]
    if as_json:
        _print(services)
        return
    if not services:
        click.echo("No service is registered. Add one: weft registry add NAME CONTRACT URL")
    for service in services:
        click.echo(f"{service['name']:<20} {service['contract']:<12} {service['state']:<8} {service['url']}")
        if service.get("reason"):
            click.echo(f"  {service['reason']}")


@command.command("add")
@click.argument("name")
@click.argument("contract")
@click.argument("service_url", metavar="URL")
@_json
@url_option
def add(name: str, contract: str, service_url: str, url: str | None, *, as_json: bool) -> None:
    """Register the service at URL under NAME.

    A name that is taken, or a contract that does not fit, is refused. Place a service on it with `at: registry:NAME`.

    \b
    weft registry add team-embedder embedding http://127.0.0.1:6000
    """
    body = {"name": name, "contract": contract, "url": service_url}
    service = run(_call("POST", "/v1/registry/services", body, url))
    if as_json:
        _print(service)
        return
    click.echo(
        f"{service['name']} is registered ({service['state']}); place a service on it: at: registry:{name}"
    )


@command.command("rm")
@click.argument("name")
@url_option
def remove(name: str, url: str | None) -> None:
    """Remove the registration of NAME; the service itself goes on."""
    run(_call("DELETE", f"/v1/registry/services/{name}", None, url))
    click.echo(f"{name} is no longer registered")


def _print(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


async def _call(method: str, path: str, body: Any, url: str | None) -> Any:
    async with gateway(url) as server:
        content = msgspec.json.encode(body) if body is not None else b""
        headers = [("content-type", "application/json")] if body is not None else []
        return check(await server.request(method, path, content, headers=headers))
