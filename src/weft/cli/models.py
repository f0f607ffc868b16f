"""``weft models``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from weft.cli.remote import check, gateway, run, url_option
from weft.cli.settings import Settings, from_environment, tls_context
from weft.http.client import Client
from weft.models.fetch import Sources
from weft.models.package_index import index_settings
from weft.models.progress import Progress
from weft.models.store import ModelStatus, ModelStore


@asynccontextmanager
async def store(
    settings: Settings, *, on_progress: Callable[[Progress], None] | None = None
) -> AsyncIterator[ModelStore]:
    """The model store of this user, with a client that follows the proxies and authorities of the settings."""
    client = Client(
        ssl_context=tls_context(settings), proxies=dict(settings.proxies), no_proxy=settings.no_proxy
    )
    sources = Sources(
        index=index_settings(settings.pip), hub_url=settings.hub_url, hub_token=settings.hub_token
    )
    try:
        yield ModelStore(settings.cache_dir, client=client, sources=sources, on_progress=on_progress)
    finally:
        await client.aclose()


def statuses(settings: Settings) -> list[ModelStatus]:
    """What is in the cache, and what could be."""

    async def look() -> list[ModelStatus]:
        async with store(settings) as models:
            return models.list()

    return asyncio.run(look())


@click.group("models")
def command() -> None:
    """List, fetch and remove model files; choose the model of a running gateway."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List the models that have a name, and those in the cache."""
    found = statuses(from_environment())
    if as_json:
        import msgspec

        entries = [msgspec.to_builtins(entry, enc_hook=str) for entry in found]
        click.echo(msgspec.json.format(msgspec.json.encode(entries), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("model", "state", "download", "on disk", "licence", "what it is"):
        table.add_column(title, no_wrap=title in ("model", "state"), overflow="fold")
    for entry in found:
        table.add_row(
            entry.name,
            entry.state,
            size(entry.download_bytes),
            size(entry.disk_bytes),
            entry.licence or "",
            entry.description,
        )
    Console().print(table)


def size(count: int | None) -> str:
    """Bytes as people read them; nothing for none."""
    return f"{count / 1e6:.0f} MB" if count else ""


@command.command("pull")
@click.argument("names", nargs=-1, required=True)
def pull(names: tuple[str, ...]) -> None:
    """Fetch models into the cache, and verify every byte of what is there already.

    A name of the list, hf:OWNER/NAME/FILE, a URL, or a path.
    """
    from weft.cli.progress import ProgressBars

    async def fetch() -> None:
        with ProgressBars() as bars:
            async with store(from_environment(), on_progress=bars.update) as models:
                for name in names:
                    files = await models.pull(name)
                    licence = f" (licence: {files.licence})" if files.licence else ""
                    bars.say(f"{files.name} is ready{licence}")

    asyncio.run(fetch())


@command.command("rm")
@click.argument("names", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> None:
    """Remove models from the cache."""

    async def delete() -> None:
        async with store(from_environment()) as models:
            for name in names:
                click.echo(f"{name}: {size(await models.remove(name))} freed")

    asyncio.run(delete())


CHOICES = "/v1/models/choices"

POLL_S = 0.5
"""Between two looks at how far a switch is: as often as a bar has to move."""


@command.command("choices")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@url_option
def choices(url: str | None, *, as_json: bool) -> None:
    """List the models that a running gateway uses, and those that it could use on this machine."""

    async def ask() -> Any:
        async with gateway(url) as server:
            return check(await server.request("GET", CHOICES))

    found = run(ask())
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    for service in found["services"]:
        where = f" at {service['server']}" if service["server"] else ""
        default = "" if service["is_default"] else f" (the spec says {service['default_model']})"
        click.echo(f"{service['name']} uses {service['model']}{where}{default}")
    free = found["free_memory_bytes"]
    click.echo(f"\nInstead{f', with {free / 1e9:.1f} GB of memory free' if free else ''}:")
    for offer in found["offers"]:
        click.echo(f"  {offer['model']}")
        click.echo(f"      {_about(offer)}")
    click.echo("\nUse one: weft models use MODEL   (or any URL, file, or OWNER/NAME of the hub)")


def _about(offer: dict[str, Any]) -> str:
    """What is to be known of an offer before it is used."""
    download, memory = offer["download_bytes"], offer["memory_bytes"]
    parts = [
        f"for {offer['contract']}",
        offer["where"] if offer["source"] == "server" else "",
        f"{offer['parameters'] / 1e9:.2g} billion parameters" if offer["parameters"] else "",
        "here already" if offer["source"] == "file" else f"{size(download)} to fetch" if download else "",
        f"{memory / 1e9:.1f} GB of memory" + ("" if offer["fits"] else ", more than is free")
        if memory
        else "",
        f"licence: {offer['licence']}" if offer["licence"] else "",
    ]
    return "; ".join(part for part in parts if part)


@command.command("use")
@click.argument("model")
@click.option("--service", default="", help="Whose model; may be left out where one service fits.")
@click.option("--embed", is_flag=True, help="It is an embedding model.")
@click.option(
    "--key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The key for a server."
)
@url_option
def use(model: str, service: str, key_file: Path | None, url: str | None, *, embed: bool) -> None:
    """Have a running gateway use MODEL from the next request on.

    A server's URL (#MODEL if it has several), a file, OWNER/NAME of the hub, a name of the list; default: what the spec
    says. The key for a server is in --key-file, or in WEFT_LLM_KEY (WEFT_EMBED_KEY).

    \b
    weft models use http://127.0.0.1:11434#qwen3:8b
    """
    settings = from_environment()
    name = "WEFT_EMBED_KEY" if embed else "WEFT_LLM_KEY"
    key = key_file.read_text().strip() if key_file else settings.secret(name)
    is_url = model.startswith(("http://", "https://", "tei+"))
    body = {"model": _absolute(model), "service": service, "contract": "embedding" if embed else "chat"}
    switched = run(_switch(body | ({"key": key} if key and is_url else {}), url))
    where = f" at {switched['server']}" if switched["server"] else ""
    click.echo(f"{switched['name']} uses {switched['model']}{where} now")


def _absolute(model: str) -> str:
    """A file of this folder by its whole path: the gateway has another folder."""
    from weft.models.catalogue import is_path

    return str(Path(model).expanduser().resolve()) if is_path(model) else model


async def _switch(body: dict[str, Any], url: str | None) -> Any:
    """Ask for the switch and follow it; Ctrl-C gives it up."""
    import msgspec

    from weft.cli.progress import ProgressBars
    from weft.cli.remote import RemoteError
    from weft.models.progress import Progress

    headers = [("content-type", "application/json"), ("prefer", "respond-async")]
    async with gateway(url) as server:
        service = check(await server.request("POST", CHOICES, msgspec.json.encode(body), headers=headers))
        name = service["name"]
        try:
            with ProgressBars() as bars:
                while (switch := service["switch"])["state"] in ("asking", "fetching", "starting"):
                    if switch["state"] == "fetching" and switch.get("done_bytes"):
                        total = switch.get("total_bytes")
                        bars.update(Progress(switch["model"], "download", switch["done_bytes"], total))
                    await asyncio.sleep(POLL_S)
                    listed = check(await server.request("GET", CHOICES))["services"]
                    service = next(entry for entry in listed if entry["name"] == name)
        except asyncio.CancelledError:
            await server.request("DELETE", f"{CHOICES}/{name}")
            raise
    if switch["state"] != "done":
        raise RemoteError(switch.get("error") or f"the switch of '{name}' was given up")
    return service
