"""Where a Gateway file listens, as addresses that can be bound, and what all replies have that go out there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from weft.serve.accesslog import AccessLog
from weft.serve.application import Application
from weft.serve.doors import Door, TlsFiles
from weft.spec.gateway import GatewaySpec, ListenSpec, TlsSpec

LAST_LINES_S: Final = 1.0
"""How long the last lines of requests may take to be written at the end."""

HSTS: Final = "max-age=31536000"
"""A year, as browsers' own lists ask for at least; without the subdomains, which may be somebody else's."""


def furnish(app: Application, spec: GatewaySpec) -> None:
    """Give the application of a Gateway file its log of requests, compression and the headers of every reply."""
    app.compress_from = spec.compress_from
    if spec.access_log:
        app.access_log = access = AccessLog(app.log, name=spec.name)

        async def flush() -> None:
            await asyncio.to_thread(access.drain, LAST_LINES_S)

        app.on_stop.append(flush)
    app.always = [("x-content-type-options", "nosniff")]
    # Not of a loopback address: a browser would take it for every server on this machine, whatever its port.
    if any(door.tls is not None and not door.is_loopback for door in http_doors(spec)):
        app.over_tls = [("strict-transport-security", HSTS)]


def http_doors(spec: GatewaySpec) -> list[Door]:
    """Its addresses for HTTP, with and without TLS."""
    return [_door(spec, one, address) for one in spec.listen if (address := one.http or one.https)]


def grpc_doors(spec: GatewaySpec) -> list[Door]:
    """Its addresses for gRPC."""
    return [_door(spec, one, one.grpc) for one in spec.listen if one.grpc]


def _door(spec: GatewaySpec, listen: ListenSpec, address: str) -> Door:
    host, _, port = address.rpartition(":")
    folder = Path(spec.marks.here.file).parent
    return Door(host.strip("[]"), int(port), _files(listen.tls, folder) if listen.tls is not None else None)


def _files(tls: TlsSpec, folder: Path) -> TlsFiles:
    """The files, which are named from the Gateway file's own folder."""
    return TlsFiles(
        str(folder / tls.cert),
        str(folder / tls.key_),
        str(folder / tls.client_ca) if tls.client_ca is not None else None,
        tls.client == "required",
    )
