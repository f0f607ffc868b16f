"""``weft models``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import click

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
    """List, fetch and remove model files."""


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
