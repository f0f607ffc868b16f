"""``weft components``."""

from __future__ import annotations

import click


@click.group("components")
def command() -> None:
    """List the components that are installed, and their settings."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List name, contract, one line, and whether what it needs is installed. Imports none of them."""
    from weft.registry.components import Components

    listings = Components().scan()
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(listings), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("component", "contract", "ready", "what it does"):
        table.add_column(title, no_wrap=title == "component", overflow="fold")
    for entry in listings:
        ready = "error" if entry.error else "yes" if entry.installed else f"needs weft[{entry.extra}]"
        table.add_row(entry.name, entry.contract, ready, entry.error or entry.summary)
    Console().print(table)


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Show a component's contract, settings and what it uses."""
    from weft.registry.components import Components

    info = Components().get(name)
    click.echo(f"{info.name}: {(info.cls.__doc__ or '').strip().splitlines()[0]}")
    click.echo(f"contract: {info.contract.name if info.contract else 'by config'}")
    for use in info.uses.values():
        click.echo(f"uses {use.name}: {use.contract}{' (optional)' if use.optional else ''}")
    for parameter in info.config.values():
        default = "required" if parameter.required else f"default {parameter.default!r}"
        type_name = getattr(parameter.annotation, "__name__", None) or str(parameter.annotation)
        click.echo(
            f"config {parameter.name}: {type_name}, {default}{'. ' + parameter.doc if parameter.doc else ''}"
        )
