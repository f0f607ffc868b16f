"""The processes of an installation as data, and the children that a supervisor makes of them.

Where each is reached, and what each is told, is settled here.
"""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.errors import UsageError
from weft.serve import ports
from weft.serve.child import Backoff, Child
from weft.serve.log import Log
from weft.serve.worker import Listen, WorkerConfig


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One kind of process.

    Attributes:
        name: Of the service, or ``gateway``.
        factory: ``package.module:function``, see :class:`weft.serve.worker.WorkerConfig`.
        arguments: For the factory; anything that JSON can say. Secrets may be in it.
        replicas: How many of them.
        needs: Names of processes that must be ready before this one is started the first time.
        public: Whether it answers on the public address.
        serves: Services that siblings reach in it, each with the path that is put before its routes there;
            None: the one service of its own name, at the root.
        identity: What it is: one of another installation that is the same can go on in its place. Empty: none can.
    """

    name: str
    factory: str
    arguments: Any = None
    replicas: int = 1
    needs: tuple[str, ...] = ()
    public: bool = False
    serves: Mapping[str, str] | None = None
    identity: str = ""


def check(specs: Sequence[ProcessSpec]) -> None:
    """Check that processes fit together.

    Raises:
        UsageError: They do not.
    """
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise UsageError("two processes have one name")
    started: set[str] = set()
    for spec in specs:
        if unknown := set(spec.needs) - started:
            raise UsageError(
                f"process '{spec.name}' needs {', '.join(sorted(unknown))}, which is not before it"
            )
        started.add(spec.name)


class Household:
    """Makes the children of one supervisor.

    Args:
        folder: For their private sockets; None: they have ports of the loopback instead.
        listen: The public addresses.
        inherit: Sockets that public processes inherit.
        drain_timeout_s, drain_delay_s: Of each.
        backoff: Between a crash and the restart.
        log: Where crashes and restarts are written.
    """

    def __init__(
        self,
        *,
        folder: Path | None,
        listen: Sequence[Listen],
        inherit: Sequence[socket.socket],
        drain_timeout_s: float,
        drain_delay_s: float,
        backoff: Backoff,
        log: Log,
    ) -> None:
        self._folder, self._listen, self._inherit = folder, list(listen), inherit
        self._drain_timeout_s, self._drain_delay_s = drain_timeout_s, drain_delay_s
        self._backoff, self._log = backoff, log
        self._key = secrets.token_bytes(32)
        self._number = 0

    def configs(
        self, specs: Sequence[ProcessSpec], kept: Mapping[str, Sequence[Child]]
    ) -> dict[str, list[WorkerConfig]]:
        """What each process is told, by the name of its kind.

        Args:
            specs: All processes.
            kept: Children that run already, by the name of the kind that they are now: these keep their addresses.
        """
        self._number += 1
        addresses = {
            spec.name: [child.config.private for child in kept[spec.name]]
            if spec.name in kept
            else [self._private(spec.name, n) for n in range(spec.replicas)]
            for spec in specs
        }
        endpoints: dict[str, list[str]] = {}
        for spec in specs:
            for service, prefix in (spec.serves if spec.serves is not None else {spec.name: ""}).items():
                endpoints.setdefault(service, []).extend(
                    _with_path(address, prefix) for address in addresses[spec.name]
                )
        peers = {
            _child_name(spec, n): address for spec in specs for n, address in enumerate(addresses[spec.name])
        }
        return {
            spec.name: [
                WorkerConfig(
                    name=_child_name(spec, n),
                    factory=spec.factory,
                    arguments=spec.arguments,
                    private=address,
                    public=self._listen if spec.public else [],
                    endpoints=endpoints,
                    peers=peers,
                    signing_key=self._key,
                    path=sys.path,
                    pretty_log=self._log.pretty,
                    drain_timeout_s=self._drain_timeout_s,
                    drain_delay_s=self._drain_delay_s,
                )
                for n, address in enumerate(addresses[spec.name])
            ]
            for spec in specs
        }

    def child(self, config: WorkerConfig) -> Child:
        """A child that is not started."""
        inherit = self._inherit if config.public else []
        return Child(config, inherit=inherit, log=self._log, backoff=self._backoff)

    def _private(self, name: str, number: int) -> str:
        if self._folder is not None:
            # A socket's path may have some 100 characters only.
            again = f"-{self._number}" if self._number > 1 else ""
            return f"unix:{self._folder}/{name.replace('/', '-')[:32]}-{number}{again}.sock"
        with ports.bind("127.0.0.1", 0) as found:
            return f"http://127.0.0.1:{found.getsockname()[1]}"


def _child_name(spec: ProcessSpec, number: int) -> str:
    return spec.name if spec.replicas == 1 else f"{spec.name}-{number + 1}"


def _with_path(address: str, path: str) -> str:
    if not path:
        return address
    return f"{address}:{path}" if address.startswith("unix:") else address + path
