"""``weft components``."""

from __future__ import annotations

from typing import Any

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
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("component", "contract", "ready", "what it does"):
        table.add_column(title, no_wrap=title == "component", overflow="fold")
    for entry in listings:
        ready = "error" if entry.error else f"needs weft[{entry.extra}]" if entry.missing else "yes"
        words = (entry.error or entry.summary).replace("``", "")
        table.add_row(entry.name, entry.contract or "its own", escape(ready), escape(words))
    Console().print(table)


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, *, as_json: bool) -> None:
    """Show a component's contract, settings and what it uses. NAME may be ./FILE.py:CLASS."""
    from weft.registry.components import Components

    info = Components().get(name)
    uses = [
        {"name": slot.name, "contract": slot.contract.name, "optional": slot.optional, "doc": slot.doc}
        for slot in info.slots
    ]
    config = [
        {
            "name": parameter.name,
            "type": getattr(parameter.annotation, "__name__", None) or str(parameter.annotation),
            "required": parameter.required,
            "default": None if parameter.required else parameter.default,
            "doc": parameter.doc,
        }
        for parameter in info.parameters
    ]
    contract = info.contract.name if info.contract else "as its config says"
    if as_json:
        import msgspec

        shown: dict[str, Any] = {"name": info.name, "contract": contract, "description": info.description}
        shown |= {"uses": uses, "config": config}
        click.echo(msgspec.json.format(msgspec.json.encode(shown, enc_hook=str), indent=2))
        return
    click.echo(
        click.wrap_text(f"{info.name}: {info.description}".replace("``", ""), preserve_paragraphs=True)
    )
    click.echo(f"contract  {contract}")
    for slot in uses:
        _describe(
            f"uses      {slot['name']}: {slot['contract']}{' (optional)' if slot['optional'] else ''}", slot
        )
    for parameter in config:
        default = "required" if parameter["required"] else f"default {parameter['default']!r}"
        _describe(f"config    {parameter['name']}: {parameter['type']}, {default}", parameter)


def _describe(line: str, entry: dict[str, Any]) -> None:
    click.echo(line)
    if entry["doc"]:
        click.echo(
            click.wrap_text(
                entry["doc"].replace("``", ""), initial_indent=" " * 10, subsequent_indent=" " * 10
            )
        )
