"""The stores and embedders of a spec, opened in this process by a command that works on documents as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli import placing
from weft.contracts.archive import Archive, is_archive
from weft.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from weft.cli.running import Running
    from weft.gateway.assembly import Assembly
    from weft.plan import Placed, Plans


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The spec, and what ``weft up`` was told beside it: the same words find the same documents."""
    added = (
        click.option("--placement", type=click.Path(path_type=Path), help="As for 'weft up'."),
        click.option("--data", type=click.Path(path_type=Path), help="As for 'weft up'."),
        click.option("--embed", multiple=True, metavar="MODEL", help="As for 'weft up'."),
        click.option("--store", multiple=True, metavar="PLACE", help="As for 'weft up'."),
        click.option(
            "--embed-key-file", type=click.Path(path_type=Path, exists=True), help="As for 'weft up'."
        ),
        click.option(
            "--store-key-file", type=click.Path(path_type=Path, exists=True), help="As for 'weft up'."
        ),
        click.option("--service", metavar="STORE", help="Which store, where the spec has several."),
    )
    for option in reversed(added):
        command = option(command)
    return command


@dataclass(frozen=True)
class House:
    """A spec that has been checked, and its store.

    Attributes:
        running, plans: What ``weft up`` would run.
        store: The store's service.
    """

    running: Running
    plans: Plans
    store: Placed

    @asynccontextmanager
    async def opened(self, *, only_read: bool = False) -> AsyncIterator[Opened]:
        """The store, opened; ``only_read``: for a snapshot, beside a process that serves."""
        from weft.registry.components import Components
        from weft.registry.config import instantiate

        assembly = self.running.assembly()
        try:
            from weft.megaservice import resolved

            config = resolved(self.store.config, self.running.secrets.get, self.store.key)
            info = Components().get(self.store.component, folder=self.store.folder)
            component = instantiate(info, config, {})
            if not is_archive(component):
                raise UsageError(
                    f"the store '{self.store.key}' (component '{self.store.component}') cannot be taken out as a whole",
                    hint="qdrant-edge, pgvector and qdrant can",
                )
            host = assembly.hosts.host(self.store.key, config)
            await (component.attach(host) if only_read else component.start(host))
            async with AsyncExitStack() as stack:
                if (aclose := getattr(component, "aclose", None)) is not None:
                    stack.push_async_callback(aclose)
                yield Opened(component, assembly, self)
        finally:
            await assembly.hosts.aclose()


@dataclass(frozen=True)
class Opened:
    """A store that is open.

    Attributes:
        component: The store.
        assembly: Makes its neighbours.
        house: Where it comes from.
    """

    component: Any
    assembly: Assembly
    house: House

    @property
    def archive(self) -> Archive:
        """The store as a whole."""
        archive: Archive = self.component
        return archive

    @asynccontextmanager
    async def embedder(self, key: str) -> AsyncIterator[Any]:
        """The embedder of that name: its transport."""
        services = self.assembly.services(only=key)
        await services.start()
        try:
            yield services.transports[key]
        finally:
            await services.aclose()

    def maker(self) -> tuple[Placed, Any]:
        """Who takes documents into this store: its service, and its component, which is not started.

        Raises:
            UsageError: Nobody does.
        """
        from weft.megaservice import resolved
        from weft.registry.components import Components
        from weft.registry.config import instantiate

        store = self.house.store.key
        for placed in self.house.plans.placed.values():
            if placed.contract == "dataprep" and store in placed.uses.values() and placed.at.kind != "url":
                info = Components().get(placed.component, folder=placed.folder)
                config = resolved(placed.config, self.house.running.secrets.get, placed.key)
                return placed, instantiate(info, config, dict.fromkeys(placed.uses))
        raise UsageError(f"no service of the contract 'dataprep' in this spec uses the store '{store}'")


def house(
    spec: str,
    *,
    placement: Path | None,
    data: Path | None,
    embed: tuple[str, ...],
    store: tuple[str, ...],
    embed_key_file: Path | None,
    store_key_file: Path | None,
    service: str | None,
) -> House:
    """Read and check a spec as ``weft up`` would, and find its store.

    Raises:
        SpecError: Something is wrong with it.
        UsageError: It has no store, or several and it is not said which.
    """
    from weft.cli.running import Running, host_settings
    from weft.cli.settings import from_environment
    from weft.cli.specs import find

    settings = from_environment()
    path = find(spec)
    running = Running(
        files=[str(path.resolve()), *([str(placement.resolve())] if placement else [])],
        split=False,
        workers=1,
        host=host_settings(settings, data or settings.data_dir / path.stem),
        secrets={},
    )
    asked = placing.Asked(
        {"embed": embed, "store": store}, {"embed": embed_key_file, "store": store_key_file}
    )
    keys = placing.place(running, asked, settings)
    plans = running.load()
    running.secrets = running.find_secrets(plans, settings) | keys
    stores = {key: placed for key, placed in plans.placed.items() if placed.contract == "store"}
    if service is not None and service not in stores:
        raise UsageError(
            f"there is no store '{service}'", hint=did_you_mean(service, list(stores), what="stores")
        )
    if not stores:
        raise UsageError("no service of this spec is a store")
    if service is None and len(stores) > 1:
        raise UsageError(
            f"this spec has {len(stores)} stores: {', '.join(stores)}",
            hint=f"say which: --service {next(iter(stores))}",
        )
    found = stores[service] if service is not None else next(iter(stores.values()))
    if found.at.kind in ("url", "registry"):
        raise UsageError(
            f"the store '{found.key}' is at {found.at.target}: run this where it is configured, not where it is called"
        )
    return House(running, plans, found)
