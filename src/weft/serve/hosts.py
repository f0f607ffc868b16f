"""What all components of one process share, made from plain settings that can be sent to a worker."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from weft.models import ModelStore, Progress, Sources, index_settings
from weft.observe.metrics import Metrics
from weft.serve.egress import Egress
from weft.serve.host import ServiceHost
from weft.serve.log import Log


class HostSettings(Struct, omit_defaults=True):
    """What the components of a process may use, as plain data.

    Attributes:
        cache_dir: Folder of model files.
        data_dir: Folder for data that lasts.
        proxies: Proxy by scheme.
        no_proxy: Hosts that are reached directly.
        ca_file: Certificate authorities beside the system's.
        networks: Networks that services may be in, beside loopback and private ones.
        hosts: Hosts that the operator's files name.
        hub_url: The model hub.
        hub_token: For it. A secret.
        pip: pip's configuration of package indexes.
        offline: Models come from the cache only.
        cpu_count: Processors for each service; None: all that the process may use.
    """

    cache_dir: str
    data_dir: str
    proxies: dict[str, str] = {}
    no_proxy: list[str] = []
    ca_file: str | None = None
    networks: list[str] = []
    hosts: list[str] = []
    hub_url: str = "https://huggingface.co"
    hub_token: str | None = None
    pip: dict[str, str] = {}
    offline: bool = False
    cpu_count: int | None = None


class Hosts:
    """Makes the hosts of a process's components.

    Args:
        settings: See :class:`HostSettings`.
        metrics: Of the process.
        log: Of the process.
        on_progress: Told how far fetching a model is.
    """

    def __init__(
        self,
        settings: HostSettings,
        *,
        metrics: Metrics,
        log: Log,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._settings, self._metrics, self._log = settings, metrics, log
        self.egress = Egress(
            networks=settings.networks,
            hosts=settings.hosts,
            ssl_context=_tls(settings.ca_file),
            proxies=settings.proxies,
            no_proxy=settings.no_proxy,
        )
        sources = Sources(
            index=index_settings(settings.pip),
            hub_url=settings.hub_url,
            hub_token=settings.hub_token,
            offline=settings.offline,
        )
        # Indexes and hubs are the operator's own choice, so they may be anywhere but at a metadata address.
        self.models = ModelStore(
            Path(settings.cache_dir), client=self.egress.named, sources=sources, on_progress=on_progress
        )
        self._made: list[ServiceHost] = []

    def host(self, service: str, config: Any = None) -> ServiceHost:
        """The host of one service; URLs in its ``config``, which the operator wrote, may be anywhere."""
        self.egress.name(config)
        made = ServiceHost(
            service,
            egress=self.egress,
            models=self.models,
            metrics=self._metrics.of_service(service),
            storage=Path(self._settings.data_dir),
            log=self._log,
            cpu_count=self._settings.cpu_count,
        )
        self._made.append(made)
        return made

    async def aclose(self) -> None:
        """End what the hosts started, and every connection; after the components have closed."""
        for host in reversed(self._made):
            await host.aclose()
        await self.egress.aclose()


def _tls(ca_file: str | None) -> ssl.SSLContext | None:
    """None leaves it to the client, which reads the system's authorities only when it needs them (20 ms)."""
    if ca_file is None:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    return context
