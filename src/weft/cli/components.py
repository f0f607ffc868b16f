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
        ready = "error" if entry.error else f"needs weft[{entry.extra}]" if entry.missing else "yes"
        table.add_row(entry.name, entry.contract or "its own", ready, entry.error or entry.summary)
    Console().print(table)


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Show a component's contract, settings and what it uses."""
    from weft.registry.components import Components

    info = Components().get(name)
    click.echo(f"{info.name}: {info.description}")
    click.echo(f"contract: {info.contract.name if info.contract else 'as its config says'}")
    for slot in info.slots:
        click.echo(f"uses {slot.name}: {slot.contract.name}{' (optional)' if slot.optional else ''}")
    for parameter in info.parameters:
        default = "required" if parameter.required else f"default {parameter.default!r}"
        kind = getattr(parameter.annotation, "__name__", None) or str(parameter.annotation)
        click.echo(
            f"config {parameter.name}: {kind}, {default}{'. ' + parameter.doc if parameter.doc else ''}"
        )
